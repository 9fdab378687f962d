//! How much a log may hold: what is pending, and what stays after it was acknowledged.
//!
//! Invariants: a message is known by its id for as long as its log keeps it, so these bounds are the
//! de-duplication window, and no clock is part of it.

use std::time::Duration;

use gnomon_host::port::{Class, Keeping, Stream};

/// Messages that a replayable log keeps at most; age and bytes come first.
const REPLAYABLE_MAX: u64 = 50_000_000;
/// Bytes of commands that may be pending in a replayable log: a server sets the room aside at once.
const COMMANDS_PENDING_BYTES_MAX: u64 = 64 << 20;

/// What a log drops when it holds more than it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// The oldest acknowledged messages; what is pending stays, and beyond the pending bounds the
    /// log refuses new ones.
    Acknowledged,
    /// The oldest messages, acknowledged or not; the log is never full.
    Oldest,
}

/// Bounds of one log. Bytes are those of ids and bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// What is dropped first.
    pub retention: Retention,
    /// Unacknowledged messages at most.
    pub pending_messages_max: u64,
    /// Bytes of unacknowledged messages at most.
    pub pending_bytes_max: u64,
    /// Messages that stay although they may be dropped, for inspection and de-duplication. Up to a
    /// sixteenth more stay for a while, since dropping a few at a time costs too much.
    pub kept_messages: u64,
    /// Bytes of them at most; the lowest of the three counts.
    pub kept_bytes: u64,
    /// Age up to which they stay, where the queue knows how old a message is: NATS does, the embedded
    /// one does not. None when age does not matter.
    pub kept_age: Option<Duration>,
}

impl LogBounds {
    /// A log that keeps what is pending, and of the rest this many messages.
    #[must_use]
    pub const fn consumed(kept_messages: u64, kept_bytes: u64) -> Self {
        Self {
            retention: Retention::Acknowledged,
            pending_messages_max: 500_000,
            pending_bytes_max: 512 << 20,
            kept_messages,
            kept_bytes,
            kept_age: None,
        }
    }

    /// A log that keeps its newest messages and is never full.
    #[must_use]
    pub const fn newest(kept_messages: u64, kept_bytes: u64) -> Self {
        Self {
            retention: Retention::Oldest,
            pending_messages_max: u64::MAX,
            pending_bytes_max: u64::MAX,
            kept_messages,
            kept_bytes,
            kept_age: None,
        }
    }

    /// The same bounds, and what is acknowledged goes when it is older than this.
    #[must_use]
    pub const fn for_at_most(self, kept_age: Duration) -> Self {
        Self { kept_age: Some(kept_age), ..self }
    }

    /// What a log with these bounds keeps, in `copies` copies.
    #[must_use]
    pub const fn keeping(&self, copies: usize) -> Keeping {
        let Self { kept_age, kept_messages, kept_bytes, .. } = *self;
        Keeping { copies, age: kept_age, messages: kept_messages, bytes: kept_bytes }
    }
}

/// Bounds of the logs of each stream; each partition has them for itself.
///
/// Memory: about 60 bytes for each message that a log holds, pending or kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// What devices report.
    pub telemetry: LogBounds,
    /// What applications desire.
    pub shadow: LogBounds,
    /// Calls and replies.
    pub calls: LogBounds,
    /// Acknowledgements and reminders of alerts.
    pub alerts: LogBounds,
    /// Messages to topics.
    pub downlink: LogBounds,
    /// Answers to applications.
    pub answers: LogBounds,
    /// Messages that can never be applied.
    pub dead: LogBounds,
}

impl QueueBounds {
    /// The same bounds for every consumed log, with retention by count for answers and dead ones.
    #[must_use]
    pub const fn uniform(bounds: LogBounds) -> Self {
        let newest = LogBounds::newest(bounds.kept_messages, bounds.kept_bytes);
        Self {
            telemetry: bounds,
            shadow: bounds,
            calls: bounds,
            alerts: bounds,
            downlink: bounds,
            answers: newest,
            dead: newest,
        }
    }

    /// Bounds by durability class, for a queue that is there to be replayed: acknowledged messages
    /// stay for `age`, up to `bytes` in each telemetry log and a quarter of that in each log of
    /// commands.
    ///
    /// | class | streams | pending | kept |
    /// |---|---|---|---|
    /// | telemetry | telemetry | 500,000, 512 MiB | `age`, `bytes` |
    /// | commands | shadow, calls, alerts, downlink | 500,000, 64 MiB | `age`, a quarter of `bytes` |
    /// | events | answers, dead | never full | the newest |
    #[must_use]
    pub fn replayable(age: Duration, bytes: u64) -> Self {
        let of = |stream: Stream| match stream.class() {
            Class::Telemetry => LogBounds::consumed(REPLAYABLE_MAX, bytes).for_at_most(age),
            Class::Commands => LogBounds {
                pending_bytes_max: COMMANDS_PENDING_BYTES_MAX,
                ..LogBounds::consumed(REPLAYABLE_MAX, bytes / 4).for_at_most(age)
            },
            Class::Events => Self::default().of(stream),
        };
        Self {
            telemetry: of(Stream::Telemetry),
            shadow: of(Stream::Shadow),
            calls: of(Stream::Calls),
            alerts: of(Stream::Alerts),
            downlink: of(Stream::Downlink),
            answers: of(Stream::Answers),
            dead: of(Stream::Dead),
        }
    }

    /// The bounds of a log of `stream`.
    #[must_use]
    pub const fn of(&self, stream: Stream) -> LogBounds {
        match stream {
            Stream::Telemetry => self.telemetry,
            Stream::Shadow => self.shadow,
            Stream::Calls => self.calls,
            Stream::Alerts => self.alerts,
            Stream::Downlink => self.downlink,
            Stream::Answers => self.answers,
            Stream::Dead => self.dead,
        }
    }
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self {
            telemetry: LogBounds::consumed(100_000, 64 << 20),
            shadow: LogBounds::consumed(10_000, 16 << 20),
            calls: LogBounds::consumed(10_000, 16 << 20),
            alerts: LogBounds {
                // What people do, and at most one reminder for each device.
                pending_messages_max: 100_000,
                pending_bytes_max: 64 << 20,
                ..LogBounds::consumed(10_000, 16 << 20)
            },
            downlink: LogBounds::consumed(50_000, 32 << 20),
            answers: LogBounds::newest(10_000, 16 << 20),
            dead: LogBounds::newest(100_000, 256 << 20),
        }
    }
}
