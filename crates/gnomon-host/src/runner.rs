//! The local runner: one worker per partition and function, in this process.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::driver::{Driver, Verdict};
use crate::function::Function;
use crate::port::{Consumer, Delivery, Log, Queue, QueueError, Store};
use crate::steps::Source;
use crate::watch::Watch;

/// Most messages of one batch.
const BATCH_MAX: usize = 256;
/// First and longest pause while store or queue do not answer.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Works through one partition of a function's stream until `stop` is cancelled; the batch at hand
/// is finished first. `function` is asked for anew for every batch, so that models and rules may
/// be exchanged between batches, never inside one.
pub async fn work<F: Function, S: Store, Q: Queue>(
    function: impl Fn() -> F + Send,
    partition: u16,
    store: S,
    queue: Q,
    watch: Watch,
    stop: CancellationToken,
) {
    let log = Log { stream: F::STREAM, partition };
    let mut pause = PAUSE.0;
    while !stop.is_cancelled() {
        match queue.consume(log).await {
            Ok(mut consumer) => {
                pause = PAUSE.0;
                let source = Source { log, log_id: consumer.log_id().to_owned() };
                // Made anew: before this consumer another worker may have had the partition, and
                // an input that changes nothing is settled without asking the store.
                let mut driver = Driver::new(store.clone(), queue.clone(), watch.clone());
                match consume(&function, &source, &mut consumer, &mut driver, &stop).await {
                    Ok(()) | Err(QueueError::Closed) => return,
                    Err(error) => warn!(%log, error = %error, "consume"),
                }
            }
            Err(QueueError::Closed) => return,
            Err(error) => warn!(%log, error = %error, "open consumer"),
        }
        pause = rest(pause, &stop).await;
    }
}

async fn consume<F: Function, S: Store, Q: Queue>(
    function: &(impl Fn() -> F + Send),
    source: &Source,
    consumer: &mut Q::Consumer,
    driver: &mut Driver<S, Q>,
    stop: &CancellationToken,
) -> Result<(), QueueError> {
    loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            batch = consumer.pull(BATCH_MAX) => batch?,
        };
        debug!(log = %source.log, count = batch.len(), "batch");
        settle(function, source, batch, consumer, driver, stop).await?;
    }
}

/// Drives a batch until every delivery is acknowledged, or `stop` is cancelled.
async fn settle<F: Function, S: Store, Q: Queue>(
    function: &(impl Fn() -> F + Send),
    source: &Source,
    mut batch: Vec<Delivery>,
    consumer: &mut Q::Consumer,
    driver: &mut Driver<S, Q>,
    stop: &CancellationToken,
) -> Result<(), QueueError> {
    let mut pause = PAUSE.0;
    loop {
        let verdicts = driver.drive(&function(), source, &batch).await;
        let (mut applied, mut dead) = (Vec::with_capacity(batch.len()), Vec::new());
        for (delivery, verdict) in batch.iter().zip(&verdicts) {
            match verdict {
                Verdict::Ack => applied.push(delivery.position),
                Verdict::Dead(_) => dead.push(delivery.position),
                Verdict::Retry => {}
            }
        }
        consumer.acknowledge(&applied).await?;
        if !dead.is_empty() {
            consumer.bury(&dead).await?;
        }
        let mut verdict = verdicts.iter();
        batch.retain(|_| verdict.next() == Some(&Verdict::Retry));
        if batch.is_empty() || stop.is_cancelled() {
            return Ok(());
        }
        pause = rest(pause, stop).await;
    }
}

/// Waits for `pause` or `stop`; returns the next, longer pause.
async fn rest(pause: Duration, stop: &CancellationToken) -> Duration {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
    (pause * 2).min(PAUSE.1)
}
