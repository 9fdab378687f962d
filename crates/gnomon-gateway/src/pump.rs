//! Moves messages from the downlink log to the sessions that subscribed to them.
//!
//! Invariants: a position of the log is acknowledged when every persistent session has its message
//! acknowledged by its client or kept on disk.

use std::sync::Arc;
use std::time::Duration;

use gnomon_host::downlink::Downlink;
use gnomon_host::port::{Consumer, Delivery, Log, Queue, QueueError, Stream};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::course::Course;
use crate::keeper::Keeper;
use crate::switchboard::Switchboard;

/// Most messages taken at once.
const BATCH_MAX: usize = 256;
/// Most positions not done with; beyond it the pump waits.
const OPEN_MAX: usize = 100_000;
/// Pause while the queue does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Pumps until `stop` is cancelled or the queue is closed.
pub(crate) async fn pump<Q: Queue>(
    queue: Q,
    board: Arc<Switchboard>,
    keeper: Keeper,
    stop: CancellationToken,
) {
    let mut course = None;
    while !stop.is_cancelled() {
        match consume(&queue, &mut course, &board, &keeper, &stop).await {
            Ok(()) | Err(QueueError::Closed) => return,
            Err(error) => warn!(error = %error, "consume the downlink"),
        }
        let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
    }
}

/// Consumes until `stop` is cancelled; goes on along the `course` of an earlier consumer if that
/// had the same log.
async fn consume<Q: Queue>(
    queue: &Q,
    course: &mut Option<Course>,
    board: &Switchboard,
    keeper: &Keeper,
    stop: &CancellationToken,
) -> Result<(), QueueError> {
    let mut consumer = queue.consume(Log { stream: Stream::Downlink, partition: 0 }).await?;
    let same = course.take().filter(|course| **course.log() == *consumer.log_id());
    let course = course.insert(same.unwrap_or_else(|| Course::new(consumer.log_id())));
    loop {
        let open = course.open();
        tokio::select! {
            () = stop.cancelled() => {
                course.settle_now();
                return acknowledge(&mut consumer, course).await;
            }
            () = course.settle(BATCH_MAX) => acknowledge(&mut consumer, course).await?,
            batch = consumer.pull(BATCH_MAX), if open < OPEN_MAX => {
                route(board, keeper, &batch?, course).await;
                if course.open() > OPEN_MAX / 2 {
                    let everything = board.broker().keep_everything();
                    keeper.keep(everything).await;
                }
            }
        }
    }
}

async fn acknowledge<C: Consumer>(consumer: &mut C, course: &mut Course) -> Result<(), QueueError> {
    consumer.acknowledge(course.settled()).await?;
    course.acknowledged();
    Ok(())
}

async fn route(board: &Switchboard, keeper: &Keeper, batch: &[Delivery], course: &mut Course) {
    let mut keeps = Vec::new();
    for delivery in batch {
        let Some(receipt) = course.take(delivery.position) else { continue };
        match Downlink::decode(&delivery.body) {
            Ok(message) => keeps.extend(board.broker().route(&Arc::new(message), &receipt)),
            Err(error) => warn!(position = delivery.position, ?error, "a message is damaged"),
        }
    }
    keeper.keep(keeps).await;
}
