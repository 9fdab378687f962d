//! Queue, store and sessions in memory, for tests and simulation: nothing survives the process.

mod consumer;
mod readers;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gnomon_host::port::{
    Committed, Counts, Delivery, Keeping, Log, Message, Page, Progress, Promise, Queue, QueueError,
    Store, StoreError, Stored, Stream, Write,
};
use gnomon_model::{DeviceKey, DueKind, DueTimes, ProductKey};

use crate::bounds::{LogBounds, QueueBounds};
use crate::due::DueIndex;
use crate::log::{Settled, Tail};
use crate::logs::{Cell, DEAD, Logs};
pub use crate::memory::consumer::MemoryConsumer;
use crate::memory::consumer::Role;
use crate::memory::readers::Readers;
use crate::memory::sessions::Saved;

/// Everything in memory. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Records {
    by_device: BTreeMap<DeviceKey, Stored>,
    due: DueIndex<DeviceKey>,
}

impl Records {
    fn erase(&mut self, device: &DeviceKey) {
        self.by_device.remove(device);
        self.due.set(device, DueTimes::default());
    }
}

struct Shared {
    logs: Logs,
    closed: AtomicBool,
    /// Held while appending, so that a batch goes in as one.
    appending: Mutex<()>,
    records: Mutex<Records>,
    sessions: Mutex<Saved>,
    readers: Mutex<Readers>,
    /// Group and member of everybody who attends.
    members: Mutex<BTreeSet<(String, String)>>,
    identity: u64,
}

impl Shared {
    fn log_id(&self, log: Log) -> String {
        format!("{log}@memory-{}", self.identity)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// An empty one that keeps the last 10,000 acknowledged messages of each log.
    ///
    /// # Panics
    /// `partitions` is zero.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        Self::with_bounds(partitions, &QueueBounds::uniform(LogBounds::consumed(10_000, 16 << 20)))
    }

    /// An empty one with these bounds.
    ///
    /// # Panics
    /// `partitions` is zero.
    #[must_use]
    pub fn with_bounds(partitions: u16, bounds: &QueueBounds) -> Self {
        static MADE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let shared = Shared {
            logs: Logs::new(partitions, bounds, Tail::Everything),
            closed: AtomicBool::new(false),
            appending: Mutex::new(()),
            records: Mutex::default(),
            sessions: Mutex::default(),
            readers: Mutex::default(),
            members: Mutex::default(),
            identity: MADE.fetch_add(1, Ordering::Relaxed),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Shuts down: every later call says that it is closed, and waiting ones do.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.logs.cells.iter().for_each(|cell| cell.wake.notify_waiters());
    }

    fn open(&self) -> Result<&Shared, QueueError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(QueueError::Closed);
        }
        Ok(&self.shared)
    }

    fn consumer(&self, log: Log, role: Role, cursor: u64) -> MemoryConsumer {
        let log_id = self.shared.log_id(log);
        MemoryConsumer { memory: self.clone(), log, log_id, role, cursor }
    }

    /// Acknowledges what all readers of a log are done with.
    fn settle(&self, log: Log) -> Result<(), QueueError> {
        let shared = self.open()?;
        let done = lock(&shared.readers).take_done(log);
        if !done.is_empty() {
            let cell = shared.logs.cell(log);
            cell.lock().acknowledge(&done, Settled::Applied);
            drop_expendable(cell);
        }
        Ok(())
    }

    fn open_store(&self) -> Result<&Shared, StoreError> {
        self.open().map_err(|_| StoreError::Closed)
    }
}

impl Queue for Memory {
    type Consumer = MemoryConsumer;

    fn partitions(&self) -> u16 {
        self.shared.logs.partitions()
    }

    async fn append(&self, messages: Vec<Message>) -> Result<(), QueueError> {
        let shared = self.open()?;
        let drafts = shared.logs.draft(messages);
        let _one_at_a_time = lock(&shared.appending);
        let mut touched = Vec::new();
        shared.logs.append(drafts, |index, _| touched.push(index))?;
        for index in touched {
            let cell = &shared.logs.cells[index];
            cell.publish();
            drop_expendable(cell);
        }
        Ok(())
    }

    async fn consume(&self, log: Log) -> Result<MemoryConsumer, QueueError> {
        let shared = self.open()?;
        let cell = shared.logs.cell(log);
        let (number, cursor) = cell.lock().take_over();
        cell.wake.notify_waiters();
        Ok(self.consumer(log, Role::One { number }, cursor))
    }

    async fn consume_as(&self, log: Log, reader: &str) -> Result<MemoryConsumer, QueueError> {
        let shared = self.open()?;
        let cell = shared.logs.cell(log);
        let opened = lock(&shared.readers).open(log, reader, cell.lock().published());
        let (number, cursor) = opened.ok_or(QueueError::Closed)?;
        cell.wake.notify_waiters();
        Ok(self.consumer(log, Role::Reader { name: reader.to_owned(), number }, cursor))
    }

    async fn follow(&self, log: Log) -> Result<MemoryConsumer, QueueError> {
        let cursor = self.open()?.logs.cell(log).lock().published();
        Ok(self.consumer(log, Role::Follower, cursor))
    }

    async fn readers(&self, log: Log) -> Result<Vec<String>, QueueError> {
        Ok(lock(&self.open()?.readers).names(log))
    }

    async fn bar(&self, log: Log, reader: &str) -> Result<u64, QueueError> {
        let shared = self.open()?;
        let floor = lock(&shared.readers).bar(log, reader);
        shared.logs.cell(log).wake.notify_waiters();
        Ok(floor)
    }

    async fn retire(&self, log: Log, reader: &str) -> Result<(), QueueError> {
        let shared = self.open()?;
        lock(&shared.readers).retire(log, reader);
        self.settle(log)
    }

    async fn attend(&self, group: &str, member: &str) -> Result<Vec<String>, QueueError> {
        let mut members = lock(&self.open()?.members);
        members.insert((group.to_owned(), member.to_owned()));
        let of_group = members.iter().filter(|(one, _)| one == group);
        Ok(of_group.map(|(_, member)| member.clone()).collect())
    }

    async fn leave(&self, group: &str, member: &str) -> Result<(), QueueError> {
        lock(&self.open()?.members).remove(&(group.to_owned(), member.to_owned()));
        Ok(())
    }

    async fn read(
        &self,
        log: Log,
        position: u64,
        count_max: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        Ok(self.open()?.logs.cell(log).lock().read(position, count_max))
    }

    async fn counts(&self, log: Log) -> Result<Counts, QueueError> {
        Ok(self.open()?.logs.cell(log).lock().counts())
    }

    async fn progress(&self, log: Log) -> Result<Progress, QueueError> {
        let shared = self.open()?;
        Ok(shared.logs.cell(log).lock().progress(shared.log_id(log)))
    }

    async fn forget_dead(&self, positions: &[u64]) -> Result<(), QueueError> {
        let mut state = self.open()?.logs.cell(DEAD).lock();
        let positions = state.to_give_up(positions);
        state.give_up(&positions);
        Ok(())
    }

    async fn promise(&self) -> Promise {
        promise()
    }

    fn keeping(&self, stream: Stream) -> Option<Keeping> {
        Some(self.shared.logs.keeping(stream))
    }
}

fn promise() -> Promise {
    Promise {
        server: "memory".to_owned(),
        settings: Vec::new(),
        power_cut: "a power cut costs everything".to_owned(),
        weak: true,
    }
}

fn drop_expendable(cell: &Cell) {
    let mut state = cell.lock();
    if let Some(last) = state.expendable() {
        state.drop_through(last);
    }
}

impl Store for Memory {
    async fn load(&self, devices: &[DeviceKey]) -> Result<Vec<Stored>, StoreError> {
        let records = &lock(&self.open_store()?.records).by_device;
        Ok(devices.iter().map(|key| records.get(key).cloned().unwrap_or_default()).collect())
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Committed>, StoreError> {
        let mut records = lock(&self.open_store()?.records);
        Ok(writes.iter().map(|write| write_one(&mut records, write)).collect())
    }

    async fn list(
        &self,
        product: Option<&ProductKey>,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Page, StoreError> {
        let records = lock(&self.open_store()?.records);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = records
            .by_device
            .range::<DeviceKey, _>((start, Bound::Unbounded))
            .map(|(key, _)| key)
            .filter(|key| product.is_none_or(|product| key.product == *product));
        Ok(page(wanted.take(count_max.saturating_add(1)).cloned().collect(), count_max))
    }

    async fn erase(&self, devices: &[DeviceKey]) -> Result<(), StoreError> {
        let mut records = lock(&self.open_store()?.records);
        devices.iter().for_each(|device| records.erase(device));
        Ok(())
    }

    async fn promise(&self) -> Promise {
        promise()
    }

    async fn due(
        &self,
        kind: DueKind,
        now_ms: i64,
        count_max: usize,
    ) -> Result<Vec<(DeviceKey, i64)>, StoreError> {
        Ok(lock(&self.open_store()?.records).due.find(kind, now_ms, count_max))
    }
}

fn write_one(records: &mut Records, write: &Write) -> Committed {
    let found = records.by_device.get(&write.device).map_or(0, |stored| stored.revision);
    if found != write.expected_revision {
        return Committed::Conflict;
    }
    let revision = found + 1;
    records.due.set(&write.device, write.record.due_times());
    let stored = Stored { record: write.record.clone(), revision };
    records.by_device.insert(write.device.clone(), stored);
    Committed::Done { revision }
}

/// Makes a page of at most `count_max` from one more than that.
pub(crate) fn page(mut devices: Vec<DeviceKey>, count_max: usize) -> Page {
    let more = devices.len() > count_max;
    devices.truncate(count_max);
    let next = if more { devices.last().cloned() } else { None };
    Page { devices, next }
}
