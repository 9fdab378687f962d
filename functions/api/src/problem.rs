//! Errors as RFC 9457 problem documents.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gnomon_host::port::{QueueError, StoreError};
use gnomon_model::{Reject, RejectKind};
use serde_json::{Value, json};

/// Content type of a problem.
const KIND: &str = "application/problem+json";

/// Why a request was not done: status, what went wrong here, and further members.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    more: Value,
    offer: Option<(&'static str, &'static str)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), more: Value::Null, offer: None }
    }

    pub(crate) fn with(mut self, more: Value) -> Self {
        self.more = more;
        self
    }

    /// Adds the header that says what would be accepted.
    pub(crate) fn offering(mut self, header: &'static str, kinds: &'static str) -> Self {
        self.offer = Some((header, kinds));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), self.more) {
            body.extend(more);
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static(KIND);
        headers.insert(header::CONTENT_TYPE, kind);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some((name, kinds)) = self.offer {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(kinds));
        }
        response
    }
}

/// Makes a problem of every error that a library answered in its own words, or in none.
pub(crate) async fn complete(response: Response) -> Response {
    let status = response.status();
    let told = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == KIND);
    if told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let detail = match status {
        StatusCode::REQUEST_TIMEOUT => "the request did not arrive in time",
        _ => "the request cannot be served",
    };
    Problem::new(status, detail).into_response()
}

/// The status by which an application learns why a step refused its request.
impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        let status = match reject.kind {
            RejectKind::NotJson | RejectKind::Malformed => StatusCode::BAD_REQUEST,
            RejectKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RejectKind::UnknownTopic
            | RejectKind::UnknownProduct
            | RejectKind::UnknownCall
            | RejectKind::UnknownAlert => StatusCode::NOT_FOUND,
            RejectKind::Invalid | RejectKind::BadTime => StatusCode::UNPROCESSABLE_ENTITY,
            RejectKind::Forbidden => StatusCode::FORBIDDEN,
            RejectKind::Conflict => StatusCode::PRECONDITION_FAILED,
            RejectKind::Offline | RejectKind::AlertCleared => StatusCode::CONFLICT,
            RejectKind::NoAnswer | RejectKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let more = json!({ "kind": reject.kind.as_str() });
        Self::new(status, reject.reason).with(more)
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let status = match error {
            QueueError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            QueueError::Full { .. } | QueueError::Unavailable { .. } | QueueError::Closed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match error {
            StoreError::Unavailable { .. } | StoreError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            StoreError::Damaged { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_refusal_has_its_status() {
        for (kind, status) in [
            (RejectKind::NotJson, 400),
            (RejectKind::Malformed, 400),
            (RejectKind::TooLarge, 413),
            (RejectKind::UnknownTopic, 404),
            (RejectKind::UnknownProduct, 404),
            (RejectKind::UnknownCall, 404),
            (RejectKind::UnknownAlert, 404),
            (RejectKind::AlertCleared, 409),
            (RejectKind::Invalid, 422),
            (RejectKind::BadTime, 422),
            (RejectKind::Forbidden, 403),
            (RejectKind::Conflict, 412),
            (RejectKind::Offline, 409),
            (RejectKind::NoAnswer, 500),
            (RejectKind::Internal, 500),
        ] {
            let problem = Problem::from(Reject::new(kind, "why"));
            assert_eq!((problem.status.as_u16(), problem.detail.as_str()), (status, "why"));
            assert_eq!(problem.more, json!({ "kind": kind.as_str() }));
        }
    }

    #[tokio::test]
    async fn an_error_in_the_words_of_a_library_becomes_a_problem() {
        for (status, then) in [(408, Some(KIND)), (413, Some(KIND)), (200, None), (304, None)] {
            let status = StatusCode::from_u16(status).unwrap();
            let response = complete(status.into_response()).await;
            let kind = response.headers().get(header::CONTENT_TYPE);
            assert_eq!(
                (response.status(), kind.map(|kind| kind.to_str().unwrap())),
                (status, then)
            );
        }
    }
}
