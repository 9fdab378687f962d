//! Records on their way into the tree: a commit writes them to the journal, packed; later they are
//! folded into the tree, sorted, each device once however often it was written.
//!
//! A record in the tree costs a page of its own; in the journal it costs its bytes. Measured against
//! writing to the tree at once (`examples/embedded_load.rs`, 1 KB, medians of three on a shared
//! machine): 1000 devices in batches 14 -> 8 CPU-µs each; 200,000 devices of which none comes again
//! soon, which saves least, 38 -> 33, about the spread; at a paced 10,000/s, where the fixed cost of
//! a transaction rules, no difference.
//!
//! Invariants: the newest value of a device is the last one in the journal, and if there is none,
//! the one in the tree; journal rows are deleted oldest first, and only after every value in them is
//! in the tree or in a newer row.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gnomon_host::port::Committed;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::error::Failure;
use super::file::{JOURNAL, RECORDS};
use super::inbox::{Commit, RecordRow};
use super::rows;

/// A value that is in the journal and not yet in the tree.
#[derive(Clone)]
struct Fresh {
    value: Bytes,
    /// The journal's row that holds it.
    sequence: u64,
}

type Map = BTreeMap<String, Fresh>;

/// Durable values that the tree does not have yet; readers look here first.
#[derive(Default)]
pub(crate) struct Overlay {
    map: Mutex<Map>,
}

impl Overlay {
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &str) -> Option<Fresh> {
        self.lock().get(key).cloned()
    }

    /// The value of each key, if it is here.
    pub(super) fn find(&self, keys: &[String]) -> Vec<Option<Bytes>> {
        let map = self.lock();
        keys.iter().map(|key| map.get(key).map(|fresh| fresh.value.clone())).collect()
    }

    /// Up to `count_max` keys of `start..end`, in order.
    pub(super) fn keys(&self, start: &str, end: Option<&str>, count_max: usize) -> Vec<String> {
        let map = self.lock();
        let from = map.range::<str, _>((
            std::ops::Bound::Included(start),
            end.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
        ));
        from.map(|(key, _)| key.clone()).take(count_max).collect()
    }

    /// Rebuilds it from the journal; the number of the journal's last row.
    pub(super) fn reload(&self, transaction: &ReadTransaction) -> Result<u64, redb::Error> {
        let mut map = self.lock();
        map.clear();
        let mut last = 0;
        for row in transaction.open_table(JOURNAL)?.range::<u64>(..)? {
            let (sequence, row) = row?;
            last = sequence.value();
            rows::each(row.value(), |key, value| {
                let value = Bytes::copy_from_slice(value);
                map.insert(key.to_owned(), Fresh { value, sequence: last });
            });
        }
        Ok(last)
    }
}

/// The writer's side.
pub(super) struct Journal {
    bytes_max: u64,
    /// Last row written.
    last: u64,
    /// Bytes journaled since the fold began.
    bytes: u64,
    /// Keys yet to be folded, sorted.
    folding: VecDeque<String>,
    /// Rows up to here are being folded.
    fold_through: u64,
    /// Rows up to here are deleted.
    gone_through: u64,
}

/// What a transaction wrote, to be shown to readers once it is durable.
#[derive(Default)]
pub(super) struct Staged {
    written: Map,
    folded: Vec<String>,
}

impl Journal {
    pub(super) fn new(bytes_max: u64, last: u64) -> Self {
        let mut journal = Self {
            bytes_max,
            last: 0,
            bytes: 0,
            folding: VecDeque::new(),
            fold_through: 0,
            gone_through: 0,
        };
        journal.restart(last);
        journal
    }

    /// Begins anew after the overlay was rebuilt: what is in the journal is folded next.
    pub(super) fn restart(&mut self, last: u64) {
        self.last = last;
        self.bytes = if last > 0 { self.bytes_max } else { 0 };
        self.folding.clear();
        (self.fold_through, self.gone_through) = (0, 0);
    }

    /// Writes the records whose revision is as expected, and folds some older ones.
    pub(super) fn commit(
        &mut self,
        transaction: &WriteTransaction,
        overlay: &Overlay,
        commits: &mut [Commit],
    ) -> Result<(Vec<Vec<Committed>>, Staged), Failure> {
        let mut staged = Staged::default();
        if commits.is_empty() {
            return Ok((Vec::new(), staged));
        }
        let before = self.last;
        let answers = self.write(transaction, overlay, commits, &mut staged)?;
        // Twice as fast as the journal grows, so that a fold is over before the next is due.
        self.fold(transaction, overlay, 2 * staged.written.len(), &mut staged)?;
        self.delete_rows(transaction, 2 * (self.last - before) as usize)?;
        Ok((answers, staged))
    }

    fn write(
        &mut self,
        transaction: &WriteTransaction,
        overlay: &Overlay,
        commits: &mut [Commit],
        staged: &mut Staged,
    ) -> Result<Vec<Vec<Committed>>, Failure> {
        let records = transaction.open_table(RECORDS)?;
        let mut packer = Packer { sequence: self.last + 1, row: Vec::new(), full: Vec::new() };
        let mut one = |row: RecordRow| -> Result<Committed, Failure> {
            let fresh = staged.written.get(&row.key).cloned().or_else(|| overlay.get(&row.key));
            let found = match fresh {
                Some(fresh) => revision(&fresh.value),
                None => records.get(&*row.key)?.map_or(0, |value| revision(value.value())),
            };
            if found != row.expected_revision {
                return Ok(Committed::Conflict);
            }
            let sequence = packer.push(&row.key, &row.value);
            staged.written.insert(row.key, Fresh { value: row.value, sequence });
            Ok(Committed::Done { revision: found + 1 })
        };
        let mut all = |commit: &mut Commit| {
            std::mem::take(&mut commit.rows).into_iter().map(&mut one).collect()
        };
        let answers = commits.iter_mut().map(&mut all).collect::<Result<_, _>>()?;
        self.insert(transaction, packer)?;
        Ok(answers)
    }

    fn insert(&mut self, transaction: &WriteTransaction, packer: Packer) -> Result<(), Failure> {
        let mut journal = transaction.open_table(JOURNAL)?;
        let rows = packer.full.into_iter().chain([packer.row]);
        for row in rows.filter(|row| !row.is_empty()) {
            self.last += 1;
            self.bytes += row.len() as u64;
            journal.insert(self.last, &*row)?;
        }
        Ok(())
    }

    /// Moves up to `count_max` values into the tree.
    fn fold(
        &mut self,
        transaction: &WriteTransaction,
        overlay: &Overlay,
        count_max: usize,
        staged: &mut Staged,
    ) -> Result<(), Failure> {
        if self.bytes >= self.bytes_max && self.gone_through == self.fold_through {
            self.begin_fold(&overlay.lock());
        }
        if self.folding.is_empty() {
            return Ok(());
        }
        let mut records = transaction.open_table(RECORDS)?;
        for key in self.folding.drain(..count_max.min(self.folding.len())) {
            // One that was written since is in a newer row, and folded with that.
            let fresh = overlay.get(&key).filter(|fresh| fresh.sequence <= self.fold_through);
            if let Some(fresh) = fresh.filter(|_| !staged.written.contains_key(&key)) {
                records.insert(&*key, &*fresh.value)?;
                staged.folded.push(key);
            }
        }
        Ok(())
    }

    /// What this very transaction wrote is not in the overlay yet, so its rows stay.
    fn begin_fold(&mut self, overlay: &Map) {
        let Some(newest) = overlay.values().map(|fresh| fresh.sequence).max() else { return };
        self.bytes = 0;
        self.fold_through = newest;
        self.folding = overlay.keys().cloned().collect();
    }

    /// Deletes up to about `count_max` rows whose values have all been folded.
    fn delete_rows(
        &mut self,
        transaction: &WriteTransaction,
        count_max: usize,
    ) -> Result<(), Failure> {
        if !self.folding.is_empty() || self.gone_through == self.fold_through {
            return Ok(());
        }
        let mut journal = transaction.open_table(JOURNAL)?;
        let folded = journal.extract_from_if(..=self.fold_through, |_, _| true)?;
        self.gone_through = self.fold_through;
        for row in folded.take(count_max + ROWS_DELETED_MIN) {
            self.gone_through = row?.0.value();
        }
        Ok(())
    }

    /// Shows readers what a transaction wrote.
    pub(super) fn publish(&self, overlay: &Overlay, staged: Staged) {
        let mut map = overlay.lock();
        for key in staged.folded {
            map.remove(&key);
        }
        map.extend(staged.written);
    }
}

/// Rows deleted in a transaction at least, when any may be.
const ROWS_DELETED_MIN: usize = 8;

/// Packs values into rows.
struct Packer {
    /// Of the row being packed.
    sequence: u64,
    row: Vec<u8>,
    full: Vec<Vec<u8>>,
}

impl Packer {
    /// Adds a value; the sequence of its row.
    fn push(&mut self, key: &str, value: &[u8]) -> u64 {
        if rows::is_full(&self.row, key, value) {
            self.full.push(std::mem::take(&mut self.row));
            self.sequence += 1;
        }
        rows::push(&mut self.row, key, value);
        self.sequence
    }
}

/// Revision of a record's row; 0 if it is too short to be one.
pub(super) fn revision(row: &[u8]) -> u64 {
    row.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
