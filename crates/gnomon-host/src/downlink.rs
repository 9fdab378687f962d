//! What the downlink log carries: messages to topics, and claims of gateways.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A message to the subscribers of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downlink {
    /// Full topic.
    pub topic: String,
    /// QoS at which it was published, 0 or 1.
    pub qos: u8,
    /// MQTT client that published it, so that "no local" subscriptions can leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// MQTT 5 properties that travel with the message.
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
    /// The bytes.
    #[serde(skip)]
    pub payload: Bytes,
}

/// MQTT 5 properties that the server forwards unchanged (MQTT 5, 3.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Properties {
    /// Payload format indicator: true for UTF-8 text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_utf8: Option<bool>,
    /// Content type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Response topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    /// Correlation data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Vec<u8>>,
    /// User properties, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<(String, String)>,
    /// When the message expires, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
}

impl Properties {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Begins the names of readers that are gateways.
const READER: &str = "gateway-";

/// Name of the reader of the downlink log that a gateway is.
#[must_use]
pub fn reader(gateway: &str) -> String {
    format!("{READER}{gateway}")
}

/// The gateway that a reader is, if it is one.
#[must_use]
pub fn gateway_of(reader: &str) -> Option<&str> {
    reader.strip_prefix(READER)
}

/// A gateway has a connection of a client: every other one lets go of the client's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// MQTT client id.
    pub client: String,
    /// Name of the gateway.
    pub gateway: String,
    /// Whether the client begins anew, so that what waited for it is void.
    pub clean_start: bool,
}

/// An entry of the downlink log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// For the subscribers of a topic.
    Message(Downlink),
    /// For other gateways.
    Claim(Claim),
}

/// A claim on the wire.
#[derive(Serialize, Deserialize)]
struct Claimed {
    claim: Claim,
}

impl Claim {
    /// Encodes as one line of JSON.
    ///
    /// # Panics
    /// Never: every member has a JSON form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let claim = Claimed { claim: self.clone() };
        let mut out = serde_json::to_vec(&claim).expect("a claim has a JSON form");
        out.push(b'\n');
        out.into()
    }
}

impl Entry {
    /// Decodes what [`Downlink::encode`] or [`Claim::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are neither: our bug or a damaged log.
    pub fn decode(encoded: &Bytes) -> Result<Self, DownlinkError> {
        if encoded.starts_with(b"{\"claim\":") {
            let Claimed { claim } = serde_json::from_slice(encoded)?;
            return Ok(Self::Claim(claim));
        }
        Downlink::decode(encoded).map(Self::Message)
    }
}

/// Why bytes are not an entry of the downlink log.
#[derive(Debug, thiserror::Error)]
#[error("decode downlink message")]
pub struct DownlinkError(#[from] serde_json::Error);

impl Downlink {
    /// A message without a publisher among the clients, and without properties.
    #[must_use]
    pub fn new(topic: &str, qos: u8, payload: Bytes) -> Self {
        let properties = Properties::default();
        Self { topic: topic.to_owned(), qos, publisher: None, properties, payload }
    }

    /// Encodes as one line of JSON, a line feed, and the payload's bytes untouched.
    ///
    /// # Panics
    /// Never: every member has a JSON form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(128 + self.payload.len());
        serde_json::to_writer(&mut out, self).expect("a downlink message has a JSON form");
        out.push(b'\n');
        out.extend_from_slice(&self.payload);
        out.into()
    }

    /// Decodes what [`Downlink::encode`] wrote; the payload shares the bytes of `encoded`.
    ///
    /// # Errors
    /// The bytes are not a downlink message: our bug or a damaged log.
    pub fn decode(encoded: &Bytes) -> Result<Self, DownlinkError> {
        let head_end = encoded.iter().position(|b| *b == b'\n').unwrap_or(encoded.len());
        let mut downlink: Self = serde_json::from_slice(&encoded[..head_end])?;
        downlink.payload = encoded.slice((head_end + 1).min(encoded.len())..);
        Ok(downlink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_undoes_encode() {
        let downlink = Downlink {
            topic: "a/b".into(),
            qos: 1,
            publisher: Some("c".into()),
            properties: Properties { correlation: Some(vec![0, 255]), ..Properties::default() },
            payload: Bytes::from_static(b"\n\xff{}"),
        };
        assert_eq!(Downlink::decode(&downlink.encode()).unwrap(), downlink);
        let entry = Entry::decode(&downlink.encode()).unwrap();
        assert_eq!(entry, Entry::Message(downlink));
    }

    #[test]
    fn a_claim_is_no_message() {
        let claim = Claim { client: "{\"topic\"".into(), gateway: "g".into(), clean_start: true };
        assert_eq!(Entry::decode(&claim.encode()).unwrap(), Entry::Claim(claim.clone()));
        assert!(Downlink::decode(&claim.encode()).is_err());
    }
}
