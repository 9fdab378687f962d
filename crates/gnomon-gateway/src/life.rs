//! A gateway from its beginning to its end: when others have missed it, it begins anew under another
//! name.

use std::sync::Arc;
use std::time::Duration;

use gnomon_host::port::{Queue, Sessions, Store};
use gnomon_host::watch::now_ms;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::keeper::Keeper;
use crate::link::Link;
use crate::options::GatewayError;
use crate::peers::{GROUP, MoveError, Peers};
use crate::publish::messages_of_wills;
use crate::pump::pump;
use crate::recall::recall_publishes;
use crate::socket;
use crate::stale::tell_stale;
use crate::standing::LOOK_EVERY;
use crate::switchboard::Switchboard;

/// How often sessions are looked at for expiry.
const EXPIRY: Duration = Duration::from_secs(1);
/// Pause after the system refused to hand out a connection (too many files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A gateway that has its sessions and the downlink log.
pub(crate) struct Life<Q, S> {
    peers: Arc<Peers<Q, S>>,
    connections: TaskTracker,
    /// Ends the connections.
    ending: CancellationToken,
    pumping: JoinHandle<()>,
    /// Ends the pump and the look at other gateways.
    pump_stop: CancellationToken,
    keeping: JoinHandle<()>,
}

impl<Q: Queue, S: Sessions> Life<Q, S> {
    /// Takes up what an earlier process saved, and opens the downlink log; waits for it until `stop`
    /// is cancelled.
    pub(crate) async fn begin(
        board: Arc<Switchboard>,
        queue: Q,
        sessions: S,
        stop: &CancellationToken,
    ) -> Result<Self, GatewayError> {
        let mut said = Instant::now();
        if board.options.has_peers {
            // Who is not known to be there must not have anything.
            said = attend(&queue, &board, stop).await;
        } else {
            let saved =
                sessions.load_all(board.owner()).await.map_err(GatewayError::LoadSessions)?;
            for client in board.broker().restore(saved, now_ms()) {
                warn!(client, "a saved session cannot be read and is left out");
            }
        }
        recall_publishes(&queue, &board).await;
        let (keeper, keeping) = Keeper::start(sessions.clone(), board.owner().to_owned());
        let peers = Arc::new(Peers::new(queue, sessions, board, keeper, said));
        let (pump_stop, opened) = (CancellationToken::new(), CancellationToken::new());
        let pumping = tokio::spawn(pump(peers.clone(), opened.clone(), pump_stop.clone()));
        tokio::select! {
            () = opened.cancelled() => {}
            () = stop.cancelled() => {}
        }
        let (connections, ending) = (TaskTracker::new(), stop.child_token());
        Ok(Self { peers, connections, ending, pumping, pump_stop, keeping })
    }

    /// Serves until `stop` is cancelled; whether it was missed by other gateways before.
    pub(crate) async fn serve<R: Store>(
        &mut self,
        listener: &TcpListener,
        records: &R,
        stop: &CancellationToken,
    ) -> bool {
        let has_peers = self.peers.board.options.has_peers;
        let (peers, ended) = (self.peers.clone(), self.pump_stop.clone());
        let looking = look_after_others(peers.clone(), records.clone(), ended.clone());
        // Apart: a look may take long, and a gateway that is silent meanwhile would be missed.
        let looking = async { tokio::join!(looking, say_so(peers, ended)) };
        let looking = has_peers.then(|| tokio::spawn(looking));
        let mut expiry = Expiry { interval: interval(EXPIRY), ticked: Instant::now() };
        let was_missed = loop {
            tokio::select! {
                () = stop.cancelled() => break false,
                // The log is closed or was taken away.
                _ = &mut self.pumping, if has_peers => break true,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let open = self.connections.len();
                        let Some(link) = Link::admit(&self.peers.board, open) else { continue };
                        let served = socket::serve(stream, link, self.peers.clone(), self.ending.clone());
                        self.connections.spawn(served);
                    }
                    Err(error) => {
                        warn!(error = %error, "accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                elapsed_ms = expiry.tick() => self.expire(elapsed_ms).await,
            }
        };
        if let Some(looking) = looking {
            looking.abort();
        }
        if was_missed {
            self.peers.set_missed();
        }
        was_missed
    }

    /// Ends all connections, keeps what waits, and lets go of the log.
    pub(crate) async fn end(self) {
        self.ending.cancel();
        self.connections.close();
        self.connections.wait().await;
        let (queue, board) = (self.peers.queue.clone(), self.peers.board.clone());
        let wills = board.broker().take_wills();
        socket::last_words(&self.peers, messages_of_wills(&board, wills, now_ms())).await;
        self.pump_stop.cancel();
        if !self.pumping.is_finished() {
            let _ = self.pumping.await;
        }
        drop(self.peers);
        let _ = self.keeping.await;
        if board.options.has_peers
            && let Err(error) = queue.leave(GROUP, &board.process).await
        {
            warn!(error = %error, "leave; other gateways take over in a few seconds");
        }
    }

    async fn expire(&self, elapsed_ms: u64) {
        let board = &self.peers.board;
        let (expired, wills) = board.broker().tick(elapsed_ms);
        self.peers.keeper.keep(expired).await;
        let (messages, peers) = (messages_of_wills(board, wills, now_ms()), self.peers.clone());
        if !messages.is_empty() {
            self.connections.spawn(async move { socket::last_words(&peers, messages).await });
        }
    }
}

/// Tells how much time has passed.
struct Expiry {
    interval: Interval,
    ticked: Instant,
}

impl Expiry {
    /// Milliseconds since the last tick. Cancel-safe.
    async fn tick(&mut self) -> u64 {
        let now = self.interval.tick().await;
        let elapsed = now.saturating_duration_since(self.ticked);
        self.ticked = now;
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Says that this gateway is there, as often as it takes; when it began to.
async fn attend<Q: Queue>(queue: &Q, board: &Switchboard, stop: &CancellationToken) -> Instant {
    loop {
        let begun = Instant::now();
        let Err(error) = queue.attend(GROUP, &board.process).await else { return begun };
        warn!(error = %error, "say that this gateway is there");
        if tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_ok() {
            return begun;
        }
    }
}

/// Says every second that this gateway is there.
async fn say_so<Q: Queue, S: Sessions>(peers: Arc<Peers<Q, S>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = peers.attend().await {
            warn!(error = %error, "say that this gateway is there");
        }
        let _ = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await;
    }
}

/// Looks every second which other gateways are there, and takes over from those that are not.
async fn look_after_others<Q: Queue, S: Sessions, R: Store>(
    peers: Arc<Peers<Q, S>>,
    records: R,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        if let Err(error) = look(&peers, &records).await {
            warn!(error = %error, "look after other gateways");
        }
        let _ = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await;
    }
}

async fn look<Q: Queue, S: Sessions, R: Store>(
    peers: &Peers<Q, S>,
    records: &R,
) -> Result<(), MoveError> {
    // In this order: one that begins says so before it has anything.
    let known = peers.known().await?;
    let members = peers.attend().await?;
    let gone = peers.take_over(known, &members).await?;
    if gone.is_empty() {
        return Ok(());
    }
    let is_gone = |connection: &str| {
        gone.iter().any(|gateway| {
            connection.strip_prefix(&**gateway).is_some_and(|rest| rest.starts_with('-'))
        })
    };
    tell_stale(&peers.queue, records, is_gone).await?;
    for gateway in &gone {
        peers.forget(gateway).await?;
    }
    Ok(())
}
