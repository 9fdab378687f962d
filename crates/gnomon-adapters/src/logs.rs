//! All logs of a queue: finds a log's place, checks bounds, and appends all messages or none.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gnomon_host::port::{Keeping, Log, Message, QueueError, Stream};
use tokio::sync::Notify;

use crate::bounds::QueueBounds;
use crate::log::{Entry, LogState, Tail};

/// Where dead letters stand.
pub(crate) const DEAD: Log = Log { stream: Stream::Dead, partition: 0 };
const PARTITIONED: [Stream; 4] = [Stream::Telemetry, Stream::Shadow, Stream::Calls, Stream::Alerts];
const SINGLE: [Stream; 3] = [Stream::Downlink, Stream::Answers, Stream::Dead];

/// One log and who waits for it.
pub(crate) struct Cell {
    pub(crate) log: Log,
    /// Told of everything that a waiting consumer must look at.
    pub(crate) wake: Notify,
    /// Acknowledgements came since they were last made durable.
    pub(crate) dirty: AtomicBool,
    state: Mutex<LogState>,
}

impl Cell {
    /// The log's memory. A panic while it was locked is our bug and has been reported; the counters
    /// are changed only after every check has passed, so going on is sound.
    pub(crate) fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows consumers what was appended.
    pub(crate) fn publish(&self) {
        let news = self.lock().publish();
        if news {
            self.wake.notify_waiters();
        }
    }

    /// Forgets and returns whether acknowledgements came.
    pub(crate) fn take_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed) && self.dirty.swap(false, Ordering::AcqRel)
    }
}

/// A message and the place of its log.
pub(crate) struct Draft {
    pub(crate) index: usize,
    pub(crate) entry: Entry,
}

/// All logs.
pub(crate) struct Logs {
    pub(crate) cells: Vec<Cell>,
    partitions: u16,
    /// Two independently keyed hashes make 128 bits that nobody outside can aim at.
    keys: [RandomState; 2],
}

impl Logs {
    pub(crate) fn new(partitions: u16, bounds: &QueueBounds, keep: Tail) -> Self {
        assert!(partitions > 0, "a queue has at least one partition");
        let many = PARTITIONED
            .iter()
            .flat_map(|stream| (0..partitions).map(|partition| Log { stream: *stream, partition }));
        let single = SINGLE.iter().map(|stream| Log { stream: *stream, partition: 0 });
        let cell = |log: Log| Cell {
            log,
            wake: Notify::new(),
            dirty: AtomicBool::new(false),
            state: Mutex::new(LogState::new(bounds.of(log.stream), keep)),
        };
        let cells = many.chain(single).map(cell).collect();
        Self { cells, partitions, keys: [RandomState::new(), RandomState::new()] }
    }

    pub(crate) fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The place of a log.
    ///
    /// # Panics
    /// The queue has no such partition: the caller computed it with another count, which is a bug.
    pub(crate) fn index(&self, log: Log) -> usize {
        let many = usize::from(self.partitions);
        let (block, width) = match log.stream {
            Stream::Telemetry => (0, many),
            Stream::Shadow => (many, many),
            Stream::Calls => (2 * many, many),
            Stream::Alerts => (3 * many, many),
            Stream::Downlink => (4 * many, 1),
            Stream::Answers => (4 * many + 1, 1),
            Stream::Dead => (4 * many + 2, 1),
        };
        assert!(usize::from(log.partition) < width, "log {log} is outside of {width} partitions");
        block + usize::from(log.partition)
    }

    /// What each log of a stream keeps.
    pub(crate) fn keeping(&self, stream: Stream) -> Keeping {
        self.cell(Log { stream, partition: 0 }).lock().keeping()
    }

    pub(crate) fn cell(&self, log: Log) -> &Cell {
        &self.cells[self.index(log)]
    }

    /// Keyed hash of a message id.
    pub(crate) fn hash(&self, id: &str) -> u128 {
        u128::from(self.keys[0].hash_one(id)) << 64 | u128::from(self.keys[1].hash_one(id))
    }

    pub(crate) fn draft(&self, messages: Vec<Message>) -> Vec<Draft> {
        let draft = |message: Message| {
            let (index, hash) = (self.index(message.log), self.hash(&message.id));
            Draft { index, entry: Entry { hash, id: message.id, body: message.body } }
        };
        messages.into_iter().map(draft).collect()
    }

    /// Appends all drafts that are not known, or none if a bound forbids one. Nothing is published.
    /// Calls must not overlap. `appended` learns place and position of each.
    pub(crate) fn append(
        &self,
        drafts: Vec<Draft>,
        mut appended: impl FnMut(usize, u64),
    ) -> Result<(), QueueError> {
        self.admit(&drafts)?;
        for Draft { index, entry } in drafts {
            let mut state = self.cells[index].lock();
            if !state.knows(entry.hash) {
                appended(index, state.append(entry));
            }
        }
        Ok(())
    }

    fn admit(&self, drafts: &[Draft]) -> Result<(), QueueError> {
        let mut totals: Vec<(usize, u64, u64)> = Vec::with_capacity(drafts.len().min(8));
        for Draft { index, entry } in drafts {
            if self.cells[*index].lock().knows(entry.hash) {
                continue;
            }
            match totals.iter_mut().find(|(at, ..)| at == index) {
                Some((_, count, bytes)) => (*count, *bytes) = (*count + 1, *bytes + entry.bytes()),
                None => totals.push((*index, 1, entry.bytes())),
            }
        }
        totals.into_iter().try_for_each(|(index, count, bytes)| self.room(index, count, bytes))
    }

    fn room(&self, index: usize, count: u64, bytes: u64) -> Result<(), QueueError> {
        let cell = &self.cells[index];
        let full = |bound| QueueError::Full { reason: format!("log {}: {bound}", cell.log) };
        cell.lock().room(count, bytes).map_err(full)
    }
}
