//! All sessions and subscriptions, and who gets which message. Pure but for the wakers it rings.

use std::collections::HashMap;
use std::sync::Arc;

use gnomon_host::downlink::Downlink;
use gnomon_host::port::sessions::{SavedSession, SessionChange};

use crate::idle::LeftWill;
use crate::moves::Moves;
use crate::options::GatewayOptions;
use crate::request::SubscribeAnswer;
use crate::retransmit::Taken;
use crate::session::{Arrival, Keep, Place, Queued, Receipt, Saved, Session, Subscription};
use crate::target::{Target, implicit_subscriber, subscriber};
use crate::trie::{Subscriber, Trie};

/// All sessions and subscriptions.
pub(crate) struct Broker {
    pub(crate) options: GatewayOptions,
    pub(crate) sessions: HashMap<Arc<str>, Session>,
    pub(crate) trie: Trie,
    /// Up to where the downlink log was routed; none before it was opened.
    pub(crate) routed: Option<Place>,
    /// Sessions on their way between gateways.
    pub(crate) moves: Moves,
    /// Key of the last message that was put into a queue, beyond those kept by earlier processes.
    pub(crate) last_key: u64,
    /// Number of the last session that began.
    last_session: u64,
    /// Wills that are due.
    pub(crate) wills: Vec<LeftWill>,
}

impl Broker {
    pub(crate) fn new(options: GatewayOptions) -> Self {
        Self {
            options,
            sessions: HashMap::new(),
            trie: Trie::default(),
            routed: None,
            moves: Moves::default(),
            last_key: 0,
            last_session: 0,
            wills: Vec::new(),
        }
    }

    /// The downlink log is open; another one than before begins at its beginning.
    pub(crate) fn follow(&mut self, log: &str) {
        if self.routed.as_ref().is_none_or(|place| place.log != log) {
            self.routed = Some(Place { log: log.to_owned(), position: 0 });
        }
    }

    /// Takes up the sessions that an earlier process saved. Those that cannot be read are told.
    pub(crate) fn restore(&mut self, saved: Vec<SavedSession>, now_ms: i64) -> Vec<String> {
        let mut unreadable = Vec::new();
        for SavedSession { client, document, pending, .. } in saved {
            let Ok(mut saved) = serde_json::from_slice::<Saved>(&document) else {
                unreadable.push(client);
                continue;
            };
            if saved.ended_at_ms == 0 {
                saved.ended_at_ms = now_ms;
            }
            let client: Arc<str> = client.into();
            self.subscribe_all(&client, &saved);
            let newest = pending.iter().map(|(key, _)| *key).max();
            self.last_key = self.last_key.max(newest.unwrap_or(0));
            let idle_ms = Some(u64::try_from(now_ms - saved.ended_at_ms).unwrap_or(0));
            let mut session = Session { saved, idle_ms, ..Session::default() };
            session.restore(pending);
            self.sessions.insert(client, session);
        }
        unreadable
    }

    pub(crate) fn unsubscribe_all(&mut self, client: &str, saved: &Saved) {
        for filter in saved.subscriptions.keys() {
            self.trie.remove(filter, client, false);
        }
        for filter in &saved.implicit {
            self.trie.remove(filter, client, true);
        }
    }

    pub(crate) fn subscribe_all(&mut self, client: &Arc<str>, saved: &Saved) {
        for (filter, subscription) in &saved.subscriptions {
            self.trie.insert(filter, subscriber(client, subscription));
        }
        for filter in &saved.implicit {
            self.trie.insert(filter, implicit_subscriber(client));
        }
    }

    /// Attaches a connection to the client's session: the one there was, or a new one. A connection
    /// that the session had is woken, and finds itself replaced. Returns whether there was one,
    /// and what must be durable before the client is told.
    pub(crate) fn attach(&mut self, client: &Arc<str>, arrival: Arrival) -> (bool, Vec<Keep>) {
        let Arrival { owner, clean_start, expiry_s, implicit, attached, inflight_max } = arrival;
        let mut changes = Vec::new();
        let of_another =
            self.sessions.get(client).is_some_and(|session| session.saved.owner != owner);
        if clean_start || of_another {
            changes.extend(self.forget(client));
        }
        let session_present = self.sessions.contains_key(client);
        let session = self.sessions.entry(client.clone()).or_default();
        if !session_present {
            self.last_session += 1;
            session.number = self.last_session;
            session.saved.through.clone_from(&self.routed);
        }
        // Its client is back in time.
        session.will = None;
        session.idle_ms = None;
        if let Some(replaced) = session.attached.replace(attached) {
            session.requeue_inflight();
            replaced.waker.notify_one();
        }
        let forget = session.set_expiry(client, expiry_s);
        changes.extend(forget.filter(|_| session_present));
        session.saved.owner = owner;
        session.saved.ended_at_ms = 0;
        session.inflight_max = inflight_max;
        // The device may speak another dialect now.
        for filter in &session.saved.implicit {
            self.trie.remove(filter, client, true);
        }
        for filter in &implicit {
            self.trie.insert(filter, implicit_subscriber(client));
        }
        session.saved.implicit = implicit;
        if session.is_persistent() {
            changes.push(Keep { change: session.save(client), receipt: None });
        }
        (session_present, changes)
    }

    /// Whether the connection is still the session's.
    pub(crate) fn is_attached(&self, client: &str, connection: u64) -> bool {
        let attached = self.sessions.get(client).and_then(|session| session.attached.as_ref());
        attached.is_some_and(|attached| attached.connection == connection)
    }

    /// Ends a connection: the session stays if it is persistent, or goes to the gateway that has
    /// claimed it. Returns what must be durable.
    pub(crate) fn detach(
        &mut self,
        client: &str,
        connection: u64,
        now_ms: i64,
        taken: &Taken,
    ) -> Vec<Keep> {
        if let Some(leaving) = self.moves.take_leaving(client, connection) {
            return leaving.hand_over(client, now_ms, taken.clone());
        }
        if !self.is_attached(client, connection) {
            return Vec::new();
        }
        let Some(session) = self.sessions.get_mut(client) else { return Vec::new() };
        session.attached = None;
        session.saved.ended_at_ms = now_ms;
        if !session.is_persistent() {
            return self.forget(client);
        }
        session.requeue_inflight();
        session.queue.leave_out_qos_0();
        let mut changes = session.keep_all(client);
        changes.push(Keep { change: session.save(client), receipt: None });
        changes
    }

    /// Keeps everything that waits for clients with persistent sessions, so that those that do not
    /// acknowledge hold up nobody else.
    pub(crate) fn keep_everything(&mut self) -> Vec<Keep> {
        let persistent = self.sessions.iter_mut().filter(|(_, session)| session.is_persistent());
        persistent.flat_map(|(client, session)| session.keep_all(client)).collect()
    }

    /// Changes how long a session outlives its connection (MQTT 5 DISCONNECT). Returns what must be
    /// durable.
    pub(crate) fn set_expiry(
        &mut self,
        client: &str,
        connection: u64,
        expiry_s: u32,
    ) -> Option<Keep> {
        if !self.is_attached(client, connection) {
            return None;
        }
        self.sessions.get_mut(client)?.set_expiry(client, Some(expiry_s))
    }

    /// Forgets a session; a will that waits with it is due.
    pub(crate) fn forget(&mut self, client: &str) -> Vec<Keep> {
        let Some(session) = self.sessions.remove(client) else { return Vec::new() };
        self.unsubscribe_all(client, &session.saved);
        if let Some(attached) = &session.attached {
            attached.waker.notify_one();
        }
        let is_persistent = session.is_persistent();
        self.wills.extend(session.will);
        if !is_persistent {
            return Vec::new();
        }
        vec![Keep { change: SessionChange::Forget { client: client.to_owned() }, receipt: None }]
    }

    /// Adds or replaces a subscription.
    pub(crate) fn subscribe(
        &mut self,
        client: &Arc<str>,
        filter: &str,
        subscription: Subscription,
    ) -> SubscribeAnswer {
        let Some(session) = self.sessions.get_mut(client) else {
            return SubscribeAnswer::QuotaExceeded;
        };
        let subscriptions = &mut session.saved.subscriptions;
        if subscriptions.len() >= self.options.subscriptions_max
            && !subscriptions.contains_key(filter)
        {
            return SubscribeAnswer::QuotaExceeded;
        }
        let qos = subscription.qos;
        self.trie.insert(filter, subscriber(client, &subscription));
        subscriptions.insert(filter.to_owned(), subscription);
        SubscribeAnswer::Granted(qos)
    }

    /// Removes a subscription; whether there was one.
    pub(crate) fn unsubscribe(&mut self, client: &str, filter: &str) -> bool {
        let Some(session) = self.sessions.get_mut(client) else { return false };
        self.trie.remove(filter, client, false);
        session.saved.subscriptions.remove(filter).is_some()
    }

    /// Filters of the client's own subscriptions.
    pub(crate) fn filters(&self, client: &str) -> Vec<String> {
        let session = self.sessions.get(client);
        session.into_iter().flat_map(|one| one.saved.subscriptions.keys().cloned()).collect()
    }

    /// What must be durable after subscriptions changed; nothing for a session that is not saved.
    pub(crate) fn saved(&self, client: &str) -> Vec<Keep> {
        let session = self.sessions.get(client).filter(|session| session.is_persistent());
        let keep = |session: &Session| Keep { change: session.save(client), receipt: None };
        session.map(keep).into_iter().collect()
    }

    /// Whether a client's publish on this topic has subscribers.
    pub(crate) fn has_subscriber(&self, topic: &str) -> bool {
        let mut found = false;
        self.trie.each_match(topic, &mut |subscriber| found |= !subscriber.implicit);
        found
    }

    /// Gives a message to every session that subscribed to its topic, once each. Returns what must
    /// be kept for sessions that are away or lag behind.
    pub(crate) fn route(&mut self, message: &Arc<Downlink>, receipt: &Arc<Receipt>) -> Vec<Keep> {
        match &mut self.routed {
            Some(place) if *place.log == *receipt.log => place.position = receipt.position,
            other => *other = Some(receipt.place()),
        }
        let mut keeps = Vec::new();
        for target in self.targets(message) {
            let Some(session) = self.sessions.get_mut(&target.client) else { continue };
            let qos = target.qos.min(message.qos);
            let persistent = session.is_persistent() && qos > 0;
            if session.attached.is_none() && !persistent || persistent && session.is_past(receipt) {
                continue;
            }
            // Not per session: a straggler of one that was forgotten must not meet its successor's.
            self.last_key += 1;
            let queued = Queued {
                message: message.clone(),
                qos,
                identifiers: target.identifiers,
                key: self.last_key,
                receipt: persistent.then(|| receipt.clone()),
                kept: false,
                sent_as: None,
            };
            keeps.extend(session.enqueue(&target.client, queued, &self.options));
        }
        keeps
    }

    fn targets(&self, message: &Downlink) -> Vec<Target> {
        let mut targets: Vec<Target> = Vec::new();
        let publisher = message.publisher.as_deref();
        self.trie.each_match(&message.topic, &mut |one: &Subscriber| {
            let own = publisher == Some(&*one.client);
            if one.no_local && own || one.implicit && publisher.is_some() {
                return;
            }
            match targets.iter_mut().find(|target| target.client == one.client) {
                Some(target) => target.merge(one),
                None => targets.push(Target::of(one)),
            }
        });
        targets
    }

    /// Notes that the client has a message; returns what must be dropped from those kept.
    pub(crate) fn acknowledged(
        &mut self,
        client: &str,
        connection: u64,
        packet_id: u16,
    ) -> Option<Keep> {
        // The packet ids of a connection that was taken over mean nothing to the new one.
        if !self.is_attached(client, connection) {
            return None;
        }
        self.sessions.get_mut(client)?.acknowledged(packet_id)?.unkeep(client)
    }
}
