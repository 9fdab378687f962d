//! Steps of the shipped cold room: what a message does to a record, without any IO.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use gnomon_host::function::Function;
use gnomon_model::{
    Destination, DeviceKey, Envelope, EnvelopeId, Models, Outcome, Presence, ProductKey, Record,
    RejectKind, ThingModel, Waits, What,
};
use gnomon_rules::{Limits, RuleSet, RuleSource};
use gnomon_telemetry::Telemetry;
use serde_json::{Value, json};

const T0: i64 = 1_700_000_000_000;

fn telemetry() -> Telemetry {
    let product = ProductKey::parse("coldroom").unwrap();
    let text = include_str!("../../../schemas/coldroom/coldroom.json");
    let model = ThingModel::load(&product, &[("coldroom.json".into(), text.into())]).unwrap();
    let rules = [
        ("rules/too_warm.rhai", include_str!("../../../rules/too_warm.rhai")),
        ("rules/compressor_fault.rhai", include_str!("../../../rules/compressor_fault.rhai")),
        ("rules/limits.rhai", include_str!("../../../rules/limits.rhai")),
    ];
    let sources = rules.map(|(file, text)| RuleSource { file: file.into(), text: text.into() });
    let (rules, problems) = RuleSet::empty(|| 0, Limits::default()).reload(sources.into());
    assert!(problems.is_empty(), "{problems:?}");
    Telemetry {
        models: Arc::new(Models::from([(product, Arc::new(model))])),
        rules,
        waits: Waits::default(),
    }
}

fn step(record: Record, id: &str, received_at_ms: i64, topic: &str, payload: &str) -> Outcome {
    let what = What::Published {
        topic: topic.to_owned(),
        payload: payload.to_owned().into_bytes().into(),
        packet: None,
    };
    apply(record, id, received_at_ms, what)
}

fn apply(record: Record, id: &str, received_at_ms: i64, what: What) -> Outcome {
    let device = DeviceKey::parse("coldroom", "room-1").unwrap();
    let id = EnvelopeId::parse(id).unwrap();
    telemetry().step(record, &Envelope { id, device, received_at_ms, what })
}

/// What goes to a topic, as JSON.
fn on(outcome: &Outcome, wanted: &str) -> Vec<Value> {
    outcome
        .outgoing
        .iter()
        .filter(|one| matches!(&one.to, Destination::Topic { topic, .. } if topic == wanted))
        .map(|one| serde_json::from_str(&one.payload).unwrap())
        .collect()
}

const TELEMETRY: &str = "devices/coldroom/room-1/telemetry";
const ALERTS: &str = "devices/coldroom/room-1/alerts";
const REJECTED: &str = "devices/coldroom/room-1/rejected";

#[test]
fn an_alert_is_raised_once_and_cleared_once() {
    let mut record = Record::default();
    let mut statuses = Vec::new();
    for (n, temperature) in [5.0, 8.0, 8.1, 9.0, 7.5, 7.0, 6.0].into_iter().enumerate() {
        let payload = json!({ "temperature": temperature }).to_string();
        let outcome = step(record, &format!("m{n}"), T0 + n as i64, TELEMETRY, &payload);
        for alert in on(&outcome, ALERTS) {
            statuses.push((temperature, alert["status"].clone(), alert["values"].clone()));
        }
        record = outcome.record;
    }
    let expected = vec![
        (8.1, json!("active"), json!({ "temperature": 8.1 })),
        (7.0, json!("cleared"), json!({ "temperature": 7.0 })),
    ];
    assert_eq!(statuses, expected);
    assert_eq!(record.shadow.version, 7);
}

#[test]
fn an_alert_has_the_documented_shape() {
    let outcome = step(Record::default(), "m1", T0, TELEMETRY, r#"{"temperature": 9.5}"#);
    let alert = on(&outcome, ALERTS).remove(0);
    let keys: Vec<&str> = alert.as_object().unwrap().keys().map(String::as_str).collect();
    let documented =
        ["alert", "at", "device", "id", "message", "product", "severity", "status", "values"];
    assert_eq!(keys, documented);
    assert_eq!((&alert["alert"], &alert["severity"]), (&json!("too_warm"), &json!("major")));
    assert_eq!((&alert["product"], &alert["device"]), (&json!("coldroom"), &json!("room-1")));
    assert_eq!(alert["at"], json!(T0));
}

#[test]
fn a_late_report_neither_overwrites_nor_wakes_a_rule() {
    let now = format!(r#"{{"time": {T0}, "values": {{"temperature": 5.0}}}}"#);
    let record = step(Record::default(), "m1", T0, TELEMETRY, &now).record;
    let before = format!(r#"{{"time": {}, "values": {{"temperature": 20.0}}}}"#, T0 - 1);
    let outcome = step(record, "m2", T0 + 1, TELEMETRY, &before);
    assert_eq!(outcome.record.shadow.reported["temperature"], json!(5.0));
    assert_eq!((outcome.record.counts.late, outcome.record.shadow.version), (1, 2));
    assert!(on(&outcome, ALERTS).is_empty());
}

#[test]
fn a_bad_property_does_not_sink_its_neighbours() {
    let payload = r#"{"temperature": 5.0, "temprature": 6.0, "humidity": "wet"}"#;
    let outcome = step(Record::default(), "m1", T0, TELEMETRY, payload);
    assert!(outcome.refused.is_none());
    let reported = Value::Object(outcome.record.shadow.reported.clone());
    assert_eq!(reported, json!({ "temperature": 5.0 }));
    let told = on(&outcome, REJECTED).remove(0);
    let named: Vec<&Value> =
        told["faults"].as_array().unwrap().iter().map(|fault| &fault["identifier"]).collect();
    assert_eq!(named, [&json!("humidity"), &json!("temprature")]);
}

#[test]
fn a_message_of_which_nothing_fits_is_refused_and_leaves_no_trace() {
    for payload in ["not json", r#"{"temprature": 6.0}"#, "[1]", r#"{"temperature": null}"#] {
        let outcome = step(Record::default(), "m1", T0, TELEMETRY, payload);
        assert!(outcome.refused.is_some(), "{payload}");
        assert_eq!(outcome.record, Record::default(), "{payload}");
        assert_eq!(on(&outcome, REJECTED).len(), 1, "{payload}");
    }
}

#[test]
fn an_event_wakes_its_rule() {
    let topic = "devices/coldroom/room-1/events/compressorFault";
    let payload = r#"{"code": 7, "detail": "over-current"}"#;
    let outcome = step(Record::default(), "m1", T0, topic, payload);
    let alerts = on(&outcome, ALERTS);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["values"]["code"], json!(7));
    let unknown = step(Record::default(), "m1", T0, "devices/coldroom/room-1/events/fire", "{}");
    assert_eq!(unknown.refused.unwrap().kind, RejectKind::Invalid);
}

#[test]
fn a_request_is_answered_by_a_rule_or_refused() {
    let topic = "devices/coldroom/room-1/requests/limits/q1";
    let outcome = step(Record::default(), "m1", T0, topic, "");
    let responses = on(&outcome, "devices/coldroom/room-1/responses/q1");
    assert_eq!(responses, [json!({ "min": 2.0, "max": 8.0 })]);
    let unknown = step(Record::default(), "m1", T0, "devices/coldroom/room-1/requests/x/q1", "");
    assert_eq!(on(&unknown, REJECTED)[0]["kind"], json!("no-answer"));
}

#[test]
fn an_alink_post_is_answered_in_alink_and_alerts_twice_over() {
    let topic = "/sys/coldroom/room-1/thing/event/property/post";
    let payload = r#"{"id":"17","version":"1.0","params":{"temperature":{"value":9.5,"time":1700000000000},
        "door":1,"Foo":3},"method":"thing.event.property.post"}"#;
    let outcome = step(Record::default(), "m1", T0, topic, payload);
    let reply = on(&outcome, "/sys/coldroom/room-1/thing/event/property/post_reply").remove(0);
    assert_eq!((&reply["id"], &reply["code"]), (&json!("17"), &json!(200)));
    assert!(reply["data"]["Foo"].is_string());
    assert_eq!(outcome.record.shadow.reported["door"], json!(true));
    assert_eq!(on(&outcome, ALERTS), on(&outcome, "/coldroom/room-1/user/alert"));
    assert_eq!(on(&outcome, ALERTS).len(), 1);
}

#[test]
fn the_end_of_a_replaced_connection_does_not_hide_the_newer_one() {
    let presence = |online, connection: &str| {
        What::Presence(Presence {
            online,
            connection: connection.to_owned(),
            reason: String::new(),
            dialect: None,
        })
    };
    let record = apply(Record::default(), "m1", T0, presence(true, "one")).record;
    let record = apply(record, "m2", T0 + 1, presence(true, "two")).record;
    let outcome = apply(record, "m3", T0 + 2, presence(false, "one"));
    assert!(outcome.record.presence.online && !outcome.changed);
    let outcome = apply(outcome.record, "m4", T0 + 3, presence(false, "two"));
    assert!(!outcome.record.presence.online);
}

#[test]
fn a_device_that_connects_is_told_what_is_desired_of_it() {
    let mut record = Record::default();
    record.shadow.desire(json!({ "setpoint": 4.0 }).as_object().unwrap(), T0);
    let online = What::Presence(Presence {
        online: true,
        connection: "one".into(),
        reason: "connected".into(),
        dialect: None,
    });
    let outcome = apply(record, "m1", T0, online);
    assert_eq!(on(&outcome, "devices/coldroom/room-1/desired"), [json!({ "setpoint": 4.0 })]);
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let run = || {
        let outcome = step(Record::default(), "m1", T0, TELEMETRY, r#"{"temperature": 9.5}"#);
        (outcome.record.encode(), outcome.outgoing)
    };
    assert_eq!(run(), run());
}
