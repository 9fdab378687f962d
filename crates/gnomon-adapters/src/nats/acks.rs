//! What of a log is acknowledged: pure, kept as JSON in the bucket.

use std::collections::BTreeSet;

use gnomon_host::port::Progress;
use serde::{Deserialize, Serialize};

/// Acknowledgements of one log.
///
/// Invariants: everything up to `floor` is acknowledged or was dropped; `above` holds positions
/// behind `floor + 1` only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Acks {
    /// Raised by everybody who opens the log.
    pub(super) epoch: u64,
    /// Everything up to here is acknowledged or dropped.
    pub(super) floor: u64,
    /// Acknowledged beyond the floor.
    above: BTreeSet<u64>,
    /// Dropped by the server before they were acknowledged.
    dropped: u64,
    /// Acknowledged ones that can never be applied; entries of earlier builds do not count them.
    #[serde(default)]
    pub(super) dead: u64,
    /// Somebody has taken the log from the reader for good.
    #[serde(default)]
    pub(super) barred: bool,
}

impl Acks {
    pub(super) fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers have a JSON form")
    }

    /// Nothing is acknowledged, but only what comes behind `last` is asked for.
    pub(super) fn behind(last: u64) -> Self {
        Self { floor: last, ..Self::default() }
    }

    /// Messages acknowledged since the log was made.
    pub(super) fn acknowledged(&self) -> u64 {
        self.floor - self.dropped + self.above.len() as u64
    }

    pub(super) fn is_acknowledged(&self, position: u64) -> bool {
        position <= self.floor || self.above.contains(&position)
    }

    /// Acknowledges a position; whether that is news.
    pub(super) fn acknowledge(&mut self, position: u64) -> bool {
        let news = !self.is_acknowledged(position) && self.above.insert(position);
        self.raise();
        news
    }

    /// The same as the port tells it.
    pub(super) fn progress(self, log_id: String, first: u64) -> Progress {
        Progress { log_id, first, floor: self.floor, above: self.above }
    }

    /// Messages behind the floor of a log that holds `first..=last` without `deleted` ones, which are
    /// not acknowledged.
    pub(super) fn pending(&self, first: u64, last: u64, deleted: u64) -> u64 {
        let before = self.floor.max(first.saturating_sub(1));
        let above = self.above.range(before + 1..).count() as u64;
        last.saturating_sub(before).saturating_sub(above).saturating_sub(deleted)
    }

    /// Takes note that the server dropped everything from the floor up to before `first`.
    pub(super) fn drop_before(&mut self, first: u64) {
        while self.floor + 1 < first {
            if !self.above.remove(&(self.floor + 1)) {
                self.dropped += 1;
            }
            self.floor += 1;
        }
        self.raise();
    }

    fn raise(&mut self) {
        while self.above.remove(&(self.floor + 1)) {
            self.floor += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_dropped_is_not_acknowledged() {
        let mut acks = Acks::default();
        assert!(acks.acknowledge(3));
        acks.drop_before(6);
        assert_eq!((acks.floor, acks.acknowledged()), (5, 1));
        assert!(!acks.acknowledge(5) && acks.acknowledge(6));
        assert_eq!((acks.floor, acks.acknowledged()), (6, 2));
    }

    proptest! {
        /// Whatever the order, a position is acknowledged once, and the floor is as high as it may be.
        #[test]
        fn any_order_ends_alike(positions in prop::collection::vec(1..40_u64, 0..80)) {
            let mut acks = Acks::default();
            let mut seen = BTreeSet::new();
            for position in positions {
                prop_assert_eq!(acks.acknowledge(position), seen.insert(position));
            }
            prop_assert_eq!(acks.acknowledged(), seen.len() as u64);
            let floor = (1..).take_while(|position| seen.contains(position)).count() as u64;
            prop_assert_eq!(acks.floor, floor);
            for position in 0..50 {
                let expected = position == 0 || seen.contains(&position);
                prop_assert_eq!(acks.is_acknowledged(position), expected);
            }
            prop_assert_eq!(Acks::decode(&acks.encode()).unwrap(), acks);
        }
    }
}
