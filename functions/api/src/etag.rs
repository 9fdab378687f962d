//! Entity tags: the version of a shadow in quotes, and conditions on it (RFC 9110, 13.1).
//!
//! A weak tag (`W/"7"`) counts as its strong form: proxies that compress weaken tags, and a version
//! names one state whichever way its bytes travel.

use axum::http::{HeaderMap, HeaderName, header};

use crate::extract::bad;
use crate::problem::Problem;

/// Most characters of a condition that is shown.
const SHOWN_MAX: usize = 80;

/// What a request demands of the current version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    None,
    /// That there is one.
    Exists,
    /// That it is this one.
    Version(u64),
}

/// The tag of a version.
pub(crate) fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// Reads `If-Match`: absent, `*`, or one tag.
///
/// # Errors
/// 400: several tags, of which a step can expect only one, or none that is a version.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Condition, Problem> {
    let Some(text) = joined(headers, header::IF_MATCH) else { return Ok(Condition::None) };
    if text.trim() == "*" {
        return Ok(Condition::Exists);
    }
    version(&text).map(Condition::Version).ok_or_else(|| {
        let shown: String = text.chars().take(SHOWN_MAX).collect();
        bad(format!("if-match: `{shown}` is not one version: use the ETag, such as \"7\""))
    })
}

/// Whether `If-None-Match` says that the client has this version already. A tag that is none of
/// ours matches nothing.
pub(crate) fn is_known(headers: &HeaderMap, current: u64) -> bool {
    joined(headers, header::IF_NONE_MATCH).is_some_and(|text| {
        text.split(',').any(|tag| tag.trim() == "*" || version(tag) == Some(current))
    })
}

/// All lines of a header, as one.
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
    (!lines.is_empty()).then(|| String::from_utf8_lossy(&lines.join(&b',')).into_owned())
}

fn version(tag: &str) -> Option<u64> {
    let tag = tag.trim();
    let digits = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?;
    // `parse` would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn if_match_takes_one_version_or_any() {
        for (lines, then) in [
            (&[][..], Some(Condition::None)),
            (&["*"], Some(Condition::Exists)),
            (&["\"7\""], Some(Condition::Version(7))),
            (&[" W/\"7\" "], Some(Condition::Version(7))),
            (&["7"], None),
            (&["\"+7\""], None),
            (&["\"\""], None),
            (&["\"seven\""], None),
            (&["\"6\", \"7\""], None),
            (&["\"6\"", "\"7\""], None),
            (&["\"18446744073709551616\""], None),
        ] {
            let found = if_match(&headers(header::IF_MATCH, lines)).ok();
            assert_eq!(found, then, "{lines:?}");
        }
    }

    #[test]
    fn if_none_match_knows_a_version_among_others() {
        for (lines, then) in [
            (&[][..], false),
            (&["*"], true),
            (&["\"7\""], true),
            (&["W/\"7\""], true),
            (&["\"6\", \"7\""], true),
            (&["\"6\"", "\"7\""], true),
            (&["\"6\""], false),
            (&["7"], false),
            (&["\"other\""], false),
        ] {
            assert_eq!(is_known(&headers(header::IF_NONE_MATCH, lines), 7), then, "{lines:?}");
        }
    }
}
