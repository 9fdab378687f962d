//! What the queue holds, as metrics.

use std::time::Duration;

use gnomon_host::port::{Log, Queue, Stream};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

/// Keeps the gauges of the queue up to date: appended = acknowledged + pending, per log.
pub async fn measure<Q: Queue>(queue: Q, metrics: PrometheusHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for stream in Stream::ALL {
            let partitions = match stream {
                Stream::Telemetry | Stream::Shadow | Stream::Calls | Stream::Alerts => {
                    queue.partitions()
                }
                Stream::Downlink | Stream::Answers | Stream::Dead => 1,
            };
            for partition in 0..partitions {
                gauge(&queue, Log { stream, partition }).await;
            }
        }
        metrics.run_upkeep();
        let _ = tokio::time::timeout(Duration::from_secs(1), stop.cancelled()).await;
    }
}

async fn gauge<Q: Queue>(queue: &Q, log: Log) {
    let Ok(counts) = queue.counts(log).await else { return };
    let name = log.to_string();
    let gauge = |what: &'static str, value: u64| {
        metrics::gauge!(what, "log" => name.clone()).set(value as f64);
    };
    gauge("gnomon_log_received", counts.appended);
    gauge("gnomon_log_acknowledged", counts.acknowledged);
    gauge("gnomon_log_pending", counts.appended.saturating_sub(counts.acknowledged));
}
