//! How far this process is along the downlink log: what it has taken, and what is not done with.
//!
//! Invariants: a position is routed once in the life of the process, however often the log
//! delivers it; positions of two logs are never mistaken for each other.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::session::Receipt;

/// The way along one log.
pub(crate) struct Course {
    log: Arc<str>,
    /// Highest position that was routed.
    highest: u64,
    /// Positions that were routed and whose receipts are still held.
    open: HashSet<u64>,
    /// Positions that are done with and must be acknowledged.
    settled: Vec<u64>,
    done: UnboundedSender<u64>,
    dones: UnboundedReceiver<u64>,
}

impl Course {
    pub(crate) fn new(log: &str) -> Self {
        let (done, dones) = unbounded_channel();
        let (open, settled) = (HashSet::new(), Vec::new());
        Self { log: log.into(), highest: 0, open, settled, done, dones }
    }

    /// Identity of the log.
    pub(crate) fn log(&self) -> &Arc<str> {
        &self.log
    }

    /// Positions that are not done with.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Takes a delivery: the receipt to route it with, none if it was routed before. The log
    /// delivers again what it does not know as acknowledged, after it could not be reached.
    pub(crate) fn take(&mut self, position: u64) -> Option<Arc<Receipt>> {
        if position > self.highest {
            self.highest = position;
            self.open.insert(position);
            return Some(Receipt::new(self.log.clone(), position, self.done.clone()));
        }
        if !self.open.contains(&position) {
            self.settled.push(position);
        }
        None
    }

    /// Waits until positions are done with; at most `count_max` are taken in. Cancel-safe.
    pub(crate) async fn settle(&mut self, count_max: usize) {
        let from = self.settled.len();
        if from == 0 {
            self.dones.recv_many(&mut self.settled, count_max).await;
            self.close_from(0);
        }
    }

    /// Takes in what is done with by now.
    pub(crate) fn settle_now(&mut self) {
        let from = self.settled.len();
        while let Ok(position) = self.dones.try_recv() {
            self.settled.push(position);
        }
        self.close_from(from);
    }

    fn close_from(&mut self, from: usize) {
        for position in &self.settled[from..] {
            self.open.remove(position);
        }
    }

    /// Positions to acknowledge; they stay until [`Course::acknowledged`] is told.
    pub(crate) fn settled(&self) -> &[u64] {
        &self.settled
    }

    /// The log has taken the acknowledgement of everything settled.
    pub(crate) fn acknowledged(&mut self) {
        self.settled.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_routed_once_and_acknowledged_as_often_as_it_comes() {
        let mut course = Course::new("x");
        let receipts: Vec<_> = [1, 2, 5].map(|position| course.take(position).unwrap()).into();
        let [one, two, five] = receipts.try_into().unwrap();
        drop(one);
        course.settle_now();
        assert_eq!((course.settled(), course.open()), (&[1][..], 2));
        // The log could not be reached and delivers all of them again.
        assert!([1, 2, 5].into_iter().all(|position| course.take(position).is_none()));
        assert_eq!(course.settled(), [1, 1], "two and five are still held");
        course.acknowledged();
        drop((two, five));
        course.settle_now();
        assert_eq!((course.settled(), course.open()), (&[2, 5][..], 0));
        assert!(course.take(6).is_some());
    }
}
