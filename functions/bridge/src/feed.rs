//! Reads the downlink log, and acknowledges what the broker has.
//!
//! Invariants: a position is handed out once in the life of the process, however often the log
//! delivers it; a position is acknowledged after the broker has answered, never before.

use std::collections::HashSet;

use gnomon_host::downlink::{Downlink, Entry};
use gnomon_host::port::{Consumer, Delivery, Log, Queue, QueueError, Stream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::pace::Pace;

/// Most positions acknowledged at once.
const BATCH_MAX: usize = 256;

/// Names a message of the downlink log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Number of the log among those that this process has read: another one after the log was
    /// made anew.
    log: u64,
    position: u64,
}

#[cfg(test)]
impl Place {
    pub(crate) const fn of(position: u64) -> Self {
        Self { log: 1, position }
    }
}

/// Where the log is, and as whose it is read.
pub(crate) struct Source<Q> {
    pub(crate) queue: Q,
    /// See `BridgeOptions::reader`.
    pub(crate) reader: Option<String>,
}

impl<Q: Queue> Source<Q> {
    async fn open(&self) -> Result<Q::Consumer, QueueError> {
        let log = Log { stream: Stream::Downlink, partition: 0 };
        match &self.reader {
            Some(reader) => self.queue.consume_as(log, reader).await,
            None => self.queue.consume(log).await,
        }
    }
}

/// The way along the log.
#[derive(Default)]
struct Course {
    log_id: String,
    log: u64,
    /// Highest position that was handed out.
    highest: u64,
    /// Positions that were handed out and are not settled.
    open: HashSet<u64>,
    /// Positions that the broker has and the log does not know of.
    settled: Vec<u64>,
}

impl Course {
    fn begin(&mut self, log_id: &str) {
        if self.log_id != log_id {
            *self = Self { log_id: log_id.to_owned(), log: self.log + 1, ..Self::default() };
        }
    }

    /// Takes a delivery; none if it was taken before.
    fn take(&mut self, position: u64) -> Option<Place> {
        if position > self.highest {
            self.highest = position;
            self.open.insert(position);
            return Some(Place { log: self.log, position });
        }
        if !self.open.contains(&position) {
            self.settled.push(position);
        }
        None
    }

    fn settle(&mut self, place: Place) {
        if place.log == self.log && self.open.remove(&place.position) {
            self.settled.push(place.position);
        }
    }
}

/// Hands out the messages of the log in order, at most `open_max` that are not settled; until
/// nobody settles any more, or `stop` is cancelled while the queue does not answer.
///
/// # Errors
/// The queue is closed, or another consumer has taken the log over.
pub(crate) async fn feed<Q: Queue>(
    source: Source<Q>,
    open_max: usize,
    out: UnboundedSender<(Place, Downlink)>,
    mut settled: UnboundedReceiver<Place>,
    stop: CancellationToken,
) -> Result<(), QueueError> {
    let (mut course, mut pace) = (Course::default(), Pace::new());
    loop {
        match follow(&source, open_max, &out, &mut settled, &mut course).await {
            Ok(()) => return Ok(()),
            Err(QueueError::Closed) => return Err(QueueError::Closed),
            Err(_) if stop.is_cancelled() => return Ok(()),
            Err(error) => warn!(error = %error, "consume the downlink"),
        }
        pace.wait(&stop).await;
    }
}

async fn follow<Q: Queue>(
    source: &Source<Q>,
    open_max: usize,
    out: &UnboundedSender<(Place, Downlink)>,
    settled: &mut UnboundedReceiver<Place>,
    course: &mut Course,
) -> Result<(), QueueError> {
    let mut consumer = source.open().await?;
    course.begin(consumer.log_id());
    let mut places = Vec::with_capacity(BATCH_MAX);
    loop {
        if !course.settled.is_empty() {
            consumer.acknowledge(&course.settled).await?;
            course.settled.clear();
        }
        let room = open_max.saturating_sub(course.open.len());
        tokio::select! {
            biased;
            count = settled.recv_many(&mut places, BATCH_MAX) => {
                if count == 0 {
                    return Ok(());
                }
                places.drain(..).for_each(|place| course.settle(place));
            }
            batch = consumer.pull(room), if room > 0 => {
                for delivery in batch? {
                    hand_out(course, delivery, out);
                }
            }
        }
    }
}

fn hand_out(course: &mut Course, delivery: Delivery, out: &UnboundedSender<(Place, Downlink)>) {
    let Some(place) = course.take(delivery.position) else { return };
    match Entry::decode(&delivery.body) {
        // If nobody receives any more, the message stays in the log.
        Ok(Entry::Message(message)) => drop(out.send((place, message))),
        // Of gateways among themselves.
        Ok(Entry::Claim(_)) => course.settle(place),
        Err(error) => {
            warn!(position = delivery.position, ?error, "a message is damaged");
            course.settle(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_handed_out_once_and_acknowledged_as_often_as_it_comes() {
        let mut course = Course::default();
        course.begin("a");
        let places: Vec<_> = [1, 2, 5].map(|position| course.take(position).unwrap()).into();
        course.settle(places[0]);
        assert_eq!(course.settled, [1]);
        assert!([1, 2, 5].into_iter().all(|position| course.take(position).is_none()));
        assert_eq!(course.settled, [1, 1]);
        course.begin("a");
        assert_eq!(course.open.len(), 2);
        course.begin("b");
        course.settle(places[1]);
        assert_eq!((course.settled.len(), course.take(1).is_some()), (0, true));
    }
}
