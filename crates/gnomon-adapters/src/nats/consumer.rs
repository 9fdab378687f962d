//! Consumers of a log: its one, named readers, and followers.
//!
//! The server counts a message as delivered when it has sent it, and a cut connection may swallow what
//! was sent. So a consumer ends with the connection it was opened on, and with a gap that the server's
//! own dropping does not explain; the next one begins behind what is acknowledged.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::{self, MessagesErrorKind};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::kv::UpdateErrorKind;
use async_nats::jetstream::{Message, stream};
use futures_util::{FutureExt, StreamExt};
use gnomon_host::port::{Consumer, Delivery, Log, QueueError};

use super::acks::Acks;
use super::purge::Purging;
use super::{Nats, subject, unavailable};

/// Messages on their way to us at most.
const AHEAD_MAX: usize = 512;
/// The server says so often that it is there, and is asked anew after twice as long.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often a waiting pull looks whether the connection is still the one it was opened on.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The server forgets a consumer that asks for nothing after this.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// As what a consumer has its log open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// The log's one consumer.
    One,
    /// A named reader beside others.
    Reader(String),
    /// Somebody who only listens, and leaves no trace.
    Follower,
}

impl Role {
    /// Name of the reader, if it has one.
    pub(super) fn reader(&self) -> Option<&str> {
        match self {
            Self::Reader(name) => Some(name),
            Self::One | Self::Follower => None,
        }
    }
}

/// Consumer of one log on NATS.
pub struct NatsConsumer {
    nats: Nats,
    log: Log,
    role: Role,
    log_id: String,
    stream: stream::Stream,
    messages: pull::Stream,
    acks: Acks,
    /// Revision of the entry that holds `acks`.
    revision: u64,
    /// Last position that came.
    seen: u64,
    /// Somebody else has opened the log.
    lost: bool,
    /// Number of the connection that it was opened on.
    connection: u64,
    /// What was sent may have been swallowed: only a new consumer will do.
    torn: bool,
    /// A message before which positions are missing.
    gap: Option<Delivery>,
    purging: Purging,
}

impl NatsConsumer {
    pub(super) async fn open(nats: &Nats, log: Log, role: Role) -> Result<Self, QueueError> {
        let connection = nats.connection();
        let stream = nats.stream(log).await?;
        let last = stream.cached_info().state.last_sequence;
        let (acks, revision) = match &role {
            Role::One => claim(nats, log, None, 0, Aim::Open).await?,
            Role::Reader(name) => claim(nats, log, Some(name), last, Aim::Open).await?,
            Role::Follower => (Acks::behind(last), 0),
        };
        let prefix = subject::consumers(role.reader());
        let name = (role != Role::Follower).then(|| format!("{prefix}{}", acks.epoch));
        let config = pull::Config {
            name,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: acks.floor + 1 },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN_AFTER,
            ..pull::Config::default()
        };
        let fault = |error: &dyn std::error::Error| unavailable("open", log, error);
        let consumer = stream.create_consumer(config).await.map_err(|error| fault(&error))?;
        if role != Role::Follower {
            forget_earlier(&stream, &prefix, acks.epoch, log).await?;
        }
        let messages = consumer.stream().max_messages_per_batch(AHEAD_MAX).heartbeat(HEARTBEAT);
        let messages = messages.messages().await.map_err(|error| fault(&error))?;
        let log_id = log_id(log, &stream);
        let seen = acks.floor;
        let nats = nats.clone();
        Ok(Self {
            nats,
            log,
            role,
            log_id,
            stream,
            messages,
            acks,
            revision,
            seen,
            lost: false,
            connection,
            torn: false,
            gap: None,
            purging: Purging::default(),
        })
    }

    fn check(&self) -> Result<(), QueueError> {
        if self.lost || self.nats.shared.closed.is_cancelled() {
            return Err(QueueError::Closed);
        }
        Ok(())
    }

    /// Whether everything that was sent to it must have come.
    fn check_whole(&self) -> Result<(), QueueError> {
        if !self.torn && self.connection == self.nats.connection() {
            return Ok(());
        }
        let reason = format!("NATS: the connection was cut under the consumer of {}", self.log);
        Err(QueueError::Unavailable { reason })
    }

    /// Asks what explains that positions did not come before this one: on a log that drops its oldest,
    /// the server's dropping; else nothing does, and the consumer is given up.
    async fn explain(&mut self, gap: Delivery) -> Result<Delivery, QueueError> {
        let info = self.stream.get_info().await;
        let first = info.map_err(|error| unavailable("look at", self.log, &error))?.state;
        let first = first.first_sequence.min(gap.position);
        self.torn = first < gap.position;
        self.check_whole()?;
        self.acks.drop_before(first);
        self.seen = gap.position;
        Ok(gap)
    }

    /// Takes a message in; none if it was acknowledged before, or if positions before it did not come:
    /// then it is kept to be explained.
    fn take(
        &mut self,
        message: Result<Message, pull::MessagesError>,
    ) -> Result<Option<Delivery>, QueueError> {
        let message = message.map_err(|error| match error.kind() {
            MessagesErrorKind::ConsumerDeleted => {
                self.lost = true;
                QueueError::Closed
            }
            _ => unavailable("pull from", self.log, &error),
        })?;
        let delivery = delivery(&message, self.log)?;
        if delivery.position > self.seen + 1 {
            self.gap = Some(delivery);
            return Ok(None);
        }
        self.seen = self.seen.max(delivery.position);
        Ok((!self.acks.is_acknowledged(delivery.position)).then_some(delivery))
    }

    /// Last position of the log, asked of the server only if one is beyond what came.
    async fn last_for(&self, positions: &[u64]) -> Result<u64, QueueError> {
        if positions.iter().all(|position| *position <= self.seen) {
            return Ok(self.seen);
        }
        let info = self.stream.get_info().await;
        let info = info.map_err(|error| unavailable("look at", self.log, &error))?;
        Ok(info.state.last_sequence)
    }

    /// Acknowledges what was delivered of the positions, in memory; how many that are.
    async fn take_note(&mut self, positions: &[u64]) -> Result<u64, QueueError> {
        self.check()?;
        if self.role == Role::Follower {
            return Ok(0);
        }
        let last = self.last_for(positions).await?;
        let delivered = positions.iter().filter(|position| **position <= last);
        Ok(delivered.map(|position| u64::from(self.acks.acknowledge(*position))).sum())
    }

    /// Makes what was noted durable, and purges what it allows.
    async fn settle(&mut self, news: u64) -> Result<(), QueueError> {
        if news == 0 {
            return Ok(());
        }
        self.save().await?;
        let bounds = self.nats.shared.bounds.of(self.log.stream);
        if self.purging.is_due(news, &bounds) {
            let floor = self.nats.slowest(self.log).await?.floor.min(self.acks.floor);
            self.purging.purge(&self.stream, self.log, floor, &bounds).await?;
        }
        Ok(())
    }

    async fn save(&mut self) -> Result<(), QueueError> {
        let bucket = &self.nats.shared.acks;
        let entry = self.acks.encode().into();
        match bucket.update(subject::acks(self.log, self.role.reader()), entry, self.revision).await
        {
            Ok(revision) => {
                self.revision = revision;
                Ok(())
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                self.lost = true;
                Err(QueueError::Closed)
            }
            Err(error) => Err(unavailable("acknowledge in", self.log, &error)),
        }
    }
}

impl Consumer for NatsConsumer {
    fn log_id(&self) -> &str {
        &self.log_id
    }

    async fn pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        let closed = self.nats.shared.closed.clone();
        let mut found = Vec::new();
        while found.is_empty() {
            self.check()?;
            self.check_whole()?;
            if let Some(gap) = self.gap.clone() {
                found.push(self.explain(gap).await?);
                self.gap = None;
                break;
            }
            let next = tokio::select! {
                biased;
                () = closed.cancelled() => return Err(QueueError::Closed),
                next = tokio::time::timeout(LOOK_EVERY, self.messages.next()) => next,
            };
            match next {
                Err(_) => {}
                Ok(None) => {
                    let reason = format!("NATS: the consumer of {} ended", self.log);
                    return Err(QueueError::Unavailable { reason });
                }
                Ok(Some(message)) => found.extend(self.take(message)?),
            }
        }
        // Of the rest, only what is here already.
        while found.len() < count_max.max(1) && self.gap.is_none() {
            match self.messages.next().now_or_never() {
                Some(Some(message)) => match self.take(message) {
                    Ok(delivery) => found.extend(delivery),
                    // It comes again with the next call.
                    Err(_) => break,
                },
                Some(None) | None => break,
            }
        }
        Ok(found)
    }

    async fn acknowledge(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        let news = self.take_note(positions).await?;
        self.settle(news).await
    }

    async fn bury(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        let news = self.take_note(positions).await?;
        self.acks.dead += news;
        self.settle(news).await
    }
}

/// What an entry is claimed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// To open the log, which a reader that was barred may not.
    Open,
    /// To take the log from a reader.
    Bar,
}

/// Raises the epoch of an entry: whoever had the log finds that out. A new entry begins behind `last`.
pub(super) async fn claim(
    nats: &Nats,
    log: Log,
    reader: Option<&str>,
    last: u64,
    aim: Aim,
) -> Result<(Acks, u64), QueueError> {
    let key = subject::acks(log, reader);
    loop {
        let (mut acks, revision) =
            nats.acks(log, reader).await?.unwrap_or_else(|| (Acks::behind(last), 0));
        if acks.barred && aim == Aim::Open {
            return Err(QueueError::Closed);
        }
        acks.epoch += 1;
        acks.barred = aim == Aim::Bar;
        // Revision 0 asks that there be no entry.
        match nats.shared.acks.update(&key, acks.encode().into(), revision).await {
            Ok(revision) => return Ok((acks, revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
            Err(error) => return Err(unavailable("claim", log, &error)),
        }
    }
}

/// Identity of a log: a stream made anew has another time of making.
pub(super) fn log_id(log: Log, stream: &stream::Stream) -> String {
    let created = stream.cached_info().created.unix_timestamp_nanos();
    format!("{log}@{created:x}")
}

/// Deletes consumers of earlier epochs, which wakes those who wait for them.
pub(super) async fn forget_earlier(
    stream: &stream::Stream,
    prefix: &str,
    epoch: u64,
    log: Log,
) -> Result<(), QueueError> {
    let mut names = stream.consumer_names();
    while let Some(name) = names.next().await {
        let name = name.map_err(|error| unavailable("list consumers of", log, &error))?;
        let of = name.strip_prefix(prefix).and_then(|number| number.parse::<u64>().ok());
        if of.is_some_and(|of| of < epoch) {
            // Somebody else may have been quicker.
            let _ = stream.delete_consumer(&name).await;
        }
    }
    Ok(())
}

/// A message as the port tells it.
pub(super) fn delivery(message: &Message, log: Log) -> Result<Delivery, QueueError> {
    let info =
        message.info().map_err(|error| unavailable("understand a message of", log, &*error))?;
    let id = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(async_nats::header::NATS_MESSAGE_ID));
    Ok(Delivery {
        position: info.stream_sequence,
        id: id.map(ToString::to_string).unwrap_or_default(),
        body: message.payload.clone(),
    })
}
