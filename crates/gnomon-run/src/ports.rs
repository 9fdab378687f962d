//! The queue and the store that the settings name.

use std::path::PathBuf;
use std::time::Duration;

use gnomon_adapters::{
    Embedded, EmbeddedOptions, Nats, NatsOptions, QueueBounds, Redis, RedisOptions, embedded,
};
use gnomon_host::port::{Promise, Queue, Store, Stream};
use tracing::{info, warn};

use crate::{Failure, Settings};

/// Where messages and records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// One file in this directory, for one process.
    Embedded(PathBuf),
    /// NATS and Redis, for any number of processes.
    Remote {
        /// Address of NATS.
        queue: String,
        /// Address of Redis.
        store: String,
    },
}

/// Open ports.
pub enum Ports {
    /// Queue, store and sessions in one file.
    Embedded(Embedded),
    /// Queue on NATS, store and sessions in Redis.
    Remote(Nats, Redis),
}

/// What ports are opened for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Work,
    Migrate,
}

impl Ports {
    /// Opens what the settings name, and logs what a power cut would cost.
    ///
    /// # Errors
    /// One line that says what to do.
    pub async fn open(settings: &Settings) -> Result<Self, Failure> {
        Self::open_as(settings, Purpose::Work).await
    }

    /// As [`Ports::open`], but takes a store of an older format too, for nothing but to migrate it.
    ///
    /// # Errors
    /// One line that says what to do.
    pub async fn open_to_migrate(settings: &Settings) -> Result<Self, Failure> {
        Self::open_as(settings, Purpose::Migrate).await
    }

    async fn open_as(settings: &Settings, purpose: Purpose) -> Result<Self, Failure> {
        match &settings.place {
            Place::Embedded(dir) => {
                let options = EmbeddedOptions::new(settings.partitions);
                let opened = match purpose {
                    Purpose::Work => Embedded::open(dir, options),
                    Purpose::Migrate => {
                        Embedded::open_to_migrate(dir, options, &embedded::MIGRATIONS)
                    }
                };
                let embedded = opened.map_err(|error| {
                    Failure::from_error(&format!("open data directory {}", dir.display()), &error)
                })?;
                Ok(Self::Embedded(embedded))
            }
            Place::Remote { queue, store } => {
                let nats = Nats::open(&nats_options(settings, queue)).await;
                let nats = nats.map_err(|error| Failure::from_error("open the queue", &error))?;
                let options = RedisOptions {
                    namespace: settings.namespace.clone(),
                    ca: settings.store_ca.clone(),
                    ..RedisOptions::new(store)
                };
                let redis = match purpose {
                    Purpose::Work => Redis::open(&options).await,
                    Purpose::Migrate => Redis::open_to_migrate(&options).await,
                };
                let redis = redis.map_err(|error| Failure::from_error("open the store", &error))?;
                tell("queue", &nats.promise().await);
                tell_classes(&nats);
                tell("store", &Store::promise(&redis).await);
                Ok(Self::Remote(nats, redis))
            }
        }
    }
}

fn nats_options(settings: &Settings, url: &str) -> NatsOptions {
    NatsOptions {
        credentials: settings.queue_credentials.clone(),
        token: settings.queue_token.clone(),
        ca: settings.queue_ca.clone(),
        namespace: settings.namespace.clone(),
        replicas: settings.replicas.into(),
        telemetry_replicas: settings.telemetry_replicas.map(usize::from),
        monitor: settings.queue_monitor.clone(),
        bounds: QueueBounds::replayable(
            Duration::from_secs(u64::from(settings.kept_days) * 86_400),
            u64::from(settings.kept_mib) << 20,
        ),
        ..NatsOptions::new(url, settings.partitions)
    }
}

/// Logs what a power cut of a server would cost.
fn tell(what: &str, promise: &Promise) {
    let settings = promise.settings.iter().map(|(name, value)| format!("{name} {value}"));
    let settings = settings.collect::<Vec<_>>().join(", ");
    let (server, cost) = (&promise.server, &promise.power_cut);
    if promise.weak {
        warn!(server, settings, "{what}: {cost}");
    } else {
        info!(server, settings, "{what}: {cost}");
    }
}

/// Logs how the streams of each durability class are kept.
fn tell_classes(nats: &Nats) {
    for stream in Stream::ALL {
        let Some(keeping) = Queue::keeping(nats, stream) else { continue };
        let (class, copies) = (stream.class().as_str(), keeping.copies);
        let (age, bytes, messages) = (keeping.age, keeping.bytes, keeping.messages);
        info!(stream = stream.as_str(), class, copies, ?age, bytes, messages, "kept");
    }
}
