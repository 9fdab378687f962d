//! What the write-ahead log holds and the tree does not have yet: collected while a generation is
//! written, folded into the tree in one transaction.
//!
//! Folding late is what saves work: a device that reports a hundred times in a generation costs the
//! tree one record, and messages go in as long rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gnomon_host::port::SessionChange;
use gnomon_model::DueTimes;
use redb::{ReadableTable, Table, WriteTransaction};

use super::error::Failure;
use super::file::{ABOUT, DEAD_COUNTS, MARKS, MESSAGES, RECORDS};
use super::frame::{self, Section};
use super::{rows, sessions};
use crate::log::Marks;

/// Rows that retention drops from a log in one transaction, so that none takes long.
const ROWS_DROPPED_MAX: usize = 4096;

/// One generation.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) generation: u64,
    /// Number of a log to its rows, each with its first position.
    messages: HashMap<u32, Vec<(u64, Vec<u8>)>>,
    records: HashMap<String, Bytes>,
    marks: HashMap<u32, Marks>,
    sessions: Vec<SessionChange>,
    /// Number of a log, and up to where retention drops its messages.
    drops: HashMap<u32, u64>,
    /// Number of a log, and a position of it whose message is given up.
    given_up: BTreeSet<(u32, u64)>,
}

impl Pending {
    pub(super) fn new(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Adds what a frame says.
    pub(super) fn absorb(&mut self, frame: &[u8]) -> Result<(), Failure> {
        frame::each(frame, |section| match section {
            Section::Messages { log, first, row } => self.add_messages(log, first, row),
            Section::Records { row } => {
                rows::each(row, |key, value| {
                    self.records.insert(key.to_owned(), Bytes::copy_from_slice(value));
                });
            }
            Section::Marks { log, marks } => {
                self.marks.insert(log, marks);
            }
            Section::Forget { log, position } => {
                self.given_up.insert((log, position));
            }
            Section::Session(change) => self.sessions.push(change),
        })
    }

    /// Lengthens the last row, as far as one may be long.
    fn add_messages(&mut self, log: u32, first: u64, row: &[u8]) {
        let all = self.messages.entry(log).or_default();
        match all.last_mut() {
            Some((_, last)) if rows::fits(last, row.len()) => last.extend_from_slice(row),
            _ => all.push((first, row.to_vec())),
        }
    }

    /// Asks that messages up to `last` be dropped.
    pub(super) fn drop_through(&mut self, log: u32, last: u64) {
        self.drops.insert(log, last);
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.records.keys()
    }

    /// Writes everything, and that this generation is folded.
    pub(super) fn fold(&self, transaction: &WriteTransaction) -> Result<(), Failure> {
        self.fold_messages(transaction)?;
        let mut records = transaction.open_table(RECORDS)?;
        let mut sorted: Vec<_> = self.records.iter().collect();
        sorted.sort_unstable();
        for (key, value) in sorted {
            records.insert(&**key, &**value)?;
        }
        sessions::apply(transaction, &self.sessions)?;
        let mut table = transaction.open_table(MARKS)?;
        for (log, marks) in &self.marks {
            let before = table.get(log)?.map(|row| row.value()).unwrap_or_default();
            // Each only ever grows; a generation folded again must not take it back.
            let row = (
                before.0.max(marks.appended),
                before.1.max(marks.floor),
                before.2.max(marks.dropped),
            );
            table.insert(log, row)?;
        }
        let mut table = transaction.open_table(DEAD_COUNTS)?;
        for (log, marks) in self.marks.iter().filter(|(_, marks)| marks.dead > 0) {
            let before = table.get(log)?.map_or(0, |row| row.value());
            table.insert(log, before.max(marks.dead))?;
        }
        let generation = self.generation.to_string();
        transaction.open_table(ABOUT)?.insert("folded", &*generation)?;
        Ok(())
    }

    fn fold_messages(&self, transaction: &WriteTransaction) -> Result<(), Failure> {
        let mut messages = transaction.open_table(MESSAGES)?;
        for (log, all) in &self.messages {
            let dropped = self.drops.get(log).copied().unwrap_or(0);
            let kept = all.iter().filter(|(first, row)| last_of(*first, row) > dropped);
            for (first, row) in kept {
                messages.insert((*log, *first), &**row)?;
            }
        }
        for (log, last) in &self.drops {
            let whole = |(_, first): (u32, u64), row: &[u8]| last_of(first, row) <= *last;
            let dropped = messages.extract_from_if((*log, 0)..=(*log, *last), whole)?;
            for row in dropped.take(ROWS_DROPPED_MAX) {
                row?;
            }
        }
        self.erase(&mut messages)
    }

    /// Empties the bodies of messages that are given up; their ids stay.
    fn erase(&self, messages: &mut Table<'_, (u32, u64), &[u8]>) -> Result<(), Failure> {
        let mut left = self.given_up.iter().copied().peekable();
        while let Some((log, position)) = left.peek().copied() {
            let row = messages.range((log, 0)..=(log, position))?.next_back().transpose()?;
            let row = row.map(|(key, row)| (key.value().1, row.value().to_vec()));
            let Some((first, row)) = row.filter(|(first, row)| last_of(*first, row) >= position)
            else {
                // Retention was quicker.
                left.next();
                continue;
            };
            let last = last_of(first, &row);
            let mut empty = BTreeSet::new();
            while let Some((_, at)) = left.next_if(|(of, at)| *of == log && *at <= last) {
                empty.insert(at);
            }
            let mut erased = Vec::with_capacity(row.len());
            let mut at = first;
            rows::each(&row, |id, body| {
                let body = if empty.contains(&at) { &[][..] } else { body };
                rows::push(&mut erased, id, body);
                at += 1;
            });
            messages.insert((log, first), &*erased)?;
        }
        Ok(())
    }
}

/// Position of the last message of a row.
fn last_of(first: u64, row: &[u8]) -> u64 {
    (first + rows::each(row, |_, _| {}) as u64).saturating_sub(1)
}

/// A record that is logged and not yet in the tree.
#[derive(Clone)]
pub(super) struct Fresh {
    pub(super) value: Bytes,
    generation: u64,
}

type Map = BTreeMap<String, Fresh>;

/// Durable records that the tree does not have yet; readers look here first.
#[derive(Default)]
pub(crate) struct Overlay {
    map: Mutex<Map>,
}

impl Overlay {
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &str) -> Option<Bytes> {
        self.lock().get(key).map(|fresh| fresh.value.clone())
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

    /// Shows readers what a frame of this generation wrote.
    pub(super) fn publish(&self, written: HashMap<String, (Bytes, DueTimes)>, generation: u64) {
        let fresh = |(key, (value, _))| (key, Fresh { value, generation });
        self.lock().extend(written.into_iter().map(fresh));
    }

    /// Lets go of what this generation wrote last: the tree has it.
    pub(super) fn folded(&self, pending: &Pending) {
        let mut map = self.lock();
        for key in pending.keys() {
            if map.get(key).is_some_and(|fresh| fresh.generation <= pending.generation) {
                map.remove(key);
            }
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}
