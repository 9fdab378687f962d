//! The plain dialect: topics under `devices/`, for people with `mosquitto_pub`.
//!
//! See: docs/topics.md

use gnomon_model::json::{parse, parse_object};
use gnomon_model::{
    Alert, CallId, Destination, DeviceKey, Dialect, Fault, Object, Reject, RejectKind, ReplyTo,
};
use serde_json::{Value, json};

use crate::{Decoded, HappenedEvent, Point, Said, Uplink, UplinkKind, time_ms, to_topic};

/// An uplink topic, taken apart.
struct Topic<'a> {
    device: DeviceKey,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Telemetry,
    Event { event: &'a str },
    Request { name: &'a str, id: &'a str },
    Reply { id: &'a str },
}

fn take_apart(topic: &str) -> Option<Topic<'_>> {
    let rest = topic.strip_prefix("devices/")?;
    let (product, rest) = rest.split_once('/')?;
    let (device, rest) = rest.split_once('/')?;
    let kind = match rest.split_once('/') {
        None if rest == "telemetry" => Kind::Telemetry,
        Some(("events", event)) if is_level(event) => Kind::Event { event },
        Some(("replies", id)) if is_level(id) => Kind::Reply { id },
        Some(("requests", named)) => {
            let (name, id) = named.split_once('/')?;
            (is_level(name) && is_level(id)).then_some(Kind::Request { name, id })?
        }
        _ => return None,
    };
    Some(Topic { device: DeviceKey::parse(product, device).ok()?, kind })
}

fn is_level(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

fn topic_of(device: &DeviceKey, rest: &str) -> String {
    format!("devices/{}/{}/{rest}", device.product, device.device)
}

/// Topic on which a device reports properties.
#[must_use]
pub fn telemetry_topic(device: &DeviceKey) -> String {
    topic_of(device, "telemetry")
}

pub(crate) fn recognise(topic: &str) -> Option<Uplink> {
    let Topic { device, kind } = take_apart(topic)?;
    let kind = match kind {
        Kind::Telemetry => UplinkKind::Report,
        Kind::Event { .. } => UplinkKind::Event,
        Kind::Request { .. } => UplinkKind::Request,
        Kind::Reply { .. } => UplinkKind::Reply,
    };
    Some(Uplink { device, dialect: Dialect::Plain, kind })
}

pub(crate) fn decode(
    topic: &str,
    payload: &[u8],
    received_at_ms: i64,
) -> Result<Decoded, (Option<ReplyTo>, Reject)> {
    let Some(Topic { kind, .. }) = take_apart(topic) else {
        return Err((None, Reject::new(RejectKind::UnknownTopic, "not a topic of a device")));
    };
    let id = match kind {
        Kind::Request { id, .. } => id.to_owned(),
        Kind::Telemetry | Kind::Event { .. } | Kind::Reply { .. } => String::new(),
    };
    let reply_to = ReplyTo { dialect: Dialect::Plain, topic: topic.to_owned(), id, wanted: true };
    match said(&kind, payload, received_at_ms) {
        Ok(said) => Ok(Decoded { said, reply_to }),
        Err(reject) => Err((Some(reply_to), reject)),
    }
}

fn said(kind: &Kind<'_>, payload: &[u8], received_at_ms: i64) -> Result<Said, Reject> {
    match kind {
        Kind::Telemetry => {
            let (time_ms, values) = timed(parse_object(payload)?, received_at_ms)?;
            let points = vec![Point { time_ms, values }];
            Ok(Said::Reports { points, events: Vec::new(), faults: Vec::new() })
        }
        Kind::Event { event } => {
            let (time_ms, outputs) = timed(object_or_empty(payload)?, received_at_ms)?;
            Ok(Said::Event(HappenedEvent { event: (*event).to_owned(), outputs, time_ms }))
        }
        Kind::Request { name, .. } => {
            let body = if payload.is_empty() { Value::Null } else { parse(payload)? };
            Ok(Said::Request { name: (*name).to_owned(), body })
        }
        Kind::Reply { id } => {
            let call = CallId::parse(id).ok_or_else(|| {
                Reject::new(RejectKind::UnknownCall, format!("`{id:.40}` is no id of a call"))
            })?;
            Ok(Said::Reply { call, result: result(object_or_empty(payload)?) })
        }
    }
}

fn object_or_empty(payload: &[u8]) -> Result<Object, Reject> {
    if payload.is_empty() { Ok(Object::new()) } else { parse_object(payload) }
}

/// Takes `{"time":ms,"values":{…}}` apart; anything else is the values themselves.
fn timed(mut object: Object, received_at_ms: i64) -> Result<(i64, Object), Reject> {
    let is_timed = matches!(object.get("values"), Some(Value::Object(_)))
        && object.keys().all(|key| key == "time" || key == "values");
    if !is_timed {
        return Ok((received_at_ms, object));
    }
    let time_ms = object.get("time").map_or(Ok(received_at_ms), time_ms)?;
    match object.remove("values") {
        Some(Value::Object(values)) => Ok((time_ms, values)),
        _ => Ok((time_ms, Object::new())),
    }
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

pub(crate) fn encode_accepted(
    device: &DeviceKey,
    to: &ReplyTo,
    faults: &[Fault],
) -> Option<(Destination, String)> {
    if faults.is_empty() {
        return None;
    }
    let kind = RejectKind::Invalid.as_str();
    let reason = "parts of the message do not fit the thing model; the others are applied";
    Some(rejected(device, to, kind, reason, faults))
}

pub(crate) fn encode_rejected(
    device: &DeviceKey,
    to: &ReplyTo,
    reject: &Reject,
) -> (Destination, String) {
    rejected(device, to, reject.kind.as_str(), &reject.reason, &[])
}

fn rejected(
    device: &DeviceKey,
    to: &ReplyTo,
    kind: &str,
    reason: &str,
    faults: &[Fault],
) -> (Destination, String) {
    let faults: Vec<Value> = faults
        .iter()
        .map(|fault| json!({ "identifier": fault.identifier, "reason": fault.reason }))
        .collect();
    let body = json!({ "topic": to.topic, "kind": kind, "reason": reason, "faults": faults });
    (to_topic(topic_of(device, "rejected"), 1), body.to_string())
}

pub(crate) fn encode_alert(device: &DeviceKey, alert: &Alert) -> (Destination, String) {
    let body = json!({
        "alert": alert.alert,
        "status": alert.status,
        "severity": alert.severity,
        "message": alert.message,
        "product": alert.product,
        "device": alert.device,
        "at": alert.at,
        "values": alert.values,
        "id": alert.id,
    });
    (to_topic(topic_of(device, "alerts"), 1), body.to_string())
}

pub(crate) fn encode_desired(device: &DeviceKey, delta: &Object) -> (Destination, String) {
    (to_topic(topic_of(device, "desired"), 1), text(delta))
}

pub(crate) fn encode_call(
    device: &DeviceKey,
    id: CallId,
    service: &str,
    inputs: &Object,
) -> (Destination, String) {
    (to_topic(topic_of(device, &format!("calls/{service}/{id}")), 1), text(inputs))
}

pub(crate) fn encode_response(
    device: &DeviceKey,
    to: &ReplyTo,
    body: &Value,
) -> (Destination, String) {
    (to_topic(topic_of(device, &format!("responses/{}", to.id)), 1), body.to_string())
}

fn text(object: &Object) -> String {
    serde_json::to_string(object).expect("an object has a JSON form")
}
