//! Several gateways on one queue and store: who has which session, and what is done when one dies.
//!
//! Each gateway reads the whole downlink log, and has sessions of its own. A client's session comes
//! to the gateway where the client connects: see `moves`. The sessions of a gateway that is gone are
//! taken over by the first of those that are there, from where it had acknowledged the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gnomon_host::downlink::{Claim, Entry, gateway_of, reader};
use gnomon_host::port::sessions::SessionChange;
use gnomon_host::port::{Message, Queue, QueueError, SavedSession, Sessions, StoreError};
use gnomon_host::watch::now_ms;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::keeper::Keeper;
use crate::moves::Claimed;
use crate::pump::DOWNLINK;
use crate::recall::recall_publishes;
use crate::session::{Place, Receipt, Saved};
use crate::standing::Standing;
use crate::switchboard::Switchboard;

/// Group under which gateways say that they are there.
pub const GROUP: &str = "gateway";
/// How long a client waits for its session; a gateway that dies is missed well before.
const FETCH_MAX: Duration = Duration::from_secs(10);
/// First and longest pause between two looks for a session that another gateway has.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));
/// Messages read at once for a session that has come.
const READ_MAX: usize = 1000;

/// Whether what the clients of sessions may send again was looked up in the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recalled {
    Yes,
    No,
}

/// How far a client's session is on its way here.
#[derive(Default)]
struct Fetching {
    /// Whether others are told to let go of it.
    is_claimed: bool,
    /// Whose it was when it was last looked for.
    owner: Option<String>,
}

/// Why what another gateway left cannot be had or told now; to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The queue did not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What this gateway shares with others, and its own part.
pub(crate) struct Peers<Q, S> {
    pub(crate) queue: Q,
    sessions: S,
    pub(crate) board: Arc<Switchboard>,
    pub(crate) keeper: Keeper,
    /// Held by each session that comes alone, and by whoever must not meet any that comes: one that
    /// is handed on, and all of a gateway that is gone.
    settling: tokio::sync::RwLock<()>,
    standing: Mutex<Standing>,
}

impl<Q: Queue, S: Sessions> Peers<Q, S> {
    /// A gateway that began to say that it is there at the time `said`.
    pub(crate) fn new(
        queue: Q,
        sessions: S,
        board: Arc<Switchboard>,
        keeper: Keeper,
        said: Instant,
    ) -> Self {
        let (settling, standing) = (Default::default(), Mutex::new(Standing::There(said)));
        Self { queue, sessions, board, keeper, settling, standing }
    }

    /// Says that this gateway is there; who else is.
    pub(crate) async fn attend(&self) -> Result<Vec<String>, QueueError> {
        let begun = Instant::now();
        let members = self.queue.attend(GROUP, self.me()).await?;
        let mut standing = self.standing();
        *standing = standing.said(begun);
        Ok(members)
    }

    /// Other gateways have missed this one: nothing of it gets into the queue any more.
    pub(crate) fn set_missed(&self) {
        *self.standing() = Standing::Missed;
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what connections say, unless other gateways may have missed this one: then its clients
    /// may say it elsewhere.
    pub(crate) async fn append(&self, messages: Vec<Message>) -> Result<(), QueueError> {
        if self.board.options.has_peers {
            let standing = *self.standing();
            if standing == Standing::Missed {
                return Err(QueueError::Closed);
            }
            if !standing.is_sure(Instant::now()) {
                let reason = "this gateway was silent for seconds, and others may have missed it";
                return Err(QueueError::Unavailable { reason: reason.into() });
            }
        }
        self.queue.append(messages).await
    }

    /// Name under which sessions are saved.
    fn me(&self) -> &str {
        &self.board.process
    }

    /// Brings the session of a client here, if there is one anywhere, and has other gateways let go
    /// of the client. False if that could not be done in time.
    pub(crate) async fn fetch(&self, client: &Arc<str>, clean_start: bool) -> bool {
        let begun = Instant::now();
        let (mut pause, mut fetching) = (PAUSE.0, Fetching::default());
        while begun.elapsed() < FETCH_MAX {
            match self.try_fetch(client, clean_start, &mut fetching).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => warn!(%client, error = %error, "fetch a session"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        false
    }

    /// Looks once.
    async fn try_fetch(
        &self,
        client: &Arc<str>,
        clean_start: bool,
        fetching: &mut Fetching,
    ) -> Result<bool, MoveError> {
        if !fetching.is_claimed {
            self.claim(client, clean_start).await?;
            fetching.is_claimed = true;
        }
        let found = self.sessions.find(client).await?;
        if self.board.broker().moves.is_leaving(client) {
            return Ok(false);
        }
        let Some(found) = found else { return Ok(true) };
        if found.gateway == self.me() {
            self.settle_one(client).await?;
            return Ok(self.has(client));
        }
        if fetching.owner.as_ref().is_some_and(|owner| *owner != found.gateway) {
            // It came to another one meanwhile, which has not read a claim since.
            self.claim(client, clean_start).await?;
        }
        fetching.owner = Some(found.gateway);
        Ok(false)
    }

    async fn claim(&self, client: &Arc<str>, clean_start: bool) -> Result<(), QueueError> {
        let claim =
            Claim { client: client.to_string(), gateway: self.me().to_owned(), clean_start };
        let (id, body) = (format!("{}-c", self.board.id()), claim.encode());
        self.board.broker().moves.claim(client);
        let claimed =
            self.queue.append(vec![Message { log: DOWNLINK, id, device: None, body }]).await;
        if claimed.is_err() {
            self.board.broker().moves.claim_is_over(client);
        }
        claimed
    }

    /// Identity of the downlink log.
    fn log(&self) -> Result<String, QueueError> {
        let routed = self.board.broker().routed.clone();
        let closed = || QueueError::Unavailable { reason: "the downlink is not open yet".into() };
        routed.map(|place| place.log).ok_or_else(closed)
    }

    /// Takes up the session of a client that is saved as this gateway's.
    async fn settle_one(&self, client: &str) -> Result<(), MoveError> {
        let _comes = self.settling.read().await;
        let Some(found) = self.sessions.find(client).await? else { return Ok(()) };
        if found.gateway == self.me() && !self.has(client) {
            self.settle(vec![found], Recalled::No).await?;
        }
        Ok(())
    }

    fn has(&self, client: &str) -> bool {
        self.board.broker().sessions.contains_key(client)
    }

    /// Takes up sessions that are saved as this gateway's: reads for them what came in the downlink
    /// log since they were let go of.
    async fn settle(&self, saved: Vec<SavedSession>, recalled: Recalled) -> Result<(), MoveError> {
        let log: Arc<str> = self.log()?.into();
        let mut coming = Broker::new(self.board.options.clone());
        for client in coming.restore(saved, now_ms()) {
            warn!(client, "a saved session cannot be read and is left out");
        }
        let behind = |saved: &Saved| Place::behind(saved.through.as_ref(), &log);
        let first = coming.sessions.values().map(|session| behind(&session.saved)).min();
        let mut position = first.unwrap_or(1);
        for (client, session) in &coming.sessions {
            if !session.saved.taken.is_empty() {
                let taken = session.saved.taken.clone();
                match recalled {
                    Recalled::Yes => self.board.retransmits.put_before(client, taken),
                    Recalled::No => self.board.retransmits.put(client, taken),
                }
            }
        }
        let mut missed = Vec::new();
        let keeps = loop {
            let batch = self.queue.read(DOWNLINK, position, READ_MAX).await?;
            for delivery in &batch {
                if let Ok(Entry::Message(message)) = Entry::decode(&delivery.body) {
                    let receipt = Receipt::of_nobody(log.clone(), delivery.position);
                    missed.extend(coming.route(&Arc::new(message), &receipt));
                }
                position = delivery.position + 1;
            }
            let mut broker = self.board.broker();
            let now = broker.routed.as_ref().filter(|now| *now.log == *log);
            if batch.is_empty() && now.is_none_or(|now| now.position < position) {
                let through = Place { log: log.to_string(), position: position - 1 };
                break broker.take_up(coming, &through, missed);
            }
        };
        self.keeper.keep_durably(keeps).await;
        Ok(())
    }

    /// Hands on the session of a client that another gateway has claimed, if it is saved as this
    /// gateway's: it may be on its way here, or its client went on before it had come.
    pub(crate) fn pass_on(self: &Arc<Self>, claim: Claim) {
        let peers = self.clone();
        tokio::spawn(async move {
            if let Err(error) = peers.try_pass_on(&claim).await {
                warn!(client = claim.client, error = %error, "hand a session on");
            }
        });
    }

    async fn try_pass_on(&self, claim: &Claim) -> Result<(), StoreError> {
        let _none_comes = self.settling.write().await;
        let late = self.board.broker().claimed_late(self.me(), claim, now_ms());
        if let Claimed::Goes(keeps) = late {
            self.keeper.keep(keeps).await;
            return Ok(());
        }
        let Some(found) = self.sessions.find(&claim.client).await? else { return Ok(()) };
        if found.gateway != self.me() {
            return Ok(());
        }
        let (client, to) = (claim.client.clone(), claim.gateway.clone());
        let hand_over = SessionChange::HandOver { client, to, document: found.document };
        self.sessions.change(self.me(), vec![hand_over]).await
    }

    /// Names of all gateways that read the log or have sessions.
    pub(crate) async fn known(&self) -> Result<Vec<String>, MoveError> {
        let readers = self.queue.readers(DOWNLINK).await?;
        let mut known = self.sessions.gateways().await?;
        known.extend(readers.iter().filter_map(|reader| gateway_of(reader)).map(str::to_owned));
        known.sort_unstable();
        known.dedup();
        Ok(known)
    }

    /// Takes over from those `known` before that are not there, if this is the first of the
    /// `members`. Returns their names.
    pub(crate) async fn take_over(
        &self,
        known: Vec<String>,
        members: &[String],
    ) -> Result<Vec<String>, MoveError> {
        if members.iter().min().is_none_or(|first| first != self.me()) {
            return Ok(Vec::new());
        }
        let gone: Vec<_> = known.into_iter().filter(|name| !members.contains(name)).collect();
        if !gone.is_empty() {
            // Before a client can come for its session, and say again what it has said.
            recall_publishes(&self.queue, &self.board).await;
        }
        for name in &gone {
            self.adopt(name).await?;
        }
        Ok(gone)
    }

    async fn adopt(&self, gone: &str) -> Result<(), MoveError> {
        let _none_comes = self.settling.write().await;
        // One that has no reader saved a session with its last breath, or comes from a backup: what
        // it has is known by each session.
        let readers = self.queue.readers(DOWNLINK).await?;
        let floor = if readers.contains(&reader(gone)) {
            let position = self.queue.bar(DOWNLINK, &reader(gone)).await?;
            Some(Place { log: self.log()?, position })
        } else {
            None
        };
        let saved = self.sessions.load_all(gone).await?;
        info!(gateway = gone, sessions = saved.len(), "take over from a gateway that is gone");
        let to = self.me();
        let changes = saved.iter().map(|session| hand_over(session, to, floor.as_ref())).collect();
        self.sessions.change(gone, changes).await?;
        let mut ours = self.sessions.load_all(self.me()).await?;
        ours.retain(|session| !self.has(&session.client));
        self.settle(ours, Recalled::Yes).await
    }

    /// Forgets a gateway whose sessions and devices were seen to.
    pub(crate) async fn forget(&self, gone: &str) -> Result<(), MoveError> {
        self.queue.retire(DOWNLINK, &reader(gone)).await?;
        Ok(self.sessions.forget_gateway(gone).await?)
    }
}

/// The change by which a session of a gateway that acknowledged the log up to `floor` goes to another.
fn hand_over(session: &SavedSession, to: &str, floor: Option<&Place>) -> SessionChange {
    // One that cannot be read goes as it is: whoever takes it up tells of it.
    let document = arriving(&session.document, floor).unwrap_or_else(|| session.document.clone());
    SessionChange::HandOver { client: session.client.clone(), to: to.to_owned(), document }
}

/// The document of a session on its way; none if it cannot be read.
fn arriving(document: &Bytes, floor: Option<&Place>) -> Option<Bytes> {
    let mut saved: Saved = serde_json::from_slice(document).ok()?;
    let (through, log) = (saved.through.as_ref(), floor.map_or("", |floor| &floor.log));
    let is_behind = |floor: &&Place| Place::behind(through, log) <= floor.position;
    if let Some(floor) = floor.filter(is_behind).filter(|_| !saved.is_arriving) {
        saved.through = Some(floor.clone());
    }
    saved.is_arriving = true;
    Some(saved.encode())
}
