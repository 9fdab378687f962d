//! Shadows: read as AWS shapes them, with times in milliseconds; desired state is merged in.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gnomon_host::port::{Queue, Store, Stream};
use gnomon_host::watch::now_ms;
use gnomon_model::shadow::{Document, Time};
use gnomon_model::{Answer, DeviceKey, Object, Record, What};
use serde_json::{Value, json};

use crate::Shared;
use crate::device::{find, load};
use crate::etag::{Condition, etag, if_match, is_known};
use crate::extract::{Named, PATCHES, Received, append, bad, envelope, expect_kind, object};
use crate::problem::Problem;

/// How long a change waits for its answer.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Most keys that a refusal names.
const KEYS_NAMED_MAX: usize = 10;

pub(crate) async fn show<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    Named(device): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let shadow = load(&shared.api.store, &device).await?.shadow;
    let etag = [(header::ETAG, etag(shadow.version))];
    if is_known(&headers, shadow.version) {
        return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
    }
    Ok((etag, Json(document(&shadow, now_ms()))).into_response())
}

fn document(shadow: &Document, now_ms: i64) -> Value {
    let mut state = Object::new();
    let sections =
        [("desired", &shadow.desired), ("reported", &shadow.reported), ("delta", &shadow.delta())];
    for (name, section) in sections {
        if !section.is_empty() {
            state.insert(name.to_owned(), Value::Object(section.clone()));
        }
    }
    json!({
        "state": state,
        "metadata": metadata(shadow),
        "version": shadow.version,
        "timestamp": now_ms,
    })
}

/// Times of all leaves, Unix milliseconds, in the shape of the state; empty sections are absent.
pub(crate) fn metadata(shadow: &Document) -> Value {
    let mut metadata = Object::new();
    let sections = [("desired", &shadow.metadata.desired), ("reported", &shadow.metadata.reported)];
    for (name, times) in sections {
        if !times.is_empty() {
            let times = times.iter().map(|(key, time)| (key.clone(), leaf_times(time))).collect();
            metadata.insert(name.to_owned(), Value::Object(times));
        }
    }
    Value::Object(metadata)
}

fn leaf_times(time: &Time) -> Value {
    match time {
        Time::Leaf(ms) => json!({ "timestamp": ms }),
        Time::Object(members) => {
            members.iter().map(|(key, member)| (key.clone(), leaf_times(member))).collect()
        }
    }
}

pub(crate) async fn patch<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    Named(device): Named,
    headers: HeaderMap,
    body: Result<Received, Problem>,
) -> Result<Response, Problem> {
    expect_kind(&headers, &PATCHES)?;
    let wanted = desired(object(body)?)?;
    let expected_version = expected(&shared.api.store, &device, if_match(&headers)?).await?;
    let patch = match wanted {
        Some(patch) => patch,
        None => clear_all(load(&shared.api.store, &device).await?),
    };
    let envelope = envelope(device, What::Desire { patch, expected_version });
    let waiting = shared.answers.expect(&envelope.id)?;
    append(&shared.api.queue, Stream::Shadow, &envelope).await?;
    match waiting.answer(ANSWER_MAX).await {
        Some(Answer::Desired { version }) => {
            let etag = [(header::ETAG, etag(version))];
            Ok((etag, Json(json!({ "version": version }))).into_response())
        }
        Some(Answer::Refused(reject)) => Err(reject.into()),
        Some(
            Answer::Outputs { .. }
            | Answer::Failed { .. }
            | Answer::TimedOut
            | Answer::Acknowledged { .. },
        ) => {
            let detail = "the change was answered as if it were another request";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
        }
        None => {
            let detail = "no answer in time; the change is in the queue and will be applied";
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail))
        }
    }
}

/// Takes the patch out of `{"state":{"desired":…}}`; none when `desired` is null.
fn desired(mut body: Object) -> Result<Option<Object>, Problem> {
    only(&body, "state", "the document")?;
    let Some(Value::Object(mut state)) = body.remove("state") else {
        return Err(bad("`state` is missing: send {\"state\":{\"desired\":{…}}}"));
    };
    only(&state, "desired", "`state`")?;
    match state.remove("desired") {
        Some(Value::Object(patch)) => Ok(Some(patch)),
        Some(Value::Null) => Ok(None),
        Some(_) => Err(bad("`desired` is neither an object nor null")),
        None => Err(bad("`desired` is missing: send {\"state\":{\"desired\":{…}}}")),
    }
}

/// Refuses all keys but one, and names them.
fn only(object: &Object, allowed: &str, place: &str) -> Result<(), Problem> {
    let others = object.keys().filter(|key| *key != allowed).take(KEYS_NAMED_MAX);
    let others: Vec<String> = others.map(|key| format!("`{key:.64}`")).collect();
    if others.is_empty() {
        return Ok(());
    }
    let others = others.join(", ");
    Err(bad(format!("{others} in {place} cannot be patched: only `{allowed}` can")))
}

/// The version that the step is to expect. That a record exists can be told here: it never goes.
async fn expected<S: Store>(
    store: &S,
    device: &DeviceKey,
    condition: Condition,
) -> Result<Option<u64>, Problem> {
    match condition {
        Condition::None => Ok(None),
        Condition::Version(version) => Ok(Some(version)),
        Condition::Exists if find(store, device).await?.is_some() => Ok(None),
        Condition::Exists => {
            let detail = format!("if-match: nothing is kept about {device} yet");
            Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail))
        }
    }
}

/// The patch that deletes everything that is desired now. What is desired between now and the step
/// stays, unless the request has `If-Match`.
fn clear_all(record: Record) -> Object {
    record.shadow.desired.into_iter().map(|(key, _)| (key, Value::Null)).collect()
}
