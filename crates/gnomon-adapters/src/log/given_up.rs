//! Messages that are held and that nobody wants to read any more.

use super::LogState;

impl LogState {
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
