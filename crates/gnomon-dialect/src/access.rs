//! Who may use which topic, and which device a client is.
//!
//! Invariants: a filter that a device may subscribe to matches topics of that device only.

use gnomon_model::{DeviceKey, Dialect};

use crate::topic::{matches, valid_filter, valid_topic};

/// The device that a client claims to be by its user name: `{product}/{device}` speaks plain,
/// `{device}&{product}` speaks Alink (split at the last `&`, `wire/alibaba.md` 2.1).
#[must_use]
pub fn named_device(user_name: &str) -> Option<(Dialect, DeviceKey)> {
    if let Some((device, product)) = user_name.rsplit_once('&') {
        return Some((Dialect::Alink, DeviceKey::parse(product, device).ok()?));
    }
    let (product, device) = user_name.split_once('/')?;
    Some((Dialect::Plain, DeviceKey::parse(product, device).ok()?))
}

/// Subtrees of topics that are the device's own (`wire/alibaba.md` 3). `+` stands for a message id
/// that the other side chose.
fn own_subtrees(device: &DeviceKey) -> [String; 10] {
    let DeviceKey { product, device } = device;
    [
        format!("devices/{product}/{device}/#"),
        format!("/sys/{product}/{device}/#"),
        format!("/{product}/{device}/user/#"),
        format!("/ext/rrpc/+/sys/{product}/{device}/#"),
        format!("/ext/rrpc/+/{product}/{device}/#"),
        format!("/ext/ntp/{product}/{device}/#"),
        format!("/ext/session/{product}/{device}/#"),
        format!("/shadow/update/{product}/{device}"),
        format!("/shadow/get/{product}/{device}"),
        format!("/ota/device/+/{product}/{device}"),
    ]
}

/// Whether the device may publish on the topic.
#[must_use]
pub fn may_publish(device: &DeviceKey, topic: &str) -> bool {
    valid_topic(topic) && own_subtrees(device).iter().any(|subtree| matches(subtree, topic))
}

/// Whether the device may subscribe to the filter: everything that it matches is the device's own.
#[must_use]
pub fn may_subscribe(device: &DeviceKey, filter: &str) -> bool {
    valid_filter(filter) && own_subtrees(device).iter().any(|subtree| covers(subtree, filter))
}

/// Whether every topic that `filter` matches is matched by `subtree`.
fn covers(subtree: &str, filter: &str) -> bool {
    let mut wide = subtree.split('/');
    let mut narrow = filter.split('/');
    loop {
        match (wide.next(), narrow.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

/// Filters of the topics that are delivered to the device without a SUBSCRIBE, at QoS 0: Alink
/// firmware relies on it (`wire/alibaba.md` 2.1, `_ss=1`).
#[must_use]
pub fn implicit_filters(device: &DeviceKey, dialect: Dialect) -> Vec<String> {
    let DeviceKey { product, device } = device;
    match dialect {
        Dialect::Plain => Vec::new(),
        Dialect::Alink => [
            "thing/event/+/post_reply",
            "thing/event/property/batch/post_reply",
            "thing/service/property/set",
            "thing/service/+",
            "rrpc/request/+",
        ]
        .iter()
        .map(|rest| format!("/sys/{product}/{device}/{rest}"))
        .collect(),
    }
}

/// The device that an anonymous subscriber of this filter plays: one whose calls or desired state
/// it would be told, and no other device's.
#[must_use]
pub fn stands_for(filter: &str) -> Option<(DeviceKey, Dialect)> {
    let mut levels = filter.split('/');
    let (dialect, product, device) = match (levels.next()?, levels.next()?) {
        ("devices", product) => (Dialect::Plain, product, levels.next()?),
        ("", "sys") => (Dialect::Alink, levels.next()?, levels.next()?),
        _ => return None,
    };
    let told = matches!(
        (dialect, levels.next()?, levels.next()),
        (_, "#", None)
            | (Dialect::Plain, "desired" | "+", None)
            | (Dialect::Plain, "calls" | "+", Some(_))
            | (Dialect::Alink, "thing" | "+", Some("service" | "#" | "+"))
            | (Dialect::Alink, "rrpc" | "+", Some("request" | "#" | "+"))
    );
    // A wildcard is no name: `devices/coldroom/+/#` plays nobody.
    told.then(|| DeviceKey::parse(product, device).ok()).flatten().map(|device| (device, dialect))
}
