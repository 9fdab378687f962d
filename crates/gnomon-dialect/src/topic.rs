//! The grammar of MQTT topics and filters.
//!
//! See: MQTT 5, 4.7.

/// Longest topic or filter, bytes.
pub const BYTES_MAX: usize = 1024;
/// Most levels of a topic or filter.
pub const LEVELS_MAX: usize = 32;

/// Filters that together match the topics on which devices speak, each topic by one filter at most:
/// for whoever hears devices through a broker of somebody else's.
///
/// Filters cannot say "not": a device's replies to calls (`thing/service/{service}_reply`) are
/// matched by one that matches the calls as well, and so are answers to Alink requests by those of the
/// requests. What is heard of these is no uplink to [`crate::recognise`]. Misspelt topics of which the
/// gateway tells a device are matched as far as no filter for them would match what devices are told.
pub const UPLINK_FILTERS: [&str; 27] = [
    "devices/+/+/telemetry",
    "devices/+/+/events/#",
    "devices/+/+/requests/#",
    "devices/+/+/replies/#",
    "/sys/+/+/thing/event/+/post",
    "/sys/+/+/thing/event/property/+/post",
    "/sys/+/+/thing/service/+",
    "/sys/+/+/thing/service/property/+",
    "/sys/+/+/rrpc/response/+",
    "/sys/+/+/_thing/diag/post",
    "/sys/+/+/thing/model/up_raw",
    "/sys/+/+/thing/property/#",
    "/sys/+/+/thing/deviceinfo/#",
    "/sys/+/+/thing/dsltemplate/#",
    "/sys/+/+/thing/dynamicTsl/#",
    "/sys/+/+/thing/config/#",
    "/sys/+/+/thing/log/#",
    "/sys/+/+/thing/file/#",
    "/sys/+/+/thing/job/#",
    "/sys/+/+/thing/ota/#",
    "/sys/+/+/thing/sub/#",
    "/sys/+/+/thing/topo/#",
    "/sys/+/+/thing/list/#",
    "/sys/+/+/thing/gateway/#",
    "/sys/+/+/thing/proxy/#",
    "/sys/+/+/thing/awss/#",
    "/sys/+/+/thing/cipher/#",
];

/// The filter as one member of a group subscribes to it (MQTT 5, 4.8.2).
#[must_use]
pub fn shared_filter(group: &str, filter: &str) -> String {
    format!("$share/{group}/{filter}")
}

fn within_bounds(text: &str) -> bool {
    (1..=BYTES_MAX).contains(&text.len())
        && !text.contains('\0')
        && text.bytes().filter(|byte| *byte == b'/').count() < LEVELS_MAX
}

/// Whether the text names a topic: no wildcards, within bounds.
#[must_use]
pub fn valid_topic(topic: &str) -> bool {
    within_bounds(topic) && !topic.contains(['+', '#'])
}

/// Whether the text is a filter: wildcards stand for whole levels, `#` for the last one only.
#[must_use]
pub fn valid_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    let mut sound = within_bounds(filter);
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        sound &= match level {
            "#" => is_last,
            "+" => true,
            other => !other.contains(['+', '#']),
        };
    }
    sound
}

/// Whether a valid filter matches a valid topic. A wildcard at the first level never matches a
/// topic that begins with `$` (MQTT 5, 4.7.2).
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut wanted = filter.split('/');
    let mut found = topic.split('/');
    loop {
        match (wanted.next(), found.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

/// Whether some topic is matched by both filters, of which neither begins with `$`.
pub(crate) fn overlap(left: &str, right: &str) -> bool {
    let (mut left, mut right) = (left.split('/'), right.split('/'));
    loop {
        match (left.next(), right.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether the end of a valid topic is one level that carries a name or an id.
pub(crate) fn is_level(end: &str) -> bool {
    !end.is_empty() && !end.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "/", true),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("+", "/a", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn filters_overlap_when_a_topic_is_in_both() {
        for (left, right, expected) in [
            ("a/+", "+/b", true),
            ("a/#", "a", true),
            ("a", "a/#", true),
            ("a/b", "a/c", false),
            ("a/+", "a", false),
            ("+/+/c", "a/#", true),
            ("a/+/c", "a/b/d", false),
        ] {
            assert_eq!(overlap(left, right), expected, "{left} {right}");
            assert_eq!(overlap(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = "x".repeat(BYTES_MAX + 1);
        let deep = "/".repeat(LEVELS_MAX);
        for filter in ["", "a/#/b", "a#", "a+", "+a/b", "a\0b", &long, &deep] {
            assert!(!valid_filter(filter), "{filter:.20}");
        }
        for topic in ["", "a/+", "#", "a\0", &long, &deep] {
            assert!(!valid_topic(topic), "{topic:.20}");
        }
        for filter in ["#", "+", "a/+/#", "/", "//", "+/+"] {
            assert!(valid_filter(filter), "{filter}");
        }
    }

    #[test]
    fn a_topic_of_a_device_is_matched_by_one_uplink_filter() {
        for topic in [
            "devices/pk/lamp/telemetry",
            "devices/pk/lamp/events/opened",
            "devices/pk/lamp/requests/status/7",
            "devices/pk/lamp/replies/7",
            "/sys/pk/lamp/thing/event/property/post",
            "/sys/pk/lamp/thing/event/property/batch/post",
            "/sys/pk/lamp/thing/event/Alarm/post",
            "/sys/pk/lamp/thing/service/property/set_reply",
            "/sys/pk/lamp/thing/service/Drain_reply",
            "/sys/pk/lamp/rrpc/response/9",
            "/sys/pk/lamp/_thing/diag/post",
            "/sys/pk/lamp/thing/config/get",
            "/sys/pk/lamp/thing/property/desired/get",
        ] {
            assert!(crate::recognise(topic).is_some(), "{topic}");
            let matching = UPLINK_FILTERS.iter().filter(|filter| matches(filter, topic)).count();
            assert_eq!(matching, 1, "{topic}");
        }
    }

    #[test]
    fn uplink_filters_match_no_topic_twice() {
        for (index, left) in UPLINK_FILTERS.iter().enumerate() {
            assert!(valid_filter(left), "{left}");
            for right in &UPLINK_FILTERS[index + 1..] {
                assert!(!overlap(left, right), "{left} {right}");
            }
        }
    }

    #[test]
    fn what_devices_are_told_is_not_heard_or_is_no_uplink() {
        for topic in ["desired", "alerts", "rejected", "calls/Drain/7", "responses/status/7"] {
            let topic = format!("devices/pk/lamp/{topic}");
            assert!(!UPLINK_FILTERS.iter().any(|filter| matches(filter, &topic)), "{topic}");
        }
        for topic in [
            "thing/event/property/post_reply",
            "thing/service/property/set",
            "thing/service/Drain",
            "rrpc/request/7",
            "thing/config/get_reply",
            "thing/config/push",
            "thing/gateway/permit",
        ] {
            assert!(crate::recognise(&format!("/sys/pk/lamp/{topic}")).is_none(), "{topic}");
        }
    }
}
