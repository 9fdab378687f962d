//! Logs: which there are, and what each is for.

use std::fmt;

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

    /// What is at stake in it, which decides how long and in how many copies it is kept.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Telemetry => Class::Telemetry,
            Self::Shadow | Self::Calls | Self::Alerts | Self::Downlink => Class::Commands,
            Self::Answers | Self::Dead => Class::Events,
        }
    }

    /// Whether it has one log for each partition of devices, or just one.
    #[must_use]
    pub fn is_partitioned(self) -> bool {
        match self {
            Self::Telemetry | Self::Shadow | Self::Calls | Self::Alerts => true,
            Self::Downlink | Self::Answers | Self::Dead => false,
        }
    }

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

/// A durability class of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Much, and soon followed by newer; nothing pending is ever dropped.
    Telemetry,
    /// Little, and never repeated by whoever sent it; nothing pending is ever dropped.
    Commands,
    /// Told to whoever listens or looks; the newest are kept.
    Events,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Telemetry, Self::Commands, Self::Events];

    /// The class as a lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Commands => "commands",
            Self::Events => "events",
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

impl Log {
    /// Every log of a queue with this many partitions, stream by stream.
    pub fn all(partitions: u16) -> impl Iterator<Item = Self> {
        Stream::ALL.into_iter().flat_map(move |stream| {
            let count = if stream.is_partitioned() { partitions } else { 1 };
            (0..count).map(move |partition| Self { stream, partition })
        })
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream.as_str(), self.partition)
    }
}
