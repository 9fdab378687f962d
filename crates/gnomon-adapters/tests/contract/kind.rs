//! What the suite needs to know of an adapter, and the adapters under test.

use std::time::Duration;

use gnomon_adapters::{
    Embedded, EmbeddedOptions, Faulty, LogBounds, Memory, Nats, NatsOptions, Plan, QueueBounds,
    Redis, RedisOptions,
};
use gnomon_tests::stack::{self, Part};

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

/// Bounds that no law reaches by accident. A server reserves them on its disk for every log.
pub(crate) fn wide() -> QueueBounds {
    let bounds = LogBounds::consumed(10_000, 64 << 20);
    QueueBounds::uniform(LogBounds { pending_bytes_max: 64 << 20, ..bounds })
}

/// At most `pending` messages pending, at least `kept` more kept.
pub(crate) fn narrow(pending: u64, kept: u64) -> QueueBounds {
    let bounds = LogBounds::consumed(kept, 64 << 20);
    let pending =
        LogBounds { pending_messages_max: pending, pending_bytes_max: 64 << 20, ..bounds };
    QueueBounds::uniform(pending)
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

/// Redis on one node.
pub(crate) struct OnRedis {
    part: Part,
    port: Redis,
}

impl OnRedis {
    async fn start(kind: stack::Kind) -> Self {
        let part = Part::start(kind);
        let port = Redis::open(&RedisOptions::new(&part.url())).await.unwrap();
        Self { part, port }
    }
}

impl Kind for OnRedis {
    type Port = Redis;

    async fn fresh(_: QueueBounds) -> Self {
        Self::start(stack::Kind::Redis).await
    }

    fn port(&self) -> &Redis {
        &self.port
    }

    /// The server goes down too, without a warning.
    async fn reopen(mut self) -> Option<Self> {
        self.port.close();
        self.part.restart();
        let port = Redis::open(&RedisOptions::new(&self.part.url())).await.unwrap();
        Some(Self { port, ..self })
    }

    async fn close(&self) {
        self.port.close();
    }
}

/// Redis as a cluster.
pub(crate) struct OnRedisCluster(OnRedis);

impl Kind for OnRedisCluster {
    type Port = Redis;

    async fn fresh(_: QueueBounds) -> Self {
        Self(OnRedis::start(stack::Kind::RedisCluster).await)
    }

    fn port(&self) -> &Redis {
        self.0.port()
    }

    async fn reopen(self) -> Option<Self> {
        self.0.reopen().await.map(Self)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// NATS JetStream.
pub(crate) struct OnNats {
    part: Part,
    options: NatsOptions,
    port: Nats,
}

impl Kind for OnNats {
    type Port = Nats;

    async fn fresh(bounds: QueueBounds) -> Self {
        let part = Part::start(stack::Kind::Nats);
        let options = NatsOptions { bounds, ..NatsOptions::new(&part.url(), PARTITIONS) };
        let port = Nats::open(&options).await.unwrap();
        Self { part, options, port }
    }

    fn port(&self) -> &Nats {
        &self.port
    }

    /// The server goes down too, without a warning.
    async fn reopen(mut self) -> Option<Self> {
        self.port.close();
        self.part.restart();
        let port = Nats::open(&self.options).await.unwrap();
        Some(Self { port, ..self })
    }

    async fn close(&self) {
        self.port.close();
    }
}
