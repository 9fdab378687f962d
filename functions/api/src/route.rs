//! Which path does what, and what holds for all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use gnomon_host::port::{Log, Queue, Store, Stream};
use gnomon_host::stats::{Stats, collect};
use serde_json::{Value, json};
use tower_http::timeout::TimeoutLayer;

use crate::extract::BODY_BYTES_MAX;
use crate::problem::{self, Problem};
use crate::{Shared, acknowledge, call, dead, device, replay, shadow};

/// Longest that a request may take: the longest wait for a device, and some.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(75);
/// Longest that a health check waits for store and queue.
const HEALTH_MAX: Duration = Duration::from_secs(2);

type App<S, Q> = State<Arc<Shared<S, Q>>>;

pub(crate) fn router<S: Store, Q: Queue>(shared: Arc<Shared<S, Q>>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(health::<S, Q>))
        .route("/metrics", get(metrics_text::<S, Q>))
        .route("/v1/devices", get(device::list::<S, Q>))
        .route("/v1/devices/{product}/{device}", get(device::show::<S, Q>))
        .route(
            "/v1/devices/{product}/{device}/shadow",
            get(shadow::show::<S, Q>).patch(shadow::patch::<S, Q>),
        )
        .route("/v1/devices/{product}/{device}/calls/{service}", post(call::call::<S, Q>))
        .route("/v1/devices/{product}/{device}/alerts", get(device::alerts::<S, Q>))
        .route(
            "/v1/devices/{product}/{device}/alerts/{id}/acknowledge",
            post(acknowledge::acknowledge::<S, Q>),
        )
        .route("/v1/rules", get(rules::<S, Q>))
        .route("/v1/stats", get(stats::<S, Q>))
        .route("/v1/dead", get(dead::list::<S, Q>).delete(dead::drop_through::<S, Q>))
        .route("/v1/dead/{position}", get(dead::show::<S, Q>).delete(dead::drop_one::<S, Q>))
        .route("/v1/dead/{position}/replay", post(replay::replay::<S, Q>))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_MAX))
        .layer(map_response(problem::complete))
        .layer(from_fn(measure))
        .with_state(shared)
}

async fn index() -> Json<Value> {
    Json(json!({
        "name": "gnomon",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": [
            "GET /v1/devices",
            "GET /v1/devices/{product}/{device}",
            "GET /v1/devices/{product}/{device}/shadow",
            "PATCH /v1/devices/{product}/{device}/shadow",
            "POST /v1/devices/{product}/{device}/calls/{service}?timeout_ms=",
            "GET /v1/devices/{product}/{device}/alerts",
            "POST /v1/devices/{product}/{device}/alerts/{id}/acknowledge",
            "GET /v1/rules",
            "GET /v1/stats",
            "GET /v1/dead",
            "GET /v1/dead/{position}",
            "POST /v1/dead/{position}/replay",
            "DELETE /v1/dead/{position}",
            "DELETE /v1/dead?through=",
            "GET /healthz",
            "GET /metrics",
        ],
    }))
}

async fn health<S: Store, Q: Queue>(State(shared): App<S, Q>) -> Result<Json<Value>, Problem> {
    let asked = async {
        shared.api.store.list(None, None, 1).await?;
        shared.api.queue.counts(Log { stream: Stream::Dead, partition: 0 }).await?;
        Ok::<(), Problem>(())
    };
    match tokio::time::timeout(HEALTH_MAX, asked).await {
        Ok(asked) => asked?,
        Err(_) => {
            let detail = "store or queue does not answer in time";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
    }
    Ok(Json(json!({ "status": "ok" })))
}

async fn metrics_text<S: Store, Q: Queue>(State(shared): App<S, Q>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, (shared.api.metrics)()).into_response()
}

async fn rules<S: Store, Q: Queue>(State(shared): App<S, Q>) -> Json<Value> {
    Json((shared.api.rules)())
}

async fn stats<S: Store, Q: Queue>(State(shared): App<S, Q>) -> Result<Json<Stats>, Problem> {
    Ok(Json(collect(&shared.api.queue, &shared.api.store).await?))
}

async fn unknown(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {:.200}; GET / lists what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} does nothing at {:.200}; GET / lists what does", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Counts and times requests, by the path's pattern and never by its values.
async fn measure(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let start = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::histogram!("gnomon_http_request_duration_seconds", "path" => path.clone())
        .record(start.elapsed().as_secs_f64());
    metrics::counter!("gnomon_http_requests_total", "path" => path, "status" => status)
        .increment(1);
    response
}
