//! What a request names: a device, a body; and the envelope that is made of it.

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use gnomon_host::port::{Log, Message, Queue, Store, Stream};
use gnomon_host::watch::now_ms;
use gnomon_model::{DeviceKey, DeviceName, Envelope, EnvelopeId, Object, ProductKey, What, json};

use crate::Shared;
use crate::problem::Problem;

/// Largest body of a request, bytes.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// What a body may be, and the header by which a refusal says so.
pub(crate) struct Kinds {
    offer: &'static str,
    listed: &'static str,
}

/// Content types of a patch.
pub(crate) const PATCHES: Kinds =
    Kinds { offer: "accept-patch", listed: "application/merge-patch+json, application/json" };
/// Content type of a call's inputs.
pub(crate) const INPUTS: Kinds = Kinds { offer: "accept-post", listed: "application/json" };

/// The problem of a request that is wrong in itself.
pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// The device that the path names as `{product}/{device}`.
pub(crate) struct Named(pub DeviceKey);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|error| bad(error.to_string()))?;
        let find = |wanted: &str| {
            params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
        };
        let product = find("product").unwrap_or_default();
        let device = find("device").unwrap_or_default();
        Ok(Self(DeviceKey { product: parse_product(&product)?, device: parse_device(&device)? }))
    }
}

pub(crate) fn parse_product(text: &str) -> Result<ProductKey, Problem> {
    ProductKey::parse(text).map_err(|error| bad(error.to_string()))
}

fn parse_device(text: &str) -> Result<DeviceName, Problem> {
    DeviceName::parse(text).map_err(|error| bad(error.to_string()))
}

/// Parses `product/device`.
pub(crate) fn parse_key(text: &str) -> Result<DeviceKey, Problem> {
    let (product, device) = text
        .split_once('/')
        .ok_or_else(|| bad(format!("`{text:.80}` is not a device: write product/device")))?;
    Ok(DeviceKey { product: parse_product(product)?, device: parse_device(device)? })
}

/// The body of a request, which came in time and is not too large.
pub(crate) struct Received(Bytes);

impl<S: Store, Q: Queue> FromRequest<Arc<Shared<S, Q>>> for Received {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Arc<Shared<S, Q>>) -> Result<Self, Problem> {
        let time = shared.limits.body_max;
        match tokio::time::timeout(time, Bytes::from_request(request, shared)).await {
            Ok(body) => Ok(Self(body.map_err(unread)?)),
            Err(_) => {
                let detail = format!("the body did not arrive within {} ms", time.as_millis());
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
            }
        }
    }
}

/// Reads a JSON object; no body is an empty one.
pub(crate) fn object(body: Result<Received, Problem>) -> Result<Object, Problem> {
    let Received(body) = body?;
    if body.is_empty() {
        return Ok(Object::new());
    }
    json::parse_object(&body).map_err(Problem::from)
}

fn unread(error: BytesRejection) -> Problem {
    let status = error.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(status, format!("the body is larger than {BODY_BYTES_MAX} bytes"));
    }
    Problem::new(status, error.body_text())
}

/// Refuses a body that says it is of another kind; one that says nothing is taken as JSON.
pub(crate) fn expect_kind(headers: &HeaderMap, kinds: &Kinds) -> Result<(), Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if kinds.listed.split(", ").any(|kind| essence.eq_ignore_ascii_case(kind)) {
        return Ok(());
    }
    let detail = format!("content-type is `{given:.80}`: use one of {}", kinds.listed);
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    Err(problem.offering(kinds.offer, kinds.listed))
}

/// Makes the envelope of a request; the clock is read here, once.
pub(crate) fn envelope(device: DeviceKey, what: What) -> Envelope {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let id = EnvelopeId::parse(&id).expect("a uuid is a word");
    Envelope { id, device, received_at_ms: now_ms(), what }
}

/// Appends the envelope to its device's partition of the stream.
pub(crate) async fn append<Q: Queue>(
    queue: &Q,
    stream: Stream,
    envelope: &Envelope,
) -> Result<(), Problem> {
    let log = Log { stream, partition: envelope.device.partition(queue.partitions()) };
    let (id, device) = (envelope.id.to_string(), Some(envelope.device.clone()));
    let message = Message { log, id, device, body: envelope.encode() };
    Ok(queue.append(vec![message]).await?)
}
