//! Replay: a dead letter's envelope goes once more to the function that refused it.
//!
//! Invariants: the letter stays where it stands; its replay has one id, made of its position and
//! the envelope's id, so that a second replay is absorbed for as long as the log remembers the first.
//! Never: a replay of a call or of a presence, which mean something only at their time.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use gnomon_host::dead::{DeadLetter, Payload};
use gnomon_host::port::{Queue, Store, Stream};
use gnomon_model::{Envelope, EnvelopeId, What};
use serde_json::{Value, json};

use crate::Shared;
use crate::dead::find;
use crate::extract::{append, bad};
use crate::problem::Problem;

/// Longest id of an envelope, bytes.
const ID_BYTES_MAX: usize = 64;
/// What the id of a replay begins with; the letter's position and a hyphen follow.
const PREFIX: &str = "replay-";

pub(crate) async fn replay<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    position: Result<Path<u64>, PathRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Path(position) = position.map_err(|error| bad(error.body_text()))?;
    let letter = find(&shared.api.queue, position).await?;
    let (stream, envelope) = revive(position, &letter.body)
        .map_err(|reason| Problem::new(StatusCode::CONFLICT, reason))?;
    append(&shared.api.queue, stream, &envelope).await?;
    let told = json!({ "id": envelope.id, "stream": stream.as_str(), "device": envelope.device });
    Ok((StatusCode::ACCEPTED, Json(told)))
}

/// Makes of a letter the envelope that it was, under the id of its replay; or says why it cannot.
fn revive(position: u64, letter: &[u8]) -> Result<(Stream, Envelope), String> {
    let letter = DeadLetter::decode(letter)
        .map_err(|error| format!("the letter at {position} cannot be read: {error}"))?;
    if letter.envelope.is_null() {
        return Err(format!("the message at {position} never was an envelope"));
    }
    let mut envelope: Envelope = serde_json::from_value(letter.envelope)
        .map_err(|error| format!("the envelope at {position} cannot be read: {error}"))?;
    match &mut envelope.what {
        What::Published { payload, packet, .. } => {
            *payload = bytes(&letter.payload)
                .ok_or_else(|| format!("the payload at {position} cannot be read"))?;
            // It is no retransmission, and a later packet of the same number is none of it.
            *packet = None;
        }
        What::Desire { .. } => {}
        What::Presence(_) => return Err("a presence is not replayed: it has passed".to_owned()),
        What::Call { .. } => {
            return Err("a call is not replayed: nobody waits for its reply any more".to_owned());
        }
        What::Acknowledge { .. } => {
            return Err(
                "an acknowledgement is not replayed: acknowledge the alert again".to_owned()
            );
        }
        What::Due { .. } => {
            return Err("what was due is not replayed: the timer tells it again".to_owned());
        }
    }
    let stream = stream(&letter.function).ok_or_else(|| {
        format!("the letter at {position} is of `{:.80}`, which is not known", letter.function)
    })?;
    envelope.id = replay_id(position, &envelope.id);
    Ok((stream, envelope))
}

/// The stream that the function reads. Only functions that step envelopes write dead letters.
fn stream(function: &str) -> Option<Stream> {
    match function {
        "telemetry" => Some(Stream::Telemetry),
        "shadow" => Some(Stream::Shadow),
        "rrpc" => Some(Stream::Calls),
        _ => None,
    }
}

/// `replay-{position}-{id}`, in which the id of a message that was a replay already is its first one.
fn replay_id(position: u64, id: &EnvelopeId) -> EnvelopeId {
    let replayed = id.as_str().strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    let first = replayed.map_or(id.as_str(), |(_, first)| first);
    let mut text = format!("{PREFIX}{position}-{first}");
    // The position alone makes it unique. An id is ASCII.
    text.truncate(ID_BYTES_MAX);
    EnvelopeId::parse(&text).expect("a position and an id are words")
}

fn bytes(payload: &Payload) -> Option<Bytes> {
    match payload {
        Payload::Text(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Payload::Hex(digits) => {
            let pairs = digits.as_bytes().chunks(2).map(|pair| {
                let digits = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
                u8::from_str_radix(digits, 16).ok()
            });
            pairs.collect::<Option<Vec<u8>>>().map(Bytes::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnomon_model::{DeviceKey, Object, Presence, Reject, RejectKind};

    fn published(payload: &'static [u8]) -> What {
        let topic = "devices/coldroom/room-1/telemetry".to_owned();
        let packet = Some(("room-1".to_owned(), 7));
        What::Published { topic, payload: Bytes::from_static(payload), packet }
    }

    fn letter(function: &str, what: What) -> String {
        let envelope = Envelope {
            id: EnvelopeId::parse("e-1").unwrap(),
            device: DeviceKey::parse("coldroom", "room-1").unwrap(),
            received_at_ms: 1_700_000_000_000,
            what,
        };
        let reject = Reject::new(RejectKind::Invalid, "why");
        DeadLetter::new(&envelope, &reject, function, "telemetry/0@x/1").encode()
    }

    #[test]
    fn a_message_comes_back_as_it_was_under_a_new_id() {
        for payload in [&b"{\"a\":1}"[..], b"", b"\xff\x00\n"] {
            let letter = letter("telemetry", published(payload));
            let (stream, envelope) = revive(12, letter.as_bytes()).unwrap();
            assert_eq!((stream, envelope.id.as_str()), (Stream::Telemetry, "replay-12-e-1"));
            assert_eq!(envelope.received_at_ms, 1_700_000_000_000);
            let What::Published { payload: found, packet: None, .. } = envelope.what else {
                panic!("{:?}", envelope.what)
            };
            assert_eq!(found, payload);
        }
        let desire = What::Desire { patch: Object::new(), expected_version: Some(3) };
        let (stream, envelope) = revive(1, letter("shadow", desire.clone()).as_bytes()).unwrap();
        assert_eq!((stream, envelope.what), (Stream::Shadow, desire));
        let reply = letter("rrpc", published(b"{}"));
        assert_eq!(revive(1, reply.as_bytes()).unwrap().0, Stream::Calls);
    }

    #[test]
    fn what_cannot_be_replayed_is_told() {
        let reject = Reject::new(RejectKind::Malformed, "why");
        let garbage = DeadLetter::undecodable(&b"\xff"[..].into(), &reject, "telemetry", "x/1");
        let odd = letter("telemetry", published(b"\xff")).replace("\"ff\"", "\"f\"");
        let call = What::Call { service: "s".into(), inputs: Object::new(), timeout_ms: 1 };
        let presence = What::Presence(Presence {
            online: true,
            connection: "c".to_owned(),
            reason: "connected".to_owned(),
            dialect: None,
        });
        for (letter, said) in [
            ("garbage".to_owned(), "letter at 1 cannot be read"),
            (garbage.encode(), "never was an envelope"),
            (letter("telemetry", published(b"")).replace("e-1", "e 1"), "envelope at 1"),
            (odd, "payload at 1"),
            (letter("rrpc", call), "a call is not replayed"),
            (letter("telemetry", presence), "a presence is not replayed"),
            (letter("other", published(b"")), "`other`"),
        ] {
            let told = revive(1, letter.as_bytes()).unwrap_err();
            assert!(told.contains(said), "{said}: {told}");
        }
    }

    #[test]
    fn ids_of_replays_neither_grow_nor_meet() {
        let id = |text: &str| EnvelopeId::parse(text).unwrap();
        let long = "x".repeat(64);
        for (position, given, then) in [
            (5, "e-1", "replay-5-e-1".to_owned()),
            (12, "replay-5-e-1", "replay-12-e-1".to_owned()),
            (1, &long, format!("replay-1-{}", "x".repeat(55))),
        ] {
            assert_eq!(replay_id(position, &id(given)).as_str(), then);
        }
    }
}
