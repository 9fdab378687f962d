//! A dead letter: a message that can never be applied, with everything needed to look at it.

use bytes::Bytes;
use gnomon_model::{Envelope, Reject, RejectKind, What};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message that can never be applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why, for machines.
    pub kind: RejectKind,
    /// Why, for people.
    pub reason: String,
    /// The function that refused it.
    pub function: String,
    /// Where it stood: log identity and position.
    pub source: String,
    /// When it was received, Unix milliseconds; 0 when it could not be read at all.
    pub at_ms: i64,
    /// The envelope without its payload; null when it could not be read at all.
    pub envelope: Value,
    /// The payload, or the whole message when it could not be read at all.
    pub payload: Payload,
}

/// Bytes that may be text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// UTF-8 text.
    Text(String),
    /// Anything else, as hexadecimal digits.
    Hex(String),
}

impl Payload {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}

impl DeadLetter {
    /// Makes the letter of an envelope that was refused.
    ///
    /// # Panics
    /// Never: an envelope has a JSON form.
    #[must_use]
    pub fn new(envelope: &Envelope, reject: &Reject, function: &str, source: &str) -> Self {
        let payload: &[u8] = match &envelope.what {
            What::Published { payload, .. } => payload,
            What::Presence(_)
            | What::Desire { .. }
            | What::Call { .. }
            | What::Acknowledge { .. }
            | What::Due { .. } => &[],
        };
        Self {
            at_ms: envelope.received_at_ms,
            envelope: serde_json::to_value(envelope).expect("an envelope has a JSON form"),
            payload: Payload::of(payload),
            ..Self::undecodable(&Bytes::new(), reject, function, source)
        }
    }

    /// Makes the letter of bytes that are no envelope.
    #[must_use]
    pub fn undecodable(bytes: &Bytes, reject: &Reject, function: &str, source: &str) -> Self {
        Self {
            kind: reject.kind,
            reason: reject.reason.clone(),
            function: function.to_owned(),
            source: source.to_owned(),
            at_ms: 0,
            envelope: Value::Null,
            payload: Payload::of(bytes),
        }
    }

    /// Encodes as JSON text.
    ///
    /// # Panics
    /// Never: every member has a JSON form.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a dead letter has a JSON form")
    }

    /// Decodes what [`DeadLetter::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are not a dead letter.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
