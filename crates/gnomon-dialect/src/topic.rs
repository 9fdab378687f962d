//! The grammar of MQTT topics and filters.
//!
//! See: MQTT 5, 4.7.

/// Longest topic or filter, bytes.
pub const BYTES_MAX: usize = 1024;
/// Most levels of a topic or filter.
pub const LEVELS_MAX: usize = 32;

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
}
