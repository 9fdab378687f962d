//! A message as it is kept on disk for a session: with where it came from, and for which of the
//! session's subscriptions.

use bytes::Bytes;
use gnomon_host::downlink::Downlink;
use serde::{Deserialize, Serialize};

/// What is kept beside the message itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    /// Identity of the downlink log, see `Consumer::log_id`.
    pub(crate) log: String,
    /// Position in that log: it may deliver the message once more.
    pub(crate) position: u64,
    /// MQTT 5 subscription identifiers that matched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) identifiers: Vec<u32>,
}

/// Encodes as one line of JSON, a line feed, and the message.
pub(crate) fn encode(origin: &Origin, message: &Downlink) -> Bytes {
    let mut out = serde_json::to_vec(origin).expect("an origin has a JSON form");
    out.push(b'\n');
    out.extend_from_slice(&message.encode());
    out.into()
}

/// Decodes what [`encode`] wrote, or a bare message as versions up to 0.1 kept it, whose origin is
/// not known. None if it is neither.
pub(crate) fn decode(kept: &Bytes) -> Option<(Option<Origin>, Downlink)> {
    let head_end = kept.iter().position(|byte| *byte == b'\n')?;
    match serde_json::from_slice(&kept[..head_end]) {
        Ok(origin) => Some((Some(origin), Downlink::decode(&kept.slice(head_end + 1..)).ok()?)),
        Err(_) => Some((None, Downlink::decode(kept).ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_undoes_encode_and_reads_bare_messages() {
        let message = Downlink::new("a/b", 1, Bytes::from_static(b"\n{}"));
        let origin = Origin { log: "downlink/0@x".into(), position: 7, identifiers: vec![1, 2] };
        let encoded = encode(&origin, &message);
        assert_eq!(decode(&encoded), Some((Some(origin), message.clone())));
        assert_eq!(decode(&message.encode()), Some((None, message)));
        assert_eq!(decode(&Bytes::from_static(b"gibberish\n")), None);
    }
}
