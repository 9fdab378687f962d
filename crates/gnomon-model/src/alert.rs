//! An alert tells a person.

use serde::{Deserialize, Serialize};

use crate::{DeviceName, Object, ProductKey, Severity};

/// Whether the condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    /// Raised, and not cleared since.
    Active,
    /// Was active, is no more.
    Cleared,
}

/// One alert of one rule about one device, in its latest status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Name that the rule gives it, such as `too_warm`.
    pub alert: String,
    /// Whether the condition holds.
    pub status: AlertStatus,
    /// How bad it is.
    pub severity: Severity,
    /// A sentence for the person.
    pub message: String,
    /// Product of the device that it is about.
    pub product: ProductKey,
    /// The device that it is about.
    pub device: DeviceName,
    /// When this status began: time of the report that caused it, Unix milliseconds.
    pub at: i64,
    /// What the rule read when it decided: property or event output -> value.
    pub values: Object,
    /// Stable id of this occurrence: the same when raised, cleared, and sent again.
    pub id: String,
    /// The rule that raised it.
    pub rule: String,
}
