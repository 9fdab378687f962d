//! Steps of calls: asked, replied to, refused.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use gnomon_host::function::Function;
use gnomon_model::{
    Answer, CallId, Destination, DeviceKey, Dialect, DueTimes, Envelope, EnvelopeId, Models, Note,
    Outcome, PendingCall, ProductKey, Record, RejectKind, ThingModel, What,
};
use gnomon_rrpc::Rrpc;
use serde_json::{Value, json};

const T0: i64 = 1_700_000_000_000;

fn apply(record: Record, id: &str, received_at_ms: i64, what: What) -> Outcome {
    let product = ProductKey::parse("coldroom").unwrap();
    let text = include_str!("../../../schemas/coldroom/coldroom.json");
    let model = ThingModel::load(&product, &[("coldroom.json".into(), text.into())]).unwrap();
    let rrpc = Rrpc { models: Arc::new(Models::from([(product, Arc::new(model))])) };
    let device = DeviceKey::parse("coldroom", "room-1").unwrap();
    let id = EnvelopeId::parse(id).unwrap();
    rrpc.step(record, &Envelope { id, device, received_at_ms, what })
}

fn call(record: Record, service: &str, inputs: Value) -> Outcome {
    let inputs = inputs.as_object().unwrap().clone();
    apply(record, "c1", T0, What::Call { service: service.to_owned(), inputs, timeout_ms: 5000 })
}

fn reply(record: Record, at_ms: i64, topic: &str, payload: &str) -> Outcome {
    let payload = payload.to_owned().into_bytes().into();
    apply(record, "r1", at_ms, What::Published { topic: topic.to_owned(), payload, packet: None })
}

fn online(dialect: Dialect) -> Record {
    let mut record = Record { dialect, ..Record::default() };
    record.presence.online = true;
    record
}

fn answer(outcome: &Outcome) -> Option<Answer> {
    outcome
        .outgoing
        .iter()
        .find(|one| matches!(&one.to, Destination::Caller { .. }))
        .map(|one| serde_json::from_str(&one.payload).unwrap())
}

fn sent(outcome: &Outcome) -> (String, Value) {
    let Destination::Topic { topic, .. } = &outcome.outgoing[0].to else { panic!("no topic") };
    (topic.clone(), serde_json::from_str(&outcome.outgoing[0].payload).unwrap())
}

#[test]
fn a_call_reaches_the_device_and_its_reply_the_caller() {
    let outcome = call(online(Dialect::Plain), "defrost", json!({ "minutes": 5 }));
    let (topic, inputs) = sent(&outcome);
    let id = topic.strip_prefix("devices/coldroom/room-1/calls/defrost/").unwrap();
    assert_eq!(inputs, json!({ "minutes": 5 }));
    let topic = format!("devices/coldroom/room-1/replies/{id}");
    let outcome = reply(outcome.record, T0 + 1, &topic, "{}");
    assert_eq!(answer(&outcome), Some(Answer::Outputs { outputs: serde_json::Map::new() }));
    let again = reply(outcome.record, T0 + 2, &topic, "{}");
    assert_eq!(again.refused.unwrap().kind, RejectKind::UnknownCall);
}

#[test]
fn a_synchronous_call_to_an_alink_device_is_rrpc() {
    let outcome = call(online(Dialect::Alink), "selfTest", json!({}));
    let (topic, request) = sent(&outcome);
    let id = topic.strip_prefix("/sys/coldroom/room-1/rrpc/request/").unwrap();
    assert_eq!(request["method"], json!("thing.service.selfTest"));
    let topic = format!("/sys/coldroom/room-1/rrpc/response/{id}");
    let payload = r#"{"id":"1","code":200,"data":{"passed":1,"report":"fine"}}"#;
    let outcome = reply(outcome.record, T0 + 1, &topic, payload);
    let Some(Answer::Outputs { outputs }) = answer(&outcome) else { panic!("no outputs") };
    assert_eq!(Value::Object(outputs), json!({ "passed": true, "report": "fine" }));
}

#[test]
fn a_call_that_cannot_be_made_is_answered_with_the_reason() {
    let rows = [
        ("defrost", json!({ "minutes": 61 }), true, RejectKind::Invalid),
        ("defrost", json!({}), true, RejectKind::Invalid),
        ("melt", json!({}), true, RejectKind::Invalid),
        ("defrost", json!({ "minutes": 5 }), false, RejectKind::Offline),
    ];
    for (service, inputs, is_online, kind) in rows {
        let record = if is_online { online(Dialect::Plain) } else { Record::default() };
        let outcome = call(record.clone(), service, inputs);
        let Some(Answer::Refused(reject)) = answer(&outcome) else { panic!("{service}") };
        assert_eq!(reject.kind, kind, "{service}");
        assert!(!outcome.changed && outcome.record == record, "{service}");
    }
}

#[test]
fn a_reply_after_the_deadline_is_refused() {
    let outcome = call(online(Dialect::Plain), "defrost", json!({ "minutes": 5 }));
    let (topic, _) = sent(&outcome);
    let topic = topic.replace("calls/defrost", "replies");
    let late = reply(outcome.record, T0 + 5001, &topic, "{}");
    assert_eq!(late.refused.unwrap().kind, RejectKind::UnknownCall);
}

#[test]
fn a_failure_of_the_device_is_told_as_such() {
    let outcome = call(online(Dialect::Plain), "defrost", json!({ "minutes": 5 }));
    let topic = sent(&outcome).0.replace("calls/defrost", "replies");
    let payload = r#"{"error":{"code":7,"message":"frozen shut"}}"#;
    let outcome = reply(outcome.record, T0 + 1, &topic, payload);
    let failed = Answer::Failed { code: 7, message: "frozen shut".into() };
    assert_eq!(answer(&outcome), Some(failed));
}

#[test]
fn a_deadline_that_has_passed_takes_the_call_out_and_tells_the_caller() {
    let outcome = call(online(Dialect::Plain), "defrost", json!({ "minutes": 5 }));
    let due_ms = outcome.record.due_times().call.unwrap();
    assert_eq!(due_ms, T0 + 5001);
    let due = |record, now_ms| apply(record, "d1", now_ms, What::Due { at_ms: due_ms });
    let early = due(outcome.record, due_ms - 1);
    assert!(!early.changed && early.outgoing.is_empty() && early.record.calls.len() == 1);
    let late = due(early.record, due_ms + 99);
    assert_eq!(answer(&late), Some(Answer::TimedOut));
    assert!(late.changed && late.record.due_times() == DueTimes::default());
    let (service, rule) = ("defrost".to_owned(), None);
    assert_eq!(late.notes, [Note::NoReply { service, rule }]);
    let again = due(late.record, due_ms + 100);
    assert!(!again.changed && again.outgoing.is_empty() && again.notes.is_empty());
}

#[test]
fn a_rules_call_without_reply_is_noted_and_nobody_is_told() {
    let mut record = online(Dialect::Plain);
    let (service, rule) = ("defrost".to_owned(), Some("frost".to_owned()));
    let call = |deadline_ms| PendingCall {
        service: service.clone(),
        request: None,
        rule: rule.clone(),
        deadline_ms,
    };
    record.calls.extend([(CallId(1), call(T0)), (CallId(2), call(T0 + 1))]);
    let outcome = apply(record, "d1", T0 + 1, What::Due { at_ms: T0 + 1 });
    assert_eq!(outcome.notes, [Note::NoReply { service: service.clone(), rule: rule.clone() }]);
    assert!(outcome.outgoing.is_empty());
    assert_eq!(outcome.record.due_times().call, Some(T0 + 2));
}

#[test]
fn a_call_says_of_those_before_it_that_they_timed_out() {
    let outcome = call(online(Dialect::Plain), "defrost", json!({ "minutes": 5 }));
    let inputs = json!({ "minutes": 6 }).as_object().unwrap().clone();
    let what = What::Call { service: "defrost".to_owned(), inputs, timeout_ms: 5000 };
    let outcome = apply(outcome.record, "c2", T0 + 6000, what);
    assert_eq!(answer(&outcome), Some(Answer::TimedOut));
    assert_eq!((outcome.record.calls.len(), outcome.notes.len()), (1, 1));
}

#[test]
fn a_deadline_passes_also_when_the_thing_model_is_gone() {
    let outcome = call(online(Dialect::Plain), "defrost", json!({ "minutes": 5 }));
    let rrpc = Rrpc { models: Arc::new(Models::new()) };
    let device = DeviceKey::parse("coldroom", "room-1").unwrap();
    let (id, what) = (EnvelopeId::parse("d1").unwrap(), What::Due { at_ms: T0 });
    let envelope = Envelope { id, device, received_at_ms: T0 + 9999, what };
    let outcome = rrpc.step(outcome.record, &envelope);
    assert!(outcome.refused.is_none() && outcome.record.calls.is_empty());
}
