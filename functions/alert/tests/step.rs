//! Steps of alerts: acknowledged, refused, reminded of.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use gnomon_alert::Alerts;
use gnomon_host::function::Function;
use gnomon_model::{
    Alert, AlertStatus, Answer, Destination, DeviceKey, Dialect, Envelope, EnvelopeId, Note,
    Object, Outcome, Record, RejectKind, Severity, Waits, What,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const T0: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;
const WAITS: Waits = Waits { rule_call_ms: MINUTE, remind_ms: Some(15 * MINUTE) };
const TOPIC: &str = "devices/coldroom/room-1/alerts";

fn room() -> DeviceKey {
    DeviceKey::parse("coldroom", "room-1").unwrap()
}

/// An alert as it is raised at `T0`.
fn raised(name: &str, waits: Waits) -> Alert {
    let DeviceKey { product, device } = room();
    Alert {
        alert: name.to_owned(),
        status: AlertStatus::Active,
        severity: Severity::Major,
        message: "warm".to_owned(),
        product,
        device,
        at: T0,
        values: Object::new(),
        id: format!("e-{name}"),
        rule: "rule".to_owned(),
        acknowledged_at: None,
        acknowledged_by: None,
        remind_at: waits.remind_at(T0, 0),
        reminders: 0,
    }
}

fn record(alerts: &[Alert]) -> Record {
    let mut record = Record::default();
    record.alerts.extend(alerts.iter().map(|one| (format!("rule/{}", one.alert), one.clone())));
    record
}

fn step(waits: Waits, record: Record, received_at_ms: i64, what: What) -> Outcome {
    let id = EnvelopeId::parse("x").unwrap();
    Alerts { waits }.step(record, &Envelope { id, device: room(), received_at_ms, what })
}

fn acknowledge(record: Record, at_ms: i64, alert: &str, by: &str) -> Outcome {
    let what = What::Acknowledge { alert: alert.to_owned(), by: by.to_owned() };
    step(WAITS, record, at_ms, what)
}

fn due(record: Record, now_ms: i64) -> Outcome {
    step(WAITS, record, now_ms, What::Due { at_ms: now_ms })
}

fn told(outcome: &Outcome) -> Vec<Value> {
    let on_topic =
        |to: &Destination| matches!(to, Destination::Topic { topic, .. } if topic == TOPIC);
    let told = outcome.outgoing.iter().filter(|one| on_topic(&one.to));
    told.map(|one| serde_json::from_str(&one.payload).unwrap()).collect()
}

fn answer(outcome: &Outcome) -> Answer {
    let mut answers =
        outcome.outgoing.iter().filter(|one| matches!(one.to, Destination::Caller { .. }));
    let answer = answers.next().unwrap();
    assert_eq!(
        (answers.next(), &answer.to),
        (None, &Destination::Caller { request: EnvelopeId::parse("x").unwrap() })
    );
    serde_json::from_str(&answer.payload).unwrap()
}

#[test]
fn an_acknowledged_alert_says_by_whom_and_nobody_is_reminded() {
    let outcome = acknowledge(record(&[raised("warm", WAITS)]), T0 + 5, "e-warm", "Ana");
    let expected = json!([{
        "alert": "warm", "status": "active", "severity": "major", "message": "warm",
        "product": "coldroom", "device": "room-1", "at": T0, "values": {}, "id": "e-warm",
        "acknowledged_at": T0 + 5, "acknowledged_by": "Ana",
    }]);
    assert_eq!(json!(told(&outcome)), expected);
    let alert = outcome.record.alerts["rule/warm"].clone();
    assert_eq!(answer(&outcome), Answer::Acknowledged { alert: Box::new(alert) });
    assert!(outcome.changed && outcome.record.due_times().reminder.is_none());
    let later = due(outcome.record, T0 + 99 * MINUTE);
    assert!(!later.changed && later.outgoing.is_empty());
}

#[test]
fn the_first_to_acknowledge_stays_the_one_who_did() {
    let first = acknowledge(record(&[raised("warm", WAITS)]), T0 + 5, "e-warm", "Ana");
    let again = acknowledge(first.record.clone(), T0 + 9, "e-warm", "Bo");
    assert!(!again.changed && again.record == first.record && told(&again).is_empty());
    assert_eq!(answer(&again), answer(&first));
}

#[test]
fn what_cannot_be_acknowledged_is_refused_with_the_reason() {
    let mut cleared = raised("cold", WAITS);
    cleared.clear(Object::new(), T0 + 1);
    let before = record(&[raised("warm", WAITS), cleared]);
    for (id, kind, said) in [
        ("e-none", RejectKind::UnknownAlert, "e-none"),
        ("warm", RejectKind::UnknownAlert, "coldroom/room-1"),
        ("e-cold", RejectKind::AlertCleared, "cleared"),
    ] {
        let outcome = acknowledge(before.clone(), T0 + 5, id, "Ana");
        let Answer::Refused(reject) = answer(&outcome) else { panic!("{id}") };
        assert_eq!(reject.kind, kind, "{id}");
        assert!(reject.reason.contains(said), "{reject}");
        assert!(!outcome.changed && outcome.record == before && told(&outcome).is_empty());
    }
}

#[test]
fn a_reminder_is_numbered_and_the_next_one_comes_twice_as_late() {
    let early = due(record(&[raised("warm", WAITS)]), T0 + 15 * MINUTE - 1);
    assert!(!early.changed && early.outgoing.is_empty());
    let mut record = early.record;
    for (number, minutes) in [(1, 15), (2, 45), (3, 105)] {
        let now_ms = T0 + minutes * MINUTE;
        assert_eq!(record.due_times().reminder, Some(now_ms));
        let outcome = due(record, now_ms);
        let told = told(&outcome);
        assert_eq!((told.len(), &told[0]["reminder"]), (1, &json!(number)));
        assert_eq!((&told[0]["id"], &told[0]["at"]), (&json!("e-warm"), &json!(T0)));
        assert_eq!(outcome.notes, [Note::Reminded { count: 1 }]);
        let twice = due(outcome.record.clone(), now_ms);
        assert!(!twice.changed && twice.outgoing.is_empty(), "{number}");
        record = outcome.record;
    }
}

#[test]
fn after_an_outage_one_reminder_comes_and_the_next_one_in_its_time() {
    let now_ms = T0 + 1000 * MINUTE;
    let outcome = due(record(&[raised("warm", WAITS)]), now_ms);
    assert_eq!(told(&outcome).len(), 1);
    assert_eq!(outcome.record.due_times().reminder, Some(now_ms + 30 * MINUTE));
}

#[test]
fn an_alink_device_is_told_on_its_topic_too() {
    let mut record = record(&[raised("warm", WAITS)]);
    record.dialect = Dialect::Alink;
    let outcome = due(record, T0 + 15 * MINUTE);
    let topics: Vec<_> = outcome.outgoing.iter().map(|one| format!("{:?}", one.to)).collect();
    assert!(topics.len() == 2 && topics[1].contains("/coldroom/room-1/user/alert"), "{topics:?}");
}

#[test]
fn without_reminders_what_was_to_be_told_is_dropped_in_silence() {
    let none = Waits { remind_ms: None, ..WAITS };
    let now_ms = T0 + 15 * MINUTE;
    let outcome = step(none, record(&[raised("warm", WAITS)]), now_ms, What::Due { at_ms: now_ms });
    assert!(outcome.changed && outcome.outgoing.is_empty() && outcome.notes.is_empty());
    assert_eq!(outcome.record.due_times().reminder, None);
    assert_eq!(record(&[raised("warm", none)]).due_times().reminder, None);
}

#[test]
fn what_does_not_belong_here_is_refused() {
    let what = What::Desire { patch: Object::new(), expected_version: None };
    let outcome = step(WAITS, Record::default(), T0, what);
    assert_eq!(outcome.refused.unwrap().kind, RejectKind::Internal);
}

/// What may happen to a record, at growing times.
#[derive(Debug, Clone)]
enum Happens {
    Raised(usize),
    Cleared(usize),
    Acknowledged(usize),
    Due,
}

fn happens() -> impl Strategy<Value = (i64, Happens)> {
    let what = prop_oneof![
        1 => (0..2_usize).prop_map(Happens::Raised),
        1 => (0..2_usize).prop_map(Happens::Cleared),
        1 => (0..2_usize).prop_map(Happens::Acknowledged),
        3 => Just(Happens::Due),
    ];
    (1..40_i64, what)
}

proptest! {
    /// Whatever happens: only open alerts are told again, each when its pause has passed, and after a
    /// look nothing is due any more.
    #[test]
    fn only_open_alerts_are_told_again_and_no_sooner_than_asked(
        course in proptest::collection::vec(happens(), 0..40)
    ) {
        let names = ["a", "b"];
        let (mut now_ms, mut record) = (T0, Record::default());
        let mut told_at = [T0; 2];
        for (minutes, what) in course {
            now_ms += minutes * MINUTE;
            match what {
                Happens::Raised(which) => {
                    let mut alert = raised(names[which], WAITS);
                    alert.remind_at = WAITS.remind_at(now_ms, 0);
                    record.alerts.insert(format!("rule/{}", names[which]), alert);
                    told_at[which] = now_ms;
                }
                Happens::Cleared(which) => {
                    let key = format!("rule/{}", names[which]);
                    if let Some(alert) = record.alerts.get_mut(&key) {
                        alert.clear(Object::new(), now_ms);
                    }
                }
                Happens::Acknowledged(which) => {
                    record = acknowledge(record, now_ms, &format!("e-{}", names[which]), "Ana").record;
                }
                Happens::Due => {
                    let open: Vec<_> = record.alerts.values().filter(|one| one.is_open()).map(|one| one.alert.clone()).collect();
                    let outcome = due(record, now_ms);
                    for body in told(&outcome) {
                        let name = body["alert"].as_str().unwrap();
                        prop_assert!(open.iter().any(|one| one == name));
                        let which = names.iter().position(|one| *one == name).unwrap();
                        let number = u32::try_from(body["reminder"].as_u64().unwrap()).unwrap();
                        let earliest = WAITS.remind_at(told_at[which], number - 1).unwrap();
                        prop_assert!(now_ms >= earliest, "{} {}", now_ms - T0, earliest - T0);
                        told_at[which] = now_ms;
                    }
                    record = outcome.record;
                    prop_assert!(record.due_times().reminder.is_none_or(|at_ms| at_ms > now_ms));
                }
            }
            let waits = record.alerts.values().filter(|one| one.remind_at.is_some());
            prop_assert!(waits.into_iter().all(Alert::is_open));
        }
    }
}
