//! The queue of the embedded store: appends go to the writer, deliveries come from memory.

use std::sync::Arc;

use gnomon_host::port::{
    Consumer, Counts, Delivery, Keeping, Log, Message, Progress, Promise, Queue, QueueError, Stream,
};
use redb::ReadTransaction;
use tokio::sync::oneshot;

use super::error::Failure;
use super::file::{FORMAT, MESSAGES, number};
use super::inbox::{Append, Forget};
use super::{Core, Embedded, Life, rows};
use crate::log::{LogState, Next, Settled};
use crate::logs::DEAD;

/// Longest id that a row can hold.
const ID_BYTES_MAX: usize = u16::MAX as usize;
/// Longest body; far below what the file could hold, so that no message takes a second to write.
const BODY_BYTES_MAX: usize = 64 << 20;

impl Queue for Embedded {
    type Consumer = EmbeddedConsumer;

    fn partitions(&self) -> u16 {
        self.core().logs.partitions()
    }

    fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX
    }

    async fn append(&self, messages: Vec<Message>) -> Result<(), QueueError> {
        messages.iter().try_for_each(check_size)?;
        let (reply, done) = oneshot::channel();
        let drafts = self.core().logs.draft(messages);
        self.core().inbox.append(Append { drafts, reply }).map_err(|refused| refused.queue())?;
        done.await.map_err(|_| ended().queue())?
    }

    async fn consume(&self, log: Log) -> Result<EmbeddedConsumer, QueueError> {
        let core = self.core();
        if core.is_closed() {
            return Err(QueueError::Closed);
        }
        let cell = core.logs.cell(log);
        let (number, cursor) = cell.lock().take_over();
        cell.wake.notify_waiters();
        let log_id = core.log_id(log);
        Ok(EmbeddedConsumer { life: Arc::clone(&self.life), log, log_id, number, cursor })
    }

    async fn read(
        &self,
        log: Log,
        position: u64,
        count_max: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        let core = self.core();
        if core.is_closed() {
            return Err(QueueError::Closed);
        }
        // What is dropped may stand in the tree a while longer.
        let (position, last, fresh) = {
            let state = core.logs.cell(log).lock();
            let position = position.max(state.first());
            (position, state.tail_first() - 1, state.read(position, count_max))
        };
        if position > last {
            return Ok(fresh);
        }
        let mut found = read_blocking(&self.life, log, position, last, count_max).await?;
        found.extend(fresh);
        found.truncate(count_max);
        Ok(found)
    }

    async fn counts(&self, log: Log) -> Result<Counts, QueueError> {
        if self.core().is_closed() {
            return Err(QueueError::Closed);
        }
        Ok(self.core().logs.cell(log).lock().counts())
    }

    async fn progress(&self, log: Log) -> Result<Progress, QueueError> {
        let core = self.core();
        if core.is_closed() {
            return Err(QueueError::Closed);
        }
        Ok(core.logs.cell(log).lock().progress(core.log_id(log)))
    }

    async fn forget_dead(&self, positions: &[u64]) -> Result<(), QueueError> {
        let (reply, done) = oneshot::channel();
        let forget = Forget { positions: positions.to_vec(), reply };
        self.core().inbox.forget(forget).map_err(|refused| refused.queue())?;
        done.await.map_err(|_| ended().queue())?
    }

    async fn promise(&self) -> Promise {
        promise()
    }

    fn keeping(&self, stream: Stream) -> Option<Keeping> {
        Some(self.core().logs.keeping(stream))
    }
}

/// Of queue and store: both are answered after a sync.
pub(super) fn promise() -> Promise {
    Promise {
        server: format!("embedded, format {FORMAT}"),
        settings: vec![("sync".to_owned(), "before every answer".to_owned())],
        power_cut:
            "a power cut costs nothing that was answered, on a disk that keeps what it says is \
                    synced; a killed process costs nothing"
                .to_owned(),
        weak: false,
    }
}

pub(super) fn ended() -> Failure {
    Failure::Broken("the writer has ended".into())
}

fn check_size(message: &Message) -> Result<(), QueueError> {
    if message.id.len() <= ID_BYTES_MAX && message.body.len() <= BODY_BYTES_MAX {
        return Ok(());
    }
    let (id, body) = (message.id.len(), message.body.len());
    let reason = format!("{id} + {body} bytes, at most {ID_BYTES_MAX} + {BODY_BYTES_MAX}");
    Err(QueueError::TooLarge { reason })
}

/// Consumer of one log of the embedded store.
pub struct EmbeddedConsumer {
    life: Arc<Life>,
    log: Log,
    log_id: String,
    number: u64,
    cursor: u64,
}

impl EmbeddedConsumer {
    fn next(&self, count_max: usize) -> Result<Next, QueueError> {
        let core = &self.life.core;
        let state = core.logs.cell(self.log).lock();
        if core.is_closed() || !state.is_current(self.number) {
            return Err(QueueError::Closed);
        }
        Ok(state.next(self.cursor, count_max))
    }

    /// Moves the cursor over what was read from the file; what of it is to be delivered. Nothing
    /// read is right only if retention has dropped it meanwhile.
    fn pass(&mut self, from: u64, mut read: Vec<Delivery>) -> Result<Vec<Delivery>, QueueError> {
        let state = self.life.core.logs.cell(self.log).lock();
        if read.is_empty() && state.first() <= from {
            let reason = format!("log {} lacks position {from}", self.log);
            return Err(QueueError::Unavailable { reason });
        }
        self.cursor = read.last().map_or(self.cursor, |one| one.position + 1);
        read.retain(|one| !state.is_acknowledged(one.position));
        Ok(read)
    }
}

impl EmbeddedConsumer {
    fn settle(&self, change: impl FnOnce(&mut LogState) -> bool) -> Result<(), QueueError> {
        let core = &self.life.core;
        let cell = core.logs.cell(self.log);
        let mut state = cell.lock();
        if core.is_closed() || !state.is_current(self.number) {
            return Err(QueueError::Closed);
        }
        if change(&mut state) {
            drop(state);
            cell.dirty.store(true, std::sync::atomic::Ordering::Release);
            core.inbox.acknowledged();
        }
        Ok(())
    }
}

impl Consumer for EmbeddedConsumer {
    fn log_id(&self) -> &str {
        &self.log_id
    }

    async fn pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        let count_max = count_max.max(1);
        let life = Arc::clone(&self.life);
        loop {
            // Made before looking, so that what is published in between wakes it.
            let woken = life.core.logs.cell(self.log).wake.notified();
            let ready = match self.next(count_max)? {
                Next::Nothing => {
                    woken.await;
                    continue;
                }
                Next::Ready(ready, cursor) => {
                    self.cursor = cursor;
                    ready
                }
                Next::Behind(from, last) => {
                    let read = read_blocking(&life, self.log, from, last, count_max).await?;
                    self.pass(from, read)?
                }
            };
            if !ready.is_empty() {
                return Ok(ready);
            }
        }
    }

    async fn acknowledge(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        self.settle(|state| state.acknowledge(positions, Settled::Applied))
    }

    async fn bury(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        self.settle(|state| state.acknowledge(positions, Settled::Dead))
    }
}

/// Reads rows off the thread: a consumer that is behind reads much, and from the disk.
async fn read_blocking(
    life: &Arc<Life>,
    log: Log,
    from: u64,
    last: u64,
    count_max: usize,
) -> Result<Vec<Delivery>, QueueError> {
    let core = Arc::clone(&life.core);
    let read = move || core.read_rows(log, from, last, count_max);
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|_| ended().queue())?.map_err(|failure| failure.queue())
}

impl Core {
    fn log_id(&self, log: Log) -> String {
        format!("{log}@{}", self.file.identity())
    }

    /// Up to `count_max` messages of `from..=last`, as far as the file holds them.
    fn read_rows(
        &self,
        log: Log,
        from: u64,
        last: u64,
        count_max: usize,
    ) -> Result<Vec<Delivery>, Failure> {
        self.file.read(|transaction| {
            let messages = transaction.open_table(MESSAGES)?;
            let start = row_of(transaction, number(log), from)?;
            let mut found = Vec::new();
            for row in messages.range((number(log), start)..=(number(log), last))? {
                let (key, row) = row?;
                let given_up = |at: u64| log == DEAD && self.logs.cell(DEAD).lock().is_given_up(at);
                let wanted = rows::deliveries(key.value().1, row.value())
                    .filter(|one| (from..=last).contains(&one.position) && !given_up(one.position));
                found.extend(wanted.take(count_max - found.len()));
                if found.len() >= count_max {
                    break;
                }
            }
            Ok(found)
        })
    }
}

/// Where the row begins that holds this position; the position itself if none does.
fn row_of(transaction: &ReadTransaction, number: u32, position: u64) -> Result<u64, Failure> {
    let messages = transaction.open_table(MESSAGES)?;
    let before = messages.range((number, 0)..=(number, position))?.next_back().transpose()?;
    Ok(before.map_or(position, |(key, _)| key.value().1))
}
