//! What people look at in a log, and what they no longer want to see.

use gnomon_host::port::{Delivery, Keeping, Progress};

use super::LogState;

impl LogState {
    /// How far the consumer has come.
    pub(crate) fn progress(&self, log_id: String) -> Progress {
        let floor = self.marks.floor;
        let above = (floor + 1..).zip(&self.above).filter(|(_, settled)| settled.is_some());
        Progress { log_id, first: self.first(), floor, above: above.map(|(at, _)| at).collect() }
    }

    pub(crate) fn keeping(&self) -> Keeping {
        self.bounds.keeping(1)
    }

    /// Up to `count_max` messages from `position` on, acknowledged or not, of those in memory.
    pub(crate) fn read(&self, position: u64, count_max: usize) -> Vec<Delivery> {
        let tail_first = self.tail_first();
        let skip = position.saturating_sub(tail_first).min(self.tail.len() as u64) as usize;
        let seen = self.tail.range(skip..).take_while(|one| one.position <= self.published);
        let wanted = seen.filter(|one| !self.is_given_up(one.position));
        wanted.take(count_max).cloned().collect()
    }

    /// Whether somebody has given up this position.
    pub(crate) fn is_given_up(&self, position: u64) -> bool {
        self.given_up.contains(&position)
    }

    /// Those of the positions that hold an unacknowledged message which is not given up yet.
    pub(crate) fn to_give_up(&self, positions: &[u64]) -> Vec<u64> {
        let mut found = positions.to_vec();
        found.sort_unstable();
        found.dedup();
        let seen = self.first()..=self.published;
        found
            .retain(|at| seen.contains(at) && !self.is_acknowledged(*at) && !self.is_given_up(*at));
        found
    }

    /// Gives up positions that [`LogState::to_give_up`] named.
    pub(crate) fn give_up(&mut self, positions: &[u64]) {
        let (first, tail_first) = (self.first(), self.tail_first());
        for position in positions.iter().filter(|position| **position >= first) {
            self.given_up.insert(*position);
            let index = position.checked_sub(tail_first).map(|index| index as usize);
            if let Some(one) = index.and_then(|index| self.tail.get_mut(index)) {
                self.tail_bytes -= one.body.len() as u64;
                one.body = bytes::Bytes::new();
            }
        }
    }
}
