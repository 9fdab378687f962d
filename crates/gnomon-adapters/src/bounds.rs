//! How much a log may hold: what is pending, and what stays after it was acknowledged.
//!
//! Invariants: a message is known by its id for as long as its log keeps it, so these bounds are the
//! de-duplication window, and no clock is part of it.

use gnomon_host::port::Stream;

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
    /// Bytes of them at most; the lower of the two counts.
    pub kept_bytes: u64,
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
        }
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
