//! Moves messages from the downlink log to the sessions that subscribed to them.
//!
//! Invariants: a position of the log is acknowledged when every persistent session has its message
//! acknowledged by its client or kept on disk.

use std::sync::Arc;
use std::time::Duration;

use gnomon_host::downlink::Downlink;
use gnomon_host::port::{Consumer, Delivery, Log, Queue, QueueError, Stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::keeper::Keeper;
use crate::session::Receipt;
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
    while !stop.is_cancelled() {
        match consume(&queue, &board, &keeper, &stop).await {
            Ok(()) | Err(QueueError::Closed) => return,
            Err(error) => warn!(error = %error, "consume the downlink"),
        }
        let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
    }
}

async fn consume<Q: Queue>(
    queue: &Q,
    board: &Switchboard,
    keeper: &Keeper,
    stop: &CancellationToken,
) -> Result<(), QueueError> {
    let mut consumer = queue.consume(Log { stream: Stream::Downlink, partition: 0 }).await?;
    let (done, mut dones) = mpsc::unbounded_channel();
    let mut open = 0;
    let mut settled = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return settle(&mut consumer, &mut dones).await,
            count = dones.recv_many(&mut settled, BATCH_MAX) => {
                open -= count;
                consumer.acknowledge(&settled).await?;
                settled.clear();
            }
            batch = consumer.pull(BATCH_MAX), if open < OPEN_MAX => {
                let batch = batch?;
                open += batch.len();
                route(board, keeper, &batch, &done).await;
                if open > OPEN_MAX / 2 {
                    let everything = board.broker().keep_everything();
                    keeper.keep(everything).await;
                }
            }
        }
    }
}

/// Acknowledges what is done with already, at the end.
async fn settle<C: Consumer>(
    consumer: &mut C,
    dones: &mut mpsc::UnboundedReceiver<u64>,
) -> Result<(), QueueError> {
    let mut settled = Vec::new();
    while let Ok(position) = dones.try_recv() {
        settled.push(position);
    }
    consumer.acknowledge(&settled).await
}

async fn route(
    board: &Switchboard,
    keeper: &Keeper,
    batch: &[Delivery],
    done: &mpsc::UnboundedSender<u64>,
) {
    let mut keeps = Vec::new();
    for delivery in batch {
        let receipt = Receipt::new(delivery.position, done.clone());
        match Downlink::decode(&delivery.body) {
            Ok(message) => {
                let message = Arc::new(message);
                keeps.extend(board.broker().route(&message, delivery.position, &receipt));
            }
            Err(error) => warn!(position = delivery.position, ?error, "a message is damaged"),
        }
    }
    keeper.keep(keeps).await;
}
