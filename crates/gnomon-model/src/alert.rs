//! An alert tells a person.
//!
//! Its states, in the words of ISA-18.2: active and not acknowledged, active and acknowledged, cleared
//! and never acknowledged, normal (cleared, acknowledged before). See: docs/alerts.md

use serde::{Deserialize, Serialize};

use crate::{DeviceName, Object, ProductKey, Severity, Waits};

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
    /// When somebody acknowledged it, Unix milliseconds; stays when it is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<i64>,
    /// Who did, in their own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// When somebody is to be reminded of it, Unix milliseconds; none when it is acknowledged or
    /// cleared, or when there are no reminders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_at: Option<i64>,
    /// How often somebody was reminded of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reminders: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Alert {
    /// Whether somebody should still look at it: active, and not acknowledged.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.status == AlertStatus::Active && self.acknowledged_at.is_none()
    }

    /// Notes who has seen it and when; nobody is reminded of it any more. The first one to
    /// acknowledge it stays the one who did.
    pub fn acknowledge(&mut self, by: &str, at_ms: i64) {
        if self.acknowledged_at.is_none() {
            self.acknowledged_at = Some(at_ms);
            self.acknowledged_by = Some(by.to_owned());
        }
        self.remind_at = None;
    }

    /// Notes that the condition no longer holds, since `at_ms`; nobody is reminded of it any more.
    pub fn clear(&mut self, values: Object, at_ms: i64) {
        self.status = AlertStatus::Cleared;
        self.at = at_ms;
        self.values = values;
        self.remind_at = None;
    }

    /// If a reminder is due at `now_ms`, notes that it goes out and when the next one is to; whether
    /// it does. One that is due when there are no reminders any more just goes.
    pub fn remind(&mut self, now_ms: i64, waits: Waits) -> bool {
        if self.remind_at.is_none_or(|at_ms| at_ms > now_ms) {
            return false;
        }
        let reminders = self.reminders.saturating_add(1);
        self.remind_at = waits.remind_at(now_ms, reminders).filter(|_| self.is_open());
        if self.remind_at.is_some() {
            self.reminders = reminders;
        }
        self.remind_at.is_some()
    }
}
