//! Consumers of logs in memory.

use std::sync::Arc;

use gnomon_host::port::{Consumer, Delivery, Log, QueueError};

use super::{Memory, drop_expendable, lock};
use crate::log::{Next, Settled};

/// As what a consumer has its log open.
pub(super) enum Role {
    /// The log's one consumer, and its number.
    One { number: u64 },
    /// A named reader, and the number of its consumer.
    Reader { name: String, number: u64 },
    /// Somebody who only listens.
    Follower,
}

/// Consumer of one log in memory.
pub struct MemoryConsumer {
    pub(super) memory: Memory,
    pub(super) log: Log,
    pub(super) log_id: String,
    pub(super) role: Role,
    pub(super) cursor: u64,
}

impl MemoryConsumer {
    fn check(&self) -> Result<(), QueueError> {
        let shared = self.memory.open()?;
        let is_current = match &self.role {
            Role::One { number } => shared.logs.cell(self.log).lock().is_current(*number),
            Role::Reader { name, number } => {
                lock(&shared.readers).is_current(self.log, name, *number)
            }
            Role::Follower => true,
        };
        if is_current { Ok(()) } else { Err(QueueError::Closed) }
    }

    fn try_pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        self.check()?;
        let shared = self.memory.open()?;
        let state = shared.logs.cell(self.log).lock();
        let Role::One { .. } = self.role else {
            let mut ready = state.read(self.cursor + 1, count_max);
            drop(state);
            self.cursor = ready.last().map_or(self.cursor, |last| last.position);
            if let Role::Reader { name, .. } = &self.role {
                let readers = lock(&shared.readers);
                ready.retain(|one| !readers.is_acknowledged(self.log, name, one.position));
            }
            return Ok(ready);
        };
        match state.next(self.cursor, count_max) {
            Next::Ready(ready, cursor) => {
                self.cursor = cursor;
                Ok(ready)
            }
            Next::Nothing => Ok(Vec::new()),
            Next::Behind(..) => unreachable!("memory holds everything that it has not dropped"),
        }
    }
}

impl MemoryConsumer {
    fn settle(&self, positions: &[u64], how: Settled) -> Result<(), QueueError> {
        self.check()?;
        let shared = self.memory.open()?;
        let cell = shared.logs.cell(self.log);
        match &self.role {
            Role::One { .. } => {
                cell.lock().acknowledge(positions, how);
                drop_expendable(cell);
                Ok(())
            }
            Role::Reader { name, .. } => {
                let last = cell.lock().published();
                let there = positions.iter().filter(|position| **position <= last);
                lock(&shared.readers).acknowledge(self.log, name, there);
                self.memory.settle(self.log)
            }
            Role::Follower => Ok(()),
        }
    }
}

impl Consumer for MemoryConsumer {
    fn log_id(&self) -> &str {
        &self.log_id
    }

    async fn pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        let count_max = count_max.max(1);
        let shared = Arc::clone(&self.memory.shared);
        loop {
            // Made before looking, so that what is appended in between wakes it.
            let woken = shared.logs.cell(self.log).wake.notified();
            let ready = self.try_pull(count_max)?;
            if !ready.is_empty() {
                return Ok(ready);
            }
            woken.await;
        }
    }

    async fn acknowledge(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        self.settle(positions, Settled::Applied)
    }

    async fn bury(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        self.settle(positions, Settled::Dead)
    }
}
