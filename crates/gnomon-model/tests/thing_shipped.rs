//! The models that are shipped, and a model of several files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use gnomon_model::thing::{Access, CallType, DataType, EventSeverity};
use gnomon_model::{FaultKind, Object, ProductKey, ThingModel};
use serde_json::{Value, json};

const COLDROOM: &str = include_str!("../../../schemas/coldroom/coldroom.json");
const MACHINE: &str = include_str!("../../../schemas/machine/machine.json");

fn load(product: &str, files: &[(&str, &str)]) -> ThingModel {
    let files: Vec<_> =
        files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    ThingModel::load(&ProductKey::parse(product).unwrap(), &files).unwrap()
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

/// Identifier, access, type and unit of each property, as documentation lists them.
fn table(model: &ThingModel) -> Vec<String> {
    let row = |(identifier, property): (&String, &gnomon_model::thing::Property)| {
        let unit = property.data_type.range().and_then(|range| range.unit.as_deref());
        let (access, word) = (property.access.word(), property.data_type.word());
        format!("{identifier} {access} {word} {}", unit.unwrap_or("-"))
    };
    model.properties().iter().map(row).collect()
}

#[test]
fn the_cold_room_has_what_its_documentation_says() {
    let model = load("coldroom", &[("coldroom.json", COLDROOM)]);
    assert_eq!(
        table(&model),
        [
            "compressor r enum -",
            "door r bool -",
            "humidity r double %",
            "label rw text -",
            "position r struct -",
            "setpoint rw double °C",
            "temperature r double °C",
        ]
    );
    assert_eq!(model.events().keys().collect::<Vec<_>>(), ["compressorFault"]);
    assert_eq!(model.events()["compressorFault"].severity, EventSeverity::Error);
    assert_eq!(model.services().keys().collect::<Vec<_>>(), ["defrost", "selfTest"]);
    assert_eq!(model.services()["selfTest"].call_type, CallType::Sync);
    assert_eq!(model.is_sync("selfTest"), Some(true));
    assert_eq!(model.is_sync("defrost"), Some(false));
    assert_eq!(model.is_sync("set"), None);
}

#[test]
fn the_machine_reports_fahrenheit() {
    let model = load("machine", &[("machine.json", MACHINE)]);
    assert_eq!(table(&model), ["temperature r double °F"]);
    assert!(model.accept_property("temperature", json!(108.510_542_8)).is_ok());
    assert!(model.accept_property("temperature", json!(300.1)).is_err());
}

const METER: &str = r#"{"functionBlockId":"meter","functionBlockName":"Meter",
    "profile":{"productKey":"plant"},
    "properties":[{"identifier":"Volt","accessMode":"r","dataType":{"type":"float"}}],
    "events":[{"identifier":"post","outputData":[]},
        {"identifier":"Overflow","type":"alert","outputData":[
            {"identifier":"Level","dataType":{"type":"double","specs":{"min":0,"max":"99"}}}]}],
    "services":[{"identifier":"get","inputData":["Volt"]},
        {"identifier":"Drain","callType":"sync","inputData":[
            {"identifier":"Seconds","dataType":{"type":"int"}}]}]}"#;
const MAIN: &str = r#"{"functionBlockId":"default",
    "properties":[{"identifier":"Volt","dataType":{"type":"double","specs":{"min":"","unit":""}}}]}"#;
const MORE: &str = r#"{"properties":[{"identifier":"Level","dataType":{"type":"int"}}]}"#;

#[test]
fn identifiers_carry_their_function_block_in_any_order_of_files() {
    let files = [("meter.json", METER), ("main.json", MAIN), ("more.json", MORE)];
    let model = load("plant", &files);
    assert_eq!(table(&model), ["Level rw int -", "Volt rw double -", "meter:Volt r float -"]);
    assert!(model.accept_event("meter:Overflow", &object(json!({"Level": 7}))).is_ok());
    assert_eq!(
        model.accept_event("Overflow", &Object::new()).unwrap_err().kind,
        FaultKind::UnknownEvent
    );
    assert_eq!(model.is_sync("meter:Drain"), Some(true));
    assert_eq!(model.is_sync("Drain"), None);
    let reversed: Vec<_> = files.into_iter().rev().collect();
    assert_eq!(load("plant", &reversed), model);
}

#[test]
fn a_simplified_export_is_completed_with_the_widest_rules() {
    let model = load(
        "plant",
        &[(
            "plant.json",
            r#"{"properties":[{"identifier":"A","dataType":{"type":"text"}},
                {"identifier":"B","dataType":{"type":"array","specs":{"item":{"type":"int"}}}}],
              "events":[{"identifier":"E"}],"services":[{"identifier":"S"}]}"#,
        )],
    );
    let text = &model.properties()["A"];
    assert_eq!(text.access, Access::ReadWrite);
    assert_eq!(text.data_type, DataType::Text { length_max: 10_240 });
    assert!(matches!(model.properties()["B"].data_type, DataType::Array { size_max: 512, .. }));
    assert_eq!(model.events()["E"].severity, EventSeverity::Info);
    assert_eq!(model.services()["S"].call_type, CallType::Async);
}
