//! The shadow document: what is desired of a device, what it reported, and when.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Object;

/// One shadow document. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Document {
    /// Wanted state.
    pub desired: Object,
    /// State as the device reported it.
    pub reported: Object,
    /// When each leaf was last named: same nesting, `{"timestamp":ms}` in place of each leaf.
    pub metadata: Metadata,
    /// Number of accepted updates.
    pub version: u64,
}

/// Times of the leaves of both sections.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// Of `desired`.
    pub desired: Object,
    /// Of `reported`.
    pub reported: Object,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merged {
    /// Top-level attributes of which anything was taken, in order.
    pub taken: Vec<String>,
    /// Top-level attributes of which anything was older than what the document holds.
    pub late: Vec<String>,
}

impl Document {
    /// Merges a report of `time_ms` into `reported`, leaf by leaf: a leaf older than the stored
    /// one is left out. Adds 1 to the version in any case.
    pub fn report(&mut self, values: &Object, time_ms: i64) -> Merged {
        let _ = (values, time_ms);
        todo!("shadow")
    }

    /// Merges a patch into `desired`; `null` deletes. Adds 1 to the version.
    pub fn desire(&mut self, patch: &Object, at_ms: i64) {
        let _ = (patch, at_ms);
        todo!("shadow")
    }

    /// What is desired and not reported.
    #[must_use]
    pub fn delta(&self) -> Object {
        let _ = Value::Null;
        todo!("shadow")
    }
}
