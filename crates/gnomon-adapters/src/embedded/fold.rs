//! The thread that folds: one generation at a time, while the writer goes on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use super::Core;
use super::error::Failure;
use super::pending::Pending;

/// A generation to fold, and up to where each log will then be in the tree, by place.
pub(super) struct Job {
    pub(super) pending: Pending,
    pub(super) through: Vec<u64>,
}

/// The writer's handle of the thread. Dropping it waits for the thread.
pub(super) struct Folder {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Result<(), Failure>>,
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    pub(super) fn start(core: Arc<Core>) -> std::io::Result<Self> {
        let (jobs, todo) = sync_channel::<Job>(1);
        let (say, done) = sync_channel(1);
        let work = move || {
            for job in todo {
                if say.send(fold(&core, &job)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("gnomon-folder".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), done, busy: false, thread: Some(thread) })
    }

    /// Whether a generation is being folded; a failure of the last one is told once.
    pub(super) fn is_busy(&mut self) -> Result<bool, Failure> {
        if self.busy {
            match self.done.try_recv() {
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Err(ended()),
                Ok(done) => {
                    self.busy = false;
                    done?;
                }
            }
        }
        Ok(false)
    }

    /// Waits until nothing is being folded.
    pub(super) fn wait(&mut self) -> Result<(), Failure> {
        if !std::mem::take(&mut self.busy) {
            return Ok(());
        }
        self.done.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// Folds a generation; only while it is not busy.
    pub(super) fn fold(&mut self, job: Job) -> Result<(), Failure> {
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(job).map_err(|_| ended())?;
        self.busy = true;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.wait();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by its hook; the log still has what was to be folded.
            let _ = thread.join();
        }
    }
}

fn ended() -> Failure {
    Failure::Broken("the folding thread has ended".into())
}

fn fold(core: &Core, job: &Job) -> Result<(), Failure> {
    let transaction = core.file.begin()?;
    job.pending.fold(&transaction)?;
    transaction.commit()?;
    core.overlay.folded(&job.pending);
    for (cell, through) in core.logs.cells.iter().zip(&job.through) {
        cell.lock().folded(*through);
    }
    Ok(())
}
