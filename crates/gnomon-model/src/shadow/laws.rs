//! The laws of the shadow algebra, on generated states.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;

/// Whether generated objects hold null members.
#[derive(Clone, Copy, PartialEq)]
enum Nulls {
    None,
    Some,
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        (-2..3_i64).prop_map(|whole| json!(whole as f64 / 2.0)),
        select(vec!["", "a", "é"]).prop_map(Value::from),
    ]
}

/// A scalar or an array.
fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => scalar(),
        1 => vec(scalar(), 0..3).prop_map(Value::from),
        1 => btree_map(key(), scalar(), 0..2).prop_map(|one| json!([one])),
    ]
}

fn key() -> impl Strategy<Value = String> {
    // An attribute may be called as metadata and sections are.
    select(vec!["a", "b", "c", "timestamp"]).prop_map(String::from)
}

/// A state or a patch: up to four levels, empty objects included.
fn object(nulls: Nulls) -> impl Strategy<Value = Object> {
    let bottom = match nulls {
        Nulls::None => leaf().boxed(),
        Nulls::Some => prop_oneof![3 => leaf(), 1 => Just(Value::Null)].boxed(),
    };
    let value = bottom
        .prop_recursive(3, 16, 3, |inner| btree_map(key(), inner, 0..3).prop_map(|one| json!(one)));
    btree_map(key(), value, 0..4).prop_map(|members| members.into_iter().collect())
}

/// A document after a few desires and reports.
fn document() -> impl Strategy<Value = Document> {
    let changes = vec((any::<bool>(), object(Nulls::Some), 0..100_i64), 0..6);
    changes.prop_map(|changes| {
        let mut document = Document::default();
        for (is_report, values, at_ms) in changes {
            if is_report {
                document.report(&values, at_ms);
            } else {
                document.desire(&values, at_ms);
            }
        }
        document
    })
}

/// Later than anything in a [`document`].
const LATER_MS: i64 = 1_000;
/// Earlier than anything in it.
const EARLIER_MS: i64 = -1;

fn has_null_member(object: &Object) -> bool {
    object.values().any(|value| match value {
        Value::Null => true,
        Value::Object(members) => has_null_member(members),
        _ => false,
    })
}

/// The same nesting with one word in place of each leaf.
fn shape_of_state(state: &Object) -> Value {
    let shape = |value: &Value| match value {
        Value::Object(members) => shape_of_state(members),
        _ => json!("leaf"),
    };
    state.iter().map(|(key, value)| (key.clone(), shape(value))).collect()
}

fn shape_of_times(times: &Times) -> Value {
    let shape = |time: &Time| match time {
        Time::Object(members) => shape_of_times(members),
        Time::Leaf(_) => json!("leaf"),
    };
    times.iter().map(|(key, time)| (key.clone(), shape(time))).collect()
}

/// An independent statement of "nothing desired is missing".
fn satisfies(reported: &Value, desired: &Value) -> bool {
    match (desired, reported) {
        (Value::Object(desired), Value::Object(reported)) => desired
            .iter()
            .all(|(key, one)| reported.get(key).is_some_and(|other| satisfies(other, one))),
        (desired, reported) => same(desired, reported),
    }
}

proptest! {
    #[test]
    fn merge_is_idempotent(mut once in document(), patch in object(Nulls::Some)) {
        once.desire(&patch, LATER_MS);
        once.report(&patch, LATER_MS);
        let mut twice = once.clone();
        twice.desire(&patch, LATER_MS);
        twice.report(&patch, LATER_MS);
        prop_assert_eq!(twice, Document { version: once.version + 2, ..once });
    }

    #[test]
    fn merge_with_nothing_is_identity(before in document()) {
        let mut after = before.clone();
        after.desire(&Object::new(), LATER_MS);
        prop_assert_eq!(after.report(&Object::new(), LATER_MS), Merged::default());
        prop_assert_eq!(after, Document { version: before.version + 2, ..before });
    }

    #[test]
    fn null_deletes(mut document in document(), key in key()) {
        let patch = Object::from_iter([(key.clone(), Value::Null)]);
        document.desire(&patch, LATER_MS);
        document.report(&patch, LATER_MS);
        prop_assert!(!document.desired.contains_key(&key));
        prop_assert!(!document.reported.contains_key(&key));
    }

    #[test]
    fn no_member_is_null(document in document()) {
        for object in [&document.desired, &document.reported, &document.delta()] {
            prop_assert!(!has_null_member(object));
        }
    }

    #[test]
    fn a_delta_that_is_reported_is_gone(mut document in document()) {
        document.report(&document.delta(), LATER_MS);
        prop_assert_eq!(document.delta(), Object::new());
    }

    #[test]
    fn a_delta_is_empty_when_all_that_is_desired_is_reported(document in document()) {
        let desired = Value::Object(document.desired.clone());
        let reported = Value::Object(document.reported.clone());
        prop_assert_eq!(document.delta().is_empty(), satisfies(&reported, &desired));
    }

    #[test]
    fn metadata_has_the_shape_of_the_state(document in document()) {
        let Document { desired, reported, metadata, .. } = document;
        prop_assert_eq!(shape_of_times(&metadata.desired), shape_of_state(&desired));
        prop_assert_eq!(shape_of_times(&metadata.reported), shape_of_state(&reported));
    }

    #[test]
    fn an_earlier_report_changes_no_leaf(before in document(), values in object(Nulls::Some)) {
        let mut after = before.clone();
        // What the document does not hold is not late, and an empty object has no time.
        let stored = before.metadata.reported.iter();
        let timed = stored.filter(|(_, time)| matches!(time, Time::Leaf(_)));
        let leaves: Vec<&String> = timed.map(|(key, _)| key).collect();
        let values = Object::from_iter(values.into_iter().filter(|(key, _)| leaves.contains(&key)));
        let merged = after.report(&values, EARLIER_MS);
        prop_assert_eq!(merged.taken, Vec::<String>::new());
        prop_assert_eq!(merged.late, values.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(after, Document { version: before.version + 1, ..before });
    }

    #[test]
    fn an_earlier_report_never_lowers_a_time(
        before in document(),
        values in object(Nulls::Some),
        time_ms in 0..100_i64,
    ) {
        let mut after = before.clone();
        after.report(&values, time_ms);
        for (key, time) in &before.metadata.reported {
            if time.newest_ms() > Some(time_ms) {
                let kept = after.metadata.reported.get(key).and_then(Time::newest_ms);
                prop_assert_eq!(kept, time.newest_ms(), "{}", key);
            }
        }
    }

    #[test]
    fn every_attribute_of_a_report_has_a_fate(
        mut document in document(),
        values in object(Nulls::Some),
        time_ms in 0..100_i64,
    ) {
        let Merged { taken, late } = document.report(&values, time_ms);
        prop_assert!(values.keys().all(|key| taken.contains(key) || late.contains(key)));
        prop_assert!(taken.iter().chain(&late).all(|key| values.contains_key(key)));
    }

    #[test]
    fn flat_reports_in_any_order_end_the_same(
        (in_order, shuffled) in vec(btree_map(key(), leaf(), 0..4), 0..6).prop_flat_map(|reports| {
            let reports = reports.into_iter().map(Object::from_iter);
            let reports: Vec<(Object, i64)> = reports.zip(0..).collect();
            (Just(reports.clone()), Just(reports).prop_shuffle())
        })
    ) {
        let end = |reports: &[(Object, i64)]| {
            let mut document = Document::default();
            for (values, time_ms) in reports {
                document.report(values, *time_ms);
            }
            document
        };
        prop_assert_eq!(end(&in_order), end(&shuffled));
    }

    #[test]
    fn desire_ignores_time(before in document(), patch in object(Nulls::Some)) {
        let (mut early, mut later) = (before.clone(), before);
        early.desire(&patch, EARLIER_MS);
        later.desire(&patch, LATER_MS);
        prop_assert_eq!(early.desired, later.desired);
    }

    #[test]
    fn a_later_report_merges_as_desire_does(values in object(Nulls::None), patch in object(Nulls::Some)) {
        let mut document = Document::default();
        document.desire(&values, 0);
        document.report(&values, 0);
        document.desire(&patch, LATER_MS);
        document.report(&patch, LATER_MS);
        prop_assert_eq!(&document.desired, &document.reported);
        prop_assert_eq!(document.metadata.desired, document.metadata.reported);
    }

    #[test]
    fn an_accepted_update_adds_one_to_the_version(
        before in document(),
        desired in prop::option::of(object(Nulls::Some)),
        reported in prop::option::of(object(Nulls::Some)),
    ) {
        let payload = json!({"state": {"desired": desired, "reported": reported}}).to_string();
        let limits = Limits::default();
        let request = Request::parse(Operation::Update, payload.as_bytes(), &limits).unwrap();
        let mut after = before.clone();
        let told = apply(&mut after, request, "t", LATER_MS, &limits).unwrap();
        prop_assert_eq!(after.version, before.version + 1);
        prop_assert_eq!(&told.accepted["version"], &json!(after.version));
        prop_assert_eq!(told.delta.is_some(), !after.delta().is_empty());
    }

    #[test]
    fn a_document_survives_its_json(document in document()) {
        let text = serde_json::to_string(&document).unwrap();
        let read: Document = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
        prop_assert_eq!(read, document);
    }
}
