//! Wire formats: topic and bytes to the model and back, for every dialect.
//!
//! Invariants: every topic of Gnomon is made and taken apart in this crate. Which dialect a topic
//! belongs to is seen from its first level.
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

/// Latest time that a report may carry: 2200-01-01, Unix milliseconds.
const TIME_MAX_MS: i64 = 7_258_118_400_000;

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
    /// A topic of the dialect that is not supported: decoding says so to the device.
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

/// What a device said.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Reports and events of one message.
    Reports {
        /// Reports in time order.
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
    /// When they were measured, Unix milliseconds.
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
    /// When it happened, Unix milliseconds.
    pub time_ms: i64,
}

/// Recognises a topic on which a device speaks.
#[must_use]
pub fn recognise(topic: &str) -> Option<Uplink> {
    plain::recognise(topic).or_else(|| alink::recognise(topic))
}

/// Decodes what a device published. `received_at_ms` is the time of values without one.
///
/// # Errors
/// How to answer, if the topic tells, and why the message cannot be read.
pub fn decode(
    topic: &str,
    payload: &[u8],
    received_at_ms: i64,
) -> Result<Decoded, (Option<ReplyTo>, Reject)> {
    if plain::recognise(topic).is_some() {
        return plain::decode(topic, payload, received_at_ms);
    }
    if alink::recognise(topic).is_some() {
        return alink::decode(topic, payload, received_at_ms);
    }
    let reason = format!("`{topic:.120}` is no topic that a device may publish on");
    Err((None, Reject::new(RejectKind::UnknownTopic, reason)))
}

/// Encodes an effect as the messages that carry it.
#[must_use]
pub fn encode(effect: &Effect, device: &DeviceKey, record: &Record) -> Vec<(Destination, String)> {
    match effect {
        Effect::Accepted { to, faults } => one(match to.dialect {
            Dialect::Plain => plain::encode_accepted(device, to, faults),
            Dialect::Alink => alink::encode_accepted(to, faults),
        }),
        Effect::Rejected { to, reject } => one(match to.dialect {
            Dialect::Plain => Some(plain::encode_rejected(device, to, reject)),
            Dialect::Alink => alink::encode_rejected(to, reject),
        }),
        Effect::Alert(alert) => {
            let mut messages = vec![plain::encode_alert(device, alert)];
            if record.dialect == Dialect::Alink {
                let (_, payload) = &messages[0];
                messages.push((alink::alert_destination(device), payload.clone()));
            }
            messages
        }
        Effect::Desired { delta, id, .. } => vec![match record.dialect {
            Dialect::Plain => plain::encode_desired(device, delta),
            Dialect::Alink => alink::encode_desired(device, delta, *id),
        }],
        Effect::Call { id, service, inputs, sync } => vec![match record.dialect {
            Dialect::Plain => plain::encode_call(device, *id, service, inputs),
            Dialect::Alink => alink::encode_call(device, *id, service, inputs, *sync),
        }],
        Effect::Response { to, body } => vec![plain::encode_response(device, to, body)],
        Effect::Publish { topic, payload } => vec![(to_topic(topic.clone(), 1), payload.clone())],
        Effect::Answer { request, answer } => {
            let payload = serde_json::to_string(answer).expect("an answer has a JSON form");
            vec![(Destination::Caller { request: request.clone() }, payload)]
        }
    }
}

fn one(message: Option<(Destination, String)>) -> Vec<(Destination, String)> {
    message.into_iter().collect()
}

fn to_topic(topic: String, qos: u8) -> Destination {
    Destination::Topic { topic, qos }
}

/// Reads a time in Unix milliseconds.
fn time_ms(value: &Value) -> Result<i64, Reject> {
    let time = value.as_i64().filter(|time| (1..TIME_MAX_MS).contains(time));
    time.ok_or_else(|| {
        let reason = format!("time {value:.40} is not a time in Unix milliseconds");
        Reject::new(RejectKind::BadTime, reason)
    })
}

/// Orders points by time, keeping the order of the message within one time.
fn in_time_order(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by_key(|point| point.time_ms);
    points
}
