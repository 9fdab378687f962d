//! One AWS shadow request applied to a document: what changes, and what everyone is told.
//!
//! Invariants: a refused request changes nothing; an accepted update adds exactly 1 to the version.
//! See: `wire/aws.md` 1.6 and 1.8.

use serde_json::{Value, json};

use super::metadata::{seconds, timestamp, timestamps};
use super::{Ask, Document, Limits, Rejected, Request, ShadowError, Update};
use crate::Object;

/// How long a deleted shadow's version is remembered, milliseconds: 48 hours.
pub const TOMBSTONE_MS: i64 = 48 * 60 * 60 * 1000;

/// What an accepted request says, one payload per topic. All `timestamp`s are Unix seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Responses {
    /// For `get/accepted`, `update/accepted` or `delete/accepted`, and the body over HTTP.
    pub accepted: Object,
    /// For `update/delta`: after an update, when anything is desired and not reported.
    pub delta: Option<Object>,
    /// For `update/documents`: after an update. `previous` (absent when this update created the
    /// shadow) and `current`, each with `state`, `metadata`, `version`.
    pub documents: Option<Object>,
}

/// Applies a request. `name` is the thing name, or `thing~shadow` for a named shadow; it only
/// appears in errors. `now_ms` becomes the time of all leaves that an update names.
///
/// A deleted shadow is as an absent one, except that its version goes on from the deleted one for
/// [`TOMBSTONE_MS`]; after that it starts at 1 again.
///
/// ```
/// use gnomon_model::shadow::{Document, Limits, Operation, Request, apply};
/// let (mut shadow, limits) = (Document::default(), Limits::default());
/// let payload = br#"{"state":{"reported":{"temp":21.5}},"clientToken":"k-17"}"#;
/// let request = Request::parse(Operation::Update, payload, &limits)?;
/// let responses = apply(&mut shadow, request, "lamp-1", 1_790_000_005_000, &limits)?;
/// assert_eq!(
///     serde_json::to_string(&responses.accepted).unwrap_or_default(),
///     concat!(
///         r#"{"clientToken":"k-17","metadata":{"reported":{"temp":{"timestamp":1790000005}}},"#,
///         r#""state":{"reported":{"temp":21.5}},"timestamp":1790000005,"version":1}"#
///     )
/// );
/// # Ok::<(), gnomon_model::shadow::Rejected>(())
/// ```
///
/// # Errors
/// [`ShadowError::NotFound`] for a get or delete of nothing; for an update
/// [`ShadowError::VersionConflict`], [`ShadowError::InvalidVersion`] (there is no shadow and the
/// version is not 1), or [`ShadowError::TooLarge`] (the state would grow above the limit). The
/// document is as before; tell the client.
pub fn apply(
    document: &mut Document,
    request: Request,
    name: &str,
    now_ms: i64,
    limits: &Limits,
) -> Result<Responses, Rejected> {
    let Request { ask, token } = request;
    let frame = Frame { now_ms, token: token.as_deref() };
    let responses = match ask {
        Ask::Get => get(document, name, frame),
        Ask::Update(change) => update(document, change, frame, limits),
        Ask::Delete => delete(document, name, frame),
    };
    responses.map_err(|error| Rejected { error, token })
}

/// The payload for `update/delta`; none when everything desired is reported. `state` holds what
/// differs, `metadata` when that was desired, in Unix seconds.
///
/// For changes that came by another way than [`apply`]; those have no `token`.
#[must_use]
pub fn delta_payload(document: &Document, now_ms: i64, token: Option<&str>) -> Option<Object> {
    let delta = document.delta();
    if delta.is_empty() {
        return None;
    }
    let metadata = timestamps(&delta, &document.metadata.desired);
    let state = members([("state", Value::Object(delta)), ("metadata", Value::Object(metadata))]);
    Some(Frame { now_ms, token }.around(state, Some(document.version)))
}

fn get(document: &Document, name: &str, frame: Frame<'_>) -> Result<Responses, ShadowError> {
    require(document, name)?;
    let delta = document.delta();
    let mut accepted = view(document);
    if let (false, Some(Value::Object(state))) = (delta.is_empty(), accepted.get_mut("state")) {
        state.insert("delta".into(), Value::Object(delta));
    }
    let accepted = frame.around(accepted, None);
    Ok(Responses { accepted, delta: None, documents: None })
}

fn update(
    document: &mut Document,
    change: Update,
    frame: Frame<'_>,
    limits: &Limits,
) -> Result<Responses, ShadowError> {
    check_version(document, change.version)?;
    let mut next = document.clone();
    if next.deleted_at_ms.is_some_and(|at| frame.now_ms.saturating_sub(at) >= TOMBSTONE_MS) {
        next.version = 0;
    }
    next.update(&change.state, frame.now_ms);
    // A state that is too large already (its limit was lowered) may still shrink.
    if next.state_bytes() > limits.state_bytes_max.max(document.state_bytes()) {
        return Err(ShadowError::TooLarge);
    }
    let responses = Responses {
        accepted: accepted_update(change, next.version, frame),
        delta: delta_payload(&next, frame.now_ms, frame.token),
        documents: Some(documents(document, &next, frame)),
    };
    *document = next;
    Ok(responses)
}

fn delete(document: &mut Document, name: &str, frame: Frame<'_>) -> Result<Responses, ShadowError> {
    require(document, name)?;
    let accepted = frame.around(Object::new(), Some(document.version));
    *document = Document {
        version: document.version + 1,
        deleted_at_ms: Some(frame.now_ms),
        ..Document::default()
    };
    Ok(Responses { accepted, delta: None, documents: None })
}

fn require(document: &Document, name: &str) -> Result<(), ShadowError> {
    if document.exists() { Ok(()) } else { Err(ShadowError::NotFound { name: name.to_owned() }) }
}

fn check_version(document: &Document, version: Option<i64>) -> Result<(), ShadowError> {
    match version {
        None => Ok(()),
        Some(version) if document.exists() => {
            let is_current = u64::try_from(version) == Ok(document.version);
            if is_current { Ok(()) } else { Err(ShadowError::VersionConflict) }
        }
        Some(1) => Ok(()),
        Some(_) => Err(ShadowError::InvalidVersion),
    }
}

/// The echo of an update: what it named, deletions included, and the time of all that.
fn accepted_update(change: Update, version: u64, frame: Frame<'_>) -> Object {
    let state = change.state.into_json();
    let metadata = timestamp(&state, frame.now_ms);
    frame.around(members([("state", state), ("metadata", metadata)]), Some(version))
}

fn documents(previous: &Document, current: &Document, frame: Frame<'_>) -> Object {
    let mut both = members([("current", Value::Object(view(current)))]);
    if previous.exists() {
        both.insert("previous".into(), Value::Object(view(previous)));
    }
    frame.around(both, None)
}

/// `state`, `metadata`, `version`; sections that are empty are absent.
fn view(document: &Document) -> Object {
    let Document { desired, reported, metadata, .. } = document;
    let sections =
        [("desired", desired, &metadata.desired), ("reported", reported, &metadata.reported)];
    let (mut state, mut times) = (Object::new(), Object::new());
    for (name, section, section_times) in sections.into_iter().filter(|(_, one, _)| !one.is_empty())
    {
        state.insert(name.to_owned(), Value::Object(section.clone()));
        times.insert(name.to_owned(), Value::Object(timestamps(section, section_times)));
    }
    let (state, times) = (Value::Object(state), Value::Object(times));
    members([("state", state), ("metadata", times), ("version", json!(document.version))])
}

/// What every response carries besides its content.
#[derive(Debug, Clone, Copy)]
struct Frame<'a> {
    now_ms: i64,
    token: Option<&'a str>,
}

impl Frame<'_> {
    fn around(self, mut content: Object, version: Option<u64>) -> Object {
        if let Some(version) = version {
            content.insert("version".into(), json!(version));
        }
        content.insert("timestamp".into(), json!(seconds(self.now_ms)));
        if let Some(token) = self.token {
            content.insert("clientToken".into(), json!(token));
        }
        content
    }
}

fn members<const N: usize>(members: [(&str, Value); N]) -> Object {
    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
