//! Steps of desired state: accepted, refused, told to the device.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use gnomon_host::function::Function;
use gnomon_model::{
    Answer, Destination, DeviceKey, Envelope, EnvelopeId, Models, Outcome, ProductKey, Record,
    RejectKind, ThingModel, Waits, What,
};
use gnomon_rules::{Limits, RuleSet};
use gnomon_shadow::Shadow;
use serde_json::{Value, json};

fn desire(record: Record, patch: Value, expected_version: Option<u64>) -> Outcome {
    let product = ProductKey::parse("coldroom").unwrap();
    let text = include_str!("../../../schemas/coldroom/coldroom.json");
    let model = ThingModel::load(&product, &[("coldroom.json".into(), text.into())]).unwrap();
    let models = Arc::new(Models::from([(product, Arc::new(model))]));
    let shadow =
        Shadow { models, rules: RuleSet::empty(|| 0, Limits::default()), waits: Waits::default() };
    let envelope = Envelope {
        id: EnvelopeId::parse("d1").unwrap(),
        device: DeviceKey::parse("coldroom", "room-1").unwrap(),
        received_at_ms: 1_700_000_000_000,
        what: What::Desire { patch: patch.as_object().unwrap().clone(), expected_version },
    };
    shadow.step(record, &envelope)
}

fn answer(outcome: &Outcome) -> Answer {
    let caller = |one: &&gnomon_model::Outgoing| matches!(&one.to, Destination::Caller { .. });
    let one = outcome.outgoing.iter().find(caller).unwrap();
    serde_json::from_str(&one.payload).unwrap()
}

fn told(outcome: &Outcome) -> Option<Value> {
    let desired = |topic: &str| topic == "devices/coldroom/room-1/desired";
    outcome.outgoing.iter().find_map(|one| match &one.to {
        Destination::Topic { topic, .. } if desired(topic) => {
            serde_json::from_str(&one.payload).ok()
        }
        _ => None,
    })
}

#[test]
fn desired_state_is_told_and_versioned() {
    let outcome = desire(Record::default(), json!({ "setpoint": 4.0 }), None);
    assert_eq!(answer(&outcome), Answer::Desired { version: 1 });
    assert_eq!(told(&outcome), Some(json!({ "setpoint": 4.0 })));
    let same = desire(outcome.record, json!({ "setpoint": 4.0 }), Some(1));
    assert_eq!(answer(&same), Answer::Desired { version: 2 });
    assert_eq!(told(&same), None, "nothing changed, nothing to tell");
}

#[test]
fn what_cannot_be_desired_is_answered_with_the_reason() {
    let rows = [
        (json!({ "temperature": 4.0 }), None, RejectKind::Invalid, "temperature"),
        (json!({ "setpoint": 21 }), None, RejectKind::Invalid, "setpoint"),
        (json!({ "setpont": 4 }), None, RejectKind::Invalid, "setpont"),
        (json!({ "setpoint": 4 }), Some(3), RejectKind::Conflict, "version 3"),
    ];
    for (patch, expected_version, kind, named) in rows {
        let outcome = desire(Record::default(), patch.clone(), expected_version);
        let Answer::Refused(reject) = answer(&outcome) else { panic!("{patch}") };
        assert_eq!(reject.kind, kind, "{patch}");
        assert!(reject.reason.contains(named), "{patch}: {}", reject.reason);
        assert!(!outcome.changed && outcome.record == Record::default(), "{patch}");
    }
}

#[test]
fn what_the_model_has_dropped_can_be_deleted() {
    let mut record = Record::default();
    let stale = json!({ "gone": 1, "temperature": 4.0, "setpoint": 4.0 });
    record.shadow.desire(stale.as_object().unwrap(), 1000);
    let refused = desire(record.clone(), json!({ "gone": 2 }), None);
    assert!(matches!(answer(&refused), Answer::Refused(_)));
    let patch = json!({ "gone": null, "temperature": null, "setpoint": null });
    let outcome = desire(record, patch, Some(1));
    assert_eq!(answer(&outcome), Answer::Desired { version: 2 });
    assert!(outcome.record.shadow.desired.is_empty(), "{:?}", outcome.record.shadow.desired);
}
