//! Device listeners: MQTT 3.1.1 and 5 over TCP, acknowledged only after the queue.
//!
//! `wire` reads and writes packets, `link` decides for one connection, `broker` knows sessions and
//! subscriptions; none of them does IO. `socket`, `pump` and `keeper` are the shell around them.
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
mod link;
mod options;
mod parse;
mod properties;
mod publish;
mod pump;
mod request;
mod retransmit;
mod session;
mod socket;
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
use std::time::Duration;

use arc_swap::ArcSwap;
use gnomon_host::port::{Log, Queue, Sessions, Stream};
use gnomon_host::watch::now_ms;
use gnomon_model::{Envelope, Models, What};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::broker::Broker;
use crate::keeper::Keeper;
use crate::link::Link;
use crate::publish::messages_of_wills;
use crate::retransmit::Retransmits;
use crate::switchboard::Switchboard;

pub use crate::options::{GatewayError, GatewayOptions};

/// How often sessions are looked at for expiry.
const EXPIRY: Duration = Duration::from_secs(1);
/// Messages of each log in which publishes are looked for that a client may send again.
const TAIL: u64 = 2048;
/// Most connections beyond the limit that are told why at a time; further ones are only closed.
const REFUSALS_MAX: usize = 100;
/// Pause after the system refused to hand out a connection (too many files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    /// persistent sessions have not received, and says goodbye.
    ///
    /// # Errors
    /// Saved sessions cannot be read.
    pub async fn run<Q: Queue, S: Sessions>(
        self,
        queue: Q,
        sessions: S,
        models: Arc<ArcSwap<Models>>,
        stop: CancellationToken,
    ) -> Result<(), GatewayError> {
        let saved = sessions.load_all().await.map_err(GatewayError::LoadSessions)?;
        let mut broker = Broker::new(self.options.clone());
        for client in broker.restore(saved, now_ms()) {
            warn!(client, "a saved session cannot be read and is left out");
        }
        let board = Arc::new(Switchboard {
            retransmits: Retransmits::new(self.options.retransmitters_max),
            options: self.options,
            broker: Mutex::new(broker),
            models,
            partitions: queue.partitions(),
            process: process_prefix(),
            made: AtomicU64::new(0),
        });
        recall_publishes(&queue, &board).await;
        let (keeper, keeping) = Keeper::start(sessions);
        let pump_stop = CancellationToken::new();
        let pumping = tokio::spawn(pump::pump(
            queue.clone(),
            board.clone(),
            keeper.clone(),
            pump_stop.clone(),
        ));
        let connections = TaskTracker::new();
        let (mut expiry, mut ticked) = (tokio::time::interval(EXPIRY), Instant::now());
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let Some(link) = admit(&board, connections.len()) else { continue };
                        let (queue, keeper) = (queue.clone(), keeper.clone());
                        connections.spawn(socket::serve(stream, link, queue, keeper, stop.clone()));
                    }
                    Err(error) => {
                        warn!(error = %error, "accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                now = expiry.tick() => {
                    let elapsed = now.saturating_duration_since(ticked);
                    ticked = now;
                    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                    let (expired, wills) = board.broker().tick(elapsed_ms);
                    keeper.keep(expired).await;
                    let (messages, queue) = (messages_of_wills(&board, wills, now_ms()), queue.clone());
                    if !messages.is_empty() {
                        connections.spawn(async move { socket::last_words(&queue, messages).await });
                    }
                }
            }
        }
        connections.close();
        connections.wait().await;
        let wills = board.broker().take_wills();
        socket::last_words(&queue, messages_of_wills(&board, wills, now_ms())).await;
        pump_stop.cancel();
        let _ = pumping.await;
        drop(keeper);
        let _ = keeping.await;
        Ok(())
    }
}

/// What a new connection gets while `open` are there: service, a refusal that says why, or nothing.
fn admit(board: &Arc<Switchboard>, open: usize) -> Option<Link> {
    let connections_max = board.options.connections_max;
    if open < connections_max {
        return Some(Link::new(board.clone()));
    }
    (open < connections_max.saturating_add(REFUSALS_MAX)).then(|| Link::beyond_limit(board.clone()))
}

/// Begins every id of this process: its start time, and a random part.
fn process_prefix() -> String {
    let id = uuid::Uuid::now_v7().simple().to_string();
    format!("{}{}", &id[..12], &id[26..])
}

/// Finds the publishes that clients may send again because this process's predecessor took them
/// and did not live to acknowledge them.
async fn recall_publishes<Q: Queue>(queue: &Q, board: &Switchboard) {
    for stream in [Stream::Telemetry, Stream::Calls] {
        for partition in 0..queue.partitions() {
            let log = Log { stream, partition };
            if let Err(error) = recall_from(queue, board, log).await {
                warn!(%log, error = %error, "look for publishes that may be sent again");
            }
        }
    }
}

async fn recall_from<Q: Queue>(
    queue: &Q,
    board: &Switchboard,
    log: Log,
) -> Result<(), gnomon_host::port::QueueError> {
    let newest = queue.counts(log).await?.appended;
    let first = newest.saturating_sub(TAIL) + 1;
    let count_max = usize::from(board.options.pending_publishes_max);
    for delivery in queue.read(log, first, TAIL as usize).await? {
        let Ok(envelope) = Envelope::decode(&delivery.body) else { continue };
        if let What::Published { topic, payload, packet: Some((client, packet_id)) } = envelope.what
        {
            let print = board.retransmits.fingerprint(packet_id, &topic, &payload);
            board.retransmits.add(&client, print, count_max);
        }
    }
    Ok(())
}
