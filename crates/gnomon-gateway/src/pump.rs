//! Moves messages from the downlink log to the sessions that subscribed to them.
//!
//! Invariants: a position of the log is acknowledged when every persistent session has its message
//! acknowledged by its client or kept on disk.

use std::sync::Arc;
use std::time::Duration;

use gnomon_host::downlink::{Entry, reader};
use gnomon_host::port::{Consumer, Delivery, Log, Queue, QueueError, Sessions, Stream};
use gnomon_host::watch::now_ms;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::course::Course;
use crate::moves::Claimed;
use crate::peers::Peers;

/// The log that is pumped.
pub(crate) const DOWNLINK: Log = Log { stream: Stream::Downlink, partition: 0 };
/// Most messages taken at once.
const BATCH_MAX: usize = 256;
/// Most positions not done with; beyond it the pump waits.
const OPEN_MAX: usize = 100_000;
/// Pause while the queue does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Pumps until `stop` is cancelled, or the log is closed or taken away. `opened` is cancelled once
/// the log is open.
pub(crate) async fn pump<Q: Queue, S: Sessions>(
    peers: Arc<Peers<Q, S>>,
    opened: CancellationToken,
    stop: CancellationToken,
) {
    let mut course = None;
    while !stop.is_cancelled() {
        match consume(&peers, &mut course, &opened, &stop).await {
            Ok(()) => return,
            Err(QueueError::Closed) => return opened.cancel(),
            Err(error) => warn!(error = %error, "consume the downlink"),
        }
        let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
    }
}

/// Consumes until `stop` is cancelled; goes on along the `course` of an earlier consumer if that
/// had the same log.
async fn consume<Q: Queue, S: Sessions>(
    peers: &Arc<Peers<Q, S>>,
    course: &mut Option<Course>,
    opened: &CancellationToken,
    stop: &CancellationToken,
) -> Result<(), QueueError> {
    let board = &peers.board;
    let mut consumer = if board.options.has_peers {
        let name = reader(&board.process);
        if course.is_some() && !peers.queue.readers(DOWNLINK).await?.contains(&name) {
            // Who took the log from it is done already: a reader of the same name would be a new one.
            return Err(QueueError::Closed);
        }
        peers.queue.consume_as(DOWNLINK, &name).await?
    } else {
        peers.queue.consume(DOWNLINK).await?
    };
    let same = course.take().filter(|course| **course.log() == *consumer.log_id());
    let course = course.insert(same.unwrap_or_else(|| Course::new(consumer.log_id())));
    board.broker().follow(course.log());
    opened.cancel();
    loop {
        let open = course.open();
        tokio::select! {
            () = stop.cancelled() => {
                course.settle_now();
                return acknowledge(&mut consumer, course).await;
            }
            () = course.settle(BATCH_MAX) => acknowledge(&mut consumer, course).await?,
            batch = consumer.pull(BATCH_MAX), if open < OPEN_MAX => {
                route(peers, &batch?, course).await;
                if course.open() > OPEN_MAX / 2 {
                    let everything = board.broker().keep_everything();
                    peers.keeper.keep(everything).await;
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

async fn route<Q: Queue, S: Sessions>(
    peers: &Arc<Peers<Q, S>>,
    batch: &[Delivery],
    course: &mut Course,
) {
    let board = &peers.board;
    let mut keeps = Vec::new();
    for delivery in batch {
        let Some(receipt) = course.take(delivery.position) else { continue };
        match Entry::decode(&delivery.body) {
            Ok(Entry::Message(message)) => {
                keeps.extend(board.broker().route(&Arc::new(message), &receipt));
            }
            Ok(Entry::Claim(claim)) => {
                let place = receipt.place();
                let taken = board.retransmits.of(&claim.client);
                let me = board.process.as_str();
                let claimed = board.broker().claimed(me, &claim, place, taken, now_ms());
                match claimed {
                    Claimed::Nothing => {}
                    Claimed::Goes(goes) => keeps.extend(goes),
                    Claimed::Unknown => peers.pass_on(claim),
                }
            }
            Err(error) => warn!(position = delivery.position, ?error, "a message is damaged"),
        }
    }
    peers.keeper.keep(keeps).await;
}
