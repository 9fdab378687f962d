//! The envelope travels: who it is about, when it came, what it holds.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{DeviceKey, EnvelopeId, Object};

/// A wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Topics under `devices/`, for people.
    #[default]
    Plain,
    /// Alibaba's Alink, topics under `/sys/`.
    Alink,
}

/// A change of a device's connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether the connection began or ended.
    pub online: bool,
    /// Names the connection, so that the end of an old one does not hide a newer one.
    pub connection: String,
    /// Why, in a few words: `connected`, `keep-alive timeout`, `taken over` ...
    pub reason: String,
    /// Wire format that the connection shows by its user name or topics, if it does.
    pub dialect: Option<Dialect>,
}

/// What an envelope holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A device published; the dialect's grammar has recognised the topic, nobody has yet looked
    /// at the payload.
    Published {
        /// Full topic.
        topic: String,
        /// The bytes as they came.
        #[serde(skip)]
        payload: Bytes,
        /// MQTT client and packet id of a QoS 1 publish, by which a retransmission is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packet: Option<(String, u16)>,
    },
    /// A device came or went.
    Presence(Presence),
    /// An application desires attributes.
    Desire {
        /// Merge patch onto `desired`; `null` deletes.
        patch: Object,
        /// Version that the application has seen; a different current one is a conflict.
        expected_version: Option<u64>,
    },
    /// An application calls a service and waits.
    Call {
        /// Identifier of the service.
        service: String,
        /// Input -> value, not yet validated.
        inputs: Object,
        /// How long the application waits, milliseconds.
        timeout_ms: u32,
    },
    /// A person has seen an alert, says an application, and waits.
    Acknowledge {
        /// Id of the alert.
        alert: String,
        /// Who has seen it, in their own words.
        by: String,
    },
    /// The time of something in the record has come. Which kind of thing follows from the stream.
    Due {
        /// When it was due, Unix milliseconds; how late the envelope is can be seen from this.
        at_ms: i64,
    },
}

/// A message on its way to a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Unique id, made once at the edge; ids of effects derive from it.
    pub id: EnvelopeId,
    /// The device that it is about.
    pub device: DeviceKey,
    /// When the edge read the clock, Unix milliseconds.
    pub received_at_ms: i64,
    /// What it holds.
    pub what: What,
}

/// Why bytes are not an envelope.
#[derive(Debug, thiserror::Error)]
#[error("decode envelope")]
pub struct EnvelopeError(#[from] serde_json::Error);

impl Envelope {
    /// Encodes as one line of JSON, a line feed, and the payload's bytes untouched.
    ///
    /// # Panics
    /// Never: every member has a JSON form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(256);
        serde_json::to_writer(&mut out, self).expect("an envelope has a JSON form");
        out.push(b'\n');
        if let What::Published { payload, .. } = &self.what {
            out.extend_from_slice(payload);
        }
        out.into()
    }

    /// Decodes what [`Envelope::encode`] wrote; the payload shares the bytes of `encoded`.
    ///
    /// # Errors
    /// The bytes are not an envelope: our bug or a damaged log; the caller dead-letters them.
    pub fn decode(encoded: &Bytes) -> Result<Self, EnvelopeError> {
        let head_end = encoded.iter().position(|b| *b == b'\n').unwrap_or(encoded.len());
        let mut envelope: Self = serde_json::from_slice(&encoded[..head_end])?;
        if let What::Published { payload, .. } = &mut envelope.what {
            *payload = encoded.slice((head_end + 1).min(encoded.len())..);
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_undoes_encode_for_any_payload() {
        for payload in [&b""[..], b"\n\n", b"{\"a\":1}", b"\xff\x00\n{"] {
            let envelope = Envelope {
                id: EnvelopeId::parse("e-1").unwrap(),
                device: DeviceKey::parse("coldroom", "room-1").unwrap(),
                received_at_ms: 1_700_000_000_000,
                what: What::Published {
                    topic: "devices/coldroom/room-1/telemetry".into(),
                    payload: Bytes::copy_from_slice(payload),
                    packet: Some(("c".into(), 7)),
                },
            };
            assert_eq!(Envelope::decode(&envelope.encode()).unwrap(), envelope);
        }
    }
}
