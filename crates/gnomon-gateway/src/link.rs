//! One connection's decisions: what its requests mean, what goes to the queue, what is answered.
//! Sans-IO: the shell feeds bytes and results, and takes bytes and messages.
//!
//! Invariants: a QoS 1 publish is acknowledged only after its messages are in the queue, in the
//! order in which they came; one batch is on its way to the queue at a time, further publishes
//! gather in the next.

use std::sync::Arc;

use gnomon_model::{DeviceKey, Dialect, EnvelopeId};
use tokio::sync::Notify;

use crate::connect::Arriving;
use crate::idle::LeftWill;
use crate::publish::Batch;
use crate::request::{Goodbye, Request, Will};
use crate::retransmit::{Fate, Fingerprint, Taken};
use crate::session::Keep;
use crate::switchboard::Switchboard;
use crate::wire::Wire;

/// Most connections beyond the limit that are told why at a time; further ones are only closed.
const REFUSALS_MAX: usize = 100;

/// Who the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// No user name: may do everything, in development mode.
    Anyone,
    /// Its user name says so.
    Device(Dialect, DeviceKey),
}

/// The client of a connection that was accepted.
pub(crate) struct Client {
    pub(crate) id: Arc<str>,
    pub(crate) identity: Identity,
    pub(crate) will: Option<Will>,
    /// Number of its session.
    pub(crate) session: Option<u64>,
    /// Whether its CONNECT asked for a session that ends with the connection.
    pub(crate) ends_with_connection: bool,
    /// Devices that this connection plays without naming itself, with the filters that say so.
    pub(crate) plays: Vec<(String, DeviceKey, Dialect)>,
    /// What an earlier connection took, and this client may send again.
    pub(crate) known: Taken,
    /// What this connection took.
    pub(crate) taken: Taken,
    /// What this connection has on its way to the queue, the oldest first.
    pub(crate) pending: Vec<(Fingerprint, EnvelopeId)>,
}

/// One connection.
pub(crate) struct Link {
    pub(crate) wire: Wire,
    /// Number of the connection.
    pub(crate) connection: u64,
    /// Rung when messages wait or the session was taken over.
    pub(crate) waker: Arc<Notify>,
    /// Closed when silent for longer; none when the client asked for no keep-alive.
    pub(crate) silence_max_ms: Option<u64>,
    /// What goes to the queue next.
    pub(crate) next: Batch,
    /// What must be durable before the output may be sent, see [`Keep::is_promise`].
    pub(crate) keeps: Vec<Keep>,
    pub(crate) board: Arc<Switchboard>,
    pub(crate) client: Option<Client>,
    /// Whether there are as many connections as there may be: the client is told so.
    pub(crate) is_beyond_limit: bool,
    /// Whether a batch is on its way to the queue: nothing may be answered before it.
    pub(crate) appending: bool,
    /// A client that has said who it is and whose session other gateways may have.
    pub(crate) arriving: Option<Arriving>,
    ended_in_order: bool,
    /// Whose last publishes are still on their way when the connection is over.
    left: Option<Client>,
}

impl Link {
    pub(crate) fn new(board: Arc<Switchboard>) -> Self {
        Self {
            wire: Wire::new(&board.options),
            connection: board.number(),
            waker: Arc::new(Notify::new()),
            silence_max_ms: Some(board.options.connect_timeout_ms),
            next: Batch::default(),
            keeps: Vec::new(),
            board,
            client: None,
            is_beyond_limit: false,
            appending: false,
            arriving: None,
            ended_in_order: false,
            left: None,
        }
    }

    /// What a new connection gets while `open` are there: service, a refusal as soon as its version
    /// is known, or nothing.
    pub(crate) fn admit(board: &Arc<Switchboard>, open: usize) -> Option<Self> {
        let connections_max = board.options.connections_max;
        let is_beyond_limit = open >= connections_max;
        (open < connections_max.saturating_add(REFUSALS_MAX))
            .then(|| Self { is_beyond_limit, ..Self::new(board.clone()) })
    }

    /// The next batch, to be sent on its way; [`Link::appended`] takes in what became of it.
    pub(crate) fn take_next(&mut self) -> Batch {
        self.appending = true;
        std::mem::take(&mut self.next)
    }

    /// Whether the client was accepted.
    pub(crate) fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// Takes in bytes that came at `now_ms`.
    pub(crate) fn receive(&mut self, mut bytes: &[u8], now_ms: i64) {
        while let Some(request) = self.wire.read(&mut bytes) {
            match request {
                Request::Connect(connect) => self.connect(connect, now_ms),
                Request::Publish(publish) => self.publish(publish, now_ms),
                Request::Acknowledged { packet_id } => self.acknowledged(packet_id),
                Request::Subscribe { packet_id, filters } => {
                    self.subscribe(packet_id, filters, now_ms);
                }
                Request::Unsubscribe { packet_id, filters } => {
                    self.unsubscribe(packet_id, &filters, now_ms);
                }
                Request::Disconnect { with_will, session_expiry_s } => {
                    self.disconnect(with_will, session_expiry_s);
                }
            }
            if let Some(arriving) = &mut self.arriving {
                arriving.unread.extend_from_slice(bytes);
                break;
            }
        }
        self.answer_at_once();
    }

    fn acknowledged(&mut self, packet_id: u16) {
        let Some(client) = &self.client else { return };
        self.keeps.extend(self.board.broker().acknowledged(&client.id, self.connection, packet_id));
    }

    fn disconnect(&mut self, with_will: bool, session_expiry_s: Option<u32>) {
        let Some(client) = &mut self.client else { return };
        if client.ends_with_connection && session_expiry_s.is_some_and(|expiry_s| expiry_s > 0) {
            // MQTT 5, 3.14.2.2.2: a session that was to end with its connection stays so.
            return self.wire.goodbye(Goodbye::ProtocolError);
        }
        self.ended_in_order = true;
        self.wire.part();
        if !with_will {
            client.will = None;
        }
        if let Some(expiry_s) = session_expiry_s {
            let expiry_s = expiry_s.min(self.board.options.session_expiry_s_max);
            let keeps = self.board.broker().set_expiry(&client.id, self.connection, expiry_s);
            self.keeps.extend(keeps);
        }
    }

    /// The connection is over, but its last batch is still on its way: a client that is back before
    /// it has arrived may send it again.
    pub(crate) fn leave(&self) {
        if let Some(client) = self.client.as_ref().filter(|_| !self.ended_in_order) {
            self.board.retransmits.put(&client.id, client.may_send_again());
        }
    }

    /// The connection is over: what is to be published because of it stands in [`Link::next`],
    /// what must be durable in [`Link::keeps`].
    pub(crate) fn end(&mut self, reason: &str, now_ms: i64) {
        let Some(mut client) = self.client.take() else { return };
        let taken = if self.ended_in_order { Taken::default() } else { client.may_send_again() };
        let mut broker = self.board.broker();
        let goes_on = broker.moves.goes_on_elsewhere(&client.id, self.connection);
        self.keeps.extend(broker.detach(&client.id, self.connection, now_ms, &taken));
        drop(broker);
        if self.ended_in_order {
            self.board.retransmits.take(&client.id);
        } else {
            self.board.retransmits.put(&client.id, taken);
        }
        // One that is delayed is not for a client that is back in time, here or elsewhere.
        if let Some(will) = client.will.take().filter(|will| !goes_on || will.delay_s == 0) {
            let left =
                LeftWill { client: client.id.clone(), identity: client.identity.clone(), will };
            let due = self.board.broker().hold_will(left, client.session);
            due.into_iter().for_each(|left| self.publish_will(left, now_ms));
        }
        match client.identity.clone() {
            Identity::Device(_, device) => self.tell_presence(device, None, false, reason, now_ms),
            Identity::Anyone => {
                let mut played: Vec<_> = client.plays.drain(..).map(|(_, one, _)| one).collect();
                played.sort();
                played.dedup();
                for device in played {
                    self.tell_presence(device, None, false, reason, now_ms);
                }
            }
        }
        self.left = Some(client);
    }

    /// The last messages of a connection that is over are in the queue.
    pub(crate) fn last_words_arrived(&mut self) {
        if let Some(Client { id, pending, .. }) = self.left.take() {
            self.board.retransmits.settle(&id, &pending);
        }
    }

    /// Whether the client ended the connection in order.
    pub(crate) fn has_ended_in_order(&self) -> bool {
        self.ended_in_order
    }
}

impl Client {
    /// What this client sends again, should it come back: what the connection took or has on its
    /// way. One that took nothing leaves things as they were.
    fn may_send_again(&self) -> Taken {
        let mut last = if self.taken.is_empty() { &self.known } else { &self.taken }.clone();
        for (print, id) in &self.pending {
            last.remember(*print, Fate::Pending(id.clone()), usize::MAX);
        }
        last
    }
}
