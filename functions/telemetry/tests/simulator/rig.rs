//! The world under the faults: memory that tears writes, remembers what took effect, and breaks a
//! promise of the ports when a control asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use gnomon_adapters::Memory;
use gnomon_adapters::memory::MemoryConsumer;
use gnomon_host::port::{
    Committed, Consumer, Counts, Delivery, Log, Message, Page, Queue, QueueError, Store,
    StoreError, Stored, Stream, Write,
};
use gnomon_model::{DeviceKey, DueKind, Envelope, ProductKey, Record};

use crate::random::Random;
use crate::script::PARTITIONS;

/// A promise that the world does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// None: a world in which everything must come out right.
    Nothing,
    /// The queue takes every message of this stream again.
    ForgetsIds(Stream),
    /// A message counts as acknowledged once it is delivered.
    AcknowledgesAtDelivery,
    /// The queue says that it has a message of this stream, and has not.
    LosesAppends(Stream),
    /// The store writes whatever the revision.
    WritesOverOthers,
    /// The store says that it has written, and has not.
    LosesCommits,
    /// Two neighbours of one device change places on their way to a worker.
    SwapsNeighbours,
}

/// How often a broken promise shows, in thousandths.
const BROKEN_ODDS: usize = 300;

/// Everything that took effect, in order.
#[derive(Default)]
pub(crate) struct Effective {
    /// Ids of messages of which the gateway was told that the queue has them.
    pub(crate) acknowledged_to_device: Vec<String>,
    /// Positions of telemetry logs that workers acknowledged.
    pub(crate) acknowledged: Vec<(u16, u64)>,
    /// Every record that was committed.
    pub(crate) commits: Vec<(DeviceKey, Record)>,
}

struct Inner {
    random: Random,
    torn: usize,
    broken: Broken,
    effective: Effective,
    trace: Option<Vec<String>>,
    copies: u64,
    /// What was delivered so far.
    delivered: BTreeSet<(u16, u64)>,
}

/// Queue and store of one simulated world.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) memory: Memory,
    inner: Arc<Mutex<Inner>>,
}

impl Rig {
    /// An empty world. `torn`: how many writes in a thousand are done in part.
    pub(crate) fn new(random: Random, torn: usize, broken: Broken, traced: bool) -> Self {
        let trace = traced.then(Vec::new);
        let (effective, delivered) = (Effective::default(), BTreeSet::new());
        let inner = Inner { random, torn, broken, effective, trace, copies: 0, delivered };
        Self { memory: Memory::new(PARTITIONS), inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Adds a line to the schedule, if anybody will read it.
    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.lock().trace {
            trace.push(line());
        }
    }

    /// The schedule so far.
    pub(crate) fn schedule(&self) -> Vec<String> {
        self.lock().trace.clone().unwrap_or_default()
    }

    /// No write is torn from now on.
    pub(crate) fn heal(&self) {
        self.lock().torn = 0;
    }

    /// Reads what took effect.
    pub(crate) fn effective<T>(&self, read: impl FnOnce(&Effective) -> T) -> T {
        read(&self.lock().effective)
    }

    /// Notes that a gateway was told that the queue has these.
    pub(crate) fn told_device(&self, ids: impl Iterator<Item = String>) {
        self.lock().effective.acknowledged_to_device.extend(ids);
    }

    /// All of a log, as everybody reads it.
    pub(crate) async fn all(&self, log: Log) -> Vec<Delivery> {
        self.read(log, 1, usize::MAX).await.unwrap()
    }
}

impl Inner {
    fn breaks(&mut self, broken: Broken) -> bool {
        self.broken == broken && self.random.happens(BROKEN_ODDS)
    }

    /// The messages that a torn append leaves: of each device the first ones, any number of them.
    fn some_of(&mut self, messages: Vec<Message>) -> Vec<Message> {
        let mut left: BTreeMap<Option<DeviceKey>, usize> = BTreeMap::new();
        let random = &mut self.random;
        let keeps = |message: &Message| {
            let left = left.entry(message.device.clone()).or_insert_with(|| random.below(3));
            let keep = *left > 0;
            *left = left.saturating_sub(1);
            keep
        };
        messages.into_iter().filter(keeps).collect()
    }

    /// Notes a delivery; whether any of it was delivered before.
    fn is_again(&mut self, partition: u16, positions: &[u64]) -> bool {
        let mut again = false;
        for position in positions {
            again |= !self.delivered.insert((partition, *position));
        }
        again
    }

    /// Gives each message of a stream that forgets an id that it never had.
    fn forget(&mut self, messages: &mut [Message]) {
        for message in messages {
            if self.broken == Broken::ForgetsIds(message.log.stream) {
                self.copies += 1;
                message.id = format!("{}#{}", message.id, self.copies);
            }
        }
    }
}

/// Takes off what [`Inner::forget`] put on.
fn remember(mut deliveries: Vec<Delivery>) -> Vec<Delivery> {
    for delivery in &mut deliveries {
        let id = delivery.id.split('#').next().unwrap_or_default();
        delivery.id = id.to_owned();
    }
    deliveries
}

fn shown(messages: &[Message]) -> String {
    let each: Vec<String> =
        messages.iter().map(|message| format!("{}:{}", message.log, message.id)).collect();
    each.join(" ")
}

impl Queue for Rig {
    type Consumer = RigConsumer;

    fn partitions(&self) -> u16 {
        self.memory.partitions()
    }

    async fn append(&self, mut messages: Vec<Message>) -> Result<(), QueueError> {
        let torn = {
            let mut inner = self.lock();
            let stream = messages.first().map_or(Stream::Dead, |message| message.log.stream);
            if inner.breaks(Broken::LosesAppends(stream)) {
                messages.retain(|message| message.log.stream != stream);
            }
            let odds = inner.torn;
            let torn = inner.random.happens(odds);
            if torn {
                messages = inner.some_of(messages);
            }
            inner.forget(&mut messages);
            torn
        };
        self.trace(|| {
            format!("    append{} {}", if torn { " torn" } else { "" }, shown(&messages))
        });
        self.memory.append(messages).await?;
        if torn { Err(QueueError::Unavailable { reason: "torn".into() }) } else { Ok(()) }
    }

    async fn consume(&self, log: Log) -> Result<RigConsumer, QueueError> {
        self.trace(|| format!("    consume {log}"));
        let inner = self.memory.consume(log).await?;
        // Not the identity that memory gives, which is another one in every world.
        Ok(RigConsumer { rig: self.clone(), inner, log, log_id: log_id(log) })
    }

    async fn read(
        &self,
        log: Log,
        position: u64,
        count_max: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        Ok(remember(self.memory.read(log, position, count_max).await?))
    }

    async fn counts(&self, log: Log) -> Result<Counts, QueueError> {
        self.memory.counts(log).await
    }
}

/// Identity of a log in every world.
pub(crate) fn log_id(log: Log) -> String {
    format!("{log}@simulated")
}

/// Consumer of one log of a [`Rig`].
pub(crate) struct RigConsumer {
    rig: Rig,
    inner: MemoryConsumer,
    log: Log,
    log_id: String,
}

impl RigConsumer {
    async fn settle(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        self.inner.acknowledge(positions).await?;
        let partition = self.log.partition;
        let mut inner = self.rig.lock();
        inner.effective.acknowledged.extend(positions.iter().map(|at| (partition, *at)));
        Ok(())
    }
}

impl Consumer for RigConsumer {
    fn log_id(&self) -> &str {
        &self.log_id
    }

    async fn pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        let wanted = self.rig.lock().random.batch();
        let mut batch = remember(self.inner.pull(count_max.min(wanted)).await?);
        let positions: Vec<u64> = batch.iter().map(|one| one.position).collect();
        let again = self.rig.lock().is_again(self.log.partition, &positions);
        let again = if again { " again" } else { "" };
        self.rig.trace(|| format!("    pull {} {positions:?}{again}", self.log));
        if self.rig.lock().breaks(Broken::AcknowledgesAtDelivery) {
            self.settle(&positions).await?;
        }
        if self.rig.lock().breaks(Broken::SwapsNeighbours) {
            swap_neighbours(&mut batch);
        }
        Ok(batch)
    }

    async fn acknowledge(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        self.rig.trace(|| format!("    acknowledge {} {positions:?}", self.log));
        self.settle(positions).await
    }

    async fn bury(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        self.rig.trace(|| format!("    bury {} {positions:?}", self.log));
        self.inner.bury(positions).await?;
        let partition = self.log.partition;
        let mut inner = self.rig.lock();
        inner.effective.acknowledged.extend(positions.iter().map(|at| (partition, *at)));
        Ok(())
    }
}

/// Exchanges the first two neighbours of one device, each at the other's position.
fn swap_neighbours(batch: &mut [Delivery]) {
    let device = |delivery: &Delivery| Envelope::decode(&delivery.body).ok().map(|one| one.device);
    let same = |at: &usize| {
        let (one, other) = (device(&batch[*at]), device(&batch[at + 1]));
        one.is_some() && one == other
    };
    let found = (0..batch.len().saturating_sub(1)).find(same);
    if let Some(at) = found {
        batch.swap(at, at + 1);
        let position = batch[at].position;
        batch[at].position = batch[at + 1].position;
        batch[at + 1].position = position;
    }
}

impl Store for Rig {
    async fn load(&self, devices: &[DeviceKey]) -> Result<Vec<Stored>, StoreError> {
        self.memory.load(devices).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Committed>, StoreError> {
        let (torn, lost, over) = {
            let mut inner = self.lock();
            let odds = inner.torn;
            let torn = inner.random.happens(odds);
            let lost = inner.breaks(Broken::LosesCommits);
            (torn, lost, inner.broken == Broken::WritesOverOthers)
        };
        if lost {
            let revision = |write: &Write| write.expected_revision + 1;
            return Ok(writes
                .iter()
                .map(|one| Committed::Done { revision: revision(one) })
                .collect());
        }
        self.trace(|| format!("    commit{} of {}", if torn { " torn" } else { "" }, writes.len()));
        let mut committed = Vec::with_capacity(writes.len());
        for write in writes {
            if torn && self.lock().random.happens(500) {
                continue;
            }
            committed.push(self.commit_one(write.clone(), over).await?);
        }
        if torn { Err(StoreError::Unavailable { reason: "torn".into() }) } else { Ok(committed) }
    }

    async fn list(
        &self,
        product: Option<&ProductKey>,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Page, StoreError> {
        self.memory.list(product, after, count_max).await
    }

    async fn due(
        &self,
        kind: DueKind,
        now_ms: i64,
        count_max: usize,
    ) -> Result<Vec<(DeviceKey, i64)>, StoreError> {
        self.memory.due(kind, now_ms, count_max).await
    }
}

impl Rig {
    async fn commit_one(&self, mut write: Write, over: bool) -> Result<Committed, StoreError> {
        if over {
            let stored = self.memory.load(std::slice::from_ref(&write.device)).await?;
            write.expected_revision = stored[0].revision;
        }
        let committed = self.memory.commit(std::slice::from_ref(&write)).await?[0];
        self.trace(|| format!("    commit {} {committed:?}", write.device));
        if committed != Committed::Conflict {
            self.lock().effective.commits.push((write.device, write.record));
        }
        Ok(committed)
    }
}
