//! A connection's subscriptions, and the presence of the devices that it is or plays.

use gnomon_dialect::topic::valid_filter;
use gnomon_host::port::Stream;
use gnomon_model::{DeviceKey, Dialect, Envelope, Presence, What};

use crate::link::{Identity, Link};
use crate::publish::Origin;
use crate::request::{Filter, Goodbye, SubscribeAnswer};
use crate::session::Subscription;

impl Link {
    pub(crate) fn subscribe(&mut self, packet_id: u16, filters: Vec<Filter>, now_ms: i64) {
        let Some(client) = &self.client else { return self.wire.goodbye(Goodbye::ProtocolError) };
        let (id, identity) = (client.id.clone(), client.identity.clone());
        let mut answers = Vec::with_capacity(filters.len());
        for asked in filters {
            let answer = check_filter(&identity, &asked.filter).unwrap_or_else(|| {
                let Filter { qos, no_local, identifier, .. } = asked;
                let subscription = Subscription { qos, identifier, no_local };
                self.board.broker().subscribe(&id, &asked.filter, subscription)
            });
            if matches!(answer, SubscribeAnswer::Granted(_)) && identity == Identity::Anyone {
                self.begin_play(asked.filter, "subscribed", now_ms);
            }
            answers.push(answer);
        }
        self.keeps.extend(self.board.broker().saved(&id));
        self.wire.answer_subscribe(packet_id, &answers);
    }

    pub(crate) fn unsubscribe(&mut self, packet_id: u16, filters: &[String], now_ms: i64) {
        let Some(client) = &self.client else { return self.wire.goodbye(Goodbye::ProtocolError) };
        let id = client.id.clone();
        let existed: Vec<bool> =
            filters.iter().map(|filter| self.board.broker().unsubscribe(&id, filter)).collect();
        filters.iter().for_each(|filter| self.end_play(filter, now_ms));
        self.keeps.extend(self.board.broker().saved(&id));
        self.wire.answer_unsubscribe(packet_id, &existed);
    }

    /// A client without a name that subscribes to a device's own topics plays that device: it is
    /// online as long as the subscription lasts and the client is connected.
    pub(crate) fn begin_play(&mut self, filter: String, reason: &str, now_ms: i64) {
        let Some((device, dialect)) = gnomon_dialect::stands_for(&filter) else { return };
        if !self.board.models.load().contains_key(&device.product) {
            return;
        }
        let Some(client) = &mut self.client else { return };
        if client.plays.iter().any(|(by, ..)| *by == filter) {
            return;
        }
        let begun = !client.plays.iter().any(|(_, played, _)| *played == device);
        client.plays.push((filter, device.clone(), dialect));
        if begun {
            self.tell_presence(device, Some(dialect), true, reason, now_ms);
        }
    }

    fn end_play(&mut self, filter: &str, now_ms: i64) {
        let Some(client) = &mut self.client else { return };
        let Some(at) = client.plays.iter().position(|(by, ..)| by == filter) else { return };
        let (_, device, _) = client.plays.swap_remove(at);
        if !client.plays.iter().any(|(_, played, _)| *played == device) {
            self.tell_presence(device, None, false, "unsubscribed", now_ms);
        }
    }

    pub(crate) fn tell_presence(
        &mut self,
        device: DeviceKey,
        dialect: Option<Dialect>,
        online: bool,
        reason: &str,
        now_ms: i64,
    ) {
        let connection = format!("{}-{:x}", self.board.process, self.connection);
        let presence = Presence { online, connection, reason: reason.to_owned(), dialect };
        let (id, what) = (self.board.id(), What::Presence(presence));
        let envelope = Envelope { id, device, received_at_ms: now_ms, what };
        self.add_envelope(Stream::Telemetry, &envelope, Origin::Gateway);
    }
}

/// Why a filter is refused, if it is.
fn check_filter(identity: &Identity, filter: &str) -> Option<SubscribeAnswer> {
    if filter.starts_with("$share/") {
        return Some(SubscribeAnswer::SharedUnsupported);
    }
    if !valid_filter(filter) {
        return Some(SubscribeAnswer::FilterInvalid);
    }
    let allowed = match identity {
        Identity::Anyone => true,
        Identity::Device(_, device) => gnomon_dialect::may_subscribe(device, filter),
    };
    (!allowed).then_some(SubscribeAnswer::NotAuthorized)
}
