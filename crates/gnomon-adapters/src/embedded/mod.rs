//! Queue, store and sessions in one file, `gnomon.redb`, with nothing to install.
//!
//! One thread writes. It takes everything that waits, puts it into one frame of a write-ahead log,
//! makes that durable, and answers: so a thousand callers share one fsync, and a lone one waits for
//! nobody. From time to time another thread folds what the log holds into the tree of `gnomon.redb`,
//! in one transaction. What was just appended is delivered from memory; the tree is read only by
//! consumers that fell behind.
//!
//! The path of a write: `inbox` -> `writer` -> `journal` (`wal`: bytes on disk, `frame`: what they
//! say) -> answers; later `pending` -> `fold` -> `file`.
//!
//! Invariants: nothing is answered, delivered or counted before it is durable, except
//! acknowledgements, which follow within 50 ms; after an IO error the files are opened anew and
//! memory is rebuilt from them.
//! Never: two processes on one directory.

mod error;
mod file;
mod fold;
mod frame;
mod inbox;
mod journal;
mod migrate;
mod pending;
mod queue;
mod rows;
mod sessions;
mod store;
#[cfg(test)]
mod tests;
mod wal;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use gnomon_host::migrate::Migrations;
use tokio::sync::oneshot;

pub use self::error::OpenError;
use self::file::File;
use self::inbox::Inbox;
use self::journal::Journal;
pub use self::migrate::MIGRATIONS;
use self::migrate::Reads;
use self::pending::Overlay;
pub use self::queue::EmbeddedConsumer;
use self::wal::Disk;
use self::writer::Writer;
use crate::bounds::QueueBounds;
use crate::due::DueIndex;
use crate::log::Tail;
use crate::logs::Logs;

/// How to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Partitions of the partitioned streams, at least 1; fixed when the file is made.
    pub partitions: u16,
    /// Bounds of the logs.
    pub bounds: QueueBounds,
    /// Memory for pages of the file.
    pub cache_bytes: usize,
    /// Memory for undelivered messages, for each log.
    pub tail_bytes: u64,
    /// Bytes that are logged before they are folded into the tree, about. More means fewer writes for
    /// devices that report often, up to three times as much memory, and a longer start after a crash.
    pub journal_bytes: u64,
    /// Time between the beginnings of two frames at least, while several requests come at once; a
    /// lone request, and any after a pause, waits for nothing. Longer means less work for each
    /// message and more waiting.
    pub commit_interval: Duration,
}

impl EmbeddedOptions {
    /// The usual ones: 64 MiB of pages, 8 MiB of undelivered messages for each log.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        Self {
            partitions,
            bounds: QueueBounds::default(),
            cache_bytes: 64 << 20,
            tail_bytes: 8 << 20,
            journal_bytes: 8 << 20,
            commit_interval: Duration::from_millis(1),
        }
    }
}

/// What handles, consumers and the writer share.
pub(crate) struct Core {
    pub(crate) file: File,
    pub(crate) logs: Logs,
    pub(crate) inbox: Inbox,
    pub(crate) overlay: Overlay,
    /// What is due in which record, by its key: kept in memory, read from the records when the file
    /// is opened.
    pub(crate) due: Mutex<DueIndex<String>>,
    pub(crate) closed: AtomicBool,
    pub(crate) transactions: AtomicU64,
}

impl Core {
    /// Wakes all who wait; they find it closed.
    fn shut(&self) {
        self.closed.store(true, Ordering::Release);
        self.inbox.shut();
        self.logs.cells.iter().for_each(|cell| cell.wake.notify_waiters());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// Ends the writer when the last handle and the last consumer are gone.
pub(crate) struct Life {
    pub(crate) core: Arc<Core>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.core.inbox.stop();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the writer has been reported by its hook; there is nobody to tell.
            let _ = thread.join();
        }
    }
}

/// The embedded queue, store and sessions. Cheap to clone; clones share one file. Dropping the last
/// clone and consumer makes acknowledgements durable and closes the file.
#[derive(Clone)]
pub struct Embedded {
    pub(crate) life: Arc<Life>,
}

impl Embedded {
    /// Opens the file in `dir`, or makes both. Reads all that the logs hold, once, and compacts the
    /// file when more than half of it is free.
    ///
    /// Blocks the thread: a second for each few hundred MB.
    ///
    /// # Errors
    /// Each says in one line what to do about it; see [`OpenError`].
    pub fn open(dir: &Path, options: EmbeddedOptions) -> Result<Self, OpenError> {
        Self::start(dir, File::open(dir, &options, Reads::Newest)?, &options)
    }

    /// As [`Embedded::open`], but takes a file of an older format too, for nothing but to migrate it by
    /// these migrations.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_to_migrate(
        dir: &Path,
        options: EmbeddedOptions,
        migrations: &Migrations,
    ) -> Result<Self, OpenError> {
        Self::start(dir, File::open(dir, &options, Reads::Older(migrations))?, &options)
    }

    fn start(
        dir: &Path,
        (file, wals): (File, [Disk; 2]),
        options: &EmbeddedOptions,
    ) -> Result<Self, OpenError> {
        let keep = Tail::Bytes(options.tail_bytes);
        let logs = Logs::new(options.partitions, &options.bounds, keep);
        let closed = AtomicBool::new(false);
        let (inbox, transactions) = (Inbox::default(), AtomicU64::new(0));
        let (overlay, due) = (Overlay::default(), Mutex::default());
        let core = Arc::new(Core { file, logs, inbox, overlay, due, closed, transactions });
        let journal = Journal::open(&core, dir, wals, options.journal_bytes)?;
        let writer = Writer::new(Arc::clone(&core), journal, options.commit_interval);
        let thread = std::thread::Builder::new()
            .name("gnomon-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { dir: dir.into(), source })?;
        Ok(Self { life: Arc::new(Life { core, thread: Mutex::new(Some(thread)) }) })
    }

    /// Makes everything durable, acknowledgements too, and closes the file. Later calls and those
    /// that wait say that it is closed. Calling it again does nothing.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        self.core().inbox.close(reply);
        // An error means that the writer has ended already.
        let _ = closed.await;
    }

    /// Frames made durable since it was opened.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.core().transactions.load(Ordering::Relaxed)
    }

    pub(crate) fn core(&self) -> &Core {
        &self.life.core
    }
}
