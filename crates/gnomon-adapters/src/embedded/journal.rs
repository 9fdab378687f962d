//! The write-ahead log as a whole: two files that take turns, what they hold, and when it is folded.
//!
//! Invariants: a file is begun anew only when the tree has what it held; what the tree says is folded
//! is never folded again, what it does not say is read from the files when they are opened.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Core;
use super::error::{Failure, OpenError};
use super::fold::{Folder, Job};
use super::pending::Pending;
use super::wal::{Disk, Found, Wal};

/// A file may grow to this many times its usual size while the other one is being folded; then
/// writers wait.
const PATIENCE: u64 = 4;

pub(super) struct Journal {
    /// Written now.
    active: Wal,
    /// Folded, or being folded.
    resting: Wal,
    pending: Pending,
    folder: Folder,
    bytes_max: u64,
}

impl Journal {
    /// Reads both files and folds what the tree does not have; blocks.
    pub(super) fn open(
        core: &Arc<Core>,
        dir: &Path,
        logs: [Disk; 2],
        bytes_max: u64,
    ) -> Result<Self, OpenError> {
        let fault = |failure| OpenError::of_failure(dir, failure);
        let folder = Folder::start(Arc::clone(core));
        let folder = folder.map_err(|source| OpenError::Io { dir: dir.into(), source })?;
        let [active, resting] = recover(core, logs, bytes_max).map_err(fault)?;
        let pending = Pending::new(active.generation());
        Ok(Self { active, resting, pending, folder, bytes_max })
    }

    /// Generation being written.
    pub(super) fn generation(&self) -> u64 {
        self.active.generation()
    }

    /// Makes ready for a frame: opens everything again after an error, and lets the files change
    /// places when it is time. Memory is rebuilt if there was an error.
    pub(super) fn ready(&mut self, core: &Core) -> Result<(), Failure> {
        if !core.file.is_open() {
            // Its failure, if any, is why the file is closed.
            let _ = self.folder.wait();
            let logs = core.file.reopen()?;
            [self.active, self.resting] = recover(core, logs, self.bytes_max)?;
            self.pending = Pending::new(self.active.generation());
        }
        let bytes = self.active.bytes();
        if bytes >= self.bytes_max && !self.folder.is_busy()? {
            self.change(core)?;
        } else if bytes >= PATIENCE * self.bytes_max {
            self.folder.wait()?;
            self.change(core)?;
        }
        Ok(())
    }

    /// Asks that messages of a log up to `last` be dropped from the tree with the next fold.
    pub(super) fn drop_through(&mut self, log: u32, last: u64) {
        self.pending.drop_through(log, last);
    }

    /// Makes a frame durable.
    pub(super) fn write(&mut self, frame: &[u8]) -> Result<(), Failure> {
        self.active.append(frame)?;
        self.pending.absorb(frame)
    }

    /// Folds everything that is durable; blocks.
    pub(super) fn fold_all(&mut self, core: &Core) -> Result<(), Failure> {
        self.folder.wait()?;
        self.ready(core)?;
        self.folder.wait()?;
        self.change(core)?;
        self.folder.wait()
    }

    /// Begins the other file, and has what this one holds folded; all of it is published.
    fn change(&mut self, core: &Core) -> Result<(), Failure> {
        if self.active.bytes() == 0 {
            // A generation without a frame would leave a gap that looks like a loss.
            return Ok(());
        }
        let (generation, frame) = (self.active.generation() + 1, self.active.frame());
        let length_max = 2 * self.bytes_max;
        self.resting.begin(generation, frame, core.file.identity(), length_max)?;
        std::mem::swap(&mut self.active, &mut self.resting);
        let pending = std::mem::replace(&mut self.pending, Pending::new(generation));
        let through = core.logs.cells.iter().map(|cell| cell.lock().published()).collect();
        self.folder.fold(Job { pending, through })
    }
}

/// Folds what the files hold and the tree does not, rebuilds memory, and begins a new generation: the
/// file to write, and the other one.
fn recover(core: &Core, logs: [Disk; 2], bytes_max: u64) -> Result<[Wal; 2], Failure> {
    let [one, other] = logs;
    let (one, other) = (Wal::new(one)?, Wal::new(other)?);
    let folded = core.file.folded()?;
    let identity = core.file.identity();
    let found = [one.read(identity)?, other.read(identity)?];
    let mut found: Vec<Found> =
        found.into_iter().flatten().filter(|found| found.generation > folded).collect();
    found.sort_unstable_by_key(|found| found.generation);
    check(&found, folded)?;
    let last = found.last().map_or(folded, |found| found.generation);
    for found in &found {
        let mut pending = Pending::new(found.generation);
        found.frames.iter().try_for_each(|frame| pending.absorb(frame))?;
        let transaction = core.file.begin()?;
        pending.fold(&transaction)?;
        transaction.commit()?;
    }
    core.reload()?;
    let mut wals = [one, other];
    wals[0].begin(last + 1, 0, identity, 2 * bytes_max)?;
    Ok(wals)
}

/// Whether generations follow each other without a gap. A file that ends early is a torn write, and
/// that can only be the newest.
fn check(found: &[Found], folded: u64) -> Result<(), Failure> {
    let mut generation = folded;
    let mut next = None;
    for found in found {
        let follows = next.is_none_or(|next| next == found.first);
        if found.generation != generation + 1 || !follows {
            let reason = format!(
                "generation {} of the write-ahead log does not follow what is before it",
                found.generation
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason).into());
        }
        (generation, next) = (found.generation, Some(found.first + found.frames.len() as u64));
    }
    Ok(())
}
