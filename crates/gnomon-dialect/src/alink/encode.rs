//! What an Alink device is told.
//!
//! Invariants: every reply has `id` as text, `code` as a number, `data`, `message`, `method` and
//! `version`, since one client or another fails without each of them (`wire/alibaba.md` 4.1).

use gnomon_model::{CallId, Destination, DeviceKey, Fault, Object, Reject, ReplyTo};
use serde_json::{Value, json};

use super::{code, topic_of};
use crate::to_topic;

/// QoS of `_reply`, and of RRPC requests: what the original platform uses (`wire/alibaba.md` 2.1, 7).
const QOS_REPLY: u8 = 0;
/// QoS of property set and service calls: a subscriber that wants them safe asks for QoS 1.
const QOS_REQUEST: u8 = 1;

pub(crate) fn encode_accepted(to: &ReplyTo, faults: &[Fault]) -> Option<(Destination, String)> {
    let data: Object = faults
        .iter()
        .map(|fault| (fault.identifier.clone(), Value::String(code::text(fault))))
        .collect();
    reply(to, code::SUCCESS, "success", data)
}

pub(crate) fn encode_rejected(to: &ReplyTo, reject: &Reject) -> Option<(Destination, String)> {
    reply(to, code::of_reject(reject.kind), &reject.reason, Object::new())
}

fn reply(to: &ReplyTo, code: i64, message: &str, data: Object) -> Option<(Destination, String)> {
    if !to.wanted {
        return None;
    }
    let body = json!({
        "id": to.id,
        "code": code,
        "data": data,
        "message": message,
        "method": method_of(&to.topic),
        "version": "1.0",
    });
    let destination = to_topic(format!("{}_reply", to.topic), QOS_REPLY);
    Some((destination, body.to_string()))
}

/// `/sys/{product}/{device}/thing/event/property/post` is the method `thing.event.property.post`.
fn method_of(topic: &str) -> String {
    topic.splitn(5, '/').nth(4).unwrap_or_default().replace('/', ".")
}

pub(crate) fn alert_destination(device: &DeviceKey) -> Destination {
    to_topic(format!("/{}/{}/user/alert", device.product, device.device), QOS_REQUEST)
}

pub(crate) fn encode_desired(
    device: &DeviceKey,
    delta: &Object,
    id: CallId,
) -> (Destination, String) {
    let destination = to_topic(topic_of(device, "thing/service/property/set"), QOS_REQUEST);
    (destination, request(id, "thing.service.property.set", delta))
}

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
    let params = on_wire(&Value::Object(params.clone()));
    let request = json!({ "id": id, "version": "1.0", "method": method, "params": params });
    request.to_string()
}

/// Booleans are 0 and 1 on the wire (`wire/alibaba.md` 5.3); the shadow keeps true and false.
fn on_wire(value: &Value) -> Value {
    match value {
        Value::Bool(flag) => Value::from(u8::from(*flag)),
        Value::Array(items) => items.iter().map(on_wire).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), on_wire(member))).collect()
        }
        other => other.clone(),
    }
}
