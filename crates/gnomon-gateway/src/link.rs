//! One connection's decisions: what its requests mean, what goes to the queue, what is answered.
//! Sans-IO: the shell feeds bytes and results, and takes bytes and messages.
//!
//! Invariants: a QoS 1 publish is acknowledged only after its messages are in the queue, in the
//! order in which they came; one batch is on its way to the queue at a time, further publishes
//! gather in the next.

use std::sync::Arc;

use gnomon_dialect::topic::valid_topic;
use gnomon_host::downlink::Properties;
use gnomon_host::port::{Message, QueueError};
use gnomon_model::{DeviceKey, Dialect};
use tokio::sync::Notify;

use crate::request::{Goodbye, Publish, PublishAnswer, Request, Will};
use crate::retransmit::{Fingerprint, Taken};
use crate::session::Keep;
use crate::switchboard::Switchboard;
use crate::wire::Wire;

/// Who the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// No user name: may do everything, in development mode.
    Anyone,
    /// Its user name says so.
    Device(Dialect, DeviceKey),
}

/// Publishes on their way to the queue, with how each will be answered.
#[derive(Default)]
pub(crate) struct Batch {
    /// What to append.
    pub(crate) messages: Vec<Message>,
    /// Packet id, the answer if the queue takes the messages, and what to remember then.
    answers: Vec<(u16, PublishAnswer, Option<Fingerprint>)>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.answers.is_empty()
    }
}

/// The client of a connection that was accepted.
pub(crate) struct Client {
    pub(crate) id: Arc<str>,
    pub(crate) identity: Identity,
    pub(crate) will: Option<Will>,
    /// Whether its CONNECT asked for a session that ends with the connection.
    pub(crate) ends_with_connection: bool,
    /// Devices that this connection plays without naming itself, with the filters that say so.
    pub(crate) plays: Vec<(String, DeviceKey, Dialect)>,
    /// What an earlier connection took, and this client may send again.
    pub(crate) known: Taken,
    /// What this connection took.
    pub(crate) taken: Taken,
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
    /// What must be durable before [`Link::take_output`] may be sent.
    pub(crate) keeps: Vec<Keep>,
    pub(crate) board: Arc<Switchboard>,
    pub(crate) client: Option<Client>,
    /// Whether a batch is on its way to the queue: nothing may be answered before it.
    appending: bool,
    ended_in_order: bool,
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
            appending: false,
            ended_in_order: false,
        }
    }

    /// Whether more may be read: not while too many publishes wait for the queue.
    pub(crate) fn may_read(&self) -> bool {
        let count_max = usize::from(self.board.options.pending_publishes_max);
        // One publish makes at most two messages; those of QoS 0 have no answer to count.
        !self.wire.ended
            && self.next.answers.len() < count_max
            && self.next.messages.len() < 2 * count_max
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
        }
        self.answer_at_once();
    }

    fn publish(&mut self, publish: Publish, now_ms: i64) {
        let Some(client) = &mut self.client else {
            return self.wire.goodbye(Goodbye::ProtocolError);
        };
        let answer = check(&client.identity, &publish.topic);
        let mut fingerprint = None;
        if answer == PublishAnswer::Accepted {
            if let Some(packet_id) = publish.packet_id {
                let retransmits = &self.board.retransmits;
                let print = retransmits.fingerprint(packet_id, &publish.topic, &publish.payload);
                if publish.is_again && !client.known.contains(print) {
                    // The connection that this one replaced may have ended only now.
                    client.known.extend(retransmits.take(&client.id), usize::MAX);
                }
                if publish.is_again
                    && (client.known.contains(print) || client.taken.contains(print))
                {
                    metrics::counter!("gnomon_mqtt_retransmitted_total").increment(1);
                    self.next.answers.push((packet_id, PublishAnswer::Accepted, None));
                    return;
                }
                fingerprint = Some(print);
            }
            let packet = publish.packet_id.map(|packet_id| (client.id.to_string(), packet_id));
            let publisher = client.id.clone();
            self.take_in(
                publish.topic,
                publish.payload,
                publish.qos,
                publish.properties,
                packet,
                &publisher,
                now_ms,
            );
        } else {
            metrics::counter!("gnomon_mqtt_publishes_refused_total").increment(1);
            self.tell_refused(&publish.topic);
        }
        if let Some(packet_id) = publish.packet_id {
            self.next.answers.push((packet_id, answer, fingerprint));
        }
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

    /// Answers what needs no queue, unless something before it waits for the queue.
    fn answer_at_once(&mut self) {
        if !self.appending
            && self.next.messages.is_empty()
            && self.next.answers.iter().all(|(.., print)| print.is_none())
        {
            for (packet_id, answer, _) in std::mem::take(&mut self.next.answers) {
                self.wire.answer_publish(packet_id, answer);
            }
        }
    }

    /// Takes in what became of a batch. Returns whether it must be tried again: MQTT 3.1.1 has no
    /// word for "not now", so its client waits.
    pub(crate) fn appended(&mut self, batch: &mut Batch, result: &Result<(), QueueError>) -> bool {
        let failed = match result {
            Ok(()) => None,
            Err(_) if !self.wire.is_v5() => return true,
            Err(QueueError::Full { .. }) => Some(PublishAnswer::QuotaExceeded),
            Err(QueueError::Unavailable { .. } | QueueError::Closed) => Some(PublishAnswer::Failed),
        };
        self.appending = false;
        let count_max = self.board.options.pending_publishes_max.into();
        for (packet_id, answer, fingerprint) in batch.answers.drain(..) {
            let answer = match (answer, failed) {
                (PublishAnswer::Accepted, Some(failed)) => failed,
                (answer, _) => answer,
            };
            if let (Some(client), Some(print), PublishAnswer::Accepted) =
                (&mut self.client, fingerprint, answer)
            {
                client.taken.remember(print, count_max);
            }
            self.wire.answer_publish(packet_id, answer);
        }
        false
    }

    /// Puts waiting messages on the wire. Returns whether the connection is still the session's.
    pub(crate) fn deliver(&mut self, now_ms: i64) -> bool {
        let Some(client) = &self.client else { return true };
        let mut broker = self.board.broker();
        let (sent, dropped) = broker.deliver(&client.id, self.connection, &mut self.wire, now_ms);
        let attached = broker.is_attached(&client.id, self.connection);
        drop(broker);
        self.keeps.extend(dropped);
        if sent > 0 {
            metrics::counter!("gnomon_mqtt_messages_delivered_total").increment(sent as u64);
        }
        if !attached && !self.wire.ended {
            self.wire.goodbye(Goodbye::TakenOver);
        }
        attached
    }

    /// The connection is over: what is to be published because of it stands in [`Link::next`],
    /// what must be durable in [`Link::keeps`].
    pub(crate) fn end(&mut self, reason: &str, now_ms: i64) {
        let Some(mut client) = self.client.take() else { return };
        let keeps = self.board.broker().detach(&client.id, self.connection, now_ms);
        self.keeps.extend(keeps);
        if !self.ended_in_order {
            // Only what the last connection took may be sent again; a connection that took nothing
            // leaves things as they were.
            let taken = std::mem::take(&mut client.taken);
            let last = if taken.is_empty() { std::mem::take(&mut client.known) } else { taken };
            self.board.retransmits.put(&client.id, last);
        }
        if let Some(will) = client.will.take() {
            // Authorised now, not when it was left: a right may have been revoked since.
            if check(&client.identity, &will.topic) == PublishAnswer::Accepted {
                let Will { topic, payload, qos } = will;
                self.take_in(topic, payload, qos, Properties::default(), None, &client.id, now_ms);
            }
        }
        match client.identity {
            Identity::Device(_, device) => self.tell_presence(device, None, false, reason, now_ms),
            Identity::Anyone => {
                let mut played: Vec<_> = client.plays.into_iter().map(|(_, one, _)| one).collect();
                played.sort();
                played.dedup();
                for device in played {
                    self.tell_presence(device, None, false, reason, now_ms);
                }
            }
        }
    }

    /// Whether the client ended the connection in order.
    pub(crate) fn has_ended_in_order(&self) -> bool {
        self.ended_in_order
    }
}

fn check(identity: &Identity, topic: &str) -> PublishAnswer {
    if !valid_topic(topic) {
        return PublishAnswer::TopicInvalid;
    }
    let allowed = match identity {
        Identity::Anyone => !topic.starts_with('$'),
        Identity::Device(_, device) => gnomon_dialect::may_publish(device, topic),
    };
    if allowed { PublishAnswer::Accepted } else { PublishAnswer::NotAuthorized }
}
