//! Messages to one client: taken off its queue under the broker's lock, encoded without it, since
//! every other client waits for that lock.

use std::sync::Arc;

use gnomon_host::downlink::Downlink;

use crate::broker::Broker;
use crate::link::Link;
use crate::request::Goodbye;
use crate::session::{Keep, Queued};
use crate::wire::Wire;

/// A message that is to be sent now. One of QoS 1 is in flight already.
pub(crate) struct Sending {
    message: Arc<Downlink>,
    identifiers: Vec<u32>,
    /// None at QoS 0.
    packet_id: Option<u16>,
    /// Whether it was sent on an earlier connection.
    is_again: bool,
}

impl Broker {
    /// Takes off the client's queue what its window allows; `wire` gives packet ids. Returns what is
    /// to be sent, and what must be dropped from the messages kept because it has expired.
    fn take_waiting(
        &mut self,
        client: &str,
        connection: u64,
        wire: &mut Wire,
        now_ms: i64,
    ) -> (Vec<Sending>, Vec<Keep>) {
        let (mut sendings, mut dropped) = (Vec::new(), Vec::new());
        if !self.is_attached(client, connection) || wire.ended {
            return (sendings, dropped);
        }
        let Some(session) = self.sessions.get_mut(client) else { return (sendings, dropped) };
        while session.inflight.len() < session.inflight_max {
            let Some(queued) = session.queue.pop_front() else {
                session.is_dropping = false;
                break;
            };
            if queued.has_expired(now_ms) {
                dropped.extend(queued.unkeep(client));
                continue;
            }
            if queued.qos == 0 {
                sendings.push(Sending::of(&queued, None, false));
                continue;
            }
            let again = queued.sent_as.filter(|packet_id| wire.reuse_packet_id(*packet_id));
            let Some(packet_id) = again.or_else(|| wire.packet_id()) else {
                session.queue.push_front(queued);
                break;
            };
            sendings.push(Sending::of(&queued, Some(packet_id), again.is_some()));
            session.inflight.push_back((packet_id, queued));
        }
        (sendings, dropped)
    }
}

impl Sending {
    fn of(queued: &Queued, packet_id: Option<u16>, is_again: bool) -> Self {
        let (message, identifiers) = (queued.message.clone(), queued.identifiers.clone());
        Self { message, identifiers, packet_id, is_again }
    }
}

impl Link {
    /// Puts waiting messages on the wire. Returns whether the connection is still the session's.
    pub(crate) fn deliver(&mut self, now_ms: i64) -> bool {
        let Some(client) = &self.client else { return true };
        let id = client.id.clone();
        // Each round but the last has left out at least one message, so that the window has room.
        while self.deliver_window(&id, now_ms) {}
        let attached = self.board.broker().is_attached(&id, self.connection);
        if !attached && !self.wire.ended {
            self.wire.goodbye(Goodbye::TakenOver);
        }
        attached
    }

    /// Sends what the window allows. Returns whether some of it was left out, because the client
    /// does not take messages of its size.
    fn deliver_window(&mut self, client: &str, now_ms: i64) -> bool {
        let (sendings, dropped) =
            self.board.broker().take_waiting(client, self.connection, &mut self.wire, now_ms);
        self.keeps.extend(dropped);
        let (mut sent, mut left_out) = (0, Vec::new());
        for Sending { message, identifiers, packet_id, is_again } in sendings {
            if self.wire.publish(&message, packet_id, is_again, &identifiers, now_ms) {
                sent += 1;
                continue;
            }
            metrics::counter!("gnomon_mqtt_dropped_total", "reason" => "packet too large")
                .increment(1);
            left_out.extend(packet_id);
        }
        metrics::counter!("gnomon_mqtt_messages_delivered_total").increment(sent);
        let done =
            |packet_id: &u16| self.board.broker().acknowledged(client, self.connection, *packet_id);
        self.keeps.extend(left_out.iter().filter_map(done));
        !left_out.is_empty()
    }
}

impl Queued {
    fn has_expired(&self, now_ms: i64) -> bool {
        self.message.properties.expires_at_ms.is_some_and(|at| at <= now_ms)
    }
}
