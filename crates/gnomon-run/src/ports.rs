//! The queue and the store that the settings name.

use std::path::PathBuf;

use gnomon_adapters::{Embedded, EmbeddedOptions, Nats, NatsOptions, Redis, RedisOptions};
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

impl Ports {
    /// Opens what the settings name, and logs what a power cut would cost.
    ///
    /// # Errors
    /// One line that says what to do.
    pub async fn open(settings: &Settings) -> Result<Self, Failure> {
        match &settings.place {
            Place::Embedded(dir) => {
                let options = EmbeddedOptions::new(settings.partitions);
                let embedded = Embedded::open(dir, options).map_err(|error| {
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
                let redis = Redis::open(&options).await;
                let redis = redis.map_err(|error| Failure::from_error("open the store", &error))?;
                tell_costs(&nats, &redis, settings);
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
        ..NatsOptions::new(url, settings.partitions)
    }
}

/// What a power cut of both would cost, as far as their settings tell.
fn tell_costs(nats: &Nats, redis: &Redis, settings: &Settings) {
    info!(
        version = nats.server_version(),
        replicas = settings.replicas,
        "queue on NATS: the server syncs to disk every 2 minutes unless its sync_interval says otherwise; \
         a power cut of all replicas costs what is not synced, a killed process costs nothing"
    );
    let durability = redis.durability();
    let cost = durability.cost();
    let version = &durability.version;
    match (durability.appendonly.as_str(), durability.appendfsync.as_str()) {
        ("yes", "always" | "everysec") => info!(version, "store in Redis: {cost}"),
        _ => warn!(version, "store in Redis: {cost}"),
    }
}
