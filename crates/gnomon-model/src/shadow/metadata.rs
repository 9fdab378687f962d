//! Metadata: when each leaf of the state was last named.
//!
//! Invariants: stored times are Unix milliseconds; the AWS form, `{"timestamp":s}` per leaf and per
//! element of an array, is made when a payload is. See: `wire/aws.md` 1.5.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Object;

/// Times of the leaves of both sections, each nested as its section is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// Of `desired`.
    #[serde(default, skip_serializing_if = "Times::is_empty")]
    pub desired: Times,
    /// Of `reported`.
    #[serde(default, skip_serializing_if = "Times::is_empty")]
    pub reported: Times,
}

impl Metadata {
    /// Whether there is no time at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.desired.is_empty() && self.reported.is_empty()
    }
}

/// Times of the members of an object, by key.
pub type Times = BTreeMap<String, Time>;

/// Time of one value. As JSON: an integer for a leaf, an object for an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Time {
    /// Of a scalar or of a whole array, Unix milliseconds.
    Leaf(i64),
    /// Of an object's members; empty for `{}`, which has no leaf.
    Object(Times),
}

impl Time {
    /// The same time for every leaf of a value.
    #[must_use]
    pub fn of(value: &Value, at_ms: i64) -> Self {
        match value {
            Value::Object(members) => {
                let times = members.iter().map(|(key, one)| (key.clone(), Self::of(one, at_ms)));
                Self::Object(times.collect())
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Self::Leaf(at_ms),
        }
    }

    /// The latest time in it, Unix milliseconds; none when there is no leaf.
    #[must_use]
    pub fn newest_ms(&self) -> Option<i64> {
        match self {
            Self::Leaf(at_ms) => Some(*at_ms),
            Self::Object(times) => times.values().filter_map(Self::newest_ms).max(),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf(at_ms) => serializer.serialize_i64(*at_ms),
            Self::Object(times) => times.serialize(serializer),
        }
    }
}

/// By hand, since serde's `untagged` would copy every subtree once before it reads it.
impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor)
    }
}

struct TimeVisitor;

impl<'de> Visitor<'de> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unix milliseconds or an object of them")
    }

    fn visit_i64<E>(self, at_ms: i64) -> Result<Time, E> {
        Ok(Time::Leaf(at_ms))
    }

    fn visit_u64<E: Error>(self, at_ms: u64) -> Result<Time, E> {
        i64::try_from(at_ms).map(Time::Leaf).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Time, A::Error> {
        let mut times = Times::new();
        while let Some((key, time)) = members.next_entry()? {
            times.insert(key, time);
        }
        Ok(Time::Object(times))
    }
}

/// Unix seconds, rounded down.
pub(super) fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}

/// Times of `state` in AWS form. `state` may be a part of what `times` are for, as a delta is.
pub(super) fn timestamps(state: &Object, times: &Times) -> Object {
    let member = |(key, value): (&String, &Value)| {
        let timestamp = match (value, times.get(key)) {
            (Value::Object(members), Some(Time::Object(times))) => {
                Value::Object(timestamps(members, times))
            }
            // A value without a time has never been merged: it is as old as can be.
            (value, time) => timestamp(value, time.and_then(Time::newest_ms).unwrap_or(0)),
        };
        (key.clone(), timestamp)
    };
    state.iter().map(member).collect()
}

/// One time for all leaves of a value, in AWS form. Elements of arrays are leaves here, and so is
/// `null`, which an update may name.
pub(super) fn timestamp(value: &Value, at_ms: i64) -> Value {
    match value {
        Value::Object(members) => {
            let each = members.iter().map(|(key, one)| (key.clone(), timestamp(one, at_ms)));
            Value::Object(each.collect())
        }
        Value::Array(elements) => elements.iter().map(|one| timestamp(one, at_ms)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            json!({ "timestamp": seconds(at_ms) })
        }
    }
}
