//! The books of the queue, as metrics of every log, of whichever process works on it.

use std::time::Duration;

use gnomon_host::port::{Log, Queue};
use gnomon_host::stats::log_stats;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

/// Keeps the gauges of the queue up to date: received = applied + dead + pending + dropped, per log.
/// They are read from the queue itself, so one process tells them for all.
pub async fn measure<Q: Queue>(queue: Q, metrics: PrometheusHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for log in Log::all(queue.partitions()) {
            gauge(&queue, log).await;
        }
        metrics.run_upkeep();
        let _ = tokio::time::timeout(Duration::from_secs(1), stop.cancelled()).await;
    }
}

async fn gauge<Q: Queue>(queue: &Q, log: Log) {
    let Ok(books) = log_stats(queue, log).await else { return };
    let gauge = |what: &'static str, value: u64| {
        metrics::gauge!(what, "log" => books.log.clone()).set(value as f64);
    };
    gauge("gnomon_log_received", books.received);
    gauge("gnomon_log_acknowledged", books.applied + books.dead);
    gauge("gnomon_log_applied", books.applied);
    gauge("gnomon_log_dead", books.dead);
    gauge("gnomon_log_pending", books.pending);
    gauge("gnomon_log_dropped", books.dropped);
    gauge("gnomon_log_missing", books.missing);
}
