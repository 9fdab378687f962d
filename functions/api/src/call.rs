//! Calls: a service of a device, with the reply as the response.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use gnomon_host::port::{Queue, Store, Stream};
use gnomon_model::{Answer, What};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Shared;
use crate::extract::{INPUTS, Named, Received, append, bad, envelope, expect_kind, object};
use crate::problem::Problem;

/// How long a call waits if the request does not say, and at most, milliseconds.
const TIMEOUT_MS: (u32, u32) = (8_000, 60_000);
/// Longest name of a service, characters: above the 50 that Alink allows an identifier, and short
/// enough to be shown.
const SERVICE_MAX: usize = 128;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Timeout {
    timeout_ms: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Service {
    service: String,
}

pub(crate) async fn call<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    Named(device): Named,
    Path(Service { service }): Path<Service>,
    query: Result<Query<Timeout>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Received, Problem>,
) -> Result<Json<Value>, Problem> {
    let timeout_ms = timeout(query)?;
    expect_kind(&headers, &INPUTS)?;
    if service.chars().count() > SERVICE_MAX {
        return Err(bad(format!("the service's name is longer than {SERVICE_MAX} characters")));
    }
    let inputs = object(body)?;
    let name = device.to_string();
    let envelope = envelope(device, What::Call { service, inputs, timeout_ms });
    let waiting = shared.answers.expect(&envelope.id)?;
    append(&shared.api.queue, Stream::Calls, &envelope).await?;
    match waiting.answer(Duration::from_millis(timeout_ms.into())).await {
        Some(Answer::Outputs { outputs }) => Ok(Json(Value::Object(outputs))),
        Some(Answer::Failed { code, message }) => {
            let detail = format!("{name} replied with a failure: {code} {message}");
            let more = json!({ "code": code, "message": message });
            Err(Problem::new(StatusCode::BAD_GATEWAY, detail).with(more))
        }
        Some(Answer::Refused(reject)) => Err(reject.into()),
        Some(Answer::Desired { .. } | Answer::Acknowledged { .. }) => {
            let detail = "the call was answered as if it were another request";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
        }
        // Whichever is first: the timer that took the call out of the record, or our own.
        Some(Answer::TimedOut) | None => {
            let detail = format!("{name} did not reply within {timeout_ms} ms");
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail))
        }
    }
}

fn timeout(query: Result<Query<Timeout>, QueryRejection>) -> Result<u32, Problem> {
    let Query(query) = query.map_err(|error| bad(error.body_text()))?;
    let timeout_ms = query.timeout_ms.unwrap_or(TIMEOUT_MS.0);
    if (1..=TIMEOUT_MS.1).contains(&timeout_ms) {
        return Ok(timeout_ms);
    }
    Err(bad(format!("timeout_ms is {timeout_ms}, not 1 to {}", TIMEOUT_MS.1)))
}
