//! Queue, store and sessions in memory, for tests and simulation: nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gnomon_host::port::{
    Committed, Consumer, Counts, Delivery, Log, Message, Page, Queue, QueueError, SavedSession,
    SessionChange, Sessions, Store, StoreError, Stored, Write,
};
use gnomon_model::{DeviceKey, DueKind, ProductKey};

use crate::bounds::{LogBounds, QueueBounds};
use crate::due::DueIndex;
use crate::log::{Next, Tail};
use crate::logs::{Cell, Logs};

/// Client to document and undelivered messages.
type Saved = BTreeMap<String, (Bytes, BTreeMap<u64, Bytes>)>;

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

struct Shared {
    logs: Logs,
    closed: AtomicBool,
    /// Held while appending, so that a batch goes in as one.
    appending: Mutex<()>,
    records: Mutex<Records>,
    sessions: Mutex<Saved>,
    identity: u64,
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
        let log_id = format!("{log}@memory-{}", shared.identity);
        Ok(MemoryConsumer { memory: self.clone(), log, log_id, number, cursor })
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
}

fn drop_expendable(cell: &Cell) {
    let mut state = cell.lock();
    if let Some(last) = state.expendable() {
        state.drop_through(last);
    }
}

/// Consumer of one log in memory.
pub struct MemoryConsumer {
    memory: Memory,
    log: Log,
    log_id: String,
    number: u64,
    cursor: u64,
}

impl MemoryConsumer {
    fn try_pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        let state = self.memory.open()?.logs.cell(self.log).lock();
        if !state.is_current(self.number) {
            return Err(QueueError::Closed);
        }
        match state.next(self.cursor, count_max) {
            Next::Ready(ready, cursor) => {
                self.cursor = cursor;
                Ok(ready)
            }
            Next::Nothing => Ok(Vec::new()),
            Next::Behind(..) => unreachable!("memory holds everything that it has not dropped"),
        }
    }
}

impl Consumer for MemoryConsumer {
    fn log_id(&self) -> &str {
        &self.log_id
    }

    async fn pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        let count_max = count_max.max(1);
        let shared = Arc::clone(&self.memory.shared);
        loop {
            // Made before looking, so that what is appended in between wakes it.
            let woken = shared.logs.cell(self.log).wake.notified();
            let ready = self.try_pull(count_max)?;
            if !ready.is_empty() {
                return Ok(ready);
            }
            woken.await;
        }
    }

    async fn acknowledge(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        let cell = self.memory.open()?.logs.cell(self.log);
        if !cell.lock().is_current(self.number) {
            return Err(QueueError::Closed);
        }
        cell.lock().acknowledge(positions);
        drop_expendable(cell);
        Ok(())
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

impl Sessions for Memory {
    async fn load_all(&self) -> Result<Vec<SavedSession>, StoreError> {
        let sessions = lock(&self.open_store()?.sessions);
        let saved = sessions.iter().map(|(client, (document, pending))| SavedSession {
            client: client.clone(),
            document: document.clone(),
            pending: pending.iter().map(|(key, message)| (*key, message.clone())).collect(),
        });
        Ok(saved.collect())
    }

    async fn change(&self, changes: Vec<SessionChange>) -> Result<(), StoreError> {
        let mut sessions = lock(&self.open_store()?.sessions);
        changes.into_iter().for_each(|change| change_one(&mut sessions, change));
        Ok(())
    }
}

fn change_one(sessions: &mut Saved, change: SessionChange) {
    match change {
        SessionChange::Save { client, document } => {
            sessions.entry(client).or_default().0 = document;
        }
        SessionChange::Forget { client } => {
            sessions.remove(&client);
        }
        SessionChange::Keep { client, key, message } => {
            if let Some((_, pending)) = sessions.get_mut(&client) {
                pending.insert(key, message);
            }
        }
        SessionChange::Drop { client, key } => {
            if let Some((_, pending)) = sessions.get_mut(&client) {
                pending.remove(&key);
            }
        }
    }
}
