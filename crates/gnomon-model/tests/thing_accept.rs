//! What fits a thing model, in which form it is kept, and how a misfit is told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use gnomon_model::{Fault, FaultKind, Object, ProductKey, ThingModel};
use serde_json::{Value, json};

const COLDROOM: &str = include_str!("../../../schemas/coldroom/coldroom.json");

fn load(product: &str, text: &str) -> ThingModel {
    let files = [(format!("{product}.json"), text.to_owned())];
    ThingModel::load(&ProductKey::parse(product).unwrap(), &files).unwrap()
}

fn coldroom() -> ThingModel {
    load("coldroom", COLDROOM)
}

/// A model with the property `p` of this data type.
fn of(data_type: &Value) -> ThingModel {
    let property = json!({"identifier": "p", "accessMode": "rw", "dataType": data_type});
    load("plant", &json!({"properties": [property]}).to_string())
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn fault(identifier: &str, kind: FaultKind, reason: &str) -> Fault {
    Fault { identifier: identifier.to_owned(), kind, reason: reason.to_owned() }
}

#[test]
fn values_that_fit_are_kept_in_their_canonical_form() {
    let modes = json!({"type":"enum","specs":{"-1":"back","0":"off","1":"设"}});
    let samples = json!({"type":"array","specs":{"size":"2","item":{"type":"struct","specs":[
        {"identifier":"n","dataType":{"type":"int"}}]}}});
    let int = json!({"type":"int","specs":{"min":"-5","max":"60"}});
    let rows = [
        (json!({"type":"bool"}), json!(true), "true"),
        (json!({"type":"bool"}), json!(0), "false"),
        (json!({"type":"bool"}), json!(1.0), "true"),
        (modes.clone(), json!(-1), "-1"),
        (modes.clone(), json!(1.0), "1"),
        (modes.clone(), json!("设"), "1"),
        (int.clone(), json!(60.0), "60"),
        (int.clone(), json!(-0.0), "0"),
        (int, json!(-5), "-5"),
        (json!({"type":"int"}), json!(i32::MIN), "-2147483648"),
        (json!({"type":"float"}), json!(3.402_823_5e38), "3.4028235e+38"),
        (json!({"type":"float"}), json!(1), "1"),
        (json!({"type":"double"}), json!(1.0), "1.0"),
        (json!({"type":"double"}), json!(1e308), "1e+308"),
        (json!({"type":"double"}), json!(9_007_199_254_740_993_u64), "9007199254740993"),
        (json!({"type":"text","specs":{"length":"2"}}), json!("设备"), "\"设备\""),
        (json!({"type":"date"}), json!("0"), "\"0\""),
        (json!({"type":"date"}), json!("999999999999999"), "\"999999999999999\""),
        (samples, json!([{}, {"n": 3.0}]), r#"[{},{"n":3}]"#),
    ];
    for (data_type, value, canonical) in rows {
        let accepted = of(&data_type).accept_property("p", value.clone());
        assert_eq!(accepted.map(|value| value.to_string()), Ok(canonical.to_owned()), "{value}");
    }
}

#[test]
fn a_misfit_says_what_was_found_and_what_would_fit() {
    let model = coldroom();
    let text = |count| json!("x".repeat(count));
    let rows = [
        ("temperature", json!(95), FaultKind::Double, "95 is above the maximum 60"),
        ("temperature", json!(-80.5), FaultKind::Double, "-80.5 is below the minimum -80"),
        ("temperature", json!("20"), FaultKind::Double, "\"20\" is not a number"),
        ("temperature", json!(null), FaultKind::Double, "null is not a number"),
        ("door", json!(2), FaultKind::Bool, "2 is none of true, false, 1 and 0"),
        ("door", json!("open"), FaultKind::Bool, "\"open\" is none of true, false, 1 and 0"),
        (
            "compressor",
            json!("Off"),
            FaultKind::Enum,
            "\"Off\" is none of 0 (off), 1 (on), 2 (defrost)",
        ),
        ("compressor", json!(3), FaultKind::Enum, "3 is none of 0 (off), 1 (on), 2 (defrost)"),
        (
            "compressor",
            json!("1"),
            FaultKind::Enum,
            "\"1\" is none of 0 (off), 1 (on), 2 (defrost)",
        ),
        ("label", text(80), FaultKind::Text, "text of 80 characters, at most 64"),
        ("label", text(10_241), FaultKind::Text, "text of 10241 bytes, at most 10240"),
        ("label", json!(["x"]), FaultKind::Text, "an array is not a text"),
        ("position", json!([1, 2]), FaultKind::Struct, "an array is not an object"),
        ("position", json!(null), FaultKind::Struct, "null is not an object"),
    ];
    for (identifier, value, kind, reason) in rows {
        let told = model.accept_property(identifier, value);
        assert_eq!(told, Err(fault(identifier, kind, reason)));
    }
    let int = of(&json!({"type":"int"}));
    for (value, reason) in [
        (json!(2.5), "2.5 is not an integer"),
        (json!(u64::MAX), "18446744073709551615 is above the maximum 2147483647"),
        (json!(1e300), "1e+300 is above the maximum 2147483647"),
    ] {
        assert_eq!(int.accept_property("p", value), Err(fault("p", FaultKind::Int, reason)));
    }
    let float = of(&json!({"type":"float"})).accept_property("p", json!(3.5e38)).unwrap_err();
    assert_eq!(float.kind, FaultKind::Float);
    for value in [json!(1), json!(""), json!("-1"), json!("1".repeat(16)), json!("١"), json!("1\n")]
    {
        let told = of(&json!({"type":"date"})).accept_property("p", value).unwrap_err();
        assert_eq!(told.kind, FaultKind::Date);
        assert!(told.reason.contains("is not a text of 1 to 15 digits"), "{}", told.reason);
    }
}

#[test]
fn a_misfit_inside_a_value_is_told_with_its_path() {
    let model = coldroom();
    let told = |value| model.accept_property("position", value).unwrap_err();
    assert_eq!(
        told(json!({"lat": 1, "lon": 180.5})),
        fault("position.lon", FaultKind::Double, "180.5 is above the maximum 180")
    );
    assert_eq!(told(json!({"lat": null})).identifier, "position.lat");
    assert_eq!(
        told(json!({"alt": 3})),
        fault(
            "position.alt",
            FaultKind::UnknownMember,
            "the struct has no member `alt`; it has lat, lon"
        )
    );
    let rows = of(&json!({"type":"array","specs":{"size":"2","item":{"type":"struct","specs":[
        {"identifier":"n","dataType":{"type":"int"}}]}}}));
    let told = |value| rows.accept_property("p", value).unwrap_err();
    assert_eq!(
        told(json!([{"n": 1}, {"n": "1"}])),
        fault("p[1].n", FaultKind::ArrayItem, "\"1\" is not an integer")
    );
    assert_eq!(
        told(json!([{}, {}, {}])),
        fault("p", FaultKind::ArrayItem, "array of 3 items, at most 2")
    );
    assert_eq!(told(json!({})).kind, FaultKind::Array);
}

#[test]
fn what_the_model_does_not_have_is_told_by_name() {
    let model = coldroom();
    let told = model.accept_property("temprature", json!(1)).unwrap_err();
    assert_eq!(told.kind, FaultKind::UnknownProperty);
    assert_eq!(told.reason, "the model of product coldroom has no property `temprature`");
    let told = model.accept_event("post", &Object::new()).unwrap_err();
    assert_eq!(told.kind, FaultKind::UnknownEvent);
    assert_eq!(told.reason, "the model of product coldroom has no event `post`");
    let told = model.accept_inputs("set", &Object::new()).unwrap_err();
    assert_eq!(told[0].kind, FaultKind::UnknownService);
    assert_eq!(told[0].reason, "the model of product coldroom has no service `set`");
}

#[test]
fn a_hostile_identifier_is_shown_short_and_escaped() {
    let identifier = format!("\u{1b}[31m{}", "x".repeat(1000));
    let told = coldroom().accept_property(&identifier, json!(1)).unwrap_err();
    assert_eq!(told.identifier, identifier);
    assert!(told.reason.contains(r"`\u{1b}[31mxxx") && told.reason.ends_with("...`"));
    assert!(told.reason.len() < 200);
}

#[test]
fn only_writable_properties_can_be_desired() {
    let model = coldroom();
    let patch = object(json!({"setpoint": -20, "label": null}));
    assert_eq!(model.accept_desired(&patch), Ok(patch));
    let patch = json!({"setpoint": 21, "label": "x", "door": null, "doors": 1});
    assert_eq!(
        model.accept_desired(&object(patch)),
        Err(vec![
            fault("door", FaultKind::ReadOnly, "property `door` is read-only"),
            fault(
                "doors",
                FaultKind::UnknownProperty,
                "the model of product coldroom has no property `doors`"
            ),
            fault("setpoint", FaultKind::Double, "21 is above the maximum 20"),
        ])
    );
}

#[test]
fn a_desired_patch_may_delete_a_member_but_not_an_item() {
    let members = json!([{"identifier":"on","dataType":{"type":"bool"}},
        {"identifier":"n","dataType":{"type":"int"}}]);
    let model = of(&json!({"type":"struct","specs":members}));
    assert_eq!(
        model.accept_desired(&object(json!({"p": {"n": null, "on": 1}}))),
        Ok(object(json!({"p": {"n": null, "on": true}})))
    );
    let told = model.accept_desired(&object(json!({"p": {"x": null}}))).unwrap_err();
    assert_eq!(told[0].kind, FaultKind::UnknownMember);
    let item = json!({"type":"struct","specs":members});
    let model = of(&json!({"type":"array","specs":{"size":"2","item":item}}));
    let told = model.accept_desired(&object(json!({"p": [{"n": null}]}))).unwrap_err();
    assert_eq!(told[0].identifier, "p[0].n");
}

#[test]
fn what_is_desired_may_be_deleted_whatever_the_model_says() {
    let model = of(&json!({"type":"struct","specs":[
        {"identifier":"on","dataType":{"type":"bool"}},
        {"identifier":"n","dataType":{"type":"int"}}]}));
    let desired = object(json!({"p": {"n": 1, "old": 2}, "gone": 3, "pair": {"a": 1, "b": 2}}));
    for (patch, then) in [
        (json!({"gone": null}), Ok(json!({"gone": null}))),
        (json!({"p": null, "pair": null}), Ok(json!({"p": null, "pair": null}))),
        (json!({"p": {"old": null}}), Ok(json!({"p": {"old": null}}))),
        (json!({"p": {"old": null, "on": 1}}), Ok(json!({"p": {"old": null, "on": true}}))),
        (json!({"pair": {"a": null}}), Ok(json!({"pair": {"a": null}}))),
        (json!({"gone": 3}), Err("gone")),
        (json!({"pair": {"a": null, "b": 3}}), Err("pair")),
        (json!({"p": {"old": 3}}), Err("p.old")),
        (json!({"p": {"never": null}}), Err("p.never")),
        (json!({"never": null}), Err("never")),
    ] {
        let found = model.accept_desired_onto(&desired, &object(patch.clone()));
        let found = found.map_err(|faults| faults[0].identifier.clone());
        assert_eq!(found, then.map(object).map_err(str::to_owned), "{patch}");
    }
    let read_only = object(json!({"door": 1}));
    let deletion = object(json!({"door": null}));
    assert_eq!(coldroom().accept_desired_onto(&read_only, &deletion), Ok(deletion));
}

#[test]
fn an_event_or_a_reply_keeps_what_fits() {
    let model = coldroom();
    let outputs = object(json!({"code": 7.0, "detail": 1, "other": 2}));
    let (kept, faults) = model.accept_event("compressorFault", &outputs).unwrap();
    assert_eq!(kept, object(json!({"code": 7})));
    assert_eq!(
        faults,
        [
            fault("detail", FaultKind::Text, "1 is not a text"),
            fault(
                "other",
                FaultKind::UnknownMember,
                "event `compressorFault` has no member `other`"
            ),
        ]
    );
    let (kept, faults) = model.accept_outputs("selfTest", &object(json!({"passed": 1, "at": 2})));
    assert_eq!(kept, object(json!({"passed": true})));
    assert_eq!(faults[0].reason, "service `selfTest` has no member `at`");
    let (kept, faults) = model.accept_outputs("reboot", &outputs);
    assert!(kept.is_empty());
    assert_eq!((faults.len(), faults[0].kind), (1, FaultKind::UnknownService));
}

#[test]
fn a_call_gives_every_required_input() {
    let model = load(
        "plant",
        r#"{"services":[{"identifier":"S","inputData":[
            {"identifier":"a","dataType":{"type":"int"}},
            {"identifier":"b","required":true,"dataType":{"type":"int"}},
            {"identifier":"c","required":false,"dataType":{"type":"int"}}]}]}"#,
    );
    let inputs = object(json!({"a": 1, "b": 2.0}));
    assert_eq!(model.accept_inputs("S", &inputs), Ok(object(json!({"a": 1, "b": 2}))));
    assert_eq!(
        model.accept_inputs("S", &object(json!({"b": "x", "d": 1}))),
        Err(vec![
            fault("b", FaultKind::Int, "\"x\" is not an integer"),
            fault("d", FaultKind::UnknownMember, "service `S` has no member `d`"),
            fault("a", FaultKind::MissingInput, "service `S` needs the input `a`"),
        ])
    );
}
