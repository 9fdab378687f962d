//! Queue, store and sessions in memory, for tests and simulation: nothing survives the process.

mod readers;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gnomon_host::port::{
    Committed, Consumer, Counts, Delivery, Keeping, Log, Message, Page, Progress, Promise, Queue,
    QueueError, SavedSession, SessionChange, Sessions, Store, StoreError, Stored, Stream, Write,
};
use gnomon_model::{DeviceKey, DueKind, DueTimes, ProductKey};

use crate::bounds::{LogBounds, QueueBounds};
use crate::due::DueIndex;
use crate::log::{Next, Settled, Tail};
use crate::logs::{Cell, DEAD, Logs};
use crate::memory::readers::Readers;

/// Client to session.
type Saved = BTreeMap<String, Session>;

/// One session as saved.
struct Session {
    gateway: String,
    document: Bytes,
    pending: BTreeMap<u64, Bytes>,
}

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

/// As what a consumer has its log open.
enum Role {
    /// The log's one consumer, and its number.
    One { number: u64 },
    /// A named reader, and the number of its consumer.
    Reader { name: String, number: u64 },
    /// Somebody who only listens.
    Follower,
}

/// Consumer of one log in memory.
pub struct MemoryConsumer {
    memory: Memory,
    log: Log,
    log_id: String,
    role: Role,
    cursor: u64,
}

impl MemoryConsumer {
    fn check(&self) -> Result<(), QueueError> {
        let shared = self.memory.open()?;
        let is_current = match &self.role {
            Role::One { number } => shared.logs.cell(self.log).lock().is_current(*number),
            Role::Reader { name, number } => {
                lock(&shared.readers).is_current(self.log, name, *number)
            }
            Role::Follower => true,
        };
        if is_current { Ok(()) } else { Err(QueueError::Closed) }
    }

    fn try_pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        self.check()?;
        let shared = self.memory.open()?;
        let state = shared.logs.cell(self.log).lock();
        let Role::One { .. } = self.role else {
            let mut ready = state.read(self.cursor + 1, count_max);
            drop(state);
            self.cursor = ready.last().map_or(self.cursor, |last| last.position);
            if let Role::Reader { name, .. } = &self.role {
                let readers = lock(&shared.readers);
                ready.retain(|one| !readers.is_acknowledged(self.log, name, one.position));
            }
            return Ok(ready);
        };
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

impl MemoryConsumer {
    fn settle(&self, positions: &[u64], how: Settled) -> Result<(), QueueError> {
        self.check()?;
        let shared = self.memory.open()?;
        let cell = shared.logs.cell(self.log);
        match &self.role {
            Role::One { .. } => {
                cell.lock().acknowledge(positions, how);
                drop_expendable(cell);
                Ok(())
            }
            Role::Reader { name, .. } => {
                let last = cell.lock().published();
                let there = positions.iter().filter(|position| **position <= last);
                lock(&shared.readers).acknowledge(self.log, name, there);
                self.memory.settle(self.log)
            }
            Role::Follower => Ok(()),
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
        self.settle(positions, Settled::Applied)
    }

    async fn bury(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        self.settle(positions, Settled::Dead)
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

impl Session {
    fn saved(&self, client: &str) -> SavedSession {
        SavedSession {
            client: client.to_owned(),
            gateway: self.gateway.clone(),
            document: self.document.clone(),
            pending: self.pending.iter().map(|(key, bytes)| (*key, bytes.clone())).collect(),
        }
    }
}

impl Sessions for Memory {
    async fn gateways(&self) -> Result<Vec<String>, StoreError> {
        let sessions = lock(&self.open_store()?.sessions);
        let names: BTreeSet<_> = sessions.values().map(|session| session.gateway.clone()).collect();
        Ok(names.into_iter().collect())
    }

    async fn load_all(&self, gateway: &str) -> Result<Vec<SavedSession>, StoreError> {
        let sessions = lock(&self.open_store()?.sessions);
        let own = sessions.iter().filter(|(_, session)| session.gateway == gateway);
        Ok(own.map(|(client, session)| session.saved(client)).collect())
    }

    async fn find(&self, client: &str) -> Result<Option<SavedSession>, StoreError> {
        let sessions = lock(&self.open_store()?.sessions);
        Ok(sessions.get(client).map(|session| session.saved(client)))
    }

    async fn change(&self, gateway: &str, changes: Vec<SessionChange>) -> Result<(), StoreError> {
        let mut sessions = lock(&self.open_store()?.sessions);
        changes.into_iter().for_each(|change| change_one(&mut sessions, gateway, change));
        Ok(())
    }
}

fn change_one(sessions: &mut Saved, gateway: &str, change: SessionChange) {
    let found = sessions.get_mut(change.client());
    if found.as_ref().is_some_and(|session| session.gateway != gateway) {
        return;
    }
    match (change, found) {
        (SessionChange::Save { document, .. }, Some(session)) => session.document = document,
        (SessionChange::Save { client, document }, None) => {
            let (gateway, pending) = (gateway.to_owned(), BTreeMap::new());
            sessions.insert(client, Session { gateway, document, pending });
        }
        (SessionChange::Forget { client }, Some(_)) => drop(sessions.remove(&client)),
        (SessionChange::HandOver { to, document, .. }, Some(session)) => {
            (session.gateway, session.document) = (to, document);
        }
        (SessionChange::Keep { key, message, .. }, Some(session)) => {
            session.pending.insert(key, message);
        }
        (SessionChange::Drop { key, .. }, Some(session)) => drop(session.pending.remove(&key)),
        (_, None) => {}
    }
}
