//! HTTP for applications: devices, shadows, calls, alerts, rules, dead letters.
//!
//! Invariants: this function decides nothing about a device. It turns a request into an envelope,
//! and waits for the answer that a step decides.
//! See: docs/http.md

mod acknowledge;
mod answers;
mod call;
mod dead;
mod device;
mod etag;
mod extract;
mod listen;
mod problem;
mod program;
mod replay;
mod route;
mod shadow;
mod steady;

use std::sync::Arc;

use axum::Router;
use gnomon_host::port::{Queue, Store};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

pub use crate::listen::Limits;
pub use crate::program::run;

use crate::answers::Answers;
use crate::listen::listen;
use crate::route::REQUEST_MAX;

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
    limits: Limits,
}

/// Serves within the default [`Limits`]; see [`serve_within`].
///
/// # Errors
/// None as yet: a listener that fails is asked again.
pub async fn serve<S: Store, Q: Queue>(
    listener: TcpListener,
    api: Api<S, Q>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    serve_within(Limits::default(), listener, api, stop).await;
    Ok(())
}

/// Serves until `stop` is cancelled, then lets running requests end, for as long as the longest of
/// them may take; a connection that is still open after that is cut.
///
/// Dropping the future stops at once.
pub async fn serve_within<S: Store, Q: Queue>(
    limits: Limits,
    listener: TcpListener,
    api: Api<S, Q>,
    stop: CancellationToken,
) {
    let answers = Answers::default();
    let hearing = answers.clone().hear(api.queue.clone());
    let _hearing = AbortOnDropHandle::new(tokio::spawn(hearing));
    let router: Router = route::router(Arc::new(Shared { api, answers, limits }));
    tokio::select! {
        () = listen(listener, router, limits, stop.clone()) => {}
        () = overdue(stop) => {}
    }
}

/// Ends when requests that ran at the stop must have ended. Without it, one client that takes its
/// answer slowly would keep the process.
async fn overdue(stop: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(REQUEST_MAX).await;
    warn!("connections are still open, cutting them");
}
