//! Device listeners: MQTT 3.1.1 and 5 over TCP, acknowledged only after the queue.
//!
//! `wire` reads and writes packets, `link` decides for one connection, `broker` knows sessions and
//! subscriptions, `moves` which of them are on their way between gateways; none of them does IO.
//! `socket`, `pump`, `keeper` and `peers` are the shell around them.
//! See: docs/mqtt.md

mod broker;
mod connect;
mod course;
mod delivery;
mod framing;
mod idle;
mod intake;
mod keeper;
mod kept;
mod life;
mod link;
mod moves;
mod options;
mod parse;
mod peers;
mod properties;
mod publish;
mod pump;
mod recall;
mod request;
mod retransmit;
mod session;
mod socket;
mod stale;
mod standing;
mod subscribe;
mod switchboard;
mod target;
#[cfg(test)]
mod tests;
mod trie;
mod waiting;
mod wire;

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use gnomon_host::port::{Queue, Sessions, Store};
use gnomon_model::Models;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;
use crate::life::Life;
use crate::retransmit::Retransmits;
use crate::switchboard::Switchboard;

pub use crate::options::{GatewayError, GatewayOptions};
pub use crate::peers::{GROUP, MoveError};
pub use crate::stale::tell_stale;

/// A listener for MQTT clients.
#[derive(Debug)]
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    options: GatewayOptions,
}

impl Gateway {
    /// Binds to a loopback address.
    ///
    /// # Errors
    /// The address is not a loopback one, or cannot be bound.
    pub async fn bind(address: SocketAddr, options: GatewayOptions) -> Result<Self, GatewayError> {
        if !address.ip().is_loopback() {
            return Err(GatewayError::NotLoopback { address });
        }
        let listen = |source| GatewayError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self { listener, address, options })
    }

    /// The address that is bound; tells the port when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled; then lets publishes that wait be acknowledged, keeps what
    /// persistent sessions have not received, and says goodbye. Records are looked at for devices
    /// whose gateway is gone.
    ///
    /// # Errors
    /// Saved sessions cannot be read.
    pub async fn run<Q: Queue, S: Sessions, R: Store>(
        self,
        queue: Q,
        sessions: S,
        records: R,
        models: Arc<ArcSwap<Models>>,
        stop: CancellationToken,
    ) -> Result<(), GatewayError> {
        while !stop.is_cancelled() {
            let board = self.board(&models, queue.partitions());
            let mut life = Life::begin(board, queue.clone(), sessions.clone(), &stop).await?;
            let was_missed = life.serve(&self.listener, &records, &stop).await;
            life.end().await;
            if !was_missed {
                break;
            }
            warn!("other gateways missed this one and have its sessions: it begins anew");
        }
        Ok(())
    }

    fn board(&self, models: &Arc<ArcSwap<Models>>, partitions: u16) -> Arc<Switchboard> {
        Arc::new(Switchboard {
            retransmits: Retransmits::new(self.options.retransmitters_max),
            broker: Mutex::new(Broker::new(self.options.clone())),
            options: self.options.clone(),
            models: models.clone(),
            partitions,
            process: process_prefix(),
            made: AtomicU64::new(0),
        })
    }
}

/// Begins every id of this process: its start time, and a random part.
fn process_prefix() -> String {
    let id = uuid::Uuid::now_v7().simple().to_string();
    format!("{}{}", &id[..12], &id[26..])
}
