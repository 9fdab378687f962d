//! The queue: named logs, appended durably, consumed in order with acknowledgements.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use gnomon_model::DeviceKey;

/// A family of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// What devices report, and their presence. Partitioned by device.
    Telemetry,
    /// What applications desire. Partitioned by device.
    Shadow,
    /// Calls of applications, replies of devices, and deadlines that have passed. Partitioned by
    /// device.
    Calls,
    /// Acknowledgements of alerts, and reminders that are due. Partitioned by device.
    Alerts,
    /// Messages to topics: to devices, and between clients. One partition.
    Downlink,
    /// Answers to applications that wait. One partition.
    Answers,
    /// Messages that can never be applied. One partition, never consumed, only read.
    Dead,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Telemetry,
        Self::Shadow,
        Self::Calls,
        Self::Alerts,
        Self::Downlink,
        Self::Answers,
        Self::Dead,
    ];

    /// The stream as a lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Shadow => "shadow",
            Self::Calls => "calls",
            Self::Alerts => "alerts",
            Self::Downlink => "downlink",
            Self::Answers => "answers",
            Self::Dead => "dead",
        }
    }
}

/// One log: a partition of a stream. Written `telemetry/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log {
    /// The stream.
    pub stream: Stream,
    /// The partition, 0-based; 0 for streams that are not partitioned.
    pub partition: u16,
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream.as_str(), self.partition)
    }
}

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
    /// Acknowledged by the log's consumer.
    pub acknowledged: u64,
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
}
