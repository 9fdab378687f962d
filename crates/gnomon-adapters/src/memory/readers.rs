//! Named readers of logs in memory: each sees every message.

use std::collections::{BTreeMap, BTreeSet};

use gnomon_host::port::Log;

/// All readers of all logs.
#[derive(Default)]
pub(super) struct Readers {
    readers: BTreeMap<(Log, String), Reader>,
    /// Up to where all readers of a log were done with it, as last told.
    done: BTreeMap<Log, u64>,
}

#[derive(Default)]
struct Reader {
    /// Everything up to here is acknowledged, or was there before the reader.
    floor: u64,
    above: BTreeSet<u64>,
    /// Number of its consumer.
    number: u64,
    barred: bool,
}

impl Readers {
    /// Opens a reader, a new one behind `last`: number of its consumer, and where that begins; none
    /// if it was barred.
    pub(super) fn open(&mut self, log: Log, name: &str, last: u64) -> Option<(u64, u64)> {
        let new = Reader { floor: last, ..Reader::default() };
        let reader = self.readers.entry((log, name.to_owned())).or_insert(new);
        reader.number += 1;
        (!reader.barred).then_some((reader.number, reader.floor))
    }

    pub(super) fn names(&self, log: Log) -> Vec<String> {
        self.of(log).map(|(name, _)| name.to_owned()).collect()
    }

    pub(super) fn is_current(&self, log: Log, name: &str, number: u64) -> bool {
        self.find(log, name).is_some_and(|reader| reader.number == number)
    }

    pub(super) fn is_acknowledged(&self, log: Log, name: &str, position: u64) -> bool {
        let reader = self.find(log, name);
        reader.is_some_and(|one| position <= one.floor || one.above.contains(&position))
    }

    pub(super) fn acknowledge<'p>(
        &mut self,
        log: Log,
        name: &str,
        positions: impl Iterator<Item = &'p u64>,
    ) {
        let Some(reader) = self.readers.get_mut(&(log, name.to_owned())) else { return };
        reader.above.extend(positions);
        while reader.above.first().is_some_and(|lowest| *lowest <= reader.floor + 1) {
            let lowest = reader.above.pop_first().expect("it was looked at");
            reader.floor = reader.floor.max(lowest);
        }
    }

    pub(super) fn bar(&mut self, log: Log, name: &str) -> u64 {
        let Some(reader) = self.readers.get_mut(&(log, name.to_owned())) else { return 0 };
        reader.number += 1;
        reader.barred = true;
        reader.floor
    }

    pub(super) fn retire(&mut self, log: Log, name: &str) {
        self.readers.remove(&(log, name.to_owned()));
    }

    /// Positions that all readers are done with by now, and were not told before.
    pub(super) fn take_done(&mut self, log: Log) -> Vec<u64> {
        let Some(floor) = self.of(log).map(|(_, reader)| reader.floor).min() else {
            return Vec::new();
        };
        let done = self.done.entry(log).or_default();
        let news = (*done + 1..=floor).collect();
        *done = floor.max(*done);
        news
    }

    fn of(&self, log: Log) -> impl Iterator<Item = (&str, &Reader)> {
        let all = self.readers.iter();
        all.filter(move |((of, _), _)| *of == log).map(|((_, name), reader)| (&**name, reader))
    }

    fn find(&self, log: Log, name: &str) -> Option<&Reader> {
        self.readers.get(&(log, name.to_owned()))
    }
}
