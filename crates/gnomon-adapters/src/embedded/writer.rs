//! The one thread that writes: everything that waits in one transaction, then the answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gnomon_host::port::{Committed, QueueError};
use redb::WriteTransaction;
use tokio::sync::oneshot;

use super::Core;
use super::error::Failure;
use super::file::{MARKS, MESSAGES, number};
use super::inbox::{Batch, Work};
use super::journal::{Journal, Staged};
use super::{rows, sessions};
use crate::logs::Cell;

/// Rows that retention drops from a log in one transaction, so that none takes long.
const ROWS_DROPPED_MAX: usize = 256;

/// Requests in a transaction from which on the next one may wait for company; fewer come from callers
/// that do one thing after another, whom waiting would only slow down.
const PACED_FROM: usize = 4;

pub(super) struct Writer {
    core: Arc<Core>,
    journal: Journal,
    interval: Duration,
    row: Vec<u8>,
}

/// What a transaction will answer once it is durable.
struct Answers {
    appends: Vec<Result<(), QueueError>>,
    commits: Vec<Vec<Committed>>,
    /// Places of the logs that have something to publish.
    touched: Vec<usize>,
    /// Records that readers are to see.
    staged: Staged,
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
        Self { core, journal, interval, row: Vec::new() }
    }

    pub(super) fn run(mut self) {
        let ending = Ending(Arc::clone(&self.core));
        let closers = self.work();
        drop(ending);
        tell(closers);
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
        // The next ones gather meanwhile: a lone append was measured at 140 CPU-µs, one among many
        // at 2.4.
        if requests >= PACED_FROM {
            std::thread::sleep(self.interval.saturating_sub(began.elapsed()));
        }
    }

    fn write(&mut self, mut batch: Batch) {
        match self.transact(&mut batch) {
            Ok(answers) => self.answer(batch, answers),
            Err(failure) => {
                tracing::warn!(
                    ?failure,
                    requests = batch.len(),
                    "transaction of the embedded file"
                );
                self.core.file.close();
                batch.fail(&failure);
            }
        }
    }

    fn transact(&mut self, batch: &mut Batch) -> Result<Answers, Failure> {
        if !self.core.file.is_open() {
            self.core.file.reopen()?;
            let last = self.core.reload()?;
            self.journal.restart(last);
        }
        let transaction = self.core.file.begin()?;
        let (commits, staged) =
            self.journal.commit(&transaction, &self.core.overlay, &mut batch.commits)?;
        sessions::apply(&transaction, &batch.changes)?;
        let (appends, touched) = self.append(batch);
        self.keep(&transaction, &touched)?;
        transaction.commit()?;
        self.core.transactions.fetch_add(1, Ordering::Relaxed);
        Ok(Answers { appends, commits, touched, staged })
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

    /// Writes what is new in the logs: messages, marks, and what retention drops.
    fn keep(&mut self, transaction: &WriteTransaction, touched: &[usize]) -> Result<(), Failure> {
        let core = Arc::clone(&self.core);
        for index in touched {
            self.keep_messages(transaction, &core.logs.cells[*index])?;
        }
        for (index, cell) in core.logs.cells.iter().enumerate() {
            let dirty = cell.take_dirty();
            if dirty || touched.binary_search(&index).is_ok() {
                keep_marks(transaction, cell, dirty)?;
            }
        }
        Ok(())
    }

    fn keep_messages(
        &mut self,
        transaction: &WriteTransaction,
        cell: &Cell,
    ) -> Result<(), Failure> {
        let mut messages = transaction.open_table(MESSAGES)?;
        let number = number(cell.log);
        let state = cell.lock();
        let mut first = state.published() + 1;
        self.row.clear();
        for one in state.unpublished() {
            if rows::is_full(&self.row, &one.id, &one.body) {
                messages.insert((number, first), &*self.row)?;
                first = one.position;
                self.row.clear();
            }
            rows::push(&mut self.row, &one.id, &one.body);
        }
        if !self.row.is_empty() {
            messages.insert((number, first), &*self.row)?;
        }
        Ok(())
    }

    fn answer(&self, batch: Batch, answers: Answers) {
        self.journal.publish(&self.core.overlay, answers.staged);
        for index in answers.touched {
            self.core.logs.cells[index].publish();
        }
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
    }
}

fn tell(closers: Vec<oneshot::Sender<()>>) {
    for closer in closers {
        let _ = closer.send(());
    }
}

/// Drops what the log need not keep, and writes its marks if either changed.
fn keep_marks(transaction: &WriteTransaction, cell: &Cell, dirty: bool) -> Result<(), Failure> {
    let mut state = cell.lock();
    let expendable = state.expendable();
    if !dirty && expendable.is_none() {
        return Ok(());
    }
    let number = number(cell.log);
    if let Some(last) = expendable {
        let dropped = drop_rows(transaction, number, state.first(), last)?;
        state.drop_through(dropped);
    }
    let marks = state.marks();
    drop(state);
    let row = (marks.appended, marks.floor, marks.dropped);
    transaction.open_table(MARKS)?.insert(number, row)?;
    Ok(())
}

/// Deletes whole rows of `first..=last`; the last position that is gone.
fn drop_rows(
    transaction: &WriteTransaction,
    number: u32,
    first: u64,
    last: u64,
) -> Result<u64, Failure> {
    let mut messages = transaction.open_table(MESSAGES)?;
    let mut gone = first - 1;
    let range = (number, first)..=(number, last);
    let whole =
        |(_, first): (u32, u64), row: &[u8]| first + rows::each(row, |_, _| {}) as u64 - 1 <= last;
    for row in messages.extract_from_if(range, whole)?.take(ROWS_DROPPED_MAX) {
        let (key, row) = row?;
        gone = key.value().1 + rows::each(row.value(), |_, _| {}) as u64 - 1;
    }
    Ok(gone)
}
