//! Why a message cannot be applied, now or ever.

use serde::{Deserialize, Serialize};

/// The kind of a refusal; each dialect maps it to its own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectKind {
    /// The payload is not JSON, not UTF-8, too deep, has a duplicate key or a number that JSON
    /// numbers of 64 bits cannot hold.
    NotJson,
    /// The payload is JSON but not of the shape that the topic asks for.
    Malformed,
    /// More bytes or members than allowed.
    TooLarge,
    /// The topic is none that a device may publish on.
    UnknownTopic,
    /// No thing model is loaded for the product.
    UnknownProduct,
    /// The thing model has no such property, event or service, or the value does not fit it.
    Invalid,
    /// The sender may not do this.
    Forbidden,
    /// The time of a report is not a time.
    BadTime,
    /// A reply names a call that is not pending (answered, timed out, or never made).
    UnknownCall,
    /// The device has no alert of that id, or no longer.
    UnknownAlert,
    /// The alert is cleared already.
    AlertCleared,
    /// The expected version is not the current one.
    Conflict,
    /// The device is offline.
    Offline,
    /// No rule answers the request, or none answered it.
    NoAnswer,
    /// Gnomon itself failed on this message; the message is kept for inspection.
    Internal,
}

impl RejectKind {
    /// The kind as a stable word, for metrics and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not-json",
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::UnknownTopic => "unknown-topic",
            Self::UnknownProduct => "unknown-product",
            Self::Invalid => "invalid",
            Self::Forbidden => "forbidden",
            Self::BadTime => "bad-time",
            Self::UnknownCall => "unknown-call",
            Self::UnknownAlert => "unknown-alert",
            Self::AlertCleared => "alert-cleared",
            Self::Conflict => "conflict",
            Self::Offline => "offline",
            Self::NoAnswer => "no-answer",
            Self::Internal => "internal",
        }
    }
}

/// Says why not: a kind for machines, a reason for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Reject {
    /// For machines.
    pub kind: RejectKind,
    /// For people: what was wrong with what, and what to do. At most 500 characters.
    pub reason: String,
}

impl Reject {
    /// Makes a refusal; a reason beyond 500 characters is cut.
    #[must_use]
    pub fn new(kind: RejectKind, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        if let Some((at, _)) = reason.char_indices().nth(500) {
            reason.truncate(at);
        }
        Self { kind, reason }
    }
}
