//! A shadow request as AWS clients send it, read once into what it asks for.
//!
//! Invariants: a [`Request`] from [`Request::parse`] has passed every check that needs no document.
//! See: `wire/aws.md` 1.2 and 1.11.

use serde_json::Value;

use super::{Rejected, ShadowError};
use crate::{Object, json};

/// Longest `clientToken`, bytes.
const TOKEN_BYTES_MAX: usize = 64;
/// Longest part of a client's key that an error repeats, characters.
const KEY_CHARS_MAX: usize = 64;

/// Limits of shadow requests and documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest state, as [`super::Document::state_bytes`] counts. AWS: 8192, to 30720 on request.
    pub state_bytes_max: usize,
    /// Deepest nesting of a section: keys on the way to a leaf, the first key of the section is
    /// level 1. Arrays add no level by themselves; [`json::DEPTH_MAX`] bounds them. AWS: 8.
    pub levels_max: usize,
    /// Largest request, bytes. AWS: 131072, the largest MQTT publish.
    pub payload_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { state_bytes_max: 8192, levels_max: 8, payload_bytes_max: 131_072 }
    }
}

/// What the topic or the HTTP method says is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Read the shadow.
    Get,
    /// Change it.
    Update,
    /// Remove it.
    Delete,
}

/// A request that is well formed.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is asked for.
    pub ask: Ask,
    /// The client's `clientToken`, at most 64 bytes, repeated in every response.
    pub token: Option<String>,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// The whole shadow.
    Get,
    /// A change.
    Update(Update),
    /// The end of the shadow.
    Delete,
}

/// A change of a shadow.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// What to change.
    pub state: StatePatch,
    /// Version that the client has seen; none when the last write wins.
    pub version: Option<i64>,
}

/// What an update does to the state.
#[derive(Debug, Clone, PartialEq)]
pub enum StatePatch {
    /// Removes both sections (`"state":null`).
    Clear,
    /// Changes each section by itself.
    Sections {
        /// To the wanted state.
        desired: Patch,
        /// To the reported state.
        reported: Patch,
    },
}

/// What an update does to one section.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// Nothing: the section is not named.
    Keep,
    /// Removes all of it (`null`).
    Clear,
    /// Merges; nulls in it delete.
    Merge(Object),
}

impl Request {
    /// Reads a request. The payload of a get or delete may be empty; keys that mean nothing to the
    /// operation are ignored.
    ///
    /// # Errors
    /// Any of the 400s of [`ShadowError`], [`ShadowError::TooLarge`] and [`ShadowError::NotUtf8`],
    /// with the client's token if it could be read. Tell the client; the request can never succeed.
    pub fn parse(operation: Operation, payload: &[u8], limits: &Limits) -> Result<Self, Rejected> {
        let tokenless = |error| Rejected { error, token: None };
        let mut body = body(operation, payload, limits).map_err(tokenless)?;
        let token = token(&mut body).map_err(tokenless)?;
        let ask = match operation {
            Operation::Get => Ok(Ask::Get),
            Operation::Delete => Ok(Ask::Delete),
            Operation::Update => Update::read(body, limits).map(Ask::Update),
        };
        match ask {
            Ok(ask) => Ok(Self { ask, token }),
            Err(error) => Err(Rejected { error, token }),
        }
    }
}

impl Update {
    fn read(mut body: Object, limits: &Limits) -> Result<Self, ShadowError> {
        let state = body.remove("state").ok_or(ShadowError::MissingState)?;
        let state = StatePatch::read(state, limits)?;
        let version = body
            .get("version")
            .map(|version| version.as_i64().ok_or(ShadowError::InvalidVersion))
            .transpose()?;
        Ok(Self { state, version })
    }
}

impl StatePatch {
    fn read(state: Value, limits: &Limits) -> Result<Self, ShadowError> {
        let mut sections = match state {
            Value::Null => return Ok(Self::Clear),
            Value::Object(sections) => sections,
            _ => return Err(ShadowError::StateNotObject),
        };
        let desired = sections.remove("desired");
        let reported = sections.remove("reported");
        if let Some(key) = sections.keys().next() {
            return Err(ShadowError::InvalidNode {
                key: key.chars().take(KEY_CHARS_MAX).collect(),
            });
        }
        Ok(Self::Sections {
            desired: Patch::read(desired, ShadowError::DesiredNotObject, limits)?,
            reported: Patch::read(reported, ShadowError::ReportedNotObject, limits)?,
        })
    }

    /// The `state` of the request that this was read from.
    #[must_use]
    pub fn into_json(self) -> Value {
        match self {
            Self::Clear => Value::Null,
            Self::Sections { desired, reported } => {
                let sections = [("desired", desired), ("reported", reported)];
                let named = sections.into_iter().filter_map(|(name, patch)| match patch {
                    Patch::Keep => None,
                    Patch::Clear => Some((name.to_owned(), Value::Null)),
                    Patch::Merge(patch) => Some((name.to_owned(), Value::Object(patch))),
                });
                Value::Object(named.collect())
            }
        }
    }
}

impl Patch {
    fn read(
        section: Option<Value>,
        otherwise: ShadowError,
        limits: &Limits,
    ) -> Result<Self, ShadowError> {
        match section {
            None => Ok(Self::Keep),
            Some(Value::Null) => Ok(Self::Clear),
            Some(section @ Value::Object(_)) if levels(&section) > limits.levels_max => {
                Err(ShadowError::TooDeep)
            }
            Some(section @ Value::Object(_)) if has_array_with_null(&section) => {
                Err(ShadowError::InvalidJson)
            }
            Some(Value::Object(section)) => Ok(Self::Merge(section)),
            Some(_) => Err(otherwise),
        }
    }
}

fn body(operation: Operation, payload: &[u8], limits: &Limits) -> Result<Object, ShadowError> {
    if payload.len() > limits.payload_bytes_max {
        return Err(ShadowError::TooLarge);
    }
    if payload.is_empty() && operation != Operation::Update {
        return Ok(Object::new());
    }
    json::parse_object(payload).map_err(|_| match std::str::from_utf8(payload) {
        Ok(_) => ShadowError::InvalidJson,
        Err(_) => ShadowError::NotUtf8,
    })
}

fn token(body: &mut Object) -> Result<Option<String>, ShadowError> {
    match body.remove("clientToken") {
        None => Ok(None),
        Some(Value::String(token)) if token.len() <= TOKEN_BYTES_MAX => Ok(Some(token)),
        Some(_) => Err(ShadowError::InvalidToken),
    }
}

/// Keys on the way to the deepest member.
fn levels(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(|one| 1 + levels(one)).max().unwrap_or(0),
        Value::Array(elements) => elements.iter().map(levels).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn has_array_with_null(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(has_array_with_null),
        Value::Array(elements) => elements.iter().any(has_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.values().any(has_null),
        Value::Array(elements) => elements.iter().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
