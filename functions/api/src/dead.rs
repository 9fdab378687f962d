//! Dead letters: messages that can never be applied.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use gnomon_host::dead::DeadLetter;
use gnomon_host::port::{Delivery, Log, Queue, QueueError, Store, Stream};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Shared;
use crate::extract::bad;
use crate::problem::Problem;

/// Where dead letters stand.
const LOG: Log = Log { stream: Stream::Dead, partition: 0 };
/// Letters of one page, if the request does not say; and at most.
const PAGE: (usize, usize) = (100, 1000);
/// Letters read at once, and bytes after which a page ends early: letters may be large.
const READ_MAX: (usize, usize) = (64, 4 << 20);

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
    let Query(query) = query.map_err(|error| bad(error.body_text()))?;
    let limit = query.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let (found, next) = page(&shared.api.queue, query.after.unwrap_or(0), limit).await?;
    let dead: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(json!({ "dead": dead, "next": next })))
}

/// Reads a page, and the position after which the next one begins if there is more.
async fn page<Q: Queue>(
    queue: &Q,
    after: u64,
    limit: usize,
) -> Result<(Vec<Delivery>, Option<u64>), QueueError> {
    let (mut found, mut last, mut bytes) = (Vec::new(), after, 0);
    loop {
        let batch = queue.read(LOG, last.saturating_add(1), READ_MAX.0).await?;
        if batch.is_empty() {
            return Ok((found, None));
        }
        for letter in batch {
            if found.len() == limit || bytes > READ_MAX.1 {
                return Ok((found, Some(last)));
            }
            (last, bytes) = (letter.position, bytes + letter.body.len());
            found.push(letter);
        }
    }
}

pub(crate) async fn show<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    position: Result<Path<u64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let Path(position) = position.map_err(|error| bad(error.body_text()))?;
    Ok(Json(shown(&find(&shared.api.queue, position).await?)))
}

/// Finds the letter at a position: 410 when the log held it and has given it up, 404 when it never
/// did.
pub(crate) async fn find<Q: Queue>(queue: &Q, position: u64) -> Result<Delivery, Problem> {
    let next = queue.read(LOG, position, 1).await?.into_iter().next();
    if let Some(letter) = next.filter(|letter| letter.position == position) {
        return Ok(letter);
    }
    let was = position > 0 && position <= queue.counts(LOG).await?.appended;
    let (status, detail) = if was {
        (StatusCode::GONE, format!("the dead letter at position {position} is no longer kept"))
    } else {
        (StatusCode::NOT_FOUND, format!("no dead letter stands at position {position}"))
    };
    Err(Problem::new(status, detail))
}

/// Drops one letter for good.
pub(crate) async fn drop_one<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    position: Result<Path<u64>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let Path(position) = position.map_err(|error| bad(error.body_text()))?;
    let queue = &shared.api.queue;
    find(queue, position).await?;
    queue.forget_dead(&[position]).await?;
    Ok(Json(json!({ "dropped": 1 })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Through {
    through: u64,
}

/// Drops all letters up to a position, which is named so that none goes that nobody has seen.
pub(crate) async fn drop_through<S: Store, Q: Queue>(
    State(shared): State<Arc<Shared<S, Q>>>,
    query: Result<Query<Through>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Through { through }) = query.map_err(|error| bad(error.body_text()))?;
    let queue = &shared.api.queue;
    let (mut last, mut dropped) = (0, 0);
    loop {
        let some = queue.read(LOG, last + 1, READ_MAX.0).await?;
        let some: Vec<u64> =
            some.iter().map(|one| one.position).filter(|at| *at <= through).collect();
        let Some(end) = some.last() else { return Ok(Json(json!({ "dropped": dropped }))) };
        last = *end;
        dropped += some.len();
        queue.forget_dead(&some).await?;
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
