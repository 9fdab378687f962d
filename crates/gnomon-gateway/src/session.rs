//! One MQTT session: its subscriptions, and the messages on their way to its client.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use gnomon_host::downlink::Downlink;
use gnomon_host::port::sessions::SessionChange;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::idle::LeftWill;
use crate::kept::{self, Origin};
use crate::retransmit::Taken;
use crate::waiting::Waiting;

/// A position of the downlink log that is not done with; when the last holder lets go of it, it is.
#[derive(Debug)]
pub(crate) struct Receipt {
    /// Identity of the log.
    pub(crate) log: Arc<str>,
    pub(crate) position: u64,
    done: UnboundedSender<u64>,
}

impl Receipt {
    pub(crate) fn new(log: Arc<str>, position: u64, done: UnboundedSender<u64>) -> Arc<Self> {
        Arc::new(Self { log, position, done })
    }

    /// For a position that nobody waits for.
    pub(crate) fn of_nobody(log: Arc<str>, position: u64) -> Arc<Self> {
        Self::new(log, position, tokio::sync::mpsc::unbounded_channel().0)
    }

    pub(crate) fn place(&self) -> Place {
        Place { log: self.log.to_string(), position: self.position }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        // Nobody listens once the gateway has stopped: the position is delivered again then.
        let _ = self.done.send(self.position);
    }
}

/// A message on its way to one client.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) message: Arc<Downlink>,
    /// QoS for this client.
    pub(crate) qos: u8,
    /// MQTT 5 subscription identifiers that matched.
    pub(crate) identifiers: Vec<u32>,
    /// Names the message among those kept for the session; increases in the order of arrival.
    pub(crate) key: u64,
    /// Held by messages that must not be lost, until they are acknowledged or kept.
    pub(crate) receipt: Option<Arc<Receipt>>,
    /// Whether it is kept on disk for the session.
    pub(crate) kept: bool,
    /// Packet id under which it was sent on an earlier connection.
    pub(crate) sent_as: Option<u16>,
}

/// One subscription as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) qos: u8,
    #[serde(default)]
    pub(crate) identifier: Option<u32>,
    #[serde(default)]
    pub(crate) no_local: bool,
}

/// The part of a session that is saved as its document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// Filter -> subscription.
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    /// Filters that the client's protocol implies.
    #[serde(default)]
    pub(crate) implicit: Vec<String>,
    /// The device whose session it is; none when its client had no name. Nobody else gets it.
    #[serde(default)]
    pub(crate) owner: Option<String>,
    /// How long it outlives its connection, seconds; none for ever.
    pub(crate) expiry_s: Option<u32>,
    /// When its connection ended, Unix milliseconds; 0 while connected.
    #[serde(default)]
    pub(crate) ended_at_ms: i64,
    /// The session has everything of the downlink log up to here, or it is none of its business.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) through: Option<Place>,
    /// Whether the gateway that it belongs to has not yet looked for what came behind `through`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_arriving: bool,
    /// What its client may send again, as the gateway before knew it.
    #[serde(default, skip_serializing_if = "Taken::is_empty")]
    pub(crate) taken: Taken,
}

impl Saved {
    /// The document.
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a session has a JSON form").into()
    }
}

/// A place in the downlink log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Identity of the log.
    pub(crate) log: String,
    pub(crate) position: u64,
}

impl Place {
    /// Where to begin to read a log for a session that has everything up to a place, perhaps of
    /// another log.
    pub(crate) fn behind(through: Option<&Self>, log: &str) -> u64 {
        let same = through.filter(|place| place.log == log);
        same.map_or(1, |place| place.position + 1)
    }
}

/// The connection that a session has now.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    /// Number of the connection in this process.
    pub(crate) connection: u64,
    /// Wakes the connection: messages wait for it, or it was taken over.
    pub(crate) waker: Arc<Notify>,
}

/// A connection that arrives at its session.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The device that the client is, if it named itself.
    pub(crate) owner: Option<String>,
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: Option<u32>,
    /// Filters that the client's protocol implies.
    pub(crate) implicit: Vec<String>,
    pub(crate) attached: Attached,
    pub(crate) inflight_max: usize,
}

/// One session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) saved: Saved,
    /// Tells it from one of the same client that was forgotten.
    pub(crate) number: u64,
    /// How long it has been without a connection, milliseconds; none until the next tick.
    pub(crate) idle_ms: Option<u64>,
    /// Waits until it is due or the client is back.
    pub(crate) will: Option<LeftWill>,
    pub(crate) attached: Option<Attached>,
    /// Messages that wait, in order.
    pub(crate) queue: Waiting,
    /// Whether messages were dropped since the client last had everything.
    pub(crate) is_dropping: bool,
    /// Messages sent at QoS 1 and not acknowledged, in order.
    pub(crate) inflight: VecDeque<(u16, Queued)>,
    pub(crate) inflight_max: usize,
    /// Positions, by log, of the messages that an earlier process kept: the log may deliver them
    /// once more.
    pub(crate) restored: HashMap<String, HashSet<u64>>,
}

/// Something to be made durable, and the receipts that it settles.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) change: SessionChange,
    pub(crate) receipt: Option<Arc<Receipt>>,
}

impl Keep {
    /// Whether the client is told something that rests on it. A message that is dropped too late
    /// is only sent once more, which QoS 1 allows.
    pub(crate) fn is_promise(&self) -> bool {
        !matches!(self.change, SessionChange::Drop { .. })
    }
}

impl Session {
    /// Whether the session outlives its connection.
    pub(crate) fn is_persistent(&self) -> bool {
        self.saved.expiry_s != Some(0)
    }

    /// Changes how long the session outlives its connection. One that no longer does is not saved
    /// any more: what to forget then.
    pub(crate) fn set_expiry(&mut self, client: &str, expiry_s: Option<u32>) -> Option<Keep> {
        let was_saved = self.is_persistent();
        self.saved.expiry_s = expiry_s;
        let change = SessionChange::Forget { client: client.to_owned() };
        (was_saved && !self.is_persistent()).then_some(Keep { change, receipt: None })
    }

    /// The document to save.
    pub(crate) fn save(&self, client: &str) -> SessionChange {
        SessionChange::Save { client: client.to_owned(), document: self.saved.encode() }
    }

    /// Marks every QoS 1 message that waits or is in flight as kept, and returns what to keep.
    pub(crate) fn keep_all(&mut self, client: &str) -> Vec<Keep> {
        let inflight = self.inflight.iter_mut().map(|(_, queued)| queued);
        inflight.chain(self.queue.iter_mut()).filter_map(|queued| queued.keep(client)).collect()
    }

    /// Puts what an earlier process kept into the queue. What cannot be read is left out.
    pub(crate) fn restore(&mut self, pending: Vec<(u64, Bytes)>) {
        for (key, kept) in pending {
            let Some((origin, message)) = kept::decode(&kept) else { continue };
            let Origin { log, position, identifiers } = origin.unwrap_or_default();
            self.restored.entry(log).or_default().insert(position);
            self.queue.push_back(Queued::restored(key, message, identifiers));
        }
    }

    /// Whether what a receipt stands for was dealt with before the session came to this gateway.
    pub(crate) fn is_past(&self, receipt: &Receipt) -> bool {
        let through = self.saved.through.as_ref();
        through.is_some_and(|one| receipt.position <= one.position && *one.log == *receipt.log)
            || self.has_restored(receipt)
    }

    /// Whether an earlier process kept the message at a position of a log.
    fn has_restored(&self, receipt: &Receipt) -> bool {
        self.restored.get(&*receipt.log).is_some_and(|of| of.contains(&receipt.position))
    }

    /// What was in flight on a connection that ended is sent again first, under its packet ids.
    pub(crate) fn requeue_inflight(&mut self) {
        while let Some((packet_id, mut queued)) = self.inflight.pop_back() {
            queued.sent_as = Some(packet_id);
            self.queue.push_front(queued);
        }
    }

    /// Takes the message that the client acknowledged out of flight.
    pub(crate) fn acknowledged(&mut self, packet_id: u16) -> Option<Queued> {
        let at = self.inflight.iter().position(|(id, _)| *id == packet_id)?;
        self.inflight.remove(at).map(|(_, queued)| queued)
    }
}

impl Queued {
    /// Marks the message as kept; what to keep, if it is not kept yet and worth it.
    pub(crate) fn keep(&mut self, client: &str) -> Option<Keep> {
        if self.kept || self.qos == 0 {
            return None;
        }
        self.kept = true;
        let (log, position) = match &self.receipt {
            Some(receipt) => (receipt.log.to_string(), receipt.position),
            None => (String::new(), 0),
        };
        let origin = Origin { log, position, identifiers: self.identifiers.clone() };
        let message = kept::encode(&origin, &self.message);
        let change = SessionChange::Keep { client: client.to_owned(), key: self.key, message };
        Some(Keep { change, receipt: self.receipt.take() })
    }

    /// What to drop from those kept, now that the message is done with.
    pub(crate) fn unkeep(&self, client: &str) -> Option<Keep> {
        let change = SessionChange::Drop { client: client.to_owned(), key: self.key };
        self.kept.then_some(Keep { change, receipt: None })
    }

    /// A message that was kept by an earlier process.
    pub(crate) fn restored(key: u64, message: Downlink, identifiers: Vec<u32>) -> Self {
        Self {
            message: Arc::new(message),
            qos: 1,
            identifiers,
            key,
            receipt: None,
            kept: true,
            sent_as: None,
        }
    }
}
