//! CONNECT: who the client is, and which session it gets.

use std::sync::Arc;

use crate::link::{Client, Identity, Link};
use crate::request::{Connect, ConnectAnswer};
use crate::retransmit::Taken;
use crate::session::{Arrival, Attached};

/// A client that may connect, but whose session is not yet known to be here.
pub(crate) struct Arriving {
    pub(crate) id: Arc<str>,
    pub(crate) connect: Connect,
    identity: Identity,
    /// What it sent behind its CONNECT.
    pub(crate) unread: Vec<u8>,
}

impl Link {
    pub(crate) fn connect(&mut self, connect: Connect, now_ms: i64) {
        if self.is_beyond_limit {
            metrics::counter!("gnomon_mqtt_connects_total", "result" => "too many").increment(1);
            return self.wire.answer_connect(ConnectAnswer::QuotaExceeded, None);
        }
        let Some(identity) = self.identify(connect.user_name.as_deref()) else {
            metrics::counter!("gnomon_mqtt_connects_total", "result" => "not authorized")
                .increment(1);
            return self.wire.answer_connect(ConnectAnswer::NotAuthorized, None);
        };
        if session_key(&connect.client).is_empty() && !connect.clean_start && !self.wire.is_v5() {
            return self.wire.answer_connect(ConnectAnswer::IdentifierRejected, None);
        }
        let named = session_key(&connect.client);
        let is_named = !named.is_empty();
        let id = self.client_id(named);
        let arriving = Arriving { id, connect, identity, unread: Vec::new() };
        if is_named && self.board.options.has_peers {
            self.arriving = Some(arriving);
        } else {
            self.accept(arriving, now_ms);
        }
    }

    /// The session of the client that arrives is here, if there is one; or it could not be had.
    pub(crate) fn arrived(&mut self, is_here: bool, now_ms: i64) {
        let Some(mut arriving) = self.arriving.take() else { return };
        if !is_here {
            metrics::counter!("gnomon_mqtt_connects_total", "result" => "unavailable").increment(1);
            return self.wire.answer_connect(ConnectAnswer::Unavailable, None);
        }
        let unread = std::mem::take(&mut arriving.unread);
        self.accept(arriving, now_ms);
        self.receive(&unread, now_ms);
    }

    fn accept(&mut self, arriving: Arriving, now_ms: i64) {
        let Arriving { id, connect, identity, .. } = arriving;
        let expiry_max = self.board.options.session_expiry_s_max;
        let expiry_s = Some(connect.session_expiry_s.unwrap_or(expiry_max).min(expiry_max));
        let implicit = match &identity {
            Identity::Device(dialect, device) => gnomon_dialect::implicit_filters(device, *dialect),
            Identity::Anyone => Vec::new(),
        };
        let inflight_max = connect.receive_max.min(self.board.options.inflight_max);
        let attached = Attached { connection: self.connection, waker: self.waker.clone() };
        let owner = match &identity {
            Identity::Device(_, device) => Some(device.to_string()),
            Identity::Anyone => None,
        };
        let arrival = Arrival {
            owner,
            clean_start: connect.clean_start,
            expiry_s,
            implicit,
            attached,
            inflight_max: inflight_max.into(),
        };
        let mut broker = self.board.broker();
        let (session_present, keeps) = broker.attach(&id, arrival);
        let session = broker.session_number(&id);
        let resumed = match identity {
            Identity::Anyone if session_present => broker.filters(&id),
            Identity::Anyone | Identity::Device(..) => Vec::new(),
        };
        drop(broker);
        self.keeps.extend(keeps);
        let keep_alive_ms = u64::from(connect.keep_alive_s) * 1500;
        self.silence_max_ms = (keep_alive_ms > 0).then_some(keep_alive_ms);
        let known = self.board.retransmits.take(&id);
        self.wire.answer_connect(ConnectAnswer::Accepted { session_present }, expiry_s);
        metrics::counter!("gnomon_mqtt_connects_total", "result" => "accepted").increment(1);
        if let Identity::Device(dialect, device) = &identity {
            self.tell_presence(device.clone(), Some(*dialect), true, "connected", now_ms);
        }
        let (plays, taken, pending) = (Vec::new(), Taken::default(), Vec::new());
        let ends_with_connection = connect.session_expiry_s == Some(0);
        let will = connect.will;
        self.client = Some(Client {
            id,
            identity,
            will,
            session,
            ends_with_connection,
            plays,
            known,
            taken,
            pending,
        });
        for filter in resumed {
            self.begin_play(filter, "connected", now_ms);
        }
    }

    /// A client is who its user name says, if that is a device of a known product.
    fn identify(&self, user_name: Option<&str>) -> Option<Identity> {
        let Some(user_name) = user_name.filter(|name| !name.is_empty()) else {
            return Some(Identity::Anyone);
        };
        let (dialect, device) = gnomon_dialect::named_device(user_name)?;
        let known = self.board.models.load().contains_key(&device.product);
        known.then_some(Identity::Device(dialect, device))
    }

    /// The session's key; one is made for a client that has none.
    fn client_id(&mut self, id: &str) -> Arc<str> {
        if !id.is_empty() {
            return id.into();
        }
        let assigned = format!("auto-{}-{:x}", self.board.process, self.connection);
        self.wire.assign(&assigned);
        assigned.into()
    }
}

/// A client id without the extended part `|k=v,…|`, whose timestamp changes at every start of an
/// Alink device (`wire/alibaba.md` 2.5).
fn session_key(client: &str) -> &str {
    client.split_once('|').map_or(client, |(key, _)| key)
}
