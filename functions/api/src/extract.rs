//! What a request names: a device, a version, a body.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use gnomon_host::port::{Log, Message, Queue, Stream};
use gnomon_host::watch::now_ms;
use gnomon_model::{DeviceKey, DeviceName, Envelope, EnvelopeId, Object, ProductKey, What, json};

use crate::problem::Problem;

/// The device that the path names as `{product}/{device}`.
pub(crate) struct Named(pub DeviceKey);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        let find = |wanted: &str| {
            params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
        };
        let product = find("product").unwrap_or_default();
        let device = find("device").unwrap_or_default();
        Ok(Self(DeviceKey { product: parse_product(&product)?, device: parse_device(&device)? }))
    }
}

pub(crate) fn parse_product(text: &str) -> Result<ProductKey, Problem> {
    ProductKey::parse(text)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn parse_device(text: &str) -> Result<DeviceName, Problem> {
    DeviceName::parse(text)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Parses `product/device`.
pub(crate) fn parse_key(text: &str) -> Result<DeviceKey, Problem> {
    let (product, device) = text.split_once('/').ok_or_else(|| {
        let detail = format!("`{text:.80}` is not a device: write product/device");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    Ok(DeviceKey { product: parse_product(product)?, device: parse_device(device)? })
}

/// Reads a JSON object; no body is an empty one.
pub(crate) fn object(body: Result<Bytes, BytesRejection>) -> Result<Object, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    if body.is_empty() {
        return Ok(Object::new());
    }
    json::parse_object(&body).map_err(|reject| Problem::new(StatusCode::BAD_REQUEST, reject.reason))
}

/// The version that `If-Match` or `If-None-Match` names; none when the header is absent or `*`.
pub(crate) fn version(
    headers: &HeaderMap,
    name: header::HeaderName,
) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(&name) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.trim_start_matches("W/").trim_matches('"').parse();
    number.map(Some).map_err(|_| {
        let detail = format!("{name}: `{text:.40}` is no version: use the ETag, such as \"7\"");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
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
    let message = Message { log, id: envelope.id.to_string(), body: envelope.encode() };
    Ok(queue.append(vec![message]).await?)
}
