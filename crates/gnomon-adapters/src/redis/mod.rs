//! Store and sessions in Redis or Valkey: single node, Sentinel or Cluster.
//!
//! Keys, under a namespace (usually `gnomon`):
//!
//! | key | type | holds |
//! |---|---|---|
//! | `gnomon:{product/device}:record` | hash | `v`: revision, `doc`: the record's JSON |
//! | `gnomon:products` | set | products that have a device |
//! | `gnomon:devices:product` | sorted set, all scores 0 | devices of the product |
//! | `gnomon:{due:kind:0}:at` … `7` | sorted set, scores are times | devices in whose records something is due |
//! | `gnomon:{due:kind:0}:v` … `7` | hash | device: revision of the record that its entry is for |
//! | `gnomon:{client}:session` | hash | `doc`: a session's document, `gateway`: whose it is, `m<key>`: an undelivered message |
//! | `gnomon:sessions:gateway` | set | clients that have a session of the gateway |
//! | `gnomon:gateways` | set | gateways that have or had sessions |
//! | `gnomon:format` | string | number of this layout; `1>2` while it is migrated |
//! | `gnomon:migrations` | hash | number: what was migrated when by which build; `cursor`: how far |
//!
//! Records are merged in Rust and written by compare-and-set: Redis' own JSON for scripts changes
//! numbers and empty arrays.
//!
//! Invariants: one round trip for all loads of a batch, one for all its commits; a device stands in
//! the index before its record is written, so none is ever missed by a listing; and so does what is
//! due in it (`due`).
//! Never: `KEYS`, `SCAN`, an expiry.

mod connection;
mod due;
mod migrate;
mod probe;
mod sessions;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gnomon_host::port::StoreError;
use gnomon_host::port::migrate::Format;
use redis::{Cmd, FromRedisValue, Value};

use self::connection::Connection;
pub(crate) use self::connection::decode_percent;
pub use self::migrate::MIGRATIONS;
pub use self::probe::Durability;

/// How to reach Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// `redis://[user:password@]host:port[/db]`, `rediss://` for TLS, `redis+cluster://` or
    /// `redis+sentinel://` with several hosts, the latter with `/master-name` behind them.
    pub url: String,
    /// First part of every key.
    pub namespace: String,
    /// Certificate authority (PEM) to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

impl RedisOptions {
    /// The usual namespace, and the system's authorities.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), namespace: "gnomon".to_owned(), ca: None }
    }
}

/// Why Redis cannot be used. Never holds a password.
#[derive(Debug, thiserror::Error)]
pub enum RedisOpenError {
    /// The address is not one.
    #[error("address of Redis: {0}")]
    Address(String),
    /// It does not answer, or refuses us.
    #[error("connect to Redis at {place}: {reason}; is it running, and may this user connect?")]
    Unreachable {
        /// Host and port, without user and password.
        place: String,
        /// What happened.
        reason: String,
    },
    /// It throws keys away when memory is short.
    #[error(
        "Redis evicts keys when memory is short (maxmemory-policy {policy}, maxmemory {maxmemory}): records would \
         vanish; set maxmemory-policy noeviction"
    )]
    Evicts {
        /// The policy.
        policy: String,
        /// The bound in bytes, as Redis tells it.
        maxmemory: String,
    },
    /// Written by another version.
    #[error(
        "the store at {place} has format {found}, this build reads {newest}: {advice}",
        newest = MIGRATIONS.newest(),
        advice = MIGRATIONS.advice(found)
    )]
    OtherFormat {
        /// Host and port.
        place: String,
        /// What it says of itself.
        found: Format,
    },
}

/// The store. Cheap to clone; clones share one connection, which reconnects by itself.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Connection,
    namespace: String,
    durability: Durability,
    closed: AtomicBool,
}

impl Redis {
    /// Connects, refuses a server that evicts keys or holds another format, and reads what the server
    /// does to keep writes.
    ///
    /// # Errors
    /// Each says in one line what to do about it; see [`RedisOpenError`].
    pub async fn open(options: &RedisOptions) -> Result<Self, RedisOpenError> {
        Self::open_if(options, |found| *found == Format::At(MIGRATIONS.newest())).await
    }

    /// As [`Redis::open`], but takes a store of an older format too, for nothing but to migrate it.
    ///
    /// # Errors
    /// As [`Redis::open`].
    pub async fn open_to_migrate(options: &RedisOptions) -> Result<Self, RedisOpenError> {
        Self::open_if(options, |found| MIGRATIONS.pending(found).is_some()).await
    }

    async fn open_if(
        options: &RedisOptions,
        accepts: impl Fn(&Format) -> bool,
    ) -> Result<Self, RedisOpenError> {
        let (connection, place) = Connection::open(options).await?;
        let unreachable = |error: redis::RedisError| RedisOpenError::Unreachable {
            place: place.clone(),
            reason: error.to_string(),
        };
        let durability = probe::read(&connection).await.map_err(unreachable)?;
        if let Some((policy, maxmemory)) = durability.evicts() {
            return Err(RedisOpenError::Evicts { policy, maxmemory });
        }
        let namespace = options.namespace.clone();
        let found = migrate::claim(&connection, &namespace).await.map_err(unreachable)?;
        if !accepts(&found) {
            return Err(RedisOpenError::OtherFormat { place, found });
        }
        let closed = AtomicBool::new(false);
        Ok(Self { shared: Arc::new(Shared { connection, namespace, durability, closed }) })
    }

    /// What the server does to keep writes, as read when it was opened.
    #[must_use]
    pub fn durability(&self) -> &Durability {
        &self.shared.durability
    }

    /// Every later call says that it is closed.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
    }

    fn key(&self, parts: &[&str]) -> String {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut key = String::with_capacity(self.shared.namespace.len() + length);
        key.push_str(&self.shared.namespace);
        parts.iter().for_each(|part| key.push_str(part));
        key
    }

    /// Sends all commands in one round trip; the answers in order.
    async fn ask(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.shared.connection.ask(commands).await.map_err(unavailable)
    }
}

fn unavailable(error: redis::RedisError) -> StoreError {
    StoreError::Unavailable { reason: format!("Redis: {error}") }
}

/// Reads one answer.
fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    redis::from_redis_value(value).map_err(|error| unavailable(error.into()))
}

fn read_one<T: FromRedisValue>(mut answers: Vec<Value>) -> redis::RedisResult<T> {
    Ok(redis::from_redis_value(answers.pop().unwrap_or(Value::Nil))?)
}
