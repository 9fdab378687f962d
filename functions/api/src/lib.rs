//! HTTP for applications: devices, shadows, calls, alerts, rules, dead letters.
//!
//! Invariants: this function decides nothing about a device. It turns a request into an envelope,
//! and waits for the answer that a step decides.
//! See: docs/http.md

mod answers;
mod call;
mod dead;
mod device;
mod extract;
mod problem;
mod route;
mod shadow;

use std::sync::Arc;

use axum::Router;
use gnomon_host::port::{Queue, Store};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::answers::Answers;

/// What the interface stands on.
pub struct Api<S, Q> {
    /// Records.
    pub store: S,
    /// Where requests go, and answers come from.
    pub queue: Q,
    /// The document of `GET /v1/rules`.
    pub rules: Arc<dyn Fn() -> Value + Send + Sync>,
    /// The text of `GET /metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// [`Api`] with the answers that are awaited; shared by all requests.
struct Shared<S, Q> {
    api: Api<S, Q>,
    answers: Answers,
}

/// Serves until `stop` is cancelled, then lets running requests end.
///
/// # Errors
/// The listener failed.
pub async fn serve<S: Store, Q: Queue>(
    listener: TcpListener,
    api: Api<S, Q>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let answers = Answers::default();
    let hearing = tokio::spawn(answers.clone().hear(api.queue.clone(), stop.clone()));
    let router: Router = route::router(Arc::new(Shared { api, answers }));
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await;
    hearing.abort();
    served
}
