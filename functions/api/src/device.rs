//! Devices: which there are, and what is kept about one.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use gnomon_host::port::{Queue, Store};
use gnomon_host::watch::now_ms;
use gnomon_model::record::PresenceState;
use gnomon_model::{Alert, AlertStatus, DeviceKey, Record};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Shared;
use crate::extract::{Named, bad, parse_key, parse_product};
use crate::problem::Problem;
use crate::shadow::metadata;

/// Devices of one page, if the request does not say; and at most.
const PAGE: (usize, usize) = (100, 1000);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    product: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn list<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query.map_err(|error| bad(error.body_text()))?;
    let product = query.product.as_deref().map(parse_product).transpose()?;
    let after = query.after.as_deref().map(parse_key).transpose()?;
    let limit = query.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let page = shared.api.store.list(product.as_ref(), after.as_ref(), limit).await?;
    let next = page.next.map(|key| key.to_string());
    Ok(Json(json!({ "devices": page.devices, "next": next })))
}

/// Loads the record of a device that has one.
pub(crate) async fn load<S: Store>(store: &S, device: &DeviceKey) -> Result<Record, Problem> {
    find(store, device).await?.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("nothing is kept about {device}"))
    })
}

/// Loads the record of a device, if it has one.
pub(crate) async fn find<S: Store>(
    store: &S,
    device: &DeviceKey,
) -> Result<Option<Record>, Problem> {
    let loaded = store.load(std::slice::from_ref(device)).await?;
    let stored = loaded.into_iter().next();
    Ok(stored.filter(|stored| stored.revision > 0).map(|stored| stored.record))
}

pub(crate) async fn show<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    Named(device): Named,
) -> Result<Json<Value>, Problem> {
    let record = load(&shared.api.store, &device).await?;
    let shadow = &record.shadow;
    Ok(Json(json!({
        "product": device.product,
        "device": device.device,
        "dialect": record.dialect,
        "presence": presence(&record.presence),
        "shadow": {
            "desired": shadow.desired,
            "reported": shadow.reported,
            "delta": shadow.delta(),
            "metadata": metadata(shadow),
            "version": shadow.version,
        },
        "alerts": newest_first(&record),
        "calls": pending_calls(&record, now_ms()),
        "rules": record.rules,
        "counts": record.counts,
    })))
}

/// When a device was never seen, `since` is null and not the year 1970.
fn presence(presence: &PresenceState) -> Value {
    let since = (presence.since_ms != 0).then_some(presence.since_ms);
    json!({ "online": presence.online, "since": since, "reason": presence.reason })
}

/// Calls that a reply can still answer, the one that ends first at the top. The record keeps those
/// that timed out until the timer has come round to them.
fn pending_calls(record: &Record, now_ms: i64) -> Vec<Value> {
    let mut pending: Vec<_> =
        record.calls.iter().filter(|(_, call)| call.deadline_ms >= now_ms).collect();
    pending.sort_by_key(|(_, call)| call.deadline_ms);
    let shown = pending.into_iter().map(
        |(id, call)| json!({ "id": id, "service": call.service, "deadline": call.deadline_ms }),
    );
    shown.collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertFilter {
    status: Option<AlertStatus>,
}

pub(crate) async fn alerts<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    Named(device): Named,
    query: Result<Query<AlertFilter>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query.map_err(|error| bad(error.body_text()))?;
    let record = load(&shared.api.store, &device).await?;
    let mut alerts = newest_first(&record);
    alerts.retain(|alert| query.status.is_none_or(|status| alert.status == status));
    Ok(Json(json!({ "alerts": alerts })))
}

fn newest_first(record: &Record) -> Vec<&Alert> {
    let mut alerts: Vec<&Alert> = record.alerts.values().collect();
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.at));
    alerts
}
