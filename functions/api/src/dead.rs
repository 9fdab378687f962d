//! Dead letters: messages that can never be applied.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use gnomon_host::dead::DeadLetter;
use gnomon_host::port::{Delivery, Log, Queue, Store, Stream};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Shared;
use crate::problem::Problem;

/// Where dead letters stand.
const LOG: Log = Log { stream: Stream::Dead, partition: 0 };
/// Letters of one page, if the request does not say; and at most.
const PAGE: (usize, usize) = (100, 1000);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    after: Option<u64>,
    limit: Option<usize>,
}

pub(crate) async fn list<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let limit = query.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let first = query.after.unwrap_or(0).saturating_add(1);
    // One more than asked for tells whether there is a next page.
    let mut found = shared.api.queue.read(LOG, first, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = more.then(|| found.last().map(|last| last.position)).flatten();
    let dead: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(json!({ "dead": dead, "next": next })))
}

pub(crate) async fn show<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    position: Result<Path<u64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let Path(position) =
        position.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let found = shared.api.queue.read(LOG, position, 1).await?;
    match found.first().filter(|letter| letter.position == position) {
        Some(letter) => Ok(Json(shown(letter))),
        None => {
            let detail = format!("no dead letter stands at position {position}");
            Err(Problem::new(StatusCode::NOT_FOUND, detail))
        }
    }
}

fn shown(delivery: &Delivery) -> Value {
    let mut shown = match DeadLetter::decode(&delivery.body) {
        Ok(letter) => serde_json::to_value(letter).unwrap_or_default(),
        Err(error) => json!({ "reason": format!("the letter cannot be read: {error}") }),
    };
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("position".to_owned(), delivery.position.into());
    }
    shown
}
