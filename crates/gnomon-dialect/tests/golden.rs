//! Golden cases: every file under `cases/` is a table of messages and what becomes of them.
//!
//! A file holds `about`, and any of `decode` and `encode`. A key that this file does not know, and
//! a case that says nothing, fail the test. See `tests/read/mod.rs` for the keys.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod read;

use std::collections::BTreeSet;

use gnomon_dialect::{Decoded, HappenedEvent, Point, Said, decode, encode, recognise};
use gnomon_model::{Destination, Effect, Fault, Record};
use read::{DecodeCase, EncodeCase, Message, Rejected, Table};
use serde_json::{Value, json};

const CASES_MIN: usize = 60;

#[test]
fn golden_cases_hold() {
    let mut failures = Vec::new();
    let mut names = BTreeSet::new();
    for (file, table) in read::tables() {
        let Table { about, decode, encode } = table;
        assert!(!about.is_empty() && decode.len() + encode.len() > 0, "{file} says nothing");
        let decoded = decode.iter().map(|case| (&case.name, check_decode(case)));
        let encoded = encode.iter().map(|case| (&case.name, check_encode(case)));
        for (name, wrong) in decoded.chain(encoded) {
            assert!(names.insert(format!("{file}: {name}")), "{file}: `{name}` stands twice");
            failures.extend(wrong.into_iter().map(|wrong| format!("{file}: {name}: {wrong}")));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(names.len() >= CASES_MIN, "{} cases", names.len());
}

fn check_decode(case: &DecodeCase) -> Vec<String> {
    let mut wrong = Vec::new();
    let uplink = recognise(&case.topic);
    let found =
        uplink.map(|uplink| format!("{:?} {} {:?}", uplink.dialect, uplink.device, uplink.kind));
    compare("uplink", &json!(case.uplink), &json!(found), &mut wrong);
    let decoded = decode(&case.topic, &case.bytes(), case.received_at_ms);
    let (reply_to, told) = match decoded {
        Ok(Decoded { said, reply_to }) => {
            compare("said", &json!(case.said), &said_json(said), &mut wrong);
            compare("rejected", &json!(case.rejected.is_some()), &json!(false), &mut wrong);
            let faults = case.faults.iter().map(read::FaultCase::fault).collect();
            (Some(reply_to.clone()), Some(Effect::Accepted { to: reply_to, faults }))
        }
        Err((reply_to, reject)) => {
            let Rejected { kind, reason } = case.rejected.clone().unwrap_or_default();
            compare("rejected", &json!(kind), &json!(reject.kind), &mut wrong);
            let found = if reject.reason.contains(&reason) { &reason } else { &reject.reason };
            compare("reason", &json!(reason), &json!(found), &mut wrong);
            let told = reply_to.clone().map(|to| Effect::Rejected { to, reject });
            (reply_to, told)
        }
    };
    let id = reply_to.as_ref().map(|to| to.id.as_str()).unwrap_or_default();
    compare("id", &json!(case.id), &json!(id), &mut wrong);
    if let (Some(told), Some(uplink)) = (told, recognise(&case.topic)) {
        let messages = encode(&told, &uplink.device, &Record::default());
        compare_messages(&case.told, &messages, &mut wrong);
    } else {
        compare("told", &json!(case.told.len()), &json!(0), &mut wrong);
    }
    wrong
}

fn check_encode(case: &EncodeCase) -> Vec<String> {
    let mut wrong = Vec::new();
    let record = Record { dialect: case.dialect, ..Record::default() };
    let messages = encode(&case.effect.effect(), &case.device(), &record);
    compare_messages(&case.messages, &messages, &mut wrong);
    for (to, _) in &messages {
        if let Destination::Topic { topic, .. } = to
            && recognise(topic).is_some()
        {
            wrong.push(format!("`{topic}` would be taken for an uplink"));
        }
    }
    wrong
}

fn compare(what: &str, expected: &Value, found: &Value, wrong: &mut Vec<String>) {
    if expected != found {
        wrong.push(format!("{what}\n  expected {expected}\n  found    {found}"));
    }
}

fn compare_messages(
    expected: &[Message],
    found: &[(Destination, String)],
    wrong: &mut Vec<String>,
) {
    let found: Vec<Message> = found.iter().map(|(to, payload)| Message::of(to, payload)).collect();
    // A case may give the payload as JSON or as the very text.
    let like = |(expected, found): (&Message, &Message)| {
        let payload = expected.payload.is_none() || expected.payload == found.payload;
        let text = expected.text.is_none() || expected.text == found.text;
        let said = expected.payload.is_some() || expected.text.is_some();
        payload && text && said && expected.to == found.to && expected.qos == found.qos
    };
    if expected.len() != found.len() || !expected.iter().zip(&found).all(like) {
        wrong.push(format!("messages\n  expected {expected:?}\n  found    {found:?}"));
    }
}

fn said_json(said: Said) -> Value {
    match said {
        Said::Reports { points, events, faults } => json!({ "reports": {
            "points": points.into_iter().map(point_json).collect::<Vec<_>>(),
            "events": events.into_iter().map(event_json).collect::<Vec<_>>(),
            "faults": faults.into_iter().map(fault_json).collect::<Vec<_>>(),
        }}),
        Said::Event(event) => json!({ "event": event_json(event) }),
        Said::Request { name, body } => json!({ "request": { "name": name, "body": body } }),
        Said::Reply { call, result: Ok(outputs) } => {
            json!({ "reply": { "call": call, "outputs": outputs } })
        }
        Said::Reply { call, result: Err((code, message)) } => {
            json!({ "reply": { "call": call, "code": code, "message": message } })
        }
        Said::Nothing => json!("nothing"),
    }
}

fn point_json(Point { time_ms, values }: Point) -> Value {
    json!({ "time_ms": time_ms, "values": values })
}

fn event_json(HappenedEvent { event, outputs, time_ms }: HappenedEvent) -> Value {
    json!({ "event": event, "outputs": outputs, "time_ms": time_ms })
}

fn fault_json(Fault { identifier, kind, reason }: Fault) -> Value {
    json!({ "identifier": identifier, "kind": format!("{kind:?}"), "reason": reason })
}
