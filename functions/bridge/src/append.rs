//! Appends what came from the broker to the queue, in order, until the queue has it.
//!
//! Invariants: entries end in the order in which they came. A message keeps its id however often it
//! is appended.

use gnomon_host::port::{Message, Queue, QueueError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::pace::Pace;

/// Most messages of one append.
const BATCH_MAX: usize = 256;

/// One message of the broker on its way.
pub(crate) struct Entry {
    /// To be acknowledged when it has ended.
    pub(crate) receipt: Receipt,
    /// What to append; none if the queue has it, or it is none of ours.
    pub(crate) message: Option<Message>,
}

/// Names a message of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Number of the connection on which it came.
    pub(crate) connection: u64,
    /// None for QoS 0.
    pub(crate) packet_id: Option<u16>,
}

/// Appends `entries` and tells `ended` of each; until there are no more, the queue is closed, or
/// `abandon` is cancelled.
pub(crate) async fn append_all<Q: Queue>(
    queue: Q,
    mut entries: UnboundedReceiver<Entry>,
    ended: UnboundedSender<Receipt>,
    abandon: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while entries.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let messages = batch.iter().filter_map(|entry| entry.message.clone()).collect();
        if !append(&queue, messages, &abandon).await {
            return;
        }
        for entry in batch.drain(..) {
            if ended.send(entry.receipt).is_err() {
                return;
            }
        }
    }
}

/// Whether the queue has them now, but for those that it can never take.
async fn append<Q: Queue>(queue: &Q, messages: Vec<Message>, abandon: &CancellationToken) -> bool {
    let count = messages.len() as u64;
    match append_or_wait(queue, messages.clone(), abandon).await {
        Ok(()) => {
            metrics::counter!("gnomon_bridge_received_total", "result" => "queued")
                .increment(count);
            true
        }
        Err(QueueError::TooLarge { .. }) => append_one_by_one(queue, messages, abandon).await,
        Err(_) => false,
    }
}

async fn append_one_by_one<Q: Queue>(
    queue: &Q,
    messages: Vec<Message>,
    abandon: &CancellationToken,
) -> bool {
    for message in messages {
        let (id, bytes) = (message.id.clone(), message.body.len());
        let device = message.device.as_ref().map(ToString::to_string).unwrap_or_default();
        match append_or_wait(queue, vec![message], abandon).await {
            Ok(()) => {
                metrics::counter!("gnomon_bridge_received_total", "result" => "queued")
                    .increment(1);
            }
            Err(QueueError::TooLarge { reason }) => {
                metrics::counter!("gnomon_bridge_dropped_total", "reason" => "too large for the queue")
                    .increment(1);
                error!(device, id, bytes, reason, "a message of a device is dropped");
            }
            Err(_) => return false,
        }
    }
    true
}

/// Appends, again and again while the queue is full or away: meanwhile the broker is not
/// acknowledged, and stops sending.
async fn append_or_wait<Q: Queue>(
    queue: &Q,
    messages: Vec<Message>,
    abandon: &CancellationToken,
) -> Result<(), QueueError> {
    if messages.is_empty() {
        return Ok(());
    }
    let mut pace = Pace::new();
    loop {
        let appended = tokio::select! {
            appended = queue.append(messages.clone()) => appended,
            () = abandon.cancelled() => return Err(QueueError::Closed),
        };
        match appended {
            Err(error @ (QueueError::Full { .. } | QueueError::Unavailable { .. })) => {
                warn!(error = %error, count = messages.len(), "append what devices said");
            }
            Ok(()) => return Ok(()),
            Err(error @ (QueueError::TooLarge { .. } | QueueError::Closed)) => return Err(error),
        }
        pace.wait(abandon).await;
    }
}
