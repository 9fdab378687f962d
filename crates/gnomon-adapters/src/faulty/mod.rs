//! A queue and store that fails on purpose, by script or by seed, around any other one.
//!
//! Invariants: what it does stays within what the ports allow, so whoever uses the ports must
//! survive it; the same seed and the same order of calls fail in the same way.
//! Never: a clock, randomness of its own.

mod plan;

use gnomon_host::port::{
    Committed, Consumer, Counts, Delivery, Log, Message, Page, Queue, QueueError, SavedSession,
    SessionChange, Sessions, Store, StoreError, Stored, Write,
};
use gnomon_model::{DeviceKey, DueKind, ProductKey};

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
        let inner = self.inner.consume(log).await?;
        Ok(FaultyConsumer { inner, plan: self.plan.clone(), late: Vec::new() })
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
}

/// Consumer of a [`Faulty`] queue.
pub struct FaultyConsumer<C> {
    inner: C,
    plan: Plan,
    /// Taken and not yet done.
    late: Vec<u64>,
}

impl<C: Consumer> Consumer for FaultyConsumer<C> {
    fn log_id(&self) -> &str {
        self.inner.log_id()
    }

    async fn pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        self.plan.read(Operation::Pull, queue_error(Operation::Pull)).await?;
        self.inner.pull(count_max).await
    }

    async fn acknowledge(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        let fault = self.plan.meet(Operation::Acknowledge).await;
        match fault {
            Some(Fault::Before | Fault::Full | Fault::Conflict) => {
                Err(queue_error(Operation::Acknowledge))
            }
            Some(Fault::Late) => {
                self.late.extend_from_slice(positions);
                Ok(())
            }
            None | Some(Fault::After | Fault::Hold) => {
                let mut all = std::mem::take(&mut self.late);
                all.extend_from_slice(positions);
                self.inner.acknowledge(&all).await?;
                let failed = fault == Some(Fault::After);
                if failed { Err(queue_error(Operation::Acknowledge)) } else { Ok(()) }
            }
        }
    }
}

impl<T: Store> Store for Faulty<T> {
    async fn load(&self, devices: &[DeviceKey]) -> Result<Vec<Stored>, StoreError> {
        self.plan.read(Operation::Load, store_error(Operation::Load)).await?;
        self.inner.load(devices).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Committed>, StoreError> {
        match self.plan.meet(Operation::Commit).await {
            None | Some(Fault::Late | Fault::Hold) => self.inner.commit(writes).await,
            Some(Fault::Before | Fault::Full) => Err(store_error(Operation::Commit)),
            Some(Fault::Conflict) => Ok(vec![Committed::Conflict; writes.len()]),
            Some(Fault::After) => {
                self.inner.commit(writes).await?;
                Err(store_error(Operation::Commit))
            }
        }
    }

    async fn list(
        &self,
        product: Option<&ProductKey>,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Page, StoreError> {
        self.plan.read(Operation::List, store_error(Operation::List)).await?;
        self.inner.list(product, after, count_max).await
    }

    async fn due(
        &self,
        kind: DueKind,
        now_ms: i64,
        count_max: usize,
    ) -> Result<Vec<(DeviceKey, i64)>, StoreError> {
        self.plan.read(Operation::Due, store_error(Operation::Due)).await?;
        self.inner.due(kind, now_ms, count_max).await
    }
}

impl<T: Sessions> Sessions for Faulty<T> {
    async fn load_all(&self) -> Result<Vec<SavedSession>, StoreError> {
        self.plan.read(Operation::LoadAll, store_error(Operation::LoadAll)).await?;
        self.inner.load_all().await
    }

    async fn change(&self, changes: Vec<SessionChange>) -> Result<(), StoreError> {
        match self.plan.meet(Operation::Change).await {
            None | Some(Fault::Late | Fault::Hold) => self.inner.change(changes).await,
            Some(Fault::Before | Fault::Full | Fault::Conflict) => {
                Err(store_error(Operation::Change))
            }
            Some(Fault::After) => {
                self.inner.change(changes).await?;
                Err(store_error(Operation::Change))
            }
        }
    }
}
