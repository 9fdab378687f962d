//! A value fits the thing model exactly if it is valid under the rendered JSON Schema.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use gnomon_model::{Object, ProductKey, ThingModel};
use proptest::collection::{btree_map, vec};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "unknown"];

fn load(model: &Value) -> ThingModel {
    let files = [("generated.json".to_owned(), model.to_string())];
    ThingModel::load(&ProductKey::parse("generated").unwrap(), &files).unwrap()
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    assert!(jsonschema::meta::is_valid(schema), "{schema}");
    jsonschema::validator_for(schema).unwrap().is_valid(value)
}

/// Limits in ascending order, as numbers or as texts.
fn limits(word: &'static str, pool: Vec<Value>) -> BoxedStrategy<Value> {
    let limit = || prop_oneof![1 => Just(Value::Null), 3 => select(pool.clone())];
    let specs = (limit(), limit(), any::<bool>()).prop_map(move |(one, other, texts)| {
        let mut pair = [one, other];
        if pair.iter().all(Value::is_number) {
            pair.sort_by(|a, b| a.as_f64().unwrap().total_cmp(&b.as_f64().unwrap()));
        }
        let mut specs = Object::new();
        for (key, limit) in ["min", "max"].into_iter().zip(pair) {
            if let Value::Number(number) = limit {
                let written = if texts { number.to_string().into() } else { number.into() };
                specs.insert(key.to_owned(), written);
            }
        }
        json!({"type": word, "specs": specs})
    });
    specs.boxed()
}

fn numeric() -> BoxedStrategy<Value> {
    let ints = [i64::from(i32::MIN), -80, -1, 0, 1, 60, i64::from(i32::MAX)];
    let ints: Vec<Value> = ints.map(Value::from).to_vec();
    let doubles = [-1e300, -0.1, 0.0, 0.1, 60.5, 9_007_199_254_740_992.0, 1e19, 1e300];
    let doubles = doubles.map(Value::from).into_iter().chain(ints.clone()).collect();
    let floats = [-3.4e38, -0.5, 0.5, 16_777_217.0, 3.402_823_5e38].map(Value::from);
    let floats = floats.into_iter().chain(ints.clone()).collect();
    prop_oneof![limits("int", ints), limits("double", doubles), limits("float", floats)].boxed()
}

fn text() -> BoxedStrategy<Value> {
    (1_usize..6)
        .prop_map(|length| json!({"type": "text", "specs": {"length": length.to_string()}}))
        .boxed()
}

fn scalar() -> BoxedStrategy<Value> {
    let names = btree_map(-3_i32..4, 0_u8..1, 1..5).prop_map(|keys| {
        let named = keys.into_keys().map(|key| (key.to_string(), format!("name {key}").into()));
        json!({"type": "enum", "specs": Value::Object(named.collect())})
    });
    prop_oneof![
        3 => numeric(),
        1 => text(),
        1 => names,
        1 => Just(json!({"type": "bool", "specs": {"0": "off", "1": "on"}})),
        1 => Just(json!({"type": "date"})),
    ]
    .boxed()
}

/// Members `a`, `b`, `c`, some of them optional as inputs.
fn members(of: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let member = (of, any::<bool>());
    vec(member, 0..4)
        .prop_map(|members| {
            let named = NAMES.into_iter().zip(members);
            named
                .map(|(name, (data_type, required))| {
                    json!({"identifier": name, "required": required, "dataType": data_type})
                })
                .collect()
        })
        .boxed()
}

fn structure() -> BoxedStrategy<Value> {
    members(scalar()).prop_map(|specs| json!({"type": "struct", "specs": specs})).boxed()
}

fn data_type() -> BoxedStrategy<Value> {
    let item = prop_oneof![numeric(), text(), structure()];
    let array = (item, 1_i32..4).prop_map(
        |(item, size)| json!({"type": "array", "specs": {"size": size.to_string(), "item": item}}),
    );
    prop_oneof![3 => scalar(), 1 => structure(), 1 => array].boxed()
}

/// Values that tempt: wrong types, edges of every numeric type, texts that look like others.
fn anything() -> BoxedStrategy<Value> {
    let edges = json!([
        null, true, false, 0, 1, -1, 2, 3.0, 0.0, -0.0, 1.0, 0.5, 60, 60.000_000_1, -80,
        2_147_483_647, 2_147_483_648_u64, -2_147_483_648_i64, -2_147_483_649_i64,
        9_007_199_254_740_992_u64, 9_007_199_254_740_993_u64, -9_007_199_254_740_993_i64,
        i64::MAX, i64::MIN, u64::MAX, 1e19, 1e300, -1e308, 5e-324, 3.402_823_5e38, 3.41e38,
        2_147_483_647.0, 16_777_217.0, 60.5, "", "0", "1", "name 1", "name 0", "Name 1", "off",
        "1700000000123", "999999999999999", "1000000000000000", "12\n", "\u{661}", "12 ", "-1",
        "ab", "设备设备设", "設備設備設備", "👩‍👩‍👧", "e\u{301}e\u{301}e\u{301}", "\u{0}", [], {}, [1], {"a": 1},
        {"a": null}, {"b": {"a": 1}}, [[1]], [null], {"": 1}
    ]);
    let edges = edges.as_array().unwrap().clone();
    prop_oneof![
        6 => select(edges),
        1 => any::<f64>().prop_filter_map("finite", |n| n.is_finite().then(|| json!(n))),
        1 => any::<i64>().prop_map(Value::from),
        1 => (-4_i64..5).prop_map(Value::from),
        1 => "\\PC{0,7}".prop_map(Value::from),
        1 => "[0-9]{0,17}".prop_map(Value::from),
    ]
    .boxed()
}

/// Values near what fits the type.
fn near(data_type: &Value) -> BoxedStrategy<Value> {
    let specs = &data_type["specs"];
    let likely = match data_type["type"].as_str().unwrap() {
        "struct" => near_members(specs),
        "array" => vec(near(&specs["item"]), 0..5).prop_map(Value::from).boxed(),
        "int" | "float" | "double" => near_limits(specs),
        "enum" => {
            let named = specs.as_object().unwrap().iter();
            let values = named.flat_map(|(key, name)| {
                let key: i32 = key.parse().unwrap();
                [key.into(), f64::from(key).into(), name.clone()]
            });
            select(values.collect::<Vec<Value>>()).boxed()
        }
        "text" => "\\PC{0,7}".prop_map(Value::from).boxed(),
        "date" => "[0-9]{0,16}[\n \u{661}]?".prop_map(Value::from).boxed(),
        _ => select(vec![json!(0), json!(1), json!(true), json!(false)]).boxed(),
    };
    prop_oneof![4 => likely, 1 => anything()].boxed()
}

fn near_limits(specs: &Value) -> BoxedStrategy<Value> {
    let limit = |key: &str| match &specs[key] {
        Value::String(text) => text.parse::<f64>().unwrap(),
        Value::Number(number) => number.as_f64().unwrap(),
        _ => 0.0,
    };
    let around = |limit: f64| {
        let mut values = vec![json!(limit), json!(limit.next_up()), json!(limit.next_down())];
        // Saturates for limits beyond 64 bits, which is a value as good as any.
        let whole = limit as i64;
        values.extend([whole, whole.saturating_add(1), whole.saturating_sub(1)].map(Value::from));
        values
    };
    let mut values = around(limit("min"));
    values.extend(around(limit("max")));
    prop_oneof![
        select(values),
        any::<f32>().prop_filter_map("finite", |n| { n.is_finite().then(|| json!(n)) })
    ]
    .boxed()
}

/// Objects with members near what fits, some missing, rarely an unknown one.
fn near_members(members: &Value) -> BoxedStrategy<Value> {
    let mut each = Vec::new();
    for member in members.as_array().unwrap() {
        let name = member["identifier"].as_str().unwrap().to_owned();
        let value = near(&member["dataType"]);
        let maybe = prop_oneof![1 => Just(None), 4 => value.prop_map(Some)];
        each.push(maybe.prop_map(move |value| value.map(|value| (name.clone(), value))).boxed());
    }
    let stranger = prop_oneof![
        9 => Just(None),
        1 => (select(NAMES.to_vec()), anything())
            .prop_map(|(name, value)| Some((name.to_owned(), value))),
    ];
    each.push(stranger.boxed());
    each.prop_map(|members| Value::Object(members.into_iter().flatten().collect())).boxed()
}

/// Members of any type, and objects near what fits them.
fn members_and_values() -> impl Strategy<Value = (Value, Vec<Value>)> {
    members(data_type()).prop_flat_map(|members| {
        let values = vec(near_members(&members), 8);
        (Just(members), values)
    })
}

proptest! {
    #[test]
    fn a_report_fits_exactly_if_its_schema_says_so((properties, reports) in members_and_values()) {
        let model = load(&json!({"properties": properties}));
        let schema = model.json_schema();
        for report in reports {
            let mut all_fit = true;
            for (identifier, value) in report.as_object().unwrap() {
                let accepted = model.accept_property(identifier, value.clone());
                all_fit &= accepted.is_ok();
                if let Some(one) = model.property_schema(identifier) {
                    prop_assert_eq!(accepted.is_ok(), is_valid(&one, value), "{} {}", one, value);
                }
                if let Ok(canonical) = accepted {
                    let again = model.accept_property(identifier, canonical.clone());
                    prop_assert_eq!(again, Ok(canonical));
                }
            }
            prop_assert_eq!(all_fit, is_valid(&schema, &report), "{} {}", &schema, report);
            if let Ok(desired) = model.accept_desired(report.as_object().unwrap()) {
                let null = |value: &Value| value.to_string().contains("null");
                prop_assert!(all_fit || null(&desired.into()));
            }
        }
    }

    #[test]
    fn events_and_calls_fit_exactly_if_their_schemas_say_so(
        (members, objects) in members_and_values()
    ) {
        let model = load(&json!({
            "events": [{"identifier": "E", "outputData": members}],
            "services": [{"identifier": "S", "inputData": members, "outputData": members}],
        }));
        let [outputs, inputs, replied] =
            [model.event_schema("E"), model.inputs_schema("S"), model.outputs_schema("S")];
        for object in objects {
            let members = object.as_object().unwrap();
            let (_, faults) = model.accept_event("E", members).unwrap();
            let valid = is_valid(outputs.as_ref().unwrap(), &object);
            prop_assert_eq!(faults.is_empty(), valid, "{}", object);
            let (_, faults) = model.accept_outputs("S", members);
            let valid = is_valid(replied.as_ref().unwrap(), &object);
            prop_assert_eq!(faults.is_empty(), valid, "{}", object);
            let called = model.accept_inputs("S", members);
            let valid = is_valid(inputs.as_ref().unwrap(), &object);
            prop_assert_eq!(called.is_ok(), valid, "{} {:?}", object, called);
        }
    }
}

#[test]
fn the_bound_of_text_in_bytes_is_beyond_json_schema() {
    let model = load(&json!({"properties": [{"identifier": "p", "dataType": {"type": "text"}}]}));
    let schema = model.property_schema("p").unwrap();
    let [fits, too_long] = [3413, 3414].map(|count| json!("设".repeat(count)));
    assert!(model.accept_property("p", fits).is_ok());
    assert!(model.accept_property("p", too_long.clone()).is_err());
    assert!(is_valid(&schema, &too_long));
}

#[test]
fn a_schema_is_readable() {
    let model = load(&json!({"properties": [
        {"identifier": "level", "accessMode": "r",
         "dataType": {"type": "double", "specs": {"min": "0", "max": "12.5", "unit": "m"}}},
        {"identifier": "mode", "dataType": {"type": "enum", "specs": {"0": "auto", "1": "manual"}}},
    ]}));
    assert_eq!(
        model.json_schema(),
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "generated",
            "type": "object",
            "properties": {
                "level": {"type": "number", "minimum": 0, "maximum": 12.5, "unit": "m", "readOnly": true},
                "mode": {"enum": [0, 1, "auto", "manual"]},
            },
            "additionalProperties": false,
        })
    );
    assert_eq!(model.property_schema("nothing"), None);
    assert_eq!(model.inputs_schema("nothing"), None);
}
