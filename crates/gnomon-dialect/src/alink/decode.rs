//! What an Alink device says.
//!
//! Invariants: a message is known by its topic; `method` is not looked at, since firmware leaves it
//! out or empty (`wire/alibaba.md` 4.1). Replies of a device are never answered.

use gnomon_model::json::{kind, parse_object};
use gnomon_model::{Dialect, Fault, FaultKind, Object, Reject, RejectKind, ReplyTo};
use serde_json::Value;

use super::{Kind, Topic, code};
use crate::{
    Decoded, HappenedEvent, PAYLOAD_BYTES_MAX, Point, Refusal, Said, at_most, call_id, shown,
    time_ms, timed,
};

/// Most properties of one message (`wire/alibaba.md` 5.4).
const PROPERTIES_MAX: usize = 200;
/// Most events of one message (`wire/alibaba.md` 4.4, code 6356).
const EVENTS_MAX: usize = 200;
/// Most values of one batch, over all properties and times. Ours: the platform names no bound.
const BATCH_VALUES_MAX: usize = 2000;

pub(crate) fn decode(
    topic: &str,
    parts: &Topic<'_>,
    payload: &[u8],
    received_at_ms: i64,
) -> Result<Decoded, Refusal> {
    let is_reply =
        matches!(parts.kind, Kind::SetReply | Kind::ServiceReply | Kind::RrpcResponse { .. });
    let (id, wanted) = (String::new(), !is_reply);
    let mut reply_to = ReplyTo { dialect: Dialect::Alink, topic: topic.to_owned(), id, wanted };
    match said(parts.kind, payload, &mut reply_to, received_at_ms) {
        Ok(said) => Ok(Decoded { said, reply_to }),
        Err(reject) => Err((Some(reply_to), reject)),
    }
}

/// Reads the envelope, and tells `reply_to` what stands in it.
fn said(
    kind: Kind<'_>,
    payload: &[u8],
    reply_to: &mut ReplyTo,
    received_at_ms: i64,
) -> Result<Said, Reject> {
    at_most(payload.len(), PAYLOAD_BYTES_MAX, "bytes of payload")?;
    let message = match parse_object(payload) {
        // Raw topics carry bytes; that they are not supported comes first.
        Err(_) if matches!(kind, Kind::Unsupported) => Object::new(),
        parsed => parsed?,
    };
    reply_to.id = id_of(&message);
    reply_to.wanted &= wants_reply(&message);
    match kind {
        Kind::PropertyPost => property_post(params(message)?, received_at_ms),
        Kind::BatchPost => batch_post(params(message)?, received_at_ms),
        Kind::EventPost { event } => event_post(event, message, received_at_ms),
        Kind::SetReply => Ok(Said::Nothing),
        Kind::ServiceReply => reply(&reply_to.id, message),
        // The topic's id counts, whatever firmware puts into the envelope.
        Kind::RrpcResponse { id } => reply(id, message),
        Kind::Unsupported => {
            let reason = format!("`{:.120}` is not supported", reply_to.topic);
            Err(Reject::new(RejectKind::UnknownTopic, reason))
        }
    }
}

/// The message's id, verbatim if it is a string, else as text; empty if it has none
/// (`wire/alibaba.md` 4.1).
fn id_of(message: &Object) -> String {
    match message.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    }
}

/// False for `"sys":{"ack":0}` only.
fn wants_reply(message: &Object) -> bool {
    message.get("sys").and_then(|sys| sys.get("ack")).and_then(Value::as_i64) != Some(0)
}

fn malformed(reason: impl Into<String>) -> Reject {
    Reject::new(RejectKind::Malformed, reason)
}

fn object(value: Value, name: &str) -> Result<Object, Reject> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(malformed(format!("`{name}` is {}, an object is expected", kind(&other)))),
    }
}

fn params(mut message: Object) -> Result<Object, Reject> {
    let params = message.remove("params").ok_or_else(|| malformed("`params` is missing"))?;
    let params = object(params, "params")?;
    if params.is_empty() {
        return Err(malformed("`params` is empty"));
    }
    Ok(params)
}

/// A value is bare, or wrapped as `{"value":…,"time":ms}`; both may stand in one message. `value`
/// is a reserved identifier (`wire/alibaba.md` 5.2), so that no struct looks like a wrapping.
fn unwrap(value: Value, received_at_ms: i64) -> Result<(i64, Value), Reject> {
    match value {
        Value::Object(mut wrapped) if is_wrapped(&wrapped) => {
            let time = wrapped.get("time").map_or(Ok(received_at_ms), time_ms)?;
            Ok((time, wrapped.remove("value").unwrap_or_default()))
        }
        bare => Ok((received_at_ms, bare)),
    }
}

fn is_wrapped(object: &Object) -> bool {
    object.contains_key("value") && object.keys().all(|key| key == "value" || key == "time")
}

fn property_post(params: Object, received_at_ms: i64) -> Result<Said, Reject> {
    at_most(params.len(), PROPERTIES_MAX, "properties")?;
    let mut values = Vec::with_capacity(params.len());
    for (identifier, value) in params {
        let (time_ms, value) = unwrap(value, received_at_ms)?;
        values.push((time_ms, identifier, value));
    }
    Ok(Said::Reports { points: points(values), events: Vec::new(), faults: Vec::new() })
}

/// Gathers values by their time. A second value of the same property and time starts another
/// point, so that none is lost.
fn points(mut values: Vec<(i64, String, Value)>) -> Vec<Point> {
    values.sort_by_key(|(time_ms, ..)| *time_ms);
    let mut points: Vec<Point> = Vec::new();
    for (time_ms, identifier, value) in values {
        match points.last_mut() {
            Some(last) if last.time_ms == time_ms && !last.values.contains_key(&identifier) => {
                last.values.insert(identifier, value);
            }
            _ => points.push(Point { time_ms, values: Object::from_iter([(identifier, value)]) }),
        }
    }
    points
}

/// An event without outputs may come without `params`.
fn event_post(event: &str, mut message: Object, received_at_ms: i64) -> Result<Said, Reject> {
    let params = match message.remove("params") {
        None | Some(Value::Null) => Object::new(),
        Some(params) => object(params, "params")?,
    };
    Ok(Said::Event(happened(event, params, received_at_ms)?))
}

/// Three shapes are in the field: `{"value":{…},"time":ms}`, `{"value":{…}}`, and the outputs bare
/// (`wire/alibaba.md` 4.2).
fn happened(event: &str, params: Object, received_at_ms: i64) -> Result<HappenedEvent, Reject> {
    let (time_ms, outputs) = timed(params, "value", received_at_ms)?;
    Ok(HappenedEvent { event: event.to_owned(), outputs, time_ms })
}

/// `{"properties":{P:[{"value":…,"time":ms}…]},"events":{E:[{"value":{…},"time":ms}…]}}`.
fn batch_post(params: Object, received_at_ms: i64) -> Result<Said, Reject> {
    let mut faults = Vec::new();
    let (mut values, mut events) = (Vec::new(), Vec::new());
    for (part, members) in params {
        match part.as_str() {
            "properties" => {
                values = batch_properties(object(members, &part)?, received_at_ms, &mut faults)?;
            }
            "events" => {
                events = batch_events(object(members, &part)?, received_at_ms, &mut faults)?;
            }
            _ => faults.push(fault(&part, FaultKind::UnknownMember, "no part of a batch post")),
        }
    }
    if values.is_empty() && events.is_empty() && faults.is_empty() {
        return Err(malformed("neither `properties` nor `events` holds anything"));
    }
    Ok(Said::Reports { points: points(values), events, faults })
}

fn batch_properties(
    properties: Object,
    received_at_ms: i64,
    faults: &mut Vec<Fault>,
) -> Result<Vec<(i64, String, Value)>, Reject> {
    at_most(properties.len(), PROPERTIES_MAX, "properties")?;
    let mut values = Vec::new();
    for (identifier, listed) in properties {
        let Some(listed) = list(&identifier, listed, faults) else { continue };
        at_most(values.len() + listed.len(), BATCH_VALUES_MAX, "values of properties")?;
        for value in listed {
            let (time_ms, value) = unwrap(value, received_at_ms)?;
            values.push((time_ms, identifier.clone(), value));
        }
    }
    Ok(values)
}

fn batch_events(
    events: Object,
    received_at_ms: i64,
    faults: &mut Vec<Fault>,
) -> Result<Vec<HappenedEvent>, Reject> {
    let mut all = Vec::new();
    for (event, listed) in events {
        let Some(listed) = list(&event, listed, faults) else { continue };
        at_most(all.len() + listed.len(), EVENTS_MAX, "events")?;
        for params in listed {
            match params {
                Value::Object(params) => all.push(happened(&event, params, received_at_ms)?),
                other => {
                    let reason = format!("{} where an object is expected", kind(&other));
                    faults.push(fault(&event, FaultKind::Struct, &reason));
                }
            }
        }
    }
    all.sort_by_key(|event| event.time_ms);
    Ok(all)
}

fn list(identifier: &str, listed: Value, faults: &mut Vec<Fault>) -> Option<Vec<Value>> {
    match listed {
        Value::Array(listed) => Some(listed),
        other => {
            let reason = format!("{} where an array is expected", kind(&other));
            faults.push(fault(identifier, FaultKind::Array, &reason));
            None
        }
    }
}

fn fault(identifier: &str, kind: FaultKind, reason: &str) -> Fault {
    Fault { identifier: shown(identifier), kind, reason: reason.to_owned() }
}

/// Reads `{"id":"..","code":200,"data":{…}}`. `data` may be absent, an object, or the text of one
/// (the Go client, `wire/alibaba.md` 4.1).
fn reply(id: &str, mut message: Object) -> Result<Said, Reject> {
    let call = call_id(id)?;
    let code = message.get("code").and_then(Value::as_i64);
    let code = code.ok_or_else(|| malformed("`code` is not an integer"))?;
    if code != code::SUCCESS {
        let words = message.get("message").and_then(Value::as_str).unwrap_or_default();
        return Ok(Said::Reply { call, result: Err((code, words.to_owned())) });
    }
    let outputs = match message.remove("data") {
        None | Some(Value::Null) => Object::new(),
        Some(Value::String(text)) if text.is_empty() => Object::new(),
        Some(Value::String(text)) => parse_object(text.as_bytes())?,
        Some(other) => object(other, "data")?,
    };
    Ok(Said::Reply { call, result: Ok(outputs) })
}
