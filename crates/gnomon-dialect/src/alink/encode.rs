//! What an Alink device is told.
//!
//! Invariants: every reply has `id` as text, `code` as a number, `data`, `message`, `method` and
//! `version`, since one client or another fails without each of them; every request has `id`,
//! `version`, `method` and `params` (`wire/alibaba.md` 4.1).

use gnomon_model::{
    Alert, CallId, Destination, DeviceKey, Fault, FaultKind, Object, Reject, ReplyTo,
};
use serde::Serialize;
use serde_json::Value;

use super::{Kind, code, has_custom_topics, take_apart, topic_of};
use crate::plain::alert_text;
use crate::{FAULTS_MAX, json_text, shown, to_topic};

/// QoS of `_reply`, and of RRPC requests. Firmware that relies on unsubscribed delivery was seen to
/// drop the connection when a reply came at QoS 1, and the platform sends both at 0
/// (`wire/alibaba.md` 2.1, 7).
const QOS_REPLY: u8 = 0;
/// QoS of property set, service calls and alerts. Delivered QoS is the publisher's (`wire/alibaba.md`
/// 2.5), and these must not be lost; the gateway lowers it to 0 where nobody subscribed.
const QOS_REQUEST: u8 = 1;

const VERSION: &str = "1.0";

/// `id` of a reply to a message whose own id could not be read. C and Go firmware read the id as an
/// unsigned decimal: `""` would be an error to one and 0 to the other, `"0"` is 0 to both.
const ID_UNKNOWN: &str = "0";

#[derive(Serialize)]
struct Reply<'a> {
    id: &'a str,
    code: i64,
    data: &'a Value,
    message: &'a str,
    method: String,
    version: &'static str,
}

#[derive(Serialize)]
struct Request<'a> {
    id: CallId,
    version: &'static str,
    params: Value,
    method: &'a str,
}

/// Code 200 although parts do not fit: `data` maps the identifier of each to why
/// (`wire/alibaba.md` 5.5). An event that the model does not have is no success.
pub(crate) fn encode_accepted(to: &ReplyTo, faults: &[Fault]) -> (Destination, String) {
    let is_event =
        take_apart(&to.topic).is_some_and(|topic| matches!(topic.kind, Kind::EventPost { .. }));
    let unknown = faults.iter().find(|fault| is_event && fault.kind == FaultKind::UnknownEvent);
    if let Some(fault) = unknown {
        return reply(to, code::of_fault(fault.kind), &code::text(fault), &empty());
    }
    let faults = faults.iter().take(FAULTS_MAX);
    let data: Object =
        faults.map(|fault| (shown(&fault.identifier), Value::String(code::text(fault)))).collect();
    reply(to, code::SUCCESS, "success", &Value::Object(data))
}

pub(crate) fn encode_rejected(to: &ReplyTo, reject: &Reject) -> (Destination, String) {
    reply(to, code::of_reject(reject.kind), &reject.reason, &empty())
}

pub(crate) fn encode_response(to: &ReplyTo, body: &Value) -> (Destination, String) {
    reply(to, code::SUCCESS, "success", &on_wire(body))
}

fn empty() -> Value {
    Value::Object(Object::new())
}

fn reply(to: &ReplyTo, code: i64, message: &str, data: &Value) -> (Destination, String) {
    let id = if to.id.is_empty() { ID_UNKNOWN } else { &to.id };
    let method = method_of(&to.topic);
    let body = Reply { id, code, data, message, method, version: VERSION };
    (to_topic(format!("{}_reply", to.topic), QOS_REPLY), json_text(&body))
}

/// `/sys/{product}/{device}/thing/event/property/post` is the method `thing.event.property.post`.
fn method_of(topic: &str) -> String {
    topic.splitn(5, '/').nth(4).unwrap_or_default().replace('/', ".")
}

/// None for a device whose custom topics would be somebody else's system topics.
pub(crate) fn encode_alert(device: &DeviceKey, alert: &Alert) -> Option<(Destination, String)> {
    if !has_custom_topics(device) {
        return None;
    }
    let topic = format!("/{}/{}/user/alert", device.product, device.device);
    Some((to_topic(topic, QOS_REQUEST), alert_text(alert, &members_on_wire(&alert.values))))
}

pub(crate) fn encode_desired(
    device: &DeviceKey,
    delta: &Object,
    id: CallId,
) -> (Destination, String) {
    let destination = to_topic(topic_of(device, "thing/service/property/set"), QOS_REQUEST);
    (destination, request(id, "thing.service.property.set", delta))
}

/// A synchronous service is an RRPC that carries the same request; the system topics serve devices
/// with and without the `ext` flag (`wire/alibaba.md` 4.2, 7).
pub(crate) fn encode_call(
    device: &DeviceKey,
    id: CallId,
    service: &str,
    inputs: &Object,
    sync: bool,
) -> (Destination, String) {
    let body = request(id, &format!("thing.service.{service}"), inputs);
    let destination = if sync {
        to_topic(topic_of(device, &format!("rrpc/request/{id}")), QOS_REPLY)
    } else {
        to_topic(topic_of(device, &format!("thing/service/{service}")), QOS_REQUEST)
    };
    (destination, body)
}

fn request(id: CallId, method: &str, params: &Object) -> String {
    let params = Value::Object(members_on_wire(params));
    json_text(&Request { id, version: VERSION, params, method })
}

/// Booleans are 0 and 1 on the wire (`wire/alibaba.md` 5.3); the shadow keeps true and false.
fn on_wire(value: &Value) -> Value {
    match value {
        Value::Bool(flag) => Value::from(u8::from(*flag)),
        Value::Array(items) => items.iter().map(on_wire).collect(),
        Value::Object(members) => Value::Object(members_on_wire(members)),
        Value::Null | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn members_on_wire(members: &Object) -> Object {
    members.iter().map(|(name, member)| (name.clone(), on_wire(member))).collect()
}
