//! Wire formats: topic and bytes to the model and back, for every dialect.
//!
//! Invariants: every topic of Gnomon is made and taken apart in this crate. Which dialect a topic
//! belongs to is seen from its first level. What is encoded for a device is never recognised as an
//! uplink, so that a bridge which hears its own downlinks starts no loop.
//! Never: a clock, IO, another crate of this workspace than the model.

pub mod access;
pub mod alink;
pub mod plain;
pub mod topic;

use gnomon_model::{
    CallId, Destination, DeviceKey, Dialect, Effect, Fault, Object, Record, Reject, RejectKind,
    ReplyTo,
};
use serde_json::Value;

pub use access::{implicit_filters, may_publish, may_subscribe, named_device, stands_for};

/// Largest payload that is decoded, bytes: that of the platform which Alink firmware was written
/// for (`wire/alibaba.md` 2.5).
pub const PAYLOAD_BYTES_MAX: usize = 262_144;
/// Latest time that a report may carry: 2200-01-01, Unix milliseconds. A later one is a count of
/// microseconds or the like, and would shut out every honest report that follows.
const TIME_MAX_MS: i64 = 7_258_118_400_000;
/// Most faults that one message to a device lists: as many as an Alink post has properties.
const FAULTS_MAX: usize = 200;
/// Most characters that are shown of an identifier, which may be of any length.
const IDENTIFIER_CHARS_MAX: usize = 120;

/// A topic on which a device speaks, recognised without looking at the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The device that the topic names.
    pub device: DeviceKey,
    /// The wire format.
    pub dialect: Dialect,
    /// What kind of message the topic carries.
    pub kind: UplinkKind,
}

/// What kind of message an uplink topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UplinkKind {
    /// Properties, or properties and events.
    Report,
    /// One event.
    Event,
    /// The device asks.
    Request,
    /// The device answers a call.
    Reply,
    /// A topic among those of a device that nothing answers yet: decoding it is a refusal, of
    /// which the device is told.
    Unsupported,
}

/// What a device said, and how to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// What it said.
    pub said: Said,
    /// How to answer.
    pub reply_to: ReplyTo,
}

/// What a device said. Values are as they came; the thing model has not seen them yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Reports and events of one message.
    Reports {
        /// Reports in time order; two of one time name a property both.
        points: Vec<Point>,
        /// Events in time order.
        events: Vec<HappenedEvent>,
        /// Parts that the format itself refuses, by identifier.
        faults: Vec<Fault>,
    },
    /// One event.
    Event(HappenedEvent),
    /// The device asks something of the rules.
    Request {
        /// Name of the request.
        name: String,
        /// Its body; null when empty.
        body: Value,
    },
    /// The device answers a call.
    Reply {
        /// The call.
        call: CallId,
        /// Outputs, or the device's own code and words for a failure.
        result: Result<Object, (i64, String)>,
    },
    /// Understood, and nothing is to be done.
    Nothing,
}

/// Values of one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When they were measured, Unix milliseconds, from 1970-01-01 to 2200-01-01.
    pub time_ms: i64,
    /// Property -> value.
    pub values: Object,
}

/// An event that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct HappenedEvent {
    /// Identifier of the event.
    pub event: String,
    /// Output -> value.
    pub outputs: Object,
    /// When it happened, Unix milliseconds, from 1970-01-01 to 2200-01-01.
    pub time_ms: i64,
}

/// Why a message cannot be read, and how to say so to the device: not at all when its topic is
/// none of a device.
pub type Refusal = (Option<ReplyTo>, Reject);

/// Recognises a topic on which a device speaks; none for any other topic, also for those on which
/// a device is told something.
///
/// ```
/// use gnomon_dialect::{UplinkKind, recognise};
///
/// let uplink = recognise("devices/coldroom/room-1/telemetry").ok_or("unknown")?;
/// assert_eq!((uplink.device.to_string().as_str(), uplink.kind), ("coldroom/room-1", UplinkKind::Report));
/// assert_eq!(recognise("devices/coldroom/room-1/alerts"), None);
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn recognise(topic: &str) -> Option<Uplink> {
    if let Some(topic) = plain::take_apart(topic) {
        return Some(Uplink {
            kind: topic.uplink_kind(),
            device: topic.device,
            dialect: Dialect::Plain,
        });
    }
    let topic = alink::take_apart(topic)?;
    Some(Uplink { kind: topic.uplink_kind(), device: topic.device, dialect: Dialect::Alink })
}

/// Decodes what a device published. `received_at_ms` is the time of values without one.
///
/// # Errors
/// Why the message cannot be read, and how to answer it; without the latter exactly when
/// [`recognise`] knows no such topic. [`RejectKind::NotJson`], `Malformed`, `TooLarge`, `BadTime`,
/// `UnknownTopic`, and `UnknownCall` for a reply whose id none of our calls can have.
pub fn decode(topic: &str, payload: &[u8], received_at_ms: i64) -> Result<Decoded, Refusal> {
    if let Some(parts) = plain::take_apart(topic) {
        return plain::decode(topic, &parts, payload, received_at_ms);
    }
    if let Some(parts) = alink::take_apart(topic) {
        return alink::decode(topic, &parts, payload, received_at_ms);
    }
    let reason = format!("`{topic:.120}` is no topic on which a device publishes");
    Err((None, Reject::new(RejectKind::UnknownTopic, reason)))
}

/// Encodes an effect as the messages that carry it: what a refused or accepted message, an alert,
/// a call ... looks like on the wire.
///
/// Answers go in the dialect of the message they answer; desired state and calls in the one that
/// the record says the device speaks; an alert on the plain topic always, for an Alink device on
/// `/{product}/{device}/user/alert` as well. Nothing is made where nobody is to be told.
#[must_use]
pub fn encode(effect: &Effect, device: &DeviceKey, record: &Record) -> Vec<(Destination, String)> {
    match effect {
        Effect::Accepted { to, .. } | Effect::Rejected { to, .. } if !to.wanted => Vec::new(),
        Effect::Accepted { to, faults } => match to.dialect {
            Dialect::Plain => plain::encode_accepted(device, to, faults).into_iter().collect(),
            Dialect::Alink => vec![alink::encode_accepted(to, faults)],
        },
        Effect::Rejected { to, reject } => vec![match to.dialect {
            Dialect::Plain => plain::encode_rejected(device, to, reject),
            Dialect::Alink => alink::encode_rejected(to, reject),
        }],
        Effect::Alert(alert) => {
            let also = match record.dialect {
                Dialect::Plain => None,
                Dialect::Alink => alink::encode_alert(device, alert),
            };
            [plain::encode_alert(device, alert)].into_iter().chain(also).collect()
        }
        Effect::Desired { delta, id, .. } => vec![match record.dialect {
            Dialect::Plain => plain::encode_desired(device, delta),
            Dialect::Alink => alink::encode_desired(device, delta, *id),
        }],
        Effect::Call { id, service, inputs, sync } => vec![match record.dialect {
            Dialect::Plain => plain::encode_call(device, *id, service, inputs),
            Dialect::Alink => alink::encode_call(device, *id, service, inputs, *sync),
        }],
        Effect::Response { to, body } => vec![match to.dialect {
            Dialect::Plain => plain::encode_response(device, to, body),
            Dialect::Alink => alink::encode_response(to, body),
        }],
        Effect::Publish { topic, payload } => vec![(to_topic(topic.clone(), 1), payload.clone())],
        Effect::Answer { request, answer } => {
            vec![(Destination::Caller { request: request.clone() }, json_text(answer))]
        }
    }
}

fn to_topic(topic: String, qos: u8) -> Destination {
    Destination::Topic { topic, qos }
}

fn json_text<T: serde::Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("names, numbers and JSON values have a JSON form")
}

/// Reads a time in Unix milliseconds.
fn time_ms(value: &Value) -> Result<i64, Reject> {
    let time = value.as_i64().filter(|time| (1..TIME_MAX_MS).contains(time));
    time.ok_or_else(|| {
        let found = match value {
            Value::Number(number) => number.to_string(),
            other => gnomon_model::json::kind(other).to_owned(),
        };
        let reason = format!("`time` is {found}, Unix milliseconds are expected");
        Reject::new(RejectKind::BadTime, reason)
    })
}

/// Takes `{key:{…},"time":ms}` and `{key:{…}}` apart into the time and the members under `key`.
/// Anything else is the members themselves, so that one of them may be called `time` or `key`.
fn timed(mut object: Object, key: &str, received_at_ms: i64) -> Result<(i64, Object), Reject> {
    match object.remove(key) {
        Some(Value::Object(members)) if object.keys().all(|other| other == "time") => {
            Ok((object.get("time").map_or(Ok(received_at_ms), time_ms)?, members))
        }
        Some(other) => {
            object.insert(key.to_owned(), other);
            Ok((received_at_ms, object))
        }
        None => Ok((received_at_ms, object)),
    }
}

fn at_most(count: usize, count_max: usize, what: &str) -> Result<(), Reject> {
    if count <= count_max {
        return Ok(());
    }
    Err(Reject::new(RejectKind::TooLarge, format!("{count} {what}, at most {count_max}")))
}

/// An identifier as a message to a device shows it.
fn shown(identifier: &str) -> String {
    identifier.chars().take(IDENTIFIER_CHARS_MAX).collect()
}

/// Reads the id of a call from a topic or an envelope.
fn call_id(text: &str) -> Result<CallId, Reject> {
    CallId::parse(text).ok_or_else(|| {
        Reject::new(RejectKind::UnknownCall, format!("`{text:.40}` is no id of a call"))
    })
}
