//! A cold room, and one rule at a time on it.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::sync::OnceLock;
use std::time::Instant;

use gnomon_model::{
    DeviceKey, Envelope, EnvelopeId, Note, Object, Outcome, ProductKey, Record, ThingModel, Turn,
    What,
};
use gnomon_rules::{Limits, RuleProblem, RuleSet, RuleSource, Wake};
use serde_json::{Value, json};

/// When everything happens.
pub(crate) const T0: i64 = 1_700_000_000_000;

fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

pub(crate) fn limits(optimise: bool) -> Limits {
    Limits { optimise, ..Limits::default() }
}

/// Loads rules: name and text.
pub(crate) fn load(rules: &[(&str, &str)], limits: Limits) -> (RuleSet, Vec<RuleProblem>) {
    reload(&RuleSet::empty(clock, limits), rules)
}

pub(crate) fn reload(before: &RuleSet, rules: &[(&str, &str)]) -> (RuleSet, Vec<RuleProblem>) {
    let source = |(name, text): &(&str, &str)| RuleSource {
        file: format!("{name}.rhai"),
        text: (*text).into(),
    };
    before.reload(rules.iter().map(source).collect())
}

/// Loads one rule whose function on_report has this body; it must load.
pub(crate) fn rule(body: &str, limits: Limits) -> RuleSet {
    let text = format!("const PRODUCT = \"coldroom\";\nfn on_report(report) {{\n{body}\n}}\n");
    let (rules, problems) = load(&[("r", &text)], limits);
    assert!(problems.is_empty(), "{problems:?}\n{text}");
    rules
}

pub(crate) fn model() -> ThingModel {
    let product = ProductKey::parse("coldroom").unwrap();
    let text = include_str!("../../../../schemas/coldroom/coldroom.json");
    ThingModel::load(&product, &[("coldroom.json".into(), text.into())]).unwrap()
}

pub(crate) fn envelope(id: &str) -> Envelope {
    Envelope {
        id: EnvelopeId::parse(id).unwrap(),
        device: DeviceKey::parse("coldroom", "room-1").unwrap(),
        received_at_ms: T0,
        what: What::Desire { patch: Object::new(), expected_version: None },
    }
}

/// Reports values to a record and runs the rules.
pub(crate) fn report(rules: &RuleSet, record: Record, values: &Value) -> Outcome {
    let (model, envelope) = (model(), envelope("m1"));
    let mut turn = Turn::new(record, &envelope, &model);
    let values = turn.report(values.as_object().unwrap(), T0);
    rules.run(&mut turn, &Wake::Report { values: &values, time_ms: T0 });
    turn.finish(shown)
}

/// Shows effects by their debug text, which is all that these tests compare.
fn shown(
    effect: &gnomon_model::Effect,
    _: &DeviceKey,
    _: &Record,
) -> Vec<(gnomon_model::Destination, String)> {
    let to = gnomon_model::Destination::Topic { topic: "effects".into(), qos: 1 };
    vec![(to, format!("{effect:?}"))]
}

/// The one failure that an outcome notes.
pub(crate) fn failure(outcome: &Outcome) -> (String, String) {
    let failures: Vec<_> = outcome
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::RuleFailed { at, message, .. } => Some((at.clone(), message.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(failures.len(), 1, "{:?}", outcome.notes);
    failures.into_iter().next().unwrap()
}

/// Values that wake everything.
pub(crate) fn warm() -> Value {
    json!({ "temperature": 9.5, "humidity": 40.0 })
}
