//! One log's memory: what it holds, who acknowledged what, which ids it knows.
//!
//! Invariants: positions run from 1 without gaps; `first <= floor + 1 <= appended + 1` unless
//! nothing is held; everything up to `floor` is acknowledged or was dropped; what is not published
//! is invisible to consumers and readers.
//! Never: IO, a clock, an async function.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::BuildHasherDefault;

use gnomon_host::port::{Counts, Delivery};

use crate::bounds::{LogBounds, Retention};
use crate::held::{Held, PassThrough};

mod look;

/// What became of an acknowledged message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    Applied,
    Dead,
}

/// A message on its way into a log.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Keyed hash of the id.
    pub(crate) hash: u128,
    pub(crate) id: String,
    pub(crate) body: bytes::Bytes,
}

impl Entry {
    /// Bytes that count against bounds.
    pub(crate) fn bytes(&self) -> u64 {
        (self.id.len() + self.body.len()) as u64
    }
}

/// How far a log has come; what of it must survive a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks {
    /// Last position given out.
    pub(crate) appended: u64,
    /// Everything up to here is acknowledged or dropped.
    pub(crate) floor: u64,
    /// Messages dropped by retention before they were acknowledged.
    pub(crate) dropped: u64,
    /// Of those up to the floor, the acknowledged ones that can never be applied.
    pub(crate) dead: u64,
}

/// Where the next delivery comes from.
pub(crate) enum Next {
    /// Nothing to deliver now.
    Nothing,
    /// From memory; the cursor after it.
    Ready(Vec<Delivery>, u64),
    /// Not in memory any more: read the log from this position up to the other, both included.
    Behind(u64, u64),
}

/// How much of what a log holds stays in memory as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// All: memory is all there is.
    Everything,
    /// The newest unacknowledged messages of about this many bytes, and what the file cannot be
    /// asked for yet.
    Bytes(u64),
}

/// One log.
pub(crate) struct LogState {
    bounds: LogBounds,
    keep: Tail,
    marks: Marks,
    published: u64,
    /// What is settled of `floor + 1 ..`.
    above: VecDeque<Option<Settled>>,
    above_count: u64,
    /// How many of those are dead.
    above_dead: u64,
    held: VecDeque<Held>,
    held_bytes: u64,
    pending_bytes: u64,
    known: HashSet<u128, BuildHasherDefault<PassThrough>>,
    tail: VecDeque<Delivery>,
    tail_bytes: u64,
    /// Up to here the file can be read, so that the tail may let go.
    folded: u64,
    consumer: u64,
    /// Positions that are held and were given up: nobody reads them any more.
    given_up: BTreeSet<u64>,
}

impl LogState {
    pub(crate) fn new(bounds: LogBounds, keep: Tail) -> Self {
        Self {
            bounds,
            keep,
            marks: Marks::default(),
            published: 0,
            above: VecDeque::new(),
            above_count: 0,
            above_dead: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            pending_bytes: 0,
            known: HashSet::default(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            folded: 0,
            consumer: 0,
            given_up: BTreeSet::new(),
        }
    }

    pub(crate) fn marks(&self) -> Marks {
        self.marks
    }

    pub(crate) fn counts(&self) -> Counts {
        let acknowledged = self.marks.floor - self.marks.dropped + self.above_count;
        let given_up = self.given_up.len() as u64;
        let pending = self.published - self.marks.floor - self.above_count - given_up;
        let dead = self.marks.dead + self.above_dead;
        Counts { appended: self.published, acknowledged, dead, pending }
    }

    /// Oldest position held; one past the last when none is.
    pub(crate) fn first(&self) -> u64 {
        self.marks.appended + 1 - self.held.len() as u64
    }

    /// Last position that may be seen.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// What was appended and not yet published, in order.
    pub(crate) fn unpublished(&self) -> impl Iterator<Item = &Delivery> {
        let count = ((self.marks.appended - self.published) as usize).min(self.tail.len());
        self.tail.range(self.tail.len() - count..)
    }

    pub(crate) fn knows(&self, hash: u128) -> bool {
        self.known.contains(&hash)
    }

    /// Whether this many more would stay within the bounds; the reason why not.
    pub(crate) fn room(&self, messages: u64, bytes: u64) -> Result<(), String> {
        if self.bounds.retention == Retention::Oldest {
            return Ok(());
        }
        let pending = self.marks.appended - self.marks.floor - self.above_count;
        if pending + messages > self.bounds.pending_messages_max {
            return Err(format!(
                "{pending} messages pending, bound {}",
                self.bounds.pending_messages_max
            ));
        }
        if self.pending_bytes + bytes > self.bounds.pending_bytes_max {
            let (pending, bound) = (self.pending_bytes, self.bounds.pending_bytes_max);
            return Err(format!("{pending} bytes pending, bound {bound}"));
        }
        Ok(())
    }

    /// Adds a message whose id is not known; invisible until published.
    pub(crate) fn append(&mut self, entry: Entry) -> u64 {
        let bytes = entry.bytes();
        self.hold(entry.hash, bytes);
        self.pending_bytes += bytes;
        self.tail_bytes += bytes;
        let position = self.marks.appended;
        self.tail.push_back(Delivery { position, id: entry.id, body: entry.body });
        position
    }

    /// Takes note of a message that the log held before a restart, in order.
    pub(crate) fn restore(&mut self, position: u64, hash: u128, bytes: u64) {
        debug_assert!(self.held.is_empty() || position == self.marks.appended + 1);
        self.marks.appended = position - 1;
        self.hold(hash, bytes);
    }

    fn hold(&mut self, hash: u128, bytes: u64) {
        self.marks.appended += 1;
        let halves = [(hash >> 64) as u64, hash as u64];
        self.held.push_back(Held { hash: halves, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) });
        self.held_bytes += bytes;
        self.known.insert(hash);
    }

    /// Ends a restart: all that was restored is durable. Acknowledgements that memory still knows
    /// stay; what is pending is counted anew.
    pub(crate) fn restored(&mut self, marks: Marks) {
        self.marks.appended = self.marks.appended.max(marks.appended);
        self.raise_floor_to(marks.floor);
        self.marks.dropped = self.marks.dropped.max(marks.dropped);
        self.marks.dead = self.marks.dead.max(marks.dead);
        (self.published, self.folded) = (self.marks.appended, self.marks.appended);
        let start = self.first();
        let pending = (start..).zip(&self.held).filter(|(at, _)| !self.is_acknowledged(*at));
        self.pending_bytes = pending.map(|(_, held)| u64::from(held.bytes)).sum();
    }

    /// Forgets what is held before a restart, but not who acknowledged what.
    pub(crate) fn forget(&mut self) {
        self.held.clear();
        self.known.clear();
        self.tail.clear();
        self.given_up.clear();
        self.marks.appended = self.marks.floor;
        (self.held_bytes, self.tail_bytes, self.pending_bytes) = (0, 0, 0);
    }

    /// Raises the floor to at least this, and over all that is acknowledged right above it.
    fn raise_floor_to(&mut self, floor: u64) {
        while self.marks.floor < floor || self.above.front().is_some_and(Option::is_some) {
            match self.above.pop_front().flatten() {
                None => {}
                Some(Settled::Applied) => self.above_count -= 1,
                Some(Settled::Dead) => {
                    self.above_count -= 1;
                    self.above_dead -= 1;
                    self.marks.dead += 1;
                }
            }
            self.marks.floor += 1;
        }
    }

    /// Makes all that was appended visible; whether that is anything new.
    pub(crate) fn publish(&mut self) -> bool {
        let news = self.published < self.marks.appended;
        self.published = self.marks.appended;
        self.shorten_tail();
        news
    }

    /// Takes note that the file can be read up to here.
    pub(crate) fn folded(&mut self, through: u64) {
        self.folded = through;
        self.shorten_tail();
    }

    /// First position that is in memory as a whole; one past the last when none is.
    pub(crate) fn tail_first(&self) -> u64 {
        self.marks.appended + 1 - self.tail.len() as u64
    }

    fn shorten_tail(&mut self) {
        let Tail::Bytes(bytes_max) = self.keep else { return };
        while let Some(oldest) = self.tail.front() {
            let wanted = oldest.position > self.marks.floor && self.tail_bytes <= bytes_max;
            if wanted || oldest.position > self.folded {
                return;
            }
            self.pop_tail();
        }
    }

    fn pop_tail(&mut self) {
        if let Some(one) = self.tail.pop_front() {
            self.tail_bytes -= (one.id.len() + one.body.len()) as u64;
        }
    }

    /// Makes a new consumer the only one; its number and its cursor.
    pub(crate) fn take_over(&mut self) -> (u64, u64) {
        self.consumer += 1;
        (self.consumer, self.marks.floor + 1)
    }

    /// Whether this consumer is still the one.
    pub(crate) fn is_current(&self, consumer: u64) -> bool {
        self.consumer == consumer
    }

    /// Up to `count_max` unacknowledged messages from `cursor` on.
    pub(crate) fn next(&self, cursor: u64, count_max: usize) -> Next {
        let start = self.skip_acknowledged(cursor.max(self.first()).max(self.marks.floor + 1));
        if start > self.published || count_max == 0 {
            return Next::Nothing;
        }
        let tail_first = self.tail_first();
        if start < tail_first {
            let last = self.published.min(start.saturating_add(count_max as u64 - 1));
            return Next::Behind(start, last.min(tail_first - 1));
        }
        let visible = self.tail.range((start - tail_first) as usize..);
        let visible = visible.take((self.published + 1 - start) as usize);
        let ready: Vec<_> = visible
            .filter(|one| !self.is_acknowledged(one.position))
            .take(count_max)
            .cloned()
            .collect();
        let cursor = ready.last().map_or(self.published, |one| one.position) + 1;
        Next::Ready(ready, cursor)
    }

    fn skip_acknowledged(&self, start: u64) -> u64 {
        let skipped = (start..=self.published).take_while(|at| self.is_acknowledged(*at)).count();
        start + skipped as u64
    }

    /// Whether the position is acknowledged or dropped.
    pub(crate) fn is_acknowledged(&self, position: u64) -> bool {
        let above = |floor| self.above.get((position - floor - 1) as usize);
        position <= self.marks.floor || above(self.marks.floor).is_some_and(Option::is_some)
    }

    /// Acknowledges; whether that changed anything.
    pub(crate) fn acknowledge(&mut self, positions: &[u64], settled: Settled) -> bool {
        let mut changed = false;
        for position in positions {
            changed |= self.acknowledge_one(*position, settled);
        }
        if changed {
            self.shorten_tail();
        }
        changed
    }

    fn acknowledge_one(&mut self, position: u64, settled: Settled) -> bool {
        if position > self.published || self.is_acknowledged(position) {
            return false;
        }
        let index = (position - self.marks.floor - 1) as usize;
        if self.above.len() <= index {
            self.above.resize(index + 1, None);
        }
        self.above[index] = Some(settled);
        self.above_count += 1;
        self.above_dead += u64::from(settled == Settled::Dead);
        let first = self.first();
        if position >= first {
            self.pending_bytes -= u64::from(self.held[(position - first) as usize].bytes);
        }
        self.raise_floor_to(self.marks.floor);
        true
    }

    /// Up to where messages may be dropped now; none while it is not worth it.
    pub(crate) fn expendable(&self) -> Option<u64> {
        let (last, bytes) = match self.bounds.retention {
            Retention::Acknowledged => (self.marks.floor, self.held_bytes - self.pending_bytes),
            Retention::Oldest => (self.published, self.held_bytes),
        };
        let messages = (last + 1).saturating_sub(self.first());
        let over = messages.saturating_sub(self.bounds.kept_messages);
        let over_bytes = bytes.saturating_sub(self.bounds.kept_bytes);
        if over <= self.bounds.kept_messages / 16 && over_bytes <= self.bounds.kept_bytes / 16 {
            return None;
        }
        let (mut count, mut freed) = (0, 0);
        for held in self.held.iter().take(messages as usize) {
            if count >= over && freed >= over_bytes {
                break;
            }
            count += 1;
            freed += u64::from(held.bytes);
        }
        Some(self.first() + count - 1)
    }

    /// Drops everything up to `last`.
    pub(crate) fn drop_through(&mut self, last: u64) {
        while self.first() <= last {
            let first = self.first();
            let Some(held) = self.held.pop_front() else { break };
            self.known.remove(&held.hash());
            self.held_bytes -= u64::from(held.bytes);
            if !self.is_acknowledged(first) {
                self.marks.dropped += 1;
                self.pending_bytes -= u64::from(held.bytes);
            }
            if self.tail.front().is_some_and(|oldest| oldest.position <= first) {
                self.pop_tail();
            }
        }
        self.given_up = self.given_up.split_off(&(last + 1));
        self.raise_floor_to(last);
    }
}
