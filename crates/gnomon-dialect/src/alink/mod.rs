//! Alink: Alibaba Cloud IoT's device protocol, for firmware that cannot be changed.
//!
//! See: `wire/alibaba.md` 3 (topics), 4 (messages and codes), 5.5 (validation), 7 (RRPC).

mod code;
mod decode;
mod encode;

use gnomon_model::{DeviceKey, Dialect};

use crate::{Uplink, UplinkKind};

pub(crate) use decode::decode;
pub(crate) use encode::{
    alert_destination, encode_accepted, encode_call, encode_desired, encode_rejected,
};

/// An uplink topic under `/sys/{product}/{device}/`, taken apart.
struct Topic<'a> {
    device: DeviceKey,
    kind: Kind<'a>,
}

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
    /// Anything else under `thing/`: understood as a request that is not supported yet.
    Unsupported,
}

fn take_apart(topic: &str) -> Option<Topic<'_>> {
    let rest = topic.strip_prefix("/sys/")?;
    let (product, rest) = rest.split_once('/')?;
    let (device, rest) = rest.split_once('/')?;
    let kind = match rest {
        "thing/event/property/post" => Kind::PropertyPost,
        "thing/event/property/batch/post" => Kind::BatchPost,
        "thing/service/property/set_reply" => Kind::SetReply,
        _ => kind_of(rest)?,
    };
    Some(Topic { device: DeviceKey::parse(product, device).ok()?, kind })
}

fn kind_of(rest: &str) -> Option<Kind<'_>> {
    let one_level = |text: &&str| !text.is_empty() && !text.contains('/');
    if let Some(id) = rest.strip_prefix("rrpc/response/").filter(one_level) {
        return Some(Kind::RrpcResponse { id });
    }
    let thing = rest.strip_prefix("thing/")?;
    let event = thing.strip_prefix("event/").and_then(|event| event.strip_suffix("/post"));
    if let Some(event) = event.filter(one_level) {
        return Some(Kind::EventPost { event });
    }
    let service = thing.strip_prefix("service/").and_then(|text| text.strip_suffix("_reply"));
    if service.filter(one_level).is_some() {
        return Some(Kind::ServiceReply);
    }
    // What goes to the device is not an uplink, whoever publishes it.
    let to_device = thing.ends_with("_reply") || thing.starts_with("service/");
    (!to_device && !thing.is_empty()).then_some(Kind::Unsupported)
}

pub(crate) fn recognise(topic: &str) -> Option<Uplink> {
    let Topic { device, kind } = take_apart(topic)?;
    let kind = match kind {
        Kind::PropertyPost | Kind::BatchPost => UplinkKind::Report,
        Kind::EventPost { .. } => UplinkKind::Event,
        Kind::SetReply | Kind::ServiceReply | Kind::RrpcResponse { .. } => UplinkKind::Reply,
        Kind::Unsupported => UplinkKind::Unsupported,
    };
    Some(Uplink { device, dialect: Dialect::Alink, kind })
}

fn topic_of(device: &DeviceKey, rest: &str) -> String {
    format!("/sys/{}/{}/{rest}", device.product, device.device)
}
