//! Who may use which topic, and which device a client is.
//!
//! Invariants: a filter that a device may subscribe to matches topics of that device only; no topic
//! is the own one of two devices.

use gnomon_model::{DeviceKey, Dialect};

use crate::topic::{overlap, valid_filter, valid_topic};
use crate::{alink, plain};

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

/// Subtrees of topics that are the device's own, with their roots (`wire/alibaba.md` 3). `+` stands
/// for a word or message id that the other side chose.
const OWN: [&str; 8] = [
    "devices/{product}/{device}",
    "/sys/{product}/{device}",
    "/ext/rrpc/+/sys/{product}/{device}",
    "/ext/ntp/{product}/{device}",
    "/ext/session/{product}/{device}",
    "/ext/error/{product}/{device}",
    "/shadow/+/{product}/{device}",
    "/ota/device/+/{product}/{device}",
];

/// Subtrees of a device's custom topics. Old products have them without `user/`, hence the root.
const CUSTOM: [&str; 2] = ["/{product}/{device}", "/ext/rrpc/+/{product}/{device}"];

/// Subtrees on which Alink firmware publishes.
const ALINK_PUBLISHES: [&str; 6] = [
    "/sys/{product}/{device}",
    "/ext/rrpc/+/sys/{product}/{device}",
    "/ext/ntp/{product}/{device}",
    "/ext/session/{product}/{device}",
    "/shadow/update/{product}/{device}",
    "/ota/device/+/{product}/{device}",
];

/// Whether the device may publish on the topic: where it speaks in either dialect, and on its
/// custom topics. What the plain dialect tells devices and applications it may not say itself.
#[must_use]
pub fn may_publish(device: &DeviceKey, topic: &str) -> bool {
    valid_topic(topic)
        && (plain::take_apart(topic).is_some_and(|parts| parts.device == *device)
            || is_under_any(&ALINK_PUBLISHES, device, topic)
            || is_custom(device, topic))
}

/// Whether the device may subscribe to the filter: everything that it matches is the device's own.
/// `$share/{group}/{filter}` is refused as it stands: ask for the filter inside it.
#[must_use]
pub fn may_subscribe(device: &DeviceKey, filter: &str) -> bool {
    valid_filter(filter) && (is_under_any(&OWN, device, filter) || is_custom(device, filter))
}

/// The custom topics of a device whose product is called `sys` would be the system topics of a
/// device whose product has that device's name: such a device has none.
fn is_custom(device: &DeviceKey, filter: &str) -> bool {
    alink::has_custom_topics(device) && is_under_any(&CUSTOM, device, filter)
}

fn is_under_any(subtrees: &[&str], device: &DeviceKey, filter: &str) -> bool {
    subtrees.iter().any(|subtree| is_under(subtree, device, filter))
}

/// Whether all topics that the filter (or topic) matches lie in the subtree.
fn is_under(subtree: &str, device: &DeviceKey, filter: &str) -> bool {
    let mut levels = filter.split('/');
    subtree.split('/').all(|wanted| {
        levels.next().is_some_and(|level| match wanted {
            "{product}" => level == device.product.as_str(),
            "{device}" => level == device.device.as_str(),
            "+" => level != "#",
            word => level == word,
        })
    })
}

/// Filters of the topics that are delivered to the device without a SUBSCRIBE, at QoS 0: Alink
/// firmware relies on it, whether or not it says so by `_ss=1` (`wire/alibaba.md` 2.1).
#[must_use]
pub fn implicit_filters(device: &DeviceKey, dialect: Dialect) -> Vec<String> {
    match dialect {
        Dialect::Plain => Vec::new(),
        Dialect::Alink => alink::implicit_filters(device),
    }
}

/// The device that an anonymous subscriber of this filter plays: one whose calls or desired state
/// it would be told, and no other device's. Development mode has no user names to go by.
#[must_use]
pub fn stands_for(filter: &str) -> Option<(DeviceKey, Dialect)> {
    let (dialect, rest) = match (filter.strip_prefix("devices/"), filter.strip_prefix("/sys/")) {
        (Some(rest), _) => (Dialect::Plain, rest),
        (None, Some(rest)) => (Dialect::Alink, rest),
        (None, None) => return None,
    };
    let (product, rest) = rest.split_once('/')?;
    let (device, rest) = rest.split_once('/')?;
    let told: &[&str] = match dialect {
        Dialect::Plain => &plain::TO_DEVICE,
        // Who listens for replies is not the one who makes them.
        Dialect::Alink if rest.ends_with("_reply") => return None,
        Dialect::Alink => &alink::TO_DEVICE,
    };
    // A wildcard is no name: `devices/coldroom/+/#` plays nobody.
    let device = DeviceKey::parse(product, device).ok()?;
    let hears = valid_filter(filter) && told.iter().any(|one| overlap(rest, one));
    hears.then_some((device, dialect))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> DeviceKey {
        let (product, device) = name.split_once('/').unwrap();
        DeviceKey::parse(product, device).unwrap()
    }

    #[test]
    fn a_user_name_names_a_device() {
        for (user_name, expected) in [
            ("coldroom/room-1", Some((Dialect::Plain, "coldroom/room-1"))),
            ("room-1&coldroom", Some((Dialect::Alink, "coldroom/room-1"))),
            ("a.b:c@d&a1DemoPK001", Some((Dialect::Alink, "a1DemoPK001/a.b:c@d"))),
            ("设备&pk", Some((Dialect::Alink, "pk/设备"))),
            ("coldroom/a/b", None),
            ("a&b&c", None),
            ("&", None),
            ("/", None),
            ("", None),
            ("admin", None),
            ("a/b&c", None),
            ("coldroom/+", None),
            ("#&coldroom", None),
        ] {
            let named = named_device(user_name);
            assert_eq!(
                named,
                expected.map(|(dialect, name)| (dialect, device(name))),
                "{user_name}"
            );
        }
    }

    #[test]
    fn a_device_publishes_on_its_own_topics_only() {
        let lamp = device("pk/lamp");
        for topic in [
            "devices/pk/lamp/telemetry",
            "devices/pk/lamp/events/opened",
            "devices/pk/lamp/requests/status/7",
            "devices/pk/lamp/replies/7",
            "devices/pk/lamp/telemetri",
            "/sys/pk/lamp/thing/event/property/post",
            "/sys/pk/lamp/rrpc/response/9",
            "/pk/lamp/user/update",
            "/pk/lamp/update",
            "/ext/rrpc/12/sys/pk/lamp/thing/service/Drain",
            "/ext/rrpc/12/pk/lamp/user/get",
            "/ext/ntp/pk/lamp/request",
            "/ext/session/pk/lamp/combine/login",
            "/shadow/update/pk/lamp",
            "/ota/device/inform/pk/lamp",
        ] {
            assert!(may_publish(&lamp, topic), "{topic}");
            assert!(!may_publish(&device("pk/other"), topic), "{topic}");
            assert!(!may_publish(&device("other/lamp"), topic), "{topic}");
        }
        for topic in [
            "devices/pk/lamp/alerts",
            "devices/pk/lamp/desired",
            "devices/pk/lamp/calls/Drain/7",
            "devices/pk/lamp",
            "devices/pk/lamp/+",
            "/shadow/get/pk/lamp",
            "/broadcast/pk/all",
            "$SYS/broker",
            "pk/lamp/user/update",
            "",
        ] {
            assert!(!may_publish(&lamp, topic), "{topic}");
        }
    }

    #[test]
    fn a_filter_does_not_escape_from_the_device() {
        let lamp = device("pk/lamp");
        for filter in [
            "devices/pk/lamp/#",
            "devices/pk/lamp/calls/+/+",
            "devices/pk/lamp",
            "/sys/pk/lamp/#",
            "/sys/pk/lamp/thing/event/+/post_reply",
            "/sys/pk/lamp/rrpc/request/+",
            "/pk/lamp/user/#",
            "/ext/rrpc/+/pk/lamp/user/get",
            "/ext/rrpc/+/sys/pk/lamp/#",
            "/shadow/get/pk/lamp",
            "/ota/device/upgrade/pk/lamp",
        ] {
            assert!(may_subscribe(&lamp, filter), "{filter}");
        }
        for filter in [
            "#",
            "+/pk/lamp/#",
            "devices/#",
            "devices/+/lamp/#",
            "devices/pk/+/calls/#",
            "devices/pk/#",
            "/sys/pk/+/thing/service/+",
            "/+/pk/lamp/#",
            "/ext/rrpc/#",
            "/ext/rrpc/+/+/+/#",
            "/ext/#",
            "/broadcast/pk/+",
            "$share/g/devices/pk/lamp/#",
            "devices/pk/lamp/#/x",
            "devices/pk/lamp2/#",
        ] {
            assert!(!may_subscribe(&lamp, filter), "{filter}");
        }
    }

    #[test]
    fn a_product_called_like_a_system_topic_gains_nothing() {
        for name in ["sys/pk", "ext/rrpc", "shadow/update", "ota/device", "broadcast/pk", "as/mqtt"]
        {
            let naughty = device(name);
            let (product, rest) = name.split_once('/').unwrap();
            for topic in [
                format!("/{product}/{rest}/lamp/thing/event/property/post"),
                format!("/{product}/{rest}/user/update"),
                format!("/ext/rrpc/1/{product}/{rest}/lamp/thing/service/Drain"),
            ] {
                assert!(!may_publish(&naughty, &topic), "{topic}");
                assert!(!may_subscribe(&naughty, &topic), "{topic}");
            }
            assert!(may_publish(&naughty, &format!("devices/{name}/telemetry")));
        }
    }

    #[test]
    fn an_anonymous_subscriber_of_a_devices_calls_plays_it() {
        for (filter, expected) in [
            ("devices/coldroom/room-1/calls/#", Some(Dialect::Plain)),
            ("devices/coldroom/room-1/#", Some(Dialect::Plain)),
            ("devices/coldroom/room-1/desired", Some(Dialect::Plain)),
            ("devices/coldroom/room-1/+", Some(Dialect::Plain)),
            ("devices/coldroom/room-1/calls/defrost/+", Some(Dialect::Plain)),
            ("devices/coldroom/room-1/+/+/7", Some(Dialect::Plain)),
            ("/sys/coldroom/room-1/#", Some(Dialect::Alink)),
            ("/sys/coldroom/room-1/thing/service/property/set", Some(Dialect::Alink)),
            ("/sys/coldroom/room-1/thing/service/+", Some(Dialect::Alink)),
            ("/sys/coldroom/room-1/rrpc/request/+", Some(Dialect::Alink)),
            ("devices/coldroom/+/alerts", None),
            ("devices/coldroom/+/#", None),
            ("devices/coldroom/room-1/alerts", None),
            ("devices/coldroom/room-1/rejected", None),
            ("devices/coldroom/room-1/telemetry", None),
            ("devices/coldroom/room-1/responses/#", None),
            ("devices/coldroom/room-1/events/#", None),
            ("devices/coldroom/room-1", None),
            ("/sys/coldroom/room-1/thing/event/property/post_reply", None),
            ("/sys/coldroom/room-1/thing/service/Drain_reply", None),
            ("/coldroom/room-1/user/alert", None),
            ("#", None),
            ("devices/coldroom/room-1/calls/#/x", None),
        ] {
            let expected = expected.map(|dialect| (device("coldroom/room-1"), dialect));
            assert_eq!(stands_for(filter), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_delivered_unasked_is_the_devices_own() {
        let lamp = device("pk/lamp");
        assert!(implicit_filters(&lamp, Dialect::Plain).is_empty());
        for filter in implicit_filters(&lamp, Dialect::Alink) {
            assert!(may_subscribe(&lamp, &filter), "{filter}");
        }
    }
}
