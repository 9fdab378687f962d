//! The one thread that writes: everything that waits in one frame of the log, then the answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gnomon_host::port::{Committed, QueueError};
use gnomon_model::DueTimes;
use tokio::sync::oneshot;

use super::error::Failure;
use super::file::{RECORDS, number};
use super::inbox::{Batch, Commit, Fold, RecordRow, Work};
use super::journal::Journal;
use super::store::revision;
use super::{Core, frame, rows};
use crate::logs::{Cell, DEAD};

/// Requests in a frame from which on the next one may wait for company; fewer come from callers
/// that do one thing after another, whom waiting would only slow down.
const PACED_FROM: usize = 4;

pub(super) struct Writer {
    core: Arc<Core>,
    journal: Journal,
    interval: Duration,
    frame: Vec<u8>,
    row: Vec<u8>,
}

/// Records that readers are to see: key, value, and what is due in it.
type Written = HashMap<String, (Bytes, DueTimes)>;

/// What a frame will answer once it is durable.
struct Answers {
    appends: Vec<Result<(), QueueError>>,
    commits: Vec<Vec<Committed>>,
    /// Places of the logs that have something to publish.
    touched: Vec<usize>,
    written: Written,
    /// Positions of dead letters that are given up.
    given_up: Vec<u64>,
}

/// Lets go of all who wait if the writer ends in whatever way.
struct Ending(Arc<Core>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.shut();
        self.0.file.close();
    }
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, journal: Journal, interval: Duration) -> Self {
        Self { core, journal, interval, frame: Vec::new(), row: Vec::new() }
    }

    pub(super) fn run(mut self) {
        let ending = Ending(Arc::clone(&self.core));
        let closers = self.work();
        if let Err(failure) = self.journal.fold_all(&self.core) {
            tracing::warn!(?failure, "fold at the end; the next start does it");
        }
        drop(ending);
        for closer in closers {
            // Whoever asked may have gone.
            let _ = closer.send(());
        }
    }

    fn work(&mut self) -> Vec<oneshot::Sender<()>> {
        loop {
            match self.core.inbox.take() {
                Work::Write(batch) => self.paced(batch),
                Work::Close(batch, closers) => {
                    self.write(batch);
                    return closers;
                }
            }
        }
    }

    fn paced(&mut self, batch: Batch) {
        let (began, requests) = (Instant::now(), batch.len());
        self.write(batch);
        // The next ones gather meanwhile, and share one sync.
        if requests >= PACED_FROM {
            std::thread::sleep(self.interval.saturating_sub(began.elapsed()));
        }
    }

    fn write(&mut self, mut batch: Batch) {
        let folds = std::mem::take(&mut batch.folds);
        let erases = std::mem::take(&mut batch.erases);
        match self.transact(&mut batch) {
            Ok(answers) => self.answer(batch, answers),
            Err(failure) => {
                tracing::warn!(?failure, requests = batch.len(), "write to the embedded store");
                self.core.file.close();
                batch.fail(&failure);
            }
        }
        self.fold(folds);
        for erase in erases {
            let done = self.erase(&erase.keys);
            if done.is_err() {
                self.core.file.close();
            }
            let _ = erase.reply.send(done);
        }
    }

    /// Removes records from the tree, which has everything once all is folded.
    fn erase(&mut self, keys: &[String]) -> Result<(), Failure> {
        self.journal.fold_all(&self.core)?;
        let transaction = self.core.file.begin()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            for key in keys {
                records.remove(&**key)?;
            }
        }
        transaction.commit()?;
        let mut due = self.core.due();
        keys.iter().for_each(|key| due.set(key, DueTimes::default()));
        Ok(())
    }

    fn fold(&mut self, folds: Vec<Fold>) {
        if folds.is_empty() {
            return;
        }
        let done = self.journal.fold_all(&self.core);
        if done.is_err() {
            self.core.file.close();
        }
        for fold in folds {
            let _ = fold.send(done.clone());
        }
    }

    fn transact(&mut self, batch: &mut Batch) -> Result<Answers, Failure> {
        self.journal.ready(&self.core)?;
        self.frame.clear();
        let (commits, written) = self.commit(&mut batch.commits)?;
        for change in batch.changes.iter().flat_map(|one| &one.changes) {
            frame::push_session(&mut self.frame, change);
        }
        let given_up = self.give_up(batch);
        let (appends, touched) = self.append(batch);
        self.keep(&touched);
        if !self.frame.is_empty() {
            self.journal.write(&self.frame)?;
            self.core.transactions.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Answers { appends, commits, touched, written, given_up })
    }

    /// Puts into the frame which dead letters nobody wants any more.
    fn give_up(&mut self, batch: &Batch) -> Vec<u64> {
        let asked: Vec<u64> =
            batch.forgets.iter().flat_map(|one| &one.positions).copied().collect();
        if asked.is_empty() {
            return asked;
        }
        let given_up = self.core.logs.cell(DEAD).lock().to_give_up(&asked);
        for position in &given_up {
            frame::push_forget(&mut self.frame, number(DEAD), *position);
        }
        given_up
    }

    /// Puts the records into the frame whose revision is as expected.
    fn commit(
        &mut self,
        commits: &mut [Commit],
    ) -> Result<(Vec<Vec<Committed>>, Written), Failure> {
        let mut written = Written::new();
        self.row.clear();
        let mut one = |row: RecordRow| -> Result<Committed, Failure> {
            let found = match written.get(&row.key) {
                Some((value, _)) => revision(value),
                None => self.core.revision(&row.key)?,
            };
            if found != row.expected_revision {
                return Ok(Committed::Conflict);
            }
            rows::push(&mut self.row, &row.key, &row.value);
            written.insert(row.key, (row.value, row.due));
            Ok(Committed::Done { revision: found + 1 })
        };
        let mut all = |commit: &mut Commit| {
            std::mem::take(&mut commit.rows).into_iter().map(&mut one).collect()
        };
        let answers = commits.iter_mut().map(&mut all).collect::<Result<_, _>>()?;
        if !self.row.is_empty() {
            frame::push_records(&mut self.frame, &self.row);
        }
        Ok((answers, written))
    }

    /// Appends in memory, unpublished: a failure rebuilds memory from the file.
    fn append(&self, batch: &mut Batch) -> (Vec<Result<(), QueueError>>, Vec<usize>) {
        let mut touched = Vec::new();
        let answers = batch.appends.iter_mut().map(|append| {
            let drafts = std::mem::take(&mut append.drafts);
            self.core.logs.append(drafts, |index, _| touched.push(index))
        });
        let answers = answers.collect();
        touched.sort_unstable();
        touched.dedup();
        (answers, touched)
    }

    /// Puts into the frame what is new in the logs: messages, and marks after retention has dropped
    /// what need not be kept.
    fn keep(&mut self, touched: &[usize]) {
        let core = Arc::clone(&self.core);
        for index in touched {
            self.keep_messages(&core.logs.cells[*index]);
        }
        for (index, cell) in core.logs.cells.iter().enumerate() {
            if cell.take_dirty() || touched.binary_search(&index).is_ok() {
                let mut state = cell.lock();
                if let Some(last) = state.expendable() {
                    state.drop_through(last);
                    self.journal.drop_through(number(cell.log), last);
                }
                frame::push_marks(&mut self.frame, number(cell.log), state.marks());
            }
        }
    }

    fn keep_messages(&mut self, cell: &Cell) {
        let number = number(cell.log);
        let state = cell.lock();
        let mut first = state.published() + 1;
        self.row.clear();
        for one in state.unpublished() {
            if rows::is_full(&self.row, &one.id, &one.body) {
                frame::push_messages(&mut self.frame, number, first, &self.row);
                first = one.position;
                self.row.clear();
            }
            rows::push(&mut self.row, &one.id, &one.body);
        }
        if !self.row.is_empty() {
            frame::push_messages(&mut self.frame, number, first, &self.row);
        }
    }

    fn answer(&self, batch: Batch, answers: Answers) {
        let mut due = self.core.due();
        answers.written.iter().for_each(|(key, (_, times))| due.set(key, *times));
        drop(due);
        self.core.overlay.publish(answers.written, self.journal.generation());
        for index in answers.touched {
            self.core.logs.cells[index].publish();
        }
        self.core.logs.cell(DEAD).lock().give_up(&answers.given_up);
        // A receiver that is gone has been cancelled; what it asked for is done all the same.
        for (append, answer) in batch.appends.into_iter().zip(answers.appends) {
            let _ = append.reply.send(answer);
        }
        for (commit, answer) in batch.commits.into_iter().zip(answers.commits) {
            let _ = commit.reply.send(Ok(answer));
        }
        for change in batch.changes {
            let _ = change.reply.send(Ok(()));
        }
        for forget in batch.forgets {
            let _ = forget.reply.send(Ok(()));
        }
    }
}
