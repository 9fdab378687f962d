//! The queue on NATS JetStream.
//!
//! Each log is a stream of its own, so that positions are the stream's sequence numbers, counts are
//! exact, and load spreads over a cluster. What was acknowledged stands in one key-value bucket, one
//! entry for each log, written by compare-and-set: whoever opens a log raises the epoch of its entry,
//! and the consumer before it finds that out with its next acknowledgement at the latest.
//!
//! The server never drops what is pending: it refuses messages when a stream is full, and old ones are
//! purged by the consumer that acknowledged them. Answers and dead letters keep their newest.
//!
//! Invariants: of one append, messages of one device are sent one after the other, each after the
//! server has the one before; every message carries its id, by which the server absorbs repetitions.

mod acks;
mod connect;
mod consumer;
mod counts;
mod dead;
mod layout;
mod monitor;
mod promise;
mod purge;
mod readers;
mod subject;
mod waves;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, kv, stream};
use futures_util::StreamExt;
use gnomon_host::port::{
    Class, Counts, Delivery, Keeping, Log, Message, Progress, Promise, Queue, QueueError, Stream,
};
use tokio_util::sync::CancellationToken;

pub use self::connect::NatsOpenError;
pub use self::consumer::NatsConsumer;
use self::consumer::Role;
use crate::bounds::QueueBounds;

/// How to reach NATS, and what to keep there.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// `nats://[user:password@]host:port` or `tls://`, several with commas.
    pub url: String,
    /// Credentials file (JWT and nkey) or seed of an nkey.
    pub credentials: Option<PathBuf>,
    /// Token, if the server asks for one.
    pub token: Option<String>,
    /// Certificate authority (PEM) to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// First part of every stream, subject and bucket.
    pub namespace: String,
    /// Partitions of the partitioned streams, at least 1; fixed when the streams are made.
    pub partitions: u16,
    /// Copies of every stream, 1 to 5.
    pub replicas: usize,
    /// Copies of the streams of class telemetry, if another number.
    pub telemetry_replicas: Option<usize>,
    /// Monitoring port of a server, `http://host:8222`, where it tells how often it syncs.
    pub monitor: Option<String>,
    /// Bounds of the logs.
    pub bounds: QueueBounds,
}

impl NatsOptions {
    /// The usual ones, without credentials.
    #[must_use]
    pub fn new(url: &str, partitions: u16) -> Self {
        Self {
            url: url.to_owned(),
            credentials: None,
            token: None,
            ca: None,
            namespace: "gnomon".to_owned(),
            partitions,
            replicas: 1,
            telemetry_replicas: None,
            monitor: None,
            bounds: QueueBounds::default(),
        }
    }

    /// Copies of the streams of a class.
    fn copies(&self, class: Class) -> usize {
        match class {
            Class::Telemetry => self.telemetry_replicas.unwrap_or(self.replicas),
            Class::Commands | Class::Events => self.replicas,
        }
    }
}

/// The queue. Cheap to clone; clones share one connection, which reconnects by itself.
#[derive(Clone)]
pub struct Nats {
    shared: Arc<Shared>,
}

struct Shared {
    client: async_nats::Client,
    context: jetstream::Context,
    acks: kv::Store,
    workers: kv::Store,
    namespace: String,
    partitions: u16,
    bounds: QueueBounds,
    replicas: BTreeMap<Class, usize>,
    monitor: Option<String>,
    closed: CancellationToken,
}

impl Nats {
    /// Connects, refuses servers before 2.10, and makes or verifies every stream.
    ///
    /// # Errors
    /// Each says in one line what to do about it; see [`NatsOpenError`].
    pub async fn open(options: &NatsOptions) -> Result<Self, NatsOpenError> {
        let client = connect::connect(options).await?;
        let context = jetstream::new(client.clone());
        layout::prepare(&context, options).await?;
        let acks = layout::acks_bucket(&context, options).await?;
        let workers = layout::workers_bucket(&context, options).await?;
        let shared = Shared {
            client,
            context,
            acks,
            workers,
            namespace: options.namespace.clone(),
            partitions: options.partitions,
            bounds: options.bounds,
            replicas: Class::ALL.map(|class| (class, options.copies(class))).into(),
            monitor: options.monitor.clone(),
            closed: CancellationToken::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Version of the server.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.shared.client.server_info().version
    }

    /// Every later call says that it is closed, and waiting ones do.
    pub fn close(&self) {
        self.shared.closed.cancel();
    }

    /// Number of the connection: another one after each reconnect.
    fn connection(&self) -> u64 {
        self.shared.client.statistics().connects.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn open_context(&self) -> Result<&jetstream::Context, QueueError> {
        if self.shared.closed.is_cancelled() {
            return Err(QueueError::Closed);
        }
        Ok(&self.shared.context)
    }

    async fn stream(&self, log: Log) -> Result<stream::Stream, QueueError> {
        let name = subject::stream(&self.shared.namespace, log);
        self.open_context()?
            .get_stream(&name)
            .await
            .map_err(|error| unavailable("find", log, &error))
    }

    fn check_size(&self, message: &Message) -> Result<(), QueueError> {
        let most = self.body_bytes_max();
        let bytes = message.body.len();
        if bytes <= most {
            return Ok(());
        }
        let reason =
            format!("{bytes} bytes for {}, at most {most} (max_payload of NATS)", message.log);
        Err(QueueError::TooLarge { reason })
    }

    /// Sends all messages, then waits for all answers.
    async fn append_wave(&self, wave: Vec<Message>) -> Result<(), QueueError> {
        let context = self.open_context()?;
        let mut sent = Vec::with_capacity(wave.len());
        for message in wave {
            let log = message.log;
            let subject = subject::message(&self.shared.namespace, log, message.device.as_ref());
            let publish = PublishMessage::build().payload(message.body).message_id(message.id);
            let ack = context.send_publish(subject, publish).await;
            sent.push((log, ack.map_err(|error| refused(log, &error))?));
        }
        // All are waited for, so that none is still on its way when a failure is told.
        let mut failed = None;
        for (log, ack) in sent {
            if let Err(error) = ack.await {
                failed.get_or_insert(refused(log, &error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Reads without acknowledging, from a consumer of its own that the server forgets.
    async fn read_some(
        &self,
        stream: &stream::Stream,
        log: Log,
        position: u64,
        count_max: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        let fault = |error: &dyn std::error::Error| unavailable("read", log, error);
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: position.max(1) },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: std::time::Duration::from_secs(5),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| fault(&error))?;
        let fetch = consumer.fetch().max_messages(count_max).messages().await;
        let mut messages = fetch.map_err(|error| fault(&error))?;
        let mut found = Vec::new();
        while let Some(message) = messages.next().await {
            found.push(consumer::delivery(&message.map_err(|error| fault(&*error))?, log)?);
        }
        let name = consumer.cached_info().name.clone();
        if let Err(error) = stream.delete_consumer(&name).await {
            tracing::debug!(%log, %error, "a reader is left to the server to forget");
        }
        Ok(found)
    }
}

impl Queue for Nats {
    type Consumer = NatsConsumer;

    fn partitions(&self) -> u16 {
        self.shared.partitions
    }

    fn body_bytes_max(&self) -> usize {
        // The id, other headers, and the protocol's own words.
        const AROUND_BYTES: usize = 1024;
        self.shared.client.server_info().max_payload.saturating_sub(AROUND_BYTES)
    }

    /// Not as one: after an error, any part of the messages may be in. Those of one device are in from
    /// the first one on.
    async fn append(&self, messages: Vec<Message>) -> Result<(), QueueError> {
        messages.iter().try_for_each(|message| self.check_size(message))?;
        for wave in waves::waves(messages) {
            self.append_wave(wave).await?;
        }
        Ok(())
    }

    async fn consume(&self, log: Log) -> Result<NatsConsumer, QueueError> {
        NatsConsumer::open(self, log, Role::One).await
    }

    async fn consume_as(&self, log: Log, reader: &str) -> Result<NatsConsumer, QueueError> {
        NatsConsumer::open(self, log, Role::Reader(reader.to_owned())).await
    }

    async fn follow(&self, log: Log) -> Result<NatsConsumer, QueueError> {
        NatsConsumer::open(self, log, Role::Follower).await
    }

    async fn readers(&self, log: Log) -> Result<Vec<String>, QueueError> {
        self.reader_names(log).await
    }

    async fn bar(&self, log: Log, reader: &str) -> Result<u64, QueueError> {
        self.bar_reader(log, reader).await
    }

    async fn retire(&self, log: Log, reader: &str) -> Result<(), QueueError> {
        self.retire_reader(log, reader).await
    }

    async fn read(
        &self,
        log: Log,
        position: u64,
        count_max: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        const CHUNK: usize = 4096;
        let stream = self.stream(log).await?;
        let mut found: Vec<Delivery> = Vec::new();
        while found.len() < count_max {
            let from = found.last().map_or(position, |last| last.position + 1);
            if from > stream.cached_info().state.last_sequence {
                break;
            }
            let wanted = CHUNK.min(count_max - found.len());
            let some = self.read_some(&stream, log, from, wanted).await?;
            if some.is_empty() {
                break;
            }
            found.extend(some);
        }
        Ok(found)
    }

    async fn counts(&self, log: Log) -> Result<Counts, QueueError> {
        self.count_steadily(log).await
    }

    async fn progress(&self, log: Log) -> Result<Progress, QueueError> {
        self.read_progress(log).await
    }

    async fn roster(&self, group: &str) -> Result<Vec<String>, QueueError> {
        self.open_context()?;
        self.members(group).await
    }

    async fn name_reader(&self, log: Log, reader: &str, dry_run: bool) -> Result<bool, QueueError> {
        self.hand_to_reader(log, reader, dry_run).await
    }

    async fn forget_dead(&self, positions: &[u64]) -> Result<(), QueueError> {
        self.delete_dead(positions).await
    }

    async fn promise(&self) -> Promise {
        self.read_promise().await
    }

    fn keeping(&self, stream: Stream) -> Option<Keeping> {
        let copies = self.shared.replicas.get(&stream.class()).copied().unwrap_or(1);
        Some(self.shared.bounds.of(stream).keeping(copies))
    }

    async fn attend(&self, group: &str, member: &str) -> Result<Vec<String>, QueueError> {
        self.open_context()?;
        let workers = &self.shared.workers;
        let fault = |error: &dyn std::error::Error| absent("attend", group, error);
        let key = subject::worker(group, member);
        workers.put(&key, bytes::Bytes::new()).await.map_err(|error| fault(&error))?;
        self.members(group).await
    }

    async fn leave(&self, group: &str, member: &str) -> Result<(), QueueError> {
        self.open_context()?;
        let gone = readers::erase(&self.shared.workers, &subject::worker(group, member)).await;
        gone.map_err(|error| absent("leave", group, &error))
    }
}

fn absent(attempt: &str, group: &str, error: &dyn std::error::Error) -> QueueError {
    QueueError::Unavailable { reason: format!("NATS: {attempt} group {group}: {}", whole(error)) }
}

fn unavailable(attempt: &str, log: Log, error: &dyn std::error::Error) -> QueueError {
    QueueError::Unavailable { reason: format!("NATS: {attempt} {log}: {}", whole(error)) }
}

/// An error with what caused it: the library's own texts say little alone.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn refused(log: Log, error: &PublishError) -> QueueError {
    let reason = whole(error);
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => QueueError::TooLarge { reason },
        // Both bounds of a stream have the same code, and "maximum messages/bytes exceeded" as text.
        _ if reason.contains("maximum") => {
            QueueError::Full { reason: format!("log {log}: {reason}") }
        }
        _ => QueueError::Unavailable { reason: format!("NATS: append to {log}: {reason}") },
    }
}
