//! What the suite needs to know of an adapter, and the adapters under test.

use std::time::Duration;

use gnomon_adapters::{Embedded, EmbeddedOptions, Faulty, LogBounds, Memory, Plan, QueueBounds};

pub(crate) const PARTITIONS: u16 = 4;

/// An adapter under test.
pub(crate) trait Kind: Sized {
    type Port: Clone + Send + Sync + 'static;

    /// An empty one.
    async fn fresh(bounds: QueueBounds) -> Self;

    fn port(&self) -> &Self::Port;

    /// Shuts down and opens again what was durable; none when nothing is.
    async fn reopen(self) -> Option<Self>;

    async fn close(&self);
}

/// Bounds that no law reaches by accident.
pub(crate) fn wide() -> QueueBounds {
    QueueBounds::uniform(LogBounds::consumed(10_000, 1 << 30))
}

/// At most `pending` messages pending, at least `kept` more kept.
pub(crate) fn narrow(pending: u64, kept: u64) -> QueueBounds {
    let bounds = LogBounds { pending_messages_max: pending, ..LogBounds::consumed(kept, 1 << 30) };
    QueueBounds::uniform(bounds)
}

pub(crate) struct InMemory(Memory);

impl Kind for InMemory {
    type Port = Memory;

    async fn fresh(bounds: QueueBounds) -> Self {
        Self(Memory::with_bounds(PARTITIONS, &bounds))
    }

    fn port(&self) -> &Memory {
        &self.0
    }

    async fn reopen(self) -> Option<Self> {
        None
    }

    async fn close(&self) {
        self.0.close();
    }
}

pub(crate) struct OnDisk {
    dir: tempfile::TempDir,
    options: EmbeddedOptions,
    port: Embedded,
}

impl Kind for OnDisk {
    type Port = Embedded;

    async fn fresh(bounds: QueueBounds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A tail of a few messages, so that most deliveries come from the file.
        let options = EmbeddedOptions {
            bounds,
            tail_bytes: 64,
            commit_interval: Duration::ZERO,
            ..EmbeddedOptions::new(PARTITIONS)
        };
        let port = Embedded::open(dir.path(), options.clone()).unwrap();
        Self { dir, options, port }
    }

    fn port(&self) -> &Embedded {
        &self.port
    }

    async fn reopen(self) -> Option<Self> {
        self.port.close().await;
        let port = Embedded::open(self.dir.path(), self.options.clone()).unwrap();
        Some(Self { port, ..self })
    }

    async fn close(&self) {
        self.port.close().await;
    }
}

pub(crate) struct WithoutFaults(Faulty<Memory>);

impl Kind for WithoutFaults {
    type Port = Faulty<Memory>;

    async fn fresh(bounds: QueueBounds) -> Self {
        Self(Faulty::new(Memory::with_bounds(PARTITIONS, &bounds), Plan::none()))
    }

    fn port(&self) -> &Faulty<Memory> {
        &self.0
    }

    async fn reopen(self) -> Option<Self> {
        None
    }

    async fn close(&self) {
        self.0.inner().close();
    }
}
