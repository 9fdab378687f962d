//! Broken models: what is told, and where.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use gnomon_model::thing::ModelProblem;
use gnomon_model::{ProductKey, ThingModel};
use serde_json::{Value, json};

fn problems(files: &[(String, String)]) -> Vec<ModelProblem> {
    ThingModel::load(&ProductKey::parse("plant").unwrap(), files).unwrap_err()
}

fn one_file(text: impl Into<String>) -> Vec<(String, String)> {
    vec![("plant.json".to_owned(), text.into())]
}

/// Checks that a single problem is told, with this place and a reason that contains the fragment.
fn check(files: &[(String, String)], (file, path, fragment): (&str, &str, &str)) {
    let told = problems(files);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].file.as_str(), told[0].path.as_str()), (file, path), "{}", told[0]);
    assert!(told[0].reason.contains(fragment), "{:?} lacks {fragment:?}", told[0].reason);
}

fn check_text(text: &str, path: &str, fragment: &str) {
    check(&one_file(text), ("plant.json", path, fragment));
}

/// Checks a model with one property of this data type.
fn check_type(data_type: &Value, below: &str, fragment: &str) {
    let model = json!({"properties": [{"identifier": "p", "dataType": data_type}]});
    check_text(&model.to_string(), &format!("/properties/0/dataType{below}"), fragment);
}

/// So many members, or properties.
fn many(count: usize) -> Value {
    let member = |n: usize| json!({"identifier": format!("m{n}"), "dataType": {"type": "int"}});
    (0..count).map(member).collect()
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    let long = format!("{{\"properties\":[]{}}}", " ".repeat(512 * 1024));
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for (text, path, fragment) in [
        ("", "", "file is not JSON: EOF"),
        (r#"{"properties":["p"]}"#, "/properties/0", "a string stands where an object is expected"),
        ("{\n  \"properties\": [,]\n}", "", "line 2 column 18"),
        ("{\"properties\":[]} x", "", "trailing characters"),
        (r#"{"properties":[],"properties":[]}"#, "", "key `properties` stands twice"),
        (&deep, "", "nested deeper than 32 levels"),
        (&long, "", "bytes, at most 524288"),
        ("[]", "", "an array stands where an object is expected"),
        (r#"{"name":"package"}"#, "", "none of properties, events, services is here"),
        (r#"{"properties":{}}"#, "/properties", "an object stands where an array is expected"),
        (r#"{"services":null}"#, "/services", "null stands where an array is expected"),
        (r#"{"events":["post"]}"#, "/events/0", "a string stands where an object is expected"),
    ] {
        check_text(text, path, fragment);
    }
}

#[test]
fn a_model_of_another_product_is_refused() {
    let path = "/profile/productKey";
    for (key, fragment) in [
        ("\"boiler\"", "`boiler` is not the product plant"),
        ("7", "a number stands where a text is expected"),
        ("\"\"", "`` is not the product plant"),
    ] {
        check_text(
            &format!(r#"{{"profile":{{"productKey":{key}}},"properties":[]}}"#),
            path,
            fragment,
        );
    }
}

#[test]
fn names_are_checked() {
    let identifier = "/properties/0/identifier";
    let long = "x".repeat(51);
    for (name, fragment) in [
        (json!("a b"), "`a b` is not an identifier: use 1 to 50 of A-Z a-z 0-9 _"),
        (json!(""), "is not an identifier"),
        (json!("meter:Volt"), "is not an identifier"),
        (json!("température"), "is not an identifier"),
        (json!(long), "is not an identifier"),
        (json!("value"), "`value` is reserved"),
        (json!("post"), "`post` is reserved"),
        (json!(1), "a number stands where a text is expected"),
    ] {
        let model = json!({"properties": [{"identifier": name, "dataType": {"type": "int"}}]});
        check_text(&model.to_string(), identifier, fragment);
    }
    let block = json!({"functionBlockId": "a:b", "properties": []});
    check_text(&block.to_string(), "/functionBlockId", "`a:b` is not a function block");
}

#[test]
fn words_and_parts_of_functions_are_checked() {
    for (text, path, fragment) in [
        (
            r#"{"properties":[{"dataType":{"type":"int"}}]}"#,
            "/properties/0/identifier",
            "`identifier` is missing",
        ),
        (
            r#"{"properties":[{"identifier":"p"}]}"#,
            "/properties/0/dataType",
            "`dataType` is missing",
        ),
        (
            r#"{"properties":[{"identifier":"p","accessMode":"read","dataType":{"type":"int"}}]}"#,
            "/properties/0/accessMode",
            "`read` is none of rw, r, w",
        ),
        (
            r#"{"events":[{"identifier":"E","type":"fatal"}]}"#,
            "/events/0/type",
            "`fatal` is none of info, alert, error",
        ),
        (
            r#"{"services":[{"identifier":"S","callType":"SYNC"}]}"#,
            "/services/0/callType",
            "`SYNC` is none of async, sync",
        ),
        (
            r#"{"services":[{"identifier":"S","inputData":["a"]}]}"#,
            "/services/0/inputData/0",
            "a string stands where an object is expected",
        ),
        (
            r#"{"services":[{"identifier":"S","inputData":[{"identifier":"a","required":"no","dataType":{"type":"int"}}]}]}"#,
            "/services/0/inputData/0/required",
            "a string stands where true or false is expected",
        ),
        (
            r#"{"events":[{"identifier":"E","outputData":{}}]}"#,
            "/events/0/outputData",
            "an object stands where an array is expected",
        ),
    ] {
        check_text(text, path, fragment);
    }
}

#[test]
fn limits_of_numbers_are_checked() {
    let of = |word: &str, specs: Value| json!({"type": word, "specs": specs});
    for (data_type, below, fragment) in [
        (of("double", json!({"min": "low"})), "/specs/min", "`low` is not a number"),
        (of("double", json!({"max": "NaN"})), "/specs/max", "`NaN` is not a number"),
        (of("double", json!({"max": true})), "/specs/max", "a boolean stands where a number is"),
        (
            of("double", json!({"min": "5", "max": 4.5})),
            "/specs/min",
            "minimum 5 is above maximum 4.5",
        ),
        (of("double", json!({"min": "1e400"})), "/specs/min", "is not a number"),
        (of("double", json!({"step": "0"})), "/specs/step", "step 0 is not above 0"),
        (of("double", json!({"unit": 5})), "/specs/unit", "a number stands where a text is"),
        (of("double", json!([])), "/specs", "an array stands where an object is expected"),
        (of("float", json!({"max": "1e39"})), "/specs/max", "beyond what type float holds"),
        (of("int", json!({"max": "2147483648"})), "/specs/max", "beyond what type int holds"),
        (of("int", json!({"min": "0.5"})), "/specs/min", "an int has whole limits"),
    ] {
        check_type(&data_type, below, fragment);
    }
}

#[test]
fn specs_of_other_types_are_checked() {
    let of = |word: &str, specs: Value| json!({"type": word, "specs": specs});
    let keys: serde_json::Map<_, _> =
        (0..101).map(|key: i32| (key.to_string(), json!(format!("k{key}")))).collect();
    for (data_type, below, fragment) in [
        (of("string", json!({})), "/type", "unknown type `string`: use int, float, double"),
        (json!({"type": 1}), "/type", "a number stands where a text is expected"),
        (json!({}), "/type", "`type` is missing"),
        (json!("int"), "", "a string stands where an object is expected"),
        (of("bool", json!({"2": "maybe"})), "/specs/2", "a bool has the keys 0 and 1 only"),
        (of("bool", json!({"0": false})), "/specs/0", "a boolean stands where a text is"),
        (json!({"type": "enum"}), "/specs", "`specs` is missing"),
        (of("enum", json!({})), "/specs", "an enum needs at least one key"),
        (of("enum", json!({"01": "a"})), "/specs/01", "key `01` is not a 32-bit integer"),
        (of("enum", json!({"a/b": "a"})), "/specs/a~1b", "key `a/b` is not a 32-bit integer"),
        (of("enum", json!({"0": 1})), "/specs/0", "a number stands where a text is expected"),
        (of("enum", json!({"0": "a", "1": "a"})), "/specs/1", "name `a` stands for key 0 too"),
        (of("enum", keys.into()), "/specs", "101 keys, at most 100"),
        (of("text", json!({"length": "0"})), "/specs/length", "not a whole number from 1 to 10240"),
        (of("text", json!({"length": 10241})), "/specs/length", "not a whole number from 1 to"),
        (of("text", json!({"length": "1.5"})), "/specs/length", "1.5 is not a whole number"),
        (of("struct", json!({})), "/specs", "an object stands where an array is expected"),
        (of("struct", many(51)), "/specs", "51 members, at most 50"),
        (of("array", json!({"size": "4"})), "/specs/item", "`item` is missing"),
        (
            of("array", json!({"size": "513", "item": {"type": "int"}})),
            "/specs/size",
            "from 1 to 512",
        ),
        (of("array", json!({"item": {"type": "bool"}})), "/specs/item/type", "no array of bool"),
        (of("array", json!({"item": {"type": "date"}})), "/specs/item/type", "no array of date"),
    ] {
        check_type(&data_type, below, fragment);
    }
}

#[test]
fn types_nested_too_deep_are_refused() {
    let member = |data_type: &Value| json!([{"identifier": "m", "dataType": data_type}]);
    let array = json!({"type": "array", "specs": {"item": {"type": "int"}}});
    let structure = json!({"type": "struct", "specs": member(&json!({"type": "int"}))});
    let array_of = |item: &Value| json!({"type": "array", "specs": {"item": item}});
    let struct_of = |inner: &Value| json!({"type": "struct", "specs": member(inner)});
    for (data_type, below, fragment) in [
        (array_of(&array), "/specs/item/type", "an array cannot stand in an array"),
        (struct_of(&array), "/specs/0/dataType/type", "an array cannot stand in a struct"),
        (struct_of(&structure), "/specs/0/dataType/type", "a struct cannot stand in a struct"),
        (array_of(&struct_of(&array)), "/specs/item/specs/0/dataType/type", "nested too deep"),
    ] {
        check_type(&data_type, below, fragment);
    }
    let fits = json!({"properties": [{"identifier": "p", "dataType": array_of(&structure)}]});
    let product = ProductKey::parse("plant").unwrap();
    assert!(ThingModel::load(&product, &one_file(fits.to_string())).is_ok());
}

#[test]
fn an_identifier_is_taken_once() {
    let p = r#"{"identifier":"p","dataType":{"type":"int"}}"#;
    let both = format!(r#"{{"properties":[{p},{p}]}}"#);
    check_text(
        &both,
        "/properties/1",
        "identifier `p` stands twice, first in plant.json /properties/0",
    );
    let kinds = format!(r#"{{"properties":[{p}],"events":[{{"identifier":"p"}}]}}"#);
    check_text(&kinds, "/events/0", "identifier `p` stands twice");
    let outputs = format!(r#"{{"events":[{{"identifier":"E","outputData":[{p},{p}]}}]}}"#);
    check_text(&outputs, "/events/0/outputData/1", "identifier `p` stands twice");
    let file = format!(r#"{{"functionBlockId":"meter","properties":[{p}]}}"#);
    let files = [("a.json".to_owned(), file.clone()), ("b.json".to_owned(), file)];
    check(
        &files,
        ("b.json", "/properties/0", "identifier `meter:p` stands twice, first in a.json"),
    );
}

#[test]
fn a_model_has_bounds() {
    check_text(
        &json!({"properties": many(301)}).to_string(),
        "",
        "301 functions in block default, at most 300",
    );
    let event = |n: usize| json!({"identifier": format!("E{n}"), "outputData": many(76)});
    let events: Value = (0..4).map(event).collect();
    check_text(
        &json!({"events": events}).to_string(),
        "",
        "304 parameters in block default, at most 300",
    );
    let service = json!({"services": [{"identifier": "S", "inputData": many(101)}]});
    check_text(&service.to_string(), "/services/0/inputData", "101 parameters, at most 100");
    let event = json!({"events": [{"identifier": "E", "outputData": many(101)}]});
    check_text(&event.to_string(), "/events/0/outputData", "101 parameters, at most 100");
    check(&[], ("", "", "product plant has 0 model files: use 1 to 200"));
    let file = ("x.json".to_owned(), r#"{"properties":[]}"#.to_owned());
    check(&vec![file; 201], ("", "", "product plant has 201 model files"));
}

#[test]
fn a_block_of_several_files_has_the_bounds_of_one() {
    let file = |name: &str, first: usize| {
        let properties: Value = many(first + 160).as_array().unwrap()[first..].to_vec().into();
        (name.to_owned(), json!({"properties": properties}).to_string())
    };
    check(
        &[file("a.json", 0), file("b.json", 160)],
        ("b.json", "", "320 functions in block default, at most 300"),
    );
}

#[test]
fn everything_that_is_wrong_is_told_in_order() {
    let files = [
        ("a.json".to_owned(), "{".to_owned()),
        (
            "b.json".to_owned(),
            r#"{"profile":{"productKey":"x"},
              "properties":[
                {"identifier":"get","accessMode":"x","dataType":{"type":"double","specs":{"min":"a","max":"b","step":"-1"}}},
                {"identifier":"ok","dataType":{"type":"int"}},
                {"identifier":"s","dataType":{"type":"struct","specs":[{"dataType":{"type":"x"}}]}}]}"#
                .to_owned(),
        ),
    ];
    let told: Vec<String> = problems(&files).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "a.json: file is not JSON: EOF while parsing an object at line 1 column 1",
            "b.json /profile/productKey: `x` is not the product plant",
            "b.json /properties/0/identifier: `get` is reserved, as are set, get, post, property, event, time, value",
            "b.json /properties/0/dataType/specs/min: `a` is not a number",
            "b.json /properties/0/dataType/specs/max: `b` is not a number",
            "b.json /properties/0/dataType/specs/step: step -1 is not above 0",
            "b.json /properties/0/accessMode: `x` is none of rw, r, w",
            "b.json /properties/2/dataType/specs/0/identifier: `identifier` is missing",
            "b.json /properties/2/dataType/specs/0/dataType/type: unknown type `x`: use int, float, double, bool, enum, text, date, struct or array",
        ]
    );
}
