//! The queue: named logs, appended durably, consumed in order with acknowledgements.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use gnomon_model::DeviceKey;

use super::log::{Log, Stream};
use super::promise::Promise;

/// What is appended.
#[derive(Debug, Clone)]
pub struct Message {
    /// The log it goes to.
    pub log: Log,
    /// Unique id: a second append of an id that the log still remembers is absorbed in silence.
    pub id: String,
    /// The device it concerns, if any. Of one append, messages that concern the same device keep
    /// their order in a log whatever fails, and so do those that concern none.
    pub device: Option<DeviceKey>,
    /// The bytes.
    pub body: Bytes,
}

/// What is delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Position in the log: 1-based, strictly increasing, not necessarily without gaps.
    pub position: u64,
    /// Id given at append.
    pub id: String,
    /// The bytes.
    pub body: Bytes,
}

/// How many messages a log has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Appended since the log was made, absorbed duplicates not counted.
    pub appended: u64,
    /// Acknowledged by the log's consumer: applied, or dead.
    pub acknowledged: u64,
    /// Of those, the ones that can never be applied; see [`Consumer::bury`].
    pub dead: u64,
    /// Held by the log and not acknowledged, counted by what it holds and not by subtraction.
    pub pending: u64,
}

impl Counts {
    /// Acknowledged and not dead.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.acknowledged.saturating_sub(self.dead)
    }

    /// Neither acknowledged nor held: dropped by a log that keeps its newest only; in any other log,
    /// a loss.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.appended.saturating_sub(self.acknowledged).saturating_sub(self.pending)
    }
}

/// How far a log's consumer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Identity of the log, as its consumer tells it.
    pub log_id: String,
    /// Oldest position that is held; one past the last when none is.
    pub first: u64,
    /// Everything up to here is acknowledged or dropped.
    pub floor: u64,
    /// Acknowledged beyond that.
    pub above: BTreeSet<u64>,
}

impl Progress {
    /// Whether the position is acknowledged.
    #[must_use]
    pub fn is_acknowledged(&self, position: u64) -> bool {
        position <= self.floor || self.above.contains(&position)
    }

    /// The last position that is acknowledged; 0 when none is.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.above.last().copied().unwrap_or(self.floor)
    }
}

/// What a log keeps of what it need not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// Copies on different servers.
    pub copies: usize,
    /// Acknowledged messages up to this age; none when age does not matter.
    pub age: Option<Duration>,
    /// Messages at most.
    pub messages: u64,
    /// Bytes at most.
    pub bytes: u64,
}

/// Why the queue did not do what was asked. Nothing was appended, or it is not known whether.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// A bound is reached; try again when consumers have caught up.
    #[error("queue is full: {reason}")]
    Full {
        /// Which bound.
        reason: String,
    },
    /// The queue cannot be reached or written; try again later.
    #[error("queue is unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// A message is longer than the queue can ever take; do not try it again.
    #[error("message is too large for the queue: {reason}")]
    TooLarge {
        /// Its size and the bound.
        reason: String,
    },
    /// The queue was shut down; stop.
    #[error("queue is closed")]
    Closed,
}

/// Logs, appended durably. Cheap to clone; clones share one queue.
pub trait Queue: Clone + Send + Sync + 'static {
    /// Reads one log in order.
    type Consumer: Consumer;

    /// Number of partitions of the partitioned streams; fixed for the life of a deployment.
    fn partitions(&self) -> u16;

    /// Longest body that it takes, bytes; a longer one is [`QueueError::TooLarge`].
    fn body_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Appends all messages, each log in the given order, and returns once all are durable.
    ///
    /// # Errors
    /// None of them, or an unknown part of them, was appended: append all again with the same ids.
    fn append(&self, messages: Vec<Message>)
    -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Opens the one consumer of a log, at the oldest message that is not acknowledged. Messages
    /// delivered to an earlier consumer and not acknowledged are delivered again; that one, if it is
    /// still there, finds the log closed.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn consume(&self, log: Log) -> impl Future<Output = Result<Self::Consumer, QueueError>> + Send;

    /// Opens a log for a named reader: each sees every message and has acknowledgements of its own,
    /// and a message is done with when all readers have acknowledged it. A reader that is new begins
    /// behind the last message. Otherwise as [`Queue::consume`], for each reader. A queue that only
    /// one process can open has one reader, whatever its name.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn consume_as(
        &self,
        log: Log,
        _reader: &str,
    ) -> impl Future<Output = Result<Self::Consumer, QueueError>> + Send {
        self.consume(log)
    }

    /// Opens a log for what is appended from now on, beside all other consumers; what is
    /// acknowledged is of no consequence, and nothing is left when the consumer is dropped. A queue
    /// that only one process can open has the log's one consumer.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn follow(&self, log: Log) -> impl Future<Output = Result<Self::Consumer, QueueError>> + Send {
        self.consume(log)
    }

    /// Names of the readers of a log, retired ones left out.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn readers(&self, _log: Log) -> impl Future<Output = Result<Vec<String>, QueueError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Takes the log from a reader: its consumer, if it still has one, finds the log closed and can
    /// acknowledge nothing more, and until it is retired it cannot open the log again. Returns the
    /// position up to which the reader acknowledged everything. What it has not acknowledged stays
    /// until it is retired.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn bar(
        &self,
        _log: Log,
        _reader: &str,
    ) -> impl Future<Output = Result<u64, QueueError>> + Send {
        async { Ok(0) }
    }

    /// Forgets a reader; nothing happens if there is none of that name.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn retire(
        &self,
        _log: Log,
        _reader: &str,
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        async { Ok(()) }
    }

    /// Reads up to `count_max` messages from `position` on, acknowledged or not, as far as the log
    /// still holds them.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn read(
        &self,
        log: Log,
        position: u64,
        count_max: usize,
    ) -> impl Future<Output = Result<Vec<Delivery>, QueueError>> + Send;

    /// Counts of a log.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn counts(&self, log: Log) -> impl Future<Output = Result<Counts, QueueError>> + Send;

    /// How far a log's consumer has come, without taking the log over.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn progress(&self, log: Log) -> impl Future<Output = Result<Progress, QueueError>> + Send {
        async move {
            let reason = format!("this queue does not tell how far {log} has come");
            Err(QueueError::Unavailable { reason })
        }
    }

    /// The members of a group of workers that are there, without joining them. A queue that only one
    /// process can open has none but that one.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn roster(&self, _group: &str) -> impl Future<Output = Result<Vec<String>, QueueError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Makes what the one consumer of a log has acknowledged that of a named reader, unless the reader
    /// has acknowledged something itself; the log then has no one consumer any more. Whether there was
    /// anything. With `dry_run` it only looks. A queue of which no older build kept anything has
    /// nothing.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn name_reader(
        &self,
        _log: Log,
        _reader: &str,
        _dry_run: bool,
    ) -> impl Future<Output = Result<bool, QueueError>> + Send {
        async { Ok(false) }
    }

    /// Forgets dead letters for good: they are no longer read, the others are. Counts of what was
    /// appended stay. A position that holds no letter is passed over.
    ///
    /// # Errors
    /// The queue is unavailable or closed; some may be forgotten.
    fn forget_dead(
        &self,
        _positions: &[u64],
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        async {
            let reason = "this queue cannot forget dead letters".to_owned();
            Err(QueueError::Unavailable { reason })
        }
    }

    /// What the server behind it does to keep messages, and what a power cut would cost; read anew
    /// where that is cheap.
    fn promise(&self) -> impl Future<Output = Promise> + Send {
        async { Promise::unknown() }
    }

    /// What each log of a stream keeps; none when the queue does not say.
    fn keeping(&self, _stream: Stream) -> Option<Keeping> {
        None
    }

    /// Says that a member of a group of workers is there, and returns all that said so in the last
    /// few seconds, this one among them. A queue that only one process can open has just this one.
    ///
    /// # Errors
    /// The queue is unavailable or closed.
    fn attend(
        &self,
        _group: &str,
        member: &str,
    ) -> impl Future<Output = Result<Vec<String>, QueueError>> + Send {
        let member = member.to_owned();
        async move { Ok(vec![member]) }
    }

    /// Says that a member is leaving, so that others need not wait until it is missed.
    ///
    /// # Errors
    /// The queue is unavailable or closed; the member is missed in a few seconds.
    fn leave(
        &self,
        _group: &str,
        _member: &str,
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        async { Ok(()) }
    }
}

/// Reads one log in order. Dropping it delivers what is unacknowledged to the next consumer.
pub trait Consumer: Send + 'static {
    /// Identity of the log: another one after the log was made anew, so that positions of the two
    /// are never mistaken for each other.
    fn log_id(&self) -> &str;

    /// Waits for at least one message and returns up to `count_max`, in order. Cancel-safe: a
    /// dropped call loses nothing.
    ///
    /// # Errors
    /// The queue is unavailable (call again) or closed (stop).
    fn pull(
        &mut self,
        count_max: usize,
    ) -> impl Future<Output = Result<Vec<Delivery>, QueueError>> + Send;

    /// Acknowledges positions, in any order; they are never delivered again once this is durable.
    /// Returns when the queue has taken the acknowledgement, which may be before it is durable: a
    /// crash may then deliver the messages once more.
    ///
    /// # Errors
    /// The queue is unavailable or closed; the messages may be delivered again.
    fn acknowledge(
        &mut self,
        positions: &[u64],
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Acknowledges positions whose messages can never be applied, and counts them as dead, both as
    /// one. Without a count of its own, a consumer acknowledges only.
    ///
    /// # Errors
    /// As [`Consumer::acknowledge`].
    fn bury(&mut self, positions: &[u64]) -> impl Future<Output = Result<(), QueueError>> + Send {
        self.acknowledge(positions)
    }
}
