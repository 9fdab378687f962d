//! Connections: how many, and how long each may keep the service waiting.
//!
//! Invariants: no more connections are open than the bound; a connection on which nothing moves
//! ends by itself, whichever side should move.
//! See: docs/http.md

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::steady::Steady;

/// Largest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header fields of a request.
const HEADERS_MAX: usize = 100;
/// Pause when the system has no room for a connection, such as no file descriptor.
const PAUSE: Duration = Duration::from_secs(1);

/// Bounds of what connections may take; none may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most connections that are open at once. Further ones wait in the system's backlog.
    pub connections_max: usize,
    /// Longest time from the opening of a connection, or from the last answer on it, to the end of
    /// the next request's head. An idle connection is closed after it as well.
    pub head_max: Duration,
    /// Longest time from the end of a request's head to the end of its body.
    pub body_max: Duration,
    /// Longest time in which a client takes not one byte of its answer.
    pub write_max: Duration,
}

impl Default for Limits {
    /// 1,024 connections; 30 s for a head, 10 s for a body of at most 64 KiB, 30 s for a client
    /// that takes nothing.
    fn default() -> Self {
        Self {
            connections_max: 1024,
            head_max: Duration::from_secs(30),
            body_max: Duration::from_secs(10),
            write_max: Duration::from_secs(30),
        }
    }
}

/// Serves connections until `stop` is cancelled, then waits until those that are open have
/// answered what they were asked. Dropping the future cuts them.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let mut open = JoinSet::new();
    loop {
        metrics::gauge!("gnomon_http_connections").set(open.len() as f64);
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => {}
            socket = accept(&listener), if open.len() < limits.connections_max => {
                open.spawn(converse(socket, router.clone(), limits, stop.clone()));
                if open.len() == limits.connections_max {
                    warn!(connections = open.len(), "no room for further connections");
                }
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            Err(error) if is_over(&error) => debug!(error = %error, "a connection ended at once"),
            Err(error) => {
                warn!(error = %error, "accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the error is the peer's, who has gone already.
fn is_over(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection to its end.
async fn converse(socket: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    if let Err(error) = socket.set_nodelay(true) {
        debug!(error = %error, "send small answers at once");
    }
    let socket = TokioIo::new(Steady::new(socket, limits.write_max));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_max)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(socket, TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(error = %error, "a connection ended");
    }
}
