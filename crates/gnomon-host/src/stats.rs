//! The books of a deployment: what each log received and what became of it, and what a power cut costs.
//!
//! Invariants: `received = applied + dead + pending + dropped` for every log; `pending` is counted by
//! what the log holds, so that a message that is gone shows. Only logs that keep their newest may drop.

use serde::Serialize;

use crate::port::{Class, Log, Promise, Queue, QueueError, Store, Stream};

/// Everything that `gnomon stats` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Whether the equation holds for every log.
    pub conserved: bool,
    /// Each log, stream by stream.
    pub logs: Vec<LogStats>,
    /// Each stream.
    pub streams: Vec<StreamStats>,
    /// The server behind the queue.
    pub queue: Promise,
    /// The server behind the store.
    pub store: Promise,
}

/// The books of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogStats {
    /// `telemetry/0`.
    pub log: String,
    /// Appended since the log was made.
    pub received: u64,
    /// Acknowledged, and not dead.
    pub applied: u64,
    /// Acknowledged, and can never be applied.
    pub dead: u64,
    /// Held and not acknowledged; of the dead letters, those that are kept.
    pub pending: u64,
    /// Given up by a log that keeps its newest.
    pub dropped: u64,
    /// Neither acknowledged nor held, though the log drops nothing: a loss.
    pub missing: u64,
}

/// How a stream is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamStats {
    /// The stream.
    pub stream: &'static str,
    /// Its durability class.
    pub class: &'static str,
    /// Copies on different servers.
    pub copies: usize,
    /// Age up to which what is acknowledged is kept, milliseconds; none when age does not matter.
    pub kept_age_ms: Option<u64>,
    /// Messages that each of its logs keeps at most.
    pub kept_messages: u64,
    /// Bytes that each of its logs keeps at most.
    pub kept_bytes: u64,
}

/// Reads the books; on a remote queue one or two questions for each log.
///
/// # Errors
/// The queue is unavailable or closed.
pub async fn collect<Q: Queue, S: Store>(queue: &Q, store: &S) -> Result<Stats, QueueError> {
    let mut logs = Vec::new();
    for log in Log::all(queue.partitions()) {
        logs.push(log_stats(queue, log).await?);
    }
    Ok(Stats {
        conserved: logs.iter().all(|one| one.missing == 0),
        logs,
        streams: Stream::ALL.into_iter().filter_map(|stream| stream_stats(queue, stream)).collect(),
        queue: queue.promise().await,
        store: store.promise().await,
    })
}

/// The books of one log.
///
/// # Errors
/// The queue is unavailable or closed.
pub async fn log_stats<Q: Queue>(queue: &Q, log: Log) -> Result<LogStats, QueueError> {
    let counts = queue.counts(log).await?;
    let gone = counts.missing();
    let may_drop = log.stream.class() == Class::Events;
    Ok(LogStats {
        log: log.to_string(),
        received: counts.appended,
        applied: counts.applied(),
        dead: counts.dead,
        pending: counts.pending,
        dropped: if may_drop { gone } else { 0 },
        missing: if may_drop { 0 } else { gone },
    })
}

fn stream_stats<Q: Queue>(queue: &Q, stream: Stream) -> Option<StreamStats> {
    let keeping = queue.keeping(stream)?;
    let ms = |age: std::time::Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Some(StreamStats {
        stream: stream.as_str(),
        class: stream.class().as_str(),
        copies: keeping.copies,
        kept_age_ms: keeping.age.map(ms),
        kept_messages: keeping.messages,
        kept_bytes: keeping.bytes,
    })
}
