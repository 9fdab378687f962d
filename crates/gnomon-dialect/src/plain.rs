//! The plain dialect: topics under `devices/`, for people with `mosquitto_pub`.
//!
//! Everything for the device goes at QoS 1; what a subscriber granted itself bounds it.
//!
//! See: docs/topics.md

use gnomon_model::json::{parse, parse_object};
use gnomon_model::{
    Alert, AlertStatus, CallId, Destination, DeviceKey, Dialect, Fault, Object, Reject, RejectKind,
    ReplyTo, Severity,
};
use serde::Serialize;
use serde_json::Value;

use crate::topic::{is_level, valid_topic};
use crate::{
    Decoded, FAULTS_MAX, HappenedEvent, PAYLOAD_BYTES_MAX, Point, Refusal, Said, UplinkKind,
    at_most, call_id, json_text, shown, timed, to_topic,
};

/// Where a device is asked for something, below its name.
pub(crate) const TO_DEVICE: [&str; 2] = ["desired", "calls/+/+"];
/// Most properties or outputs of one message.
const MEMBERS_MAX: usize = 1000;
/// QoS of everything that a device or an application is told.
const QOS: u8 = 1;

/// An uplink topic, taken apart.
pub(crate) struct Topic<'a> {
    pub(crate) device: DeviceKey,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Telemetry,
    Event { event: &'a str },
    Request { name: &'a str, id: &'a str },
    Reply { id: &'a str },
    Unsupported,
}

impl Topic<'_> {
    pub(crate) fn uplink_kind(&self) -> UplinkKind {
        match self.kind {
            Kind::Telemetry => UplinkKind::Report,
            Kind::Event { .. } => UplinkKind::Event,
            Kind::Request { .. } => UplinkKind::Request,
            Kind::Reply { .. } => UplinkKind::Reply,
            Kind::Unsupported => UplinkKind::Unsupported,
        }
    }
}

pub(crate) fn take_apart(topic: &str) -> Option<Topic<'_>> {
    let rest = topic.strip_prefix("devices/").filter(|_| valid_topic(topic))?;
    let (product, rest) = rest.split_once('/')?;
    let (device, rest) = rest.split_once('/')?;
    let kind = kind_of(rest)?;
    Some(Topic { device: DeviceKey::parse(product, device).ok()?, kind })
}

fn kind_of(rest: &str) -> Option<Kind<'_>> {
    let (word, named) = rest.split_once('/').unwrap_or((rest, ""));
    match word {
        "telemetry" if word == rest => Some(Kind::Telemetry),
        "events" if is_level(named) => Some(Kind::Event { event: named }),
        "replies" if is_level(named) => Some(Kind::Reply { id: named }),
        "requests" => match named.split_once('/') {
            Some((name, id)) if is_level(name) && is_level(id) => Some(Kind::Request { name, id }),
            _ => Some(Kind::Unsupported),
        },
        // What the device is told is not an uplink, whoever publishes it.
        "desired" | "alerts" | "calls" | "responses" | "rejected" => None,
        _ => is_level(word).then_some(Kind::Unsupported),
    }
}

fn topic_of(device: &DeviceKey, rest: &str) -> String {
    format!("devices/{}/{}/{rest}", device.product, device.device)
}

/// Topic on which a device reports properties.
#[must_use]
pub fn telemetry_topic(device: &DeviceKey) -> String {
    topic_of(device, "telemetry")
}

pub(crate) fn decode(
    topic: &str,
    parts: &Topic<'_>,
    payload: &[u8],
    received_at_ms: i64,
) -> Result<Decoded, Refusal> {
    let id = match parts.kind {
        Kind::Request { id, .. } => id.to_owned(),
        Kind::Telemetry | Kind::Event { .. } | Kind::Reply { .. } | Kind::Unsupported => {
            String::new()
        }
    };
    let reply_to = ReplyTo { dialect: Dialect::Plain, topic: topic.to_owned(), id, wanted: true };
    match said(topic, &parts.kind, payload, received_at_ms) {
        Ok(said) => Ok(Decoded { said, reply_to }),
        Err(reject) => Err((Some(reply_to), reject)),
    }
}

fn said(topic: &str, kind: &Kind<'_>, payload: &[u8], received_at_ms: i64) -> Result<Said, Reject> {
    at_most(payload.len(), PAYLOAD_BYTES_MAX, "bytes of payload")?;
    match kind {
        Kind::Telemetry => {
            let (time_ms, values) = members(parse_object(payload)?, received_at_ms)?;
            let points = vec![Point { time_ms, values }];
            Ok(Said::Reports { points, events: Vec::new(), faults: Vec::new() })
        }
        Kind::Event { event } => {
            let (time_ms, outputs) = members(object_or_empty(payload)?, received_at_ms)?;
            Ok(Said::Event(HappenedEvent { event: (*event).to_owned(), outputs, time_ms }))
        }
        Kind::Request { name, .. } => {
            let body = if payload.is_empty() { Value::Null } else { parse(payload)? };
            Ok(Said::Request { name: (*name).to_owned(), body })
        }
        Kind::Reply { id } => {
            let call = call_id(id)?;
            Ok(Said::Reply { call, result: result(object_or_empty(payload)?) })
        }
        Kind::Unsupported => Err(unsupported(topic)),
    }
}

fn unsupported(topic: &str) -> Reject {
    let reason = format!(
        "`{topic:.120}` is no topic on which a device publishes: after its name comes telemetry, \
         events/{{event}}, requests/{{name}}/{{id}} or replies/{{id}}"
    );
    Reject::new(RejectKind::UnknownTopic, reason)
}

fn object_or_empty(payload: &[u8]) -> Result<Object, Reject> {
    if payload.is_empty() { Ok(Object::new()) } else { parse_object(payload) }
}

/// Takes the time and the values of a message that may be nothing but values.
fn members(object: Object, received_at_ms: i64) -> Result<(i64, Object), Reject> {
    let (time_ms, members) = timed(object, "values", received_at_ms)?;
    at_most(members.len(), MEMBERS_MAX, "members")?;
    Ok((time_ms, members))
}

/// `{"error":{"code":n,"message":"…"}}` is a failure; anything else are outputs.
fn result(object: Object) -> Result<Object, (i64, String)> {
    let error = match (object.len(), object.get("error")) {
        (1, Some(Value::Object(error))) => error,
        _ => return Ok(object),
    };
    match (error.get("code").and_then(Value::as_i64), error.get("message")) {
        (Some(code), Some(Value::String(message))) => Err((code, message.clone())),
        (Some(code), None) => Err((code, String::new())),
        _ => Ok(object),
    }
}

/// Why a message, or a part of it, was refused.
#[derive(Serialize)]
struct Rejected<'a> {
    topic: &'a str,
    kind: &'static str,
    reason: &'a str,
    faults: Vec<RejectedPart<'a>>,
}

#[derive(Serialize)]
struct RejectedPart<'a> {
    identifier: String,
    reason: &'a str,
}

pub(crate) fn encode_accepted(
    device: &DeviceKey,
    to: &ReplyTo,
    faults: &[Fault],
) -> Option<(Destination, String)> {
    if faults.is_empty() {
        return None;
    }
    let reason = match faults.len() {
        1 => "1 part of the message does not fit the thing model".to_owned(),
        count => format!("{count} parts of the message do not fit the thing model"),
    };
    let faults = faults
        .iter()
        .take(FAULTS_MAX)
        .map(|fault| RejectedPart { identifier: shown(&fault.identifier), reason: &fault.reason });
    let kind = RejectKind::Invalid.as_str();
    let body = Rejected { topic: &to.topic, kind, reason: &reason, faults: faults.collect() };
    Some((to_topic(topic_of(device, "rejected"), QOS), json_text(&body)))
}

pub(crate) fn encode_rejected(
    device: &DeviceKey,
    to: &ReplyTo,
    reject: &Reject,
) -> (Destination, String) {
    let Reject { kind, reason } = reject;
    let body = Rejected { topic: &to.topic, kind: kind.as_str(), reason, faults: Vec::new() };
    (to_topic(topic_of(device, "rejected"), QOS), json_text(&body))
}

/// An alert as people are told: the rule that raised it is our affair.
#[derive(Serialize)]
struct AlertBody<'a> {
    alert: &'a str,
    status: AlertStatus,
    severity: Severity,
    message: &'a str,
    product: &'a str,
    device: &'a str,
    at: i64,
    values: &'a Object,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_by: Option<&'a str>,
    /// The how-manieth reminder this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reminder: Option<u32>,
}

/// The alert's document, with these values in place of its own.
pub(crate) fn alert_text(alert: &Alert, values: &Object) -> String {
    json_text(&AlertBody {
        alert: &alert.alert,
        status: alert.status,
        severity: alert.severity,
        message: &alert.message,
        product: alert.product.as_str(),
        device: alert.device.as_str(),
        at: alert.at,
        values,
        id: &alert.id,
        acknowledged_at: alert.acknowledged_at,
        acknowledged_by: alert.acknowledged_by.as_deref(),
        reminder: Some(alert.reminders).filter(|count| *count > 0 && alert.is_open()),
    })
}

pub(crate) fn encode_alert(device: &DeviceKey, alert: &Alert) -> (Destination, String) {
    (to_topic(topic_of(device, "alerts"), QOS), alert_text(alert, &alert.values))
}

pub(crate) fn encode_desired(device: &DeviceKey, delta: &Object) -> (Destination, String) {
    (to_topic(topic_of(device, "desired"), QOS), json_text(delta))
}

pub(crate) fn encode_call(
    device: &DeviceKey,
    id: CallId,
    service: &str,
    inputs: &Object,
) -> (Destination, String) {
    (to_topic(topic_of(device, &format!("calls/{service}/{id}")), QOS), json_text(inputs))
}

pub(crate) fn encode_response(
    device: &DeviceKey,
    to: &ReplyTo,
    body: &Value,
) -> (Destination, String) {
    (to_topic(topic_of(device, &format!("responses/{}", to.id)), QOS), json_text(body))
}
