//! A queue and store that fails on purpose, by script or by seed, around any other one.
//!
//! Invariants: what it does stays within what the ports allow, so whoever uses the ports must
//! survive it; the same seed and the same order of calls fail in the same way.
//! Never: a clock, randomness of its own.

mod consumer;
mod plan;
mod store;

use gnomon_host::port::{
    Counts, Delivery, Keeping, Log, Message, Progress, Promise, Queue, QueueError, StoreError,
    Stream,
};

pub use self::consumer::FaultyConsumer;
pub use self::plan::{Fault, Odds, Operation, Plan};

fn queue_error(operation: Operation) -> QueueError {
    QueueError::Unavailable { reason: format!("{operation:?} fails on purpose") }
}

fn store_error(operation: Operation) -> StoreError {
    StoreError::Unavailable { reason: format!("{operation:?} fails on purpose") }
}

/// A queue or store around another one, that fails as planned.
#[derive(Clone)]
pub struct Faulty<T> {
    inner: T,
    plan: Plan,
}

impl<T> Faulty<T> {
    /// Wraps `inner`.
    #[must_use]
    pub const fn new(inner: T, plan: Plan) -> Self {
        Self { inner, plan }
    }

    /// What it wraps: never fails on purpose.
    #[must_use]
    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// What goes wrong.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl<T> Faulty<T> {
    fn consumer<C>(&self, inner: C) -> FaultyConsumer<C> {
        FaultyConsumer::new(inner, self.plan.clone())
    }
}

impl<T: Queue> Queue for Faulty<T> {
    type Consumer = FaultyConsumer<T::Consumer>;

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn append(&self, messages: Vec<Message>) -> Result<(), QueueError> {
        match self.plan.meet(Operation::Append).await {
            None | Some(Fault::Late | Fault::Hold) => self.inner.append(messages).await,
            Some(Fault::Before | Fault::Conflict) => Err(queue_error(Operation::Append)),
            Some(Fault::Full) => Err(QueueError::Full { reason: "on purpose".into() }),
            Some(Fault::After) => {
                self.inner.append(messages).await?;
                Err(queue_error(Operation::Append))
            }
        }
    }

    async fn consume(&self, log: Log) -> Result<Self::Consumer, QueueError> {
        self.plan.read(Operation::Consume, queue_error(Operation::Consume)).await?;
        self.inner.consume(log).await.map(|inner| self.consumer(inner))
    }

    async fn consume_as(&self, log: Log, reader: &str) -> Result<Self::Consumer, QueueError> {
        self.plan.read(Operation::Consume, queue_error(Operation::Consume)).await?;
        self.inner.consume_as(log, reader).await.map(|inner| self.consumer(inner))
    }

    async fn follow(&self, log: Log) -> Result<Self::Consumer, QueueError> {
        self.plan.read(Operation::Consume, queue_error(Operation::Consume)).await?;
        self.inner.follow(log).await.map(|inner| self.consumer(inner))
    }

    async fn readers(&self, log: Log) -> Result<Vec<String>, QueueError> {
        self.inner.readers(log).await
    }

    async fn bar(&self, log: Log, reader: &str) -> Result<u64, QueueError> {
        self.inner.bar(log, reader).await
    }

    async fn retire(&self, log: Log, reader: &str) -> Result<(), QueueError> {
        self.inner.retire(log, reader).await
    }

    async fn attend(&self, group: &str, member: &str) -> Result<Vec<String>, QueueError> {
        self.inner.attend(group, member).await
    }

    async fn leave(&self, group: &str, member: &str) -> Result<(), QueueError> {
        self.inner.leave(group, member).await
    }

    async fn read(
        &self,
        log: Log,
        position: u64,
        count_max: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        self.plan.read(Operation::Read, queue_error(Operation::Read)).await?;
        self.inner.read(log, position, count_max).await
    }

    async fn counts(&self, log: Log) -> Result<Counts, QueueError> {
        self.plan.read(Operation::Counts, queue_error(Operation::Counts)).await?;
        self.inner.counts(log).await
    }

    async fn progress(&self, log: Log) -> Result<Progress, QueueError> {
        self.inner.progress(log).await
    }

    async fn forget_dead(&self, positions: &[u64]) -> Result<(), QueueError> {
        self.plan.read(Operation::Forget, queue_error(Operation::Forget)).await?;
        self.inner.forget_dead(positions).await
    }

    async fn promise(&self) -> Promise {
        self.inner.promise().await
    }

    fn keeping(&self, stream: Stream) -> Option<Keeping> {
        self.inner.keeping(stream)
    }
}
