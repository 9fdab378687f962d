//! The rules that are shipped: what each decides, step by step, at both levels of optimisation.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use gnomon_model::{
    AlertStatus, Destination, DeviceKey, Dialect, Effect, Envelope, EnvelopeId, Note, Object,
    ProductKey, Record, ReplyTo, ThingModel, Turn, What,
};
use gnomon_rules::{RuleSet, Wake};
use serde_json::{Value, json};
use support::{T0, limits, load};

/// What a device does.
enum Step {
    Reports(Value),
    Raises(&'static str, Value),
    Asks(&'static str),
}

use Step::{Asks, Raises, Reports};

fn warm(temperature: f64) -> Step {
    Reports(json!({ "temperature": temperature }))
}

/// Runs the steps one after the other on one record; each row is a step and what the rule decides.
fn check(file: &str, text: &str, product: &str, rows: &[(Step, &str)]) {
    for optimise in [true, false] {
        let (rules, problems) = load(&[(file, text)], limits(optimise));
        assert!(problems.is_empty(), "{problems:?}");
        let mut record = Record::default();
        for (at, (step, expected)) in rows.iter().enumerate() {
            let (after, decided) = decide(&rules, product, at, record, step);
            assert_eq!(decided, *expected, "{file}, step {at}, optimised: {optimise}");
            record = after;
        }
    }
}

fn decide(
    rules: &RuleSet,
    product: &str,
    at: usize,
    record: Record,
    step: &Step,
) -> (Record, String) {
    let envelope = Envelope {
        id: EnvelopeId::parse(&format!("m{at}")).unwrap(),
        device: DeviceKey::parse(product, "unit-1").unwrap(),
        received_at_ms: T0 + at as i64,
        what: What::Desire { patch: Object::new(), expected_version: None },
    };
    let (model, time_ms) = (model(product), T0 + at as i64);
    let mut turn = Turn::new(record, &envelope, &model);
    match step {
        Reports(values) => {
            let values = turn.report(values.as_object().unwrap(), time_ms);
            rules.run(&mut turn, &Wake::Report { values: &values, time_ms });
        }
        Raises(name, outputs) => {
            let outputs = outputs.as_object().unwrap();
            rules.run(&mut turn, &Wake::Event { name, outputs, time_ms });
        }
        Asks(name) => {
            let to = ReplyTo {
                dialect: Dialect::Plain,
                topic: "requests".into(),
                id: String::new(),
                wanted: true,
            };
            rules.run(&mut turn, &Wake::Request { name, body: &json!({}), to: &to });
        }
    }
    let outcome = turn.finish(|effect, _, _| {
        vec![(Destination::Topic { topic: "effects".into(), qos: 1 }, shown(effect))]
    });
    let wrong = |note: &&Note| !matches!(note, Note::RuleRan { .. } | Note::Late { .. });
    assert_eq!(outcome.notes.iter().find(wrong), None);
    let decided: Vec<String> = outcome.outgoing.into_iter().map(|one| one.payload).collect();
    (outcome.record, decided.join("; "))
}

fn model(product: &str) -> ThingModel {
    let text = match product {
        "coldroom" => include_str!("../../../schemas/coldroom/coldroom.json"),
        _ => include_str!("../../../schemas/machine/machine.json"),
    };
    let key = ProductKey::parse(product).unwrap();
    ThingModel::load(&key, &[(format!("{product}.json"), text.into())]).unwrap()
}

fn shown(effect: &Effect) -> String {
    match effect {
        Effect::Alert(alert) if alert.status == AlertStatus::Active => format!(
            "{} {} {}: {}",
            alert.severity.as_str(),
            alert.alert,
            Value::Object(alert.values.clone()),
            alert.message
        ),
        Effect::Alert(alert) => {
            format!("cleared {} {}", alert.alert, Value::Object(alert.values.clone()))
        }
        Effect::Response { body, .. } => body.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn too_warm_is_raised_above_8_and_cleared_at_7() {
    let rows = [
        (warm(8.0), ""),
        (
            warm(8.1),
            r#"major too_warm {"temperature":8.1}: unit-1 is at 8.1 °C, the limit is 8.0 °C"#,
        ),
        (warm(9.5), ""),
        (warm(7.1), ""),
        (Reports(json!({ "humidity": 40.0 })), ""),
        (warm(7.0), r#"cleared too_warm {"temperature":7.0}"#),
        (warm(6.0), ""),
        (
            warm(30.0),
            r#"major too_warm {"temperature":30.0}: unit-1 is at 30.0 °C, the limit is 8.0 °C"#,
        ),
    ];
    check("too_warm", include_str!("../../../rules/too_warm.rhai"), "coldroom", &rows);
}

#[test]
fn compressor_fault_is_raised_by_the_event_and_cleared_when_it_runs() {
    let fault = || Raises("compressorFault", json!({ "code": 7, "detail": "no oil" }));
    let rows = [
        (Raises("somethingElse", json!({ "code": 7, "detail": "no oil" })), ""),
        (
            fault(),
            r#"major compressor_fault {"code":7,"detail":"no oil"}: compressor of unit-1: fault 7, no oil"#,
        ),
        (fault(), ""),
        (Reports(json!({ "compressor": 0 })), ""),
        (Reports(json!({ "compressor": 2 })), ""),
        (Reports(json!({ "temperature": 4.0 })), ""),
        (Reports(json!({ "compressor": 1 })), r#"cleared compressor_fault {"compressor":1}"#),
        (Reports(json!({ "compressor": 1 })), ""),
    ];
    let text = include_str!("../../../rules/compressor_fault.rhai");
    check("compressor_fault", text, "coldroom", &rows);
}

#[test]
fn limits_are_told_to_who_asks_for_them() {
    let rows = [(Asks("limits"), r#"{"max":8.0,"min":2.0}"#), (Asks("limit"), ""), (warm(9.0), "")];
    check("limits", include_str!("../../../rules/limits.rhai"), "coldroom", &rows);
}

#[test]
fn overheated_is_raised_above_100_and_cleared_at_95() {
    let rows = [
        (warm(100.0), ""),
        (warm(100.5), r#"critical overheated {"temperature":100.5}: unit-1 is at 100.5 °F"#),
        (warm(95.1), ""),
        (warm(95.0), r#"cleared overheated {"temperature":95.0}"#),
        (warm(95.0), ""),
    ];
    check("overheated", include_str!("../../../rules/overheated.rhai"), "machine", &rows);
}

#[test]
fn stopped_is_raised_below_45_and_cleared_at_60() {
    let rows = [
        (warm(45.0), ""),
        (
            warm(44.9),
            r#"warning stopped {"temperature":44.9}: unit-1 is at 44.9 °F: does it stand still?"#,
        ),
        (warm(59.9), ""),
        (warm(60.0), r#"cleared stopped {"temperature":60.0}"#),
        (warm(70.0), ""),
    ];
    check("stopped", include_str!("../../../rules/stopped.rhai"), "machine", &rows);
}

#[test]
fn a_rule_decides_nothing_about_other_products() {
    let rows = [(warm(200.0), "")];
    check("too_warm", include_str!("../../../rules/too_warm.rhai"), "machine", &rows);
    check("overheated", include_str!("../../../rules/overheated.rhai"), "coldroom", &rows);
}
