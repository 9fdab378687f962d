//! The record: everything Gnomon keeps about one device, written as one.
//!
//! Invariants: state and intent (the outbox) are in the same document, so that one write makes both
//! durable. See: docs/decisions/2026-11-24-applied-is-a-position.md

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::shadow::Document;
use crate::{Alert, CallId, Dialect, EnvelopeId, Object, Outgoing};

/// Number of the on-disk shape that this build writes.
pub const FORMAT: u32 = 1;

/// Everything that is kept about one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// On-disk shape, [`FORMAT`].
    pub format: u32,
    /// The classic shadow.
    pub shadow: Document,
    /// Wire format that the device was last seen to speak.
    #[serde(default)]
    pub dialect: Dialect,
    /// Whether the device is connected.
    #[serde(default)]
    pub presence: PresenceState,
    /// Latest status of each alert, keyed `rule/alert`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alerts: BTreeMap<String, Alert>,
    /// Each rule's own small state, by rule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, Object>,
    /// Calls that the device has not replied to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<CallId, PendingCall>,
    /// What each function has applied and has yet to send, by function name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ledgers: BTreeMap<String, Ledger>,
    /// Counters since the record began.
    #[serde(default)]
    pub counts: Counts,
}

/// Whether the device is connected, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PresenceState {
    /// Connected now.
    pub online: bool,
    /// When that began, Unix milliseconds; 0 when never seen.
    pub since_ms: i64,
    /// The connection that is meant.
    pub connection: String,
    /// Why it changed last.
    pub reason: String,
}

/// A call that waits for the device's reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCall {
    /// Identifier of the service.
    pub service: String,
    /// The application's envelope that waits for it; none when a rule called.
    pub request: Option<EnvelopeId>,
    /// The rule that called; none when an application did, or a build that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// A reply after this is dropped, Unix milliseconds.
    pub deadline_ms: i64,
}

/// Counters of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Envelopes applied.
    pub applied: u64,
    /// Reported attributes that came too late.
    pub late: u64,
    /// Parts of messages that did not fit the thing model.
    pub faults: u64,
}

/// What one function has applied of its log, and what of that has yet to be sent for sure.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Identity of the log that positions refer to; a log made anew starts a new ledger.
    pub log: String,
    /// Highest position applied. A log is applied in order, so all below are applied as well.
    pub position: u64,
    /// Effects of the inputs that may not be acknowledged yet, with the input's position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbox: Vec<(u64, Outgoing)>,
}

impl Ledger {
    /// Whether the input at `position` of `log` was applied already.
    #[must_use]
    pub fn has_applied(&self, log: &str, position: u64) -> bool {
        self.log == log && position <= self.position
    }

    /// Forgets effects of inputs before `oldest_unacknowledged`: those inputs were acknowledged,
    /// which happens only after their effects were sent.
    pub fn settle(&mut self, log: &str, oldest_unacknowledged: u64) {
        if self.log == log {
            self.outbox.retain(|(position, _)| *position >= oldest_unacknowledged);
        } else {
            *self = Self { log: log.to_owned(), ..Self::default() };
        }
    }

    /// Notes that the input at `position` is applied and has these effects.
    ///
    /// # Panics
    /// The position is not above the last one: the log was not applied in order.
    pub fn apply(&mut self, position: u64, outgoing: &[Outgoing]) {
        assert!(position > self.position, "inputs of a log apply in order");
        self.position = position;
        self.outbox.extend(outgoing.iter().map(|one| (position, one.clone())));
    }

    /// Effects of the input at `position`, to be sent again under the same ids.
    pub fn unsent(&self, position: u64) -> impl Iterator<Item = &Outgoing> {
        self.outbox.iter().filter(move |(at, _)| *at == position).map(|(_, one)| one)
    }
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: FORMAT,
            shadow: Document::default(),
            dialect: Dialect::default(),
            presence: PresenceState::default(),
            alerts: BTreeMap::new(),
            rules: BTreeMap::new(),
            calls: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            counts: Counts::default(),
        }
    }
}

/// Why bytes are not a record that this build can use.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON of a record.
    #[error("decode record")]
    Decode(#[from] serde_json::Error),
    /// Written by another version.
    #[error(
        "record has format {found}, this build reads {FORMAT}: {advice}",
        advice = if *found < FORMAT { "run `gnomon migrate`" } else { "use the build that wrote it" }
    )]
    Format {
        /// The number found.
        found: u32,
    },
}

impl Record {
    /// Encodes as JSON text with sorted keys: equal records have equal bytes.
    ///
    /// # Panics
    /// Never: every member has a JSON form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        serde_json::to_writer(&mut out, self).expect("a record has a JSON form");
        out
    }

    /// Decodes what [`Record::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are damaged, or of another format.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(bytes)?;
        if record.format != FORMAT {
            return Err(RecordError::Format { found: record.format });
        }
        Ok(record)
    }
}
