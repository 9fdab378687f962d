//! What an Alink device says.

use gnomon_model::json::{kind, parse_object};
use gnomon_model::{CallId, Dialect, Fault, FaultKind, Object, Reject, RejectKind, ReplyTo};
use serde_json::Value;

use super::{Kind, Topic, code, take_apart};
use crate::{Decoded, HappenedEvent, Point, Said, in_time_order, time_ms};

/// Most properties of one message (`wire/alibaba.md` 5.4).
const PROPERTIES_MAX: usize = 200;
/// Most events of one message (`wire/alibaba.md` 4.4, code 6356).
const EVENTS_MAX: usize = 200;

/// Decodes a message; `received_at_ms` is the time of values without one.
pub(crate) fn decode(
    topic: &str,
    payload: &[u8],
    received_at_ms: i64,
) -> Result<Decoded, (Option<ReplyTo>, Reject)> {
    let Some(Topic { kind, .. }) = take_apart(topic) else {
        return Err((None, Reject::new(RejectKind::UnknownTopic, "not a topic of a device")));
    };
    let mut reply_to = ReplyTo {
        dialect: Dialect::Alink,
        topic: topic.to_owned(),
        id: String::new(),
        // Replies of the device are never answered.
        wanted: !matches!(kind, Kind::SetReply | Kind::ServiceReply | Kind::RrpcResponse { .. }),
    };
    let message = match parse_object(payload) {
        Ok(message) => message,
        Err(reject) => return Err((Some(reply_to), reject)),
    };
    reply_to.id = id_of(&message);
    reply_to.wanted &= message.get("sys").and_then(|sys| sys.get("ack")) != Some(&Value::from(0));
    match said(&kind, message, &reply_to, received_at_ms) {
        Ok(said) => Ok(Decoded { said, reply_to }),
        Err(reject) => Err((Some(reply_to), reject)),
    }
}

/// The message's id, verbatim if it is a string, else as text (`wire/alibaba.md` 4.1).
fn id_of(message: &Object) -> String {
    match message.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    }
}

fn said(
    kind: &Kind<'_>,
    message: Object,
    reply_to: &ReplyTo,
    received_at_ms: i64,
) -> Result<Said, Reject> {
    match kind {
        Kind::PropertyPost => property_post(params(message)?, received_at_ms),
        Kind::BatchPost => batch_post(params(message)?, received_at_ms),
        Kind::EventPost { event } => {
            let params = message.get("params").cloned().unwrap_or(Value::Object(Object::new()));
            let (time_ms, outputs) = event_shape(object(params, "params")?, received_at_ms)?;
            Ok(Said::Event(HappenedEvent { event: (*event).to_owned(), outputs, time_ms }))
        }
        Kind::SetReply => Ok(Said::Nothing),
        Kind::ServiceReply => reply(&reply_to.id, message),
        Kind::RrpcResponse { id } => reply(id, message),
        Kind::Unsupported => {
            let reason = "this message of Alink is not supported";
            Err(Reject::new(RejectKind::UnknownTopic, reason))
        }
    }
}

fn malformed(reason: String) -> Reject {
    Reject::new(RejectKind::Malformed, reason)
}

fn object(value: Value, name: &str) -> Result<Object, Reject> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(malformed(format!("`{name}` is {}, an object is expected", kind(&other)))),
    }
}

fn params(mut message: Object) -> Result<Object, Reject> {
    let params = message.remove("params").ok_or_else(|| malformed("`params` is missing".into()))?;
    let params = object(params, "params")?;
    if params.is_empty() {
        return Err(malformed("`params` is empty".into()));
    }
    Ok(params)
}

fn too_many(what: &str, count: usize, count_max: usize) -> Result<(), Reject> {
    if count > count_max {
        let reason = format!("{count} {what}, at most {count_max}");
        return Err(Reject::new(RejectKind::TooLarge, reason));
    }
    Ok(())
}

/// A value is bare, or wrapped as `{"value":…,"time":ms}`; both may stand in one message. A
/// wrapped value without a time has the time of its arrival.
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
    too_many("properties", params.len(), PROPERTIES_MAX)?;
    let mut points = Points::default();
    for (identifier, value) in params {
        let (time_ms, value) = unwrap(value, received_at_ms)?;
        points.add(time_ms, identifier, value);
    }
    Ok(Said::Reports { points: points.finish(), events: Vec::new(), faults: Vec::new() })
}

/// Values gathered by their time.
#[derive(Default)]
struct Points(Vec<Point>);

impl Points {
    /// Adds a value; a second one of the same property and time starts a point of its own.
    fn add(&mut self, time_ms: i64, identifier: String, value: Value) {
        let fits = |point: &&mut Point| {
            point.time_ms == time_ms && !point.values.contains_key(&identifier)
        };
        if let Some(point) = self.0.iter_mut().find(fits) {
            point.values.insert(identifier, value);
        } else {
            let values = Object::from_iter([(identifier, value)]);
            self.0.push(Point { time_ms, values });
        }
    }

    fn finish(self) -> Vec<Point> {
        in_time_order(self.0)
    }
}

/// Three shapes are in the field: `{"value":{…},"time":ms}`, `{"value":{…}}`, and the outputs bare
/// (`wire/alibaba.md` 4.2).
fn event_shape(params: Object, received_at_ms: i64) -> Result<(i64, Object), Reject> {
    if is_wrapped(&params) && params["value"].is_object() {
        let (time_ms, value) = unwrap(Value::Object(params), received_at_ms)?;
        return Ok((time_ms, object(value, "value")?));
    }
    Ok((received_at_ms, params))
}

fn batch_post(mut params: Object, received_at_ms: i64) -> Result<Said, Reject> {
    let properties = object(params.remove("properties").unwrap_or_else(empty), "properties")?;
    let events = object(params.remove("events").unwrap_or_else(empty), "events")?;
    let mut faults = Vec::new();
    let mut points = Points::default();
    let mut count = 0;
    for (identifier, values) in properties {
        for value in listed(&identifier, values, &mut faults) {
            count += 1;
            let (time_ms, value) = unwrap(value, received_at_ms)?;
            points.add(time_ms, identifier.clone(), value);
        }
    }
    too_many("properties", count, PROPERTIES_MAX)?;
    let mut happened = Vec::new();
    for (event, values) in events {
        for value in listed(&event, values, &mut faults) {
            let (time_ms, outputs) = event_shape(object(value, &event)?, received_at_ms)?;
            happened.push(HappenedEvent { event: event.clone(), outputs, time_ms });
        }
    }
    too_many("events", happened.len(), EVENTS_MAX)?;
    happened.sort_by_key(|event| event.time_ms);
    let points = points.finish();
    if points.is_empty() && happened.is_empty() && faults.is_empty() {
        return Err(malformed("neither `properties` nor `events` holds anything".into()));
    }
    Ok(Said::Reports { points, events: happened, faults })
}

fn empty() -> Value {
    Value::Object(Object::new())
}

fn listed(identifier: &str, values: Value, faults: &mut Vec<Fault>) -> Vec<Value> {
    match values {
        Value::Array(values) => values,
        other => {
            let reason = format!("{} where an array of values is expected", kind(&other));
            let identifier = identifier.to_owned();
            faults.push(Fault { identifier, kind: FaultKind::Array, reason });
            Vec::new()
        }
    }
}

/// `data` of a reply may be an object, the text of one (the Go client), or absent.
fn reply(id: &str, mut message: Object) -> Result<Said, Reject> {
    let call = CallId::parse(id).ok_or_else(|| {
        Reject::new(RejectKind::UnknownCall, format!("`{id:.40}` is no id of a call"))
    })?;
    let code = message.get("code").and_then(Value::as_i64);
    let code = code.ok_or_else(|| malformed("`code` is not a number".into()))?;
    if code != code::SUCCESS {
        let words = message.get("message").and_then(Value::as_str).unwrap_or_default();
        return Ok(Said::Reply { call, result: Err((code, words.to_owned())) });
    }
    let outputs = match message.remove("data") {
        None | Some(Value::Null) => Object::new(),
        Some(Value::String(text)) => parse_object(text.as_bytes())?,
        Some(other) => object(other, "data")?,
    };
    Ok(Said::Reply { call, result: Ok(outputs) })
}
