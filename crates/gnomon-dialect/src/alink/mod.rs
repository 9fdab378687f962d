//! Alink: Alibaba Cloud IoT's device protocol, for firmware that cannot be changed.
//!
//! See: `wire/alibaba.md` 3 (topics), 4 (messages and codes), 5.5 (validation), 7 (RRPC).

mod code;
mod decode;
mod encode;

use gnomon_model::DeviceKey;

use crate::UplinkKind;
use crate::topic::{is_level, valid_topic};

pub(crate) use decode::decode;
pub(crate) use encode::{
    encode_accepted, encode_alert, encode_call, encode_desired, encode_rejected, encode_response,
};

/// Where a device is asked for something, below its name.
pub(crate) const TO_DEVICE: [&str; 3] =
    ["thing/service/property/set", "thing/service/+", "rrpc/request/+"];

/// What firmware hears without subscribing, below the device's name: the rows marked D of
/// `wire/alibaba.md` 3, as far as this build says anything there, if only that it refuses.
///
/// `thing/service/+` also finds what the device itself replies on `{service}_reply`: no filter can
/// tell the two apart, and firmware ignores what has no `method`.
const UNASKED: [&str; 31] = [
    "thing/event/+/post_reply",
    "thing/event/property/+/post_reply",
    "thing/service/property/set",
    "thing/service/+",
    "rrpc/request/+",
    "thing/model/up_raw_reply",
    "thing/property/desired/get_reply",
    "thing/property/desired/delete_reply",
    "thing/deviceinfo/update_reply",
    "thing/deviceinfo/delete_reply",
    "thing/deviceinfo/get_reply",
    "thing/dsltemplate/get_reply",
    "thing/dynamicTsl/get_reply",
    "thing/config/get_reply",
    "thing/config/log/get_reply",
    "thing/config/log/post_reply",
    "thing/log/post_reply",
    "_thing/diag/post_reply",
    "thing/file/upload/mqtt/init_reply",
    "thing/file/upload/mqtt/send_reply",
    "thing/file/upload/mqtt/cancel_reply",
    "thing/file/download_reply",
    "thing/job/get_reply",
    "thing/job/update_reply",
    "thing/ota/firmware/get_reply",
    "thing/sub/register_reply",
    "thing/sub/unregister_reply",
    "thing/topo/add_reply",
    "thing/topo/delete_reply",
    "thing/topo/get_reply",
    "thing/list/found_reply",
];

/// First words of topics that are not a product's: its devices have no custom topics.
const RESERVED: [&str; 6] = ["sys", "ext", "shadow", "ota", "broadcast", "as"];

/// An uplink topic under `/sys/{product}/{device}/`, taken apart.
pub(crate) struct Topic<'a> {
    pub(crate) device: DeviceKey,
    kind: Kind<'a>,
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    /// `thing/event/property/post`
    PropertyPost,
    /// `thing/event/property/batch/post`
    BatchPost,
    /// `thing/event/{event}/post`
    EventPost { event: &'a str },
    /// `thing/service/property/set_reply`
    SetReply,
    /// `thing/service/{service}_reply`
    ServiceReply,
    /// `rrpc/response/{id}`
    RrpcResponse { id: &'a str },
    /// A request that is not supported yet.
    Unsupported,
}

impl Topic<'_> {
    pub(crate) fn uplink_kind(&self) -> UplinkKind {
        match self.kind {
            Kind::PropertyPost | Kind::BatchPost => UplinkKind::Report,
            Kind::EventPost { .. } => UplinkKind::Event,
            Kind::SetReply | Kind::ServiceReply | Kind::RrpcResponse { .. } => UplinkKind::Reply,
            Kind::Unsupported => UplinkKind::Unsupported,
        }
    }
}

pub(crate) fn take_apart(topic: &str) -> Option<Topic<'_>> {
    let rest = topic.strip_prefix("/sys/").filter(|_| valid_topic(topic))?;
    let (product, rest) = rest.split_once('/')?;
    let (device, rest) = rest.split_once('/')?;
    let kind = kind_of(rest)?;
    Some(Topic { device: DeviceKey::parse(product, device).ok()?, kind })
}

fn kind_of(rest: &str) -> Option<Kind<'_>> {
    if let Some(thing) = rest.strip_prefix("thing/") {
        return kind_of_thing(thing);
    }
    if let Some(id) = rest.strip_prefix("rrpc/response/") {
        return is_level(id).then_some(Kind::RrpcResponse { id });
    }
    (rest == "_thing/diag/post").then_some(Kind::Unsupported)
}

fn kind_of_thing(thing: &str) -> Option<Kind<'_>> {
    match thing {
        "event/property/post" => return Some(Kind::PropertyPost),
        "event/property/batch/post" => return Some(Kind::BatchPost),
        "service/property/set_reply" => return Some(Kind::SetReply),
        _ => {}
    }
    let event = thing.strip_prefix("event/").and_then(|event| event.strip_suffix("/post"));
    if let Some(event) = event.filter(|event| is_level(event)) {
        return Some(Kind::EventPost { event });
    }
    let service = thing.strip_prefix("service/").and_then(|text| text.strip_suffix("_reply"));
    if service.is_some_and(is_level) {
        return Some(Kind::ServiceReply);
    }
    (!is_to_device(thing)).then_some(Kind::Unsupported)
}

/// Whether the topic is one on which a device is told something: no uplink, whoever publishes it.
fn is_to_device(thing: &str) -> bool {
    let asked = [
        "config/push",
        "config/log/push",
        "job/notify",
        "topo/add/notify",
        "topo/change",
        "disable",
        "enable",
        "delete",
        "gateway/permit",
        "model/down_raw",
    ];
    thing.is_empty()
        || thing.starts_with("service/")
        || thing.ends_with("_reply")
        || asked.contains(&thing)
}

/// Whether topics under `/{product}/{device}/` are this device's.
pub(crate) fn has_custom_topics(device: &DeviceKey) -> bool {
    !RESERVED.contains(&device.product.as_str())
}

fn topic_of(device: &DeviceKey, rest: &str) -> String {
    format!("/sys/{}/{}/{rest}", device.product, device.device)
}

pub(crate) fn implicit_filters(device: &DeviceKey) -> Vec<String> {
    UNASKED.iter().map(|rest| topic_of(device, rest)).collect()
}
