//! Where requests wait for the writer: it takes all of them at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gnomon_host::port::{Committed, QueueError, SessionChange, StoreError};
use gnomon_model::DueTimes;
use tokio::sync::oneshot;

use super::error::Failure;
use crate::logs::Draft;

/// Requests that may wait at once; more callers than that are told to come again.
const WAITING_MAX: usize = 16_384;

/// Acknowledgements that nothing else carries along are made durable after this.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(50);

pub(super) struct Append {
    pub(super) drafts: Vec<Draft>,
    pub(super) reply: oneshot::Sender<Result<(), QueueError>>,
}

/// A record as it goes into the file.
pub(super) struct RecordRow {
    pub(super) key: String,
    pub(super) expected_revision: u64,
    /// Revision after the write (u64, little-endian) and the record's JSON.
    pub(super) value: Bytes,
    /// What is due when in it.
    pub(super) due: DueTimes,
}

pub(super) struct Commit {
    pub(super) rows: Vec<RecordRow>,
    pub(super) reply: oneshot::Sender<Result<Vec<Committed>, StoreError>>,
}

pub(super) struct Change {
    pub(super) changes: Vec<SessionChange>,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
}

/// Dead letters to give up.
pub(super) struct Forget {
    pub(super) positions: Vec<u64>,
    pub(super) reply: oneshot::Sender<Result<(), QueueError>>,
}

/// Keys of records to remove from the tree, after everything durable is folded into it.
pub(super) struct Erase {
    pub(super) keys: Vec<String>,
    pub(super) reply: oneshot::Sender<Result<(), Failure>>,
}

/// Asks that everything durable be folded into the tree.
pub(super) type Fold = oneshot::Sender<Result<(), Failure>>;

/// Requests of one frame; the kinds do not touch each other.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) appends: Vec<Append>,
    pub(super) commits: Vec<Commit>,
    pub(super) changes: Vec<Change>,
    pub(super) forgets: Vec<Forget>,
    pub(super) folds: Vec<Fold>,
    pub(super) erases: Vec<Erase>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        let forgets = self.forgets.len() + self.erases.len();
        self.appends.len() + self.commits.len() + self.changes.len() + forgets + self.folds.len()
    }

    /// Tells all that nothing came of it. A receiver that is gone has been cancelled.
    pub(super) fn fail(self, failure: &Failure) {
        for one in self.appends {
            let _ = one.reply.send(Err(failure.queue()));
        }
        for one in self.commits {
            let _ = one.reply.send(Err(failure.store()));
        }
        for one in self.changes {
            let _ = one.reply.send(Err(failure.store()));
        }
        for one in self.forgets {
            let _ = one.reply.send(Err(failure.queue()));
        }
        for one in self.erases {
            let _ = one.reply.send(Err(failure.clone()));
        }
        for one in self.folds {
            let _ = one.send(Err(failure.clone()));
        }
    }
}

/// What the writer is to do.
pub(super) enum Work {
    /// Write these, and what was acknowledged.
    Write(Batch),
    /// Write these, then close and tell them.
    Close(Batch, Vec<oneshot::Sender<()>>),
}

/// Why nothing can be sent.
pub(super) enum Refused {
    Closed,
    Behind,
}

impl Refused {
    pub(super) fn queue(&self) -> QueueError {
        match self {
            Self::Closed => QueueError::Closed,
            Self::Behind => QueueError::Full { reason: behind() },
        }
    }

    pub(super) fn store(&self) -> StoreError {
        match self {
            Self::Closed => StoreError::Closed,
            Self::Behind => StoreError::Unavailable { reason: behind() },
        }
    }
}

fn behind() -> String {
    format!("{WAITING_MAX} requests wait for the writer")
}

#[derive(Default)]
struct Waiting {
    batch: Batch,
    closers: Vec<oneshot::Sender<()>>,
    /// The last handle is gone, or somebody closes.
    stopping: bool,
    /// The writer has ended or is ending: nobody will take what is sent.
    shut: bool,
    asleep: bool,
    flush_at: Option<Instant>,
}

#[derive(Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    bell: Condvar,
    /// Acknowledgements wait to be made durable; spares each of them the lock.
    acknowledged: AtomicBool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, add: impl FnOnce(&mut Batch)) -> Result<(), Refused> {
        let mut waiting = self.lock();
        if waiting.stopping || waiting.shut {
            return Err(Refused::Closed);
        }
        if waiting.batch.len() >= WAITING_MAX {
            return Err(Refused::Behind);
        }
        add(&mut waiting.batch);
        self.ring(waiting);
        Ok(())
    }

    /// Wakes the writer if it sleeps, without making it wait for our lock.
    fn ring(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let asleep = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if asleep {
            self.bell.notify_one();
        }
    }

    pub(super) fn append(&self, append: Append) -> Result<(), Refused> {
        self.send(|batch| batch.appends.push(append))
    }

    pub(super) fn commit(&self, commit: Commit) -> Result<(), Refused> {
        self.send(|batch| batch.commits.push(commit))
    }

    pub(super) fn change(&self, change: Change) -> Result<(), Refused> {
        self.send(|batch| batch.changes.push(change))
    }

    pub(super) fn forget(&self, forget: Forget) -> Result<(), Refused> {
        self.send(|batch| batch.forgets.push(forget))
    }

    pub(super) fn erase(&self, erase: Erase) -> Result<(), Refused> {
        self.send(|batch| batch.erases.push(erase))
    }

    pub(super) fn fold(&self, fold: Fold) -> Result<(), Refused> {
        self.send(|batch| batch.folds.push(fold))
    }

    /// Notes that a log was acknowledged, so that the writer comes for it by and by.
    pub(super) fn acknowledged(&self) {
        if self.acknowledged.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut waiting = self.lock();
        waiting.flush_at = Some(Instant::now() + ACKNOWLEDGED_WITHIN);
        self.ring(waiting);
    }

    pub(super) fn close(&self, reply: oneshot::Sender<()>) {
        let mut waiting = self.lock();
        if !waiting.shut {
            waiting.stopping = true;
            waiting.closers.push(reply);
            self.ring(waiting);
        }
    }

    pub(super) fn stop(&self) {
        let mut waiting = self.lock();
        waiting.stopping = true;
        self.ring(waiting);
    }

    /// Refuses everything from now on, and lets go of what waits.
    pub(super) fn shut(&self) {
        let mut waiting = self.lock();
        waiting.shut = true;
        let (batch, closers) =
            (std::mem::take(&mut waiting.batch), std::mem::take(&mut waiting.closers));
        drop(waiting);
        batch.fail(&Failure::Broken("the writer has ended".into()));
        drop(closers);
    }

    /// Waits for something to do.
    pub(super) fn take(&self) -> Work {
        let mut waiting = self.lock();
        loop {
            let due = waiting.flush_at.is_some_and(|at| at <= Instant::now());
            if waiting.stopping || due || waiting.batch.len() > 0 {
                return self.work(waiting);
            }
            waiting = self.sleep(waiting);
        }
    }

    fn work(&self, mut waiting: MutexGuard<'_, Waiting>) -> Work {
        // Cleared before the writer looks at the logs: what is acknowledged later rings again.
        self.acknowledged.store(false, Ordering::Release);
        waiting.flush_at = None;
        let batch = std::mem::take(&mut waiting.batch);
        if waiting.stopping {
            return Work::Close(batch, std::mem::take(&mut waiting.closers));
        }
        Work::Write(batch)
    }

    fn sleep<'g>(&self, mut waiting: MutexGuard<'g, Waiting>) -> MutexGuard<'g, Waiting> {
        waiting.asleep = true;
        match waiting.flush_at {
            None => self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                self.bell.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}
