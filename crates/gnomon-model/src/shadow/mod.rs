//! The shadow document: what is desired of a device, what it reported, and when.
//!
//! Invariants: metadata has one time for each leaf of the state and nothing else; no member of the
//! state is null; equal documents have equal bytes.
//! Never: a clock. Times are arguments, in Unix milliseconds; only the AWS payloads hold seconds.
//! See: `wire/aws.md` 1.2 to 1.8.

mod apply;
mod delta;
#[cfg(test)]
mod laws;
mod merge;
mod metadata;
mod refusal;
mod request;
#[cfg(test)]
mod tables;

use serde::{Deserialize, Serialize};

use crate::Object;
use merge::Stamp;

pub use apply::{Responses, TOMBSTONE_MS, apply, delta_payload};
pub use delta::same;
pub use metadata::{Metadata, Time, Times};
pub use refusal::{Rejected, ShadowError};
pub use request::{Ask, Limits, Operation, Patch, Request, StatePatch, Update};

/// One shadow document.
///
/// A leaf is every value that is not an object: a scalar, or an array, which is always taken whole.
/// As JSON: `desired`, `reported`, `metadata` (each left out while empty), `version`, and
/// `deleted_at_ms` while the shadow is deleted.
///
/// ```
/// use gnomon_model::shadow::Document;
/// # use serde_json::{Value, json};
/// # fn object(value: Value) -> gnomon_model::Object { value.as_object().cloned().unwrap_or_default() }
/// let mut shadow = Document::default();
/// shadow.desire(&object(json!({"fan": {"speed": 3}})), 1_000);
/// shadow.report(&object(json!({"fan": {"speed": 1}, "temp": 21.5})), 2_000);
/// assert_eq!(shadow.delta(), object(json!({"fan": {"speed": 3}})));
/// assert_eq!(shadow.version, 2);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Document {
    /// Wanted state.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub desired: Object,
    /// State as the device reported it.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub reported: Object,
    /// When each leaf was last named. A member of the state that has no time here counts as absent
    /// when something is merged into it.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// Number of accepted updates; 0 is a shadow that never was. A delete counts as one more.
    pub version: u64,
    /// While the shadow is deleted: when that was, Unix milliseconds. Both sections are empty then,
    /// and `version` goes on from where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at_ms: Option<i64>,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merged {
    /// Top-level attributes of which anything was taken, in order.
    pub taken: Vec<String>,
    /// Top-level attributes of which anything was older than what the document holds, in order.
    /// An attribute stands in both lists when only some of its leaves were older.
    pub late: Vec<String>,
}

impl Document {
    /// Merges a report of `time_ms` into `reported`, leaf by leaf. Adds 1 to the version in any
    /// case, also when everything was late or `values` is empty.
    ///
    /// - Objects merge; every other value is stored whole, a new object without its nulls.
    /// - A leaf is taken when `time_ms` is not before the time of the stored leaf.
    /// - `null` deletes the leaves of the attribute that are not newer; the attribute itself goes
    ///   when none is left. To delete what is absent counts as taken.
    /// - A leaf that replaces an object, or the reverse, is taken when no stored leaf in its place
    ///   is newer, otherwise not at all.
    /// - `{}` on an object changes nothing and counts as taken. A stored `{}` has no time: anything
    ///   may replace it.
    ///
    /// A deletion leaves no time behind: a report from before it, arriving after it, brings the
    /// attribute back. Times of devices are taken as they are, in the future as well.
    ///
    /// Cost: two look-ups and one copy per leaf of `values`, whatever the size of the document.
    pub fn report(&mut self, values: &Object, time_ms: i64) -> Merged {
        self.count_update();
        let (state, times) = (&mut self.reported, &mut self.metadata.reported);
        let stamp = Stamp::unless_newer(time_ms);
        let mut merged = Merged { taken: Vec::with_capacity(values.len()), late: Vec::new() };
        for (attribute, value) in values {
            let fate = merge::merge_member(state, times, attribute, value, stamp);
            if fate.taken {
                merged.taken.push(attribute.clone());
            }
            if fate.late {
                merged.late.push(attribute.clone());
            }
        }
        merged
    }

    /// Merges a patch into `desired`; `null` deletes, the last write wins. Every leaf that the
    /// patch names gets the time `at_ms`, also when its value stays. Adds 1 to the version.
    pub fn desire(&mut self, patch: &Object, at_ms: i64) {
        self.count_update();
        let (state, times) = (&mut self.desired, &mut self.metadata.desired);
        merge::merge_object(state, times, patch, Stamp::last_write(at_ms));
    }

    /// Applies what an AWS update asks for to both sections: the last write wins, leaves that are
    /// named get the time `at_ms`. Adds 1 to the version.
    pub fn update(&mut self, state: &StatePatch, at_ms: i64) {
        self.count_update();
        let Metadata { desired, reported } = &mut self.metadata;
        let stamp = Stamp::last_write(at_ms);
        match state {
            StatePatch::Clear => {
                merge::merge_patch(&mut self.desired, desired, &Patch::Clear, stamp);
                merge::merge_patch(&mut self.reported, reported, &Patch::Clear, stamp);
            }
            StatePatch::Sections { desired: wanted, reported: seen } => {
                merge::merge_patch(&mut self.desired, desired, wanted, stamp);
                merge::merge_patch(&mut self.reported, reported, seen, stamp);
            }
        }
    }

    /// What is desired and not reported: keys of `desired` whose value is absent from `reported` or
    /// differs from it. Objects compare member by member, arrays whole, numbers by value (`1` is
    /// `1.0`). A desired `{}` is satisfied by any object. Attributes that are only reported never
    /// appear, and no member is null.
    #[must_use]
    pub fn delta(&self) -> Object {
        delta::delta(&self.desired, &self.reported)
    }

    /// Whether anything was ever accepted, and not deleted since.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.version > 0 && self.deleted_at_ms.is_none()
    }

    /// Size of the state as AWS counts it: bytes of compact JSON of both sections, an empty section
    /// for nothing, metadata not included.
    ///
    /// # Panics
    /// Never: an object has a JSON form.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        [&self.desired, &self.reported]
            .into_iter()
            .filter(|section| !section.is_empty())
            .map(|section| serde_json::to_vec(section).expect("an object has a JSON form").len())
            .sum()
    }

    fn count_update(&mut self) {
        self.version += 1;
        self.deleted_at_ms = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn reported(reports: &[(Value, i64)]) -> (Document, Merged) {
        let mut document = Document::default();
        let mut merged = Merged::default();
        for (values, time_ms) in reports {
            merged = document.report(&object(values.clone()), *time_ms);
        }
        (document, merged)
    }

    /// Reports and their times; what is reported after them; what the last one had taken and late.
    type Row = (Vec<(Value, i64)>, Value, &'static str, &'static str);

    fn check(rows: Vec<Row>) {
        for (reports, after, taken, late) in rows {
            let (document, merged) = reported(&reports);
            let then = (Value::Object(document.reported), merged.taken, merged.late);
            let list = |keys: &str| keys.split_terminator(',').map(String::from).collect();
            assert_eq!(then, (after, list(taken), list(late)), "{reports:?}");
            assert_eq!(document.version, reports.len() as u64, "{reports:?}");
        }
    }

    #[test]
    fn a_reported_leaf_is_taken_unless_the_stored_one_is_newer() {
        let one = json!({"a": 1});
        let list = json!({"a": [1, 2]});
        check(vec![
            (vec![(one.clone(), 10), (json!({"a": 2}), 11)], json!({"a": 2}), "a", ""),
            (vec![(one.clone(), 10), (json!({"a": 2}), 10)], json!({"a": 2}), "a", ""),
            (vec![(one.clone(), 10), (json!({"a": 2}), 9)], one.clone(), "", "a"),
            (vec![(one.clone(), 10), (json!({"b": 2}), 9)], json!({"a": 1, "b": 2}), "b", ""),
            (
                vec![(one.clone(), 10), (json!({"b": 2, "a": 3}), 9)],
                json!({"a": 1, "b": 2}),
                "b",
                "a",
            ),
            (vec![(list.clone(), 10), (json!({"a": [3]}), 11)], json!({"a": [3]}), "a", ""),
            (vec![(list.clone(), 10), (json!({"a": []}), 9)], list.clone(), "", "a"),
            (vec![(one.clone(), 10), (json!({}), 11)], one.clone(), "", ""),
            // Deletions.
            (vec![(one.clone(), 10), (json!({"a": null}), 10)], json!({}), "a", ""),
            (vec![(one.clone(), 10), (json!({"a": null}), 9)], one, "", "a"),
            (vec![(list, 10), (json!({"a": null}), 11)], json!({}), "a", ""),
            (vec![(json!({"a": null}), 9)], json!({}), "a", ""),
        ]);
    }

    #[test]
    fn reported_objects_merge_leaf_by_leaf() {
        let both = json!({"a": {"x": 1, "y": 1}});
        let deep = json!({"a": {"x": {"z": 1}}});
        let y_later = (json!({"a": {"y": 2}}), 20);
        let only_y = json!({"a": {"y": 2}});
        let no_x_no_y = json!({"a": {"x": null, "y": null}});
        let nine = json!({"a": {"x": 9, "y": 9}});
        let merged = json!({"a": {"x": 9, "y": 2}});
        check(vec![
            (vec![(both.clone(), 10), y_later.clone(), (nine, 15)], merged, "a", "a"),
            (vec![(both.clone(), 10), (json!({"a": {}}), 9)], both.clone(), "a", ""),
            (vec![(both.clone(), 10), (no_x_no_y.clone(), 10)], json!({"a": {}}), "a", ""),
            (vec![(both.clone(), 10), y_later.clone(), (no_x_no_y, 15)], only_y.clone(), "a", "a"),
            (vec![(json!({"a": {"b": null, "c": 1}}), 1)], json!({"a": {"c": 1}}), "a", ""),
            (vec![(json!({"a": {"b": null}}), 1)], json!({"a": {}}), "a", ""),
            // A deletion takes the leaves that are not newer.
            (vec![(both.clone(), 10), (json!({"a": null}), 9)], both.clone(), "", "a"),
            (vec![(both, 10), y_later.clone(), (json!({"a": null}), 15)], only_y.clone(), "a", "a"),
            (vec![(deep, 10), y_later, (json!({"a": null}), 15)], only_y, "a", "a"),
            (vec![(json!({"a": {}}), 10), (json!({"a": null}), 9)], json!({}), "a", ""),
        ]);
    }

    #[test]
    fn an_object_and_a_leaf_replace_each_other_whole_or_not_at_all() {
        let both = json!({"a": {"x": 1, "y": 1}});
        let y_later = (json!({"a": {"y": 2}}), 20);
        let kept = json!({"a": {"x": 1, "y": 2}});
        let five = json!({"a": 5});
        let empty = json!({"a": {}});
        check(vec![
            (vec![(both.clone(), 10), (five.clone(), 10)], five.clone(), "a", ""),
            (vec![(both.clone(), 10), y_later, (five.clone(), 15)], kept, "", "a"),
            (vec![(five.clone(), 10), (both.clone(), 10)], both.clone(), "a", ""),
            (vec![(five.clone(), 10), (both, 9)], five.clone(), "", "a"),
            (vec![(five.clone(), 10), (empty.clone(), 9)], five.clone(), "", "a"),
            (vec![(five.clone(), 10), (empty.clone(), 10)], empty.clone(), "a", ""),
            (vec![(empty, 10), (five.clone(), 9)], five, "a", ""),
        ]);
    }

    #[test]
    fn a_deletion_leaves_no_time_behind() {
        let (document, merged) =
            reported(&[(json!({"a": 1}), 10), (json!({"a": null}), 20), (json!({"a": 2}), 15)]);
        assert_eq!(merged.taken, ["a"]);
        assert_eq!(Value::Object(document.reported), json!({"a": 2}));
    }

    #[test]
    fn a_document_is_compact_json_and_back() {
        let mut document = Document::default();
        assert_eq!(serde_json::to_string(&document).unwrap(), r#"{"version":0}"#);
        document.report(&object(json!({"b": 21.5, "a": {"x": [1, {"y": 2}], "z": {}}})), 7);
        document.desire(&object(json!({"b": 20})), -1);
        let text = concat!(
            r#"{"desired":{"b":20},"reported":{"a":{"x":[1,{"y":2}],"z":{}},"b":21.5},"#,
            r#""metadata":{"desired":{"b":-1},"reported":{"a":{"x":7,"z":{}},"b":7}},"version":2}"#
        );
        assert_eq!(serde_json::to_string(&document).unwrap(), text);
        assert_eq!(serde_json::from_str::<Document>(text).unwrap(), document);
    }

    #[test]
    fn desire_overwrites_whatever_the_time() {
        let mut document = Document::default();
        document.desire(&object(json!({"a": {"x": 1}, "b": 1, "c": 1})), 20);
        document.desire(&object(json!({"a": {"x": 2}, "b": null})), 10);
        assert_eq!(Value::Object(document.desired.clone()), json!({"a": {"x": 2}, "c": 1}));
        let times = serde_json::to_value(&document.metadata.desired).unwrap();
        assert_eq!(times, json!({"a": {"x": 10}, "c": 20}));
        assert_eq!(document.version, 2);
    }
}
