//! Why AWS would refuse a shadow request: codes and texts as on its wire.
//!
//! Texts are verbatim, since client libraries compare them. See: `wire/aws.md` 1.7.

use serde_json::json;

use super::metadata::seconds;
use crate::Object;

/// Why a shadow request is refused. Displays as the message on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShadowError {
    /// Not strict JSON, not an object, or a null below an array.
    #[error("Invalid JSON")]
    InvalidJson,
    /// An update without `state`.
    #[error("Missing required node: state")]
    MissingState,
    /// `state` is neither object nor null.
    #[error("State node must be an object")]
    StateNotObject,
    /// `state.desired` is neither object nor null.
    #[error("Desired node must be an object")]
    DesiredNotObject,
    /// `state.reported` is neither object nor null.
    #[error("Reported node must be an object")]
    ReportedNotObject,
    /// A key of `state` that is neither `desired` nor `reported`.
    #[error("State contains an invalid node: '{key}'")]
    InvalidNode {
        /// The key, cut to 64 characters.
        key: String,
    },
    /// `version` is no integer, or is not 1 while there is no shadow.
    #[error("Invalid version")]
    InvalidVersion,
    /// `clientToken` is no string, or longer than 64 bytes.
    #[error("Invalid clientToken")]
    InvalidToken,
    /// A section has more levels than the limit; the text says 6 whatever the limit is.
    #[error("JSON contains too many levels of nesting; maximum is 6")]
    TooDeep,
    /// The caller could not be identified. Made by a surface.
    #[error("Unauthorized")]
    Unauthorized,
    /// The caller may not do this. Made by a surface.
    #[error("Forbidden")]
    Forbidden,
    /// The registry has no such thing. Made by a surface, if at all.
    #[error("Thing not found")]
    ThingNotFound,
    /// There is no shadow to get or delete.
    #[error("No shadow exists with name: '{name}'")]
    NotFound {
        /// Thing name; for a named shadow `thing~shadow`.
        name: String,
    },
    /// Wrong HTTP method. Made by a surface.
    #[error("Method not allowed")]
    MethodNotAllowed,
    /// `version` is not the current one: the client should get the shadow and try again.
    #[error("Version conflict")]
    VersionConflict,
    /// The request, or the state after it, is above its limit.
    #[error("The payload exceeds the maximum size allowed")]
    TooLarge,
    /// The payload is not UTF-8. Over MQTT this is told as [`ShadowError::InvalidJson`].
    #[error("Unsupported documented encoding; supported encoding is UTF-8")]
    NotUtf8,
    /// Too many requests at once or per second. Made by a surface.
    #[error("Too many requests")]
    Throttled,
    /// Our bug; nothing was committed. Made by a surface.
    #[error("Internal service failure")]
    Internal,
    /// Something that we need is away; nothing was committed. Made by a surface.
    #[error("Service unavailable")]
    Unavailable,
}

impl ShadowError {
    /// Numeric code: of the rejected payload over MQTT, and the HTTP status.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.class().0
    }

    /// Name of the exception that SDKs raise, for the HTTP header `x-amzn-errortype`.
    #[must_use]
    pub fn exception(&self) -> &'static str {
        self.class().1
    }

    fn class(&self) -> (u16, &'static str) {
        match self {
            Self::InvalidJson
            | Self::MissingState
            | Self::StateNotObject
            | Self::DesiredNotObject
            | Self::ReportedNotObject
            | Self::InvalidNode { .. }
            | Self::InvalidVersion
            | Self::InvalidToken
            | Self::TooDeep => (400, "InvalidRequestException"),
            Self::Unauthorized => (401, "UnauthorizedException"),
            Self::Forbidden => (403, "ForbiddenException"),
            Self::ThingNotFound | Self::NotFound { .. } => (404, "ResourceNotFoundException"),
            Self::MethodNotAllowed => (405, "MethodNotAllowedException"),
            Self::VersionConflict => (409, "ConflictException"),
            Self::TooLarge => (413, "RequestEntityTooLargeException"),
            Self::NotUtf8 => (415, "UnsupportedDocumentEncodingException"),
            Self::Throttled => (429, "ThrottlingException"),
            Self::Internal => (500, "InternalFailureException"),
            Self::Unavailable => (503, "ServiceUnavailableException"),
        }
    }
}

/// A refused request: why, and the token by which the client knows its request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Rejected {
    /// Why.
    pub error: ShadowError,
    /// The request's `clientToken`; none when it had none, or it could not be read.
    pub token: Option<String>,
}

impl Rejected {
    /// The payload for the `rejected` topics (MQTT only: HTTP bodies hold no numeric code):
    /// `code`, `message`, `timestamp` (Unix seconds), and `clientToken` if there is one.
    ///
    /// A 404 without a token has no `timestamp`, as on the real service.
    #[must_use]
    pub fn payload(&self, now_ms: i64) -> Object {
        let error = match &self.error {
            ShadowError::NotUtf8 => &ShadowError::InvalidJson,
            other => other,
        };
        let mut payload = Object::new();
        payload.insert("code".into(), json!(error.code()));
        payload.insert("message".into(), json!(error.to_string()));
        if self.token.is_some() || error.code() != 404 {
            payload.insert("timestamp".into(), json!(seconds(now_ms)));
        }
        if let Some(token) = &self.token {
            payload.insert("clientToken".into(), json!(token));
        }
        payload
    }
}
