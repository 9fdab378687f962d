//! Sessions on their way between gateways. Pure: what to do is returned.
//!
//! A gateway that has a connection of a client says so in the downlink log. Every other one that
//! reads this lets go of the client: up to that position the session has its messages from it, behind
//! it from the claimant. So a message reaches the session once, whoever routes it.
//!
//! Invariants: a session is in the broker of at most one gateway that may change what is saved of it;
//! a session is handed over only after its connection here has ended.

use std::collections::HashMap;
use std::sync::Arc;

use gnomon_host::downlink::Claim;
use gnomon_host::port::sessions::SessionChange;

use crate::broker::Broker;
use crate::retransmit::Taken;
use crate::session::{Keep, Place, Session};

/// What is under way.
#[derive(Default)]
pub(crate) struct Moves {
    /// Own claims that have not come back through the log, by client.
    claims: HashMap<String, u32>,
    /// Sessions whose connections must end before they go.
    leaving: HashMap<Arc<str>, Leaving>,
}

/// A session that another gateway has claimed.
pub(crate) struct Leaving {
    session: Session,
    /// Name of that gateway.
    to: String,
    begins_anew: bool,
}

/// What a claim of another gateway means here.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// Nothing: an own claim, or one that an own one follows.
    Nothing,
    /// The session goes, now or when its connection has ended: what must be durable.
    Goes(Vec<Keep>),
    /// No session of the client is here; one may be saved.
    Unknown,
}

impl Leaving {
    /// What must be durable for the session to be the other gateway's.
    pub(crate) fn hand_over(self, client: &str, now_ms: i64, taken: Taken) -> Vec<Keep> {
        let Self { mut session, to, .. } = self;
        if !session.is_persistent() {
            return Vec::new();
        }
        session.requeue_inflight();
        session.queue.leave_out_qos_0();
        let mut keeps = session.keep_all(client);
        if session.saved.ended_at_ms == 0 {
            session.saved.ended_at_ms = now_ms;
        }
        session.saved.taken = taken;
        let (client, document) = (client.to_owned(), session.saved.encode());
        let change = SessionChange::HandOver { client, to, document };
        keeps.push(Keep { change, receipt: None });
        keeps
    }
}

impl Moves {
    /// An own claim goes to the log.
    pub(crate) fn claim(&mut self, client: &str) {
        *self.claims.entry(client.to_owned()).or_default() += 1;
    }

    /// An own claim has come back, or did not get into the log.
    pub(crate) fn claim_is_over(&mut self, client: &str) {
        if let Some(count) = self.claims.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.claims.remove(client);
            }
        }
    }

    /// Whether a session of the client is on its way to another gateway.
    pub(crate) fn is_leaving(&self, client: &str) -> bool {
        self.leaving.contains_key(client)
    }

    /// Whether the client of a connection goes on with its session at another gateway.
    pub(crate) fn goes_on_elsewhere(&self, client: &str, connection: u64) -> bool {
        let leaving = self.leaving.get(client).filter(|leaving| !leaving.begins_anew);
        let attached = leaving.and_then(|leaving| leaving.session.attached.as_ref());
        attached.is_some_and(|attached| attached.connection == connection)
    }

    /// Takes the session of a connection that has ended, if another gateway waits for it.
    pub(crate) fn take_leaving(&mut self, client: &str, connection: u64) -> Option<Leaving> {
        let attached = self.leaving.get(client)?.session.attached.as_ref()?;
        if attached.connection != connection {
            return None;
        }
        self.leaving.remove(client)
    }
}

impl Broker {
    /// Takes in a claim at a place of the log. `taken` is what the client may send again, if it has
    /// no connection here.
    pub(crate) fn claimed(
        &mut self,
        me: &str,
        claim: &Claim,
        place: Place,
        taken: Taken,
        now_ms: i64,
    ) -> Claimed {
        let client = claim.client.as_str();
        if claim.gateway == me {
            self.moves.claim_is_over(client);
            return Claimed::Nothing;
        }
        if self.moves.claims.contains_key(client) {
            return Claimed::Nothing;
        }
        if let Some(leaving) = self.moves.leaving.get_mut(client) {
            leaving.to.clone_from(&claim.gateway);
            leaving.begins_anew |= claim.clean_start;
            return Claimed::Goes(Vec::new());
        }
        let Some((client, mut session)) = self.sessions.remove_entry(client) else {
            return Claimed::Unknown;
        };
        self.unsubscribe_all(&client, &session.saved);
        (session.saved.through, session.saved.is_arriving) = (Some(place), true);
        // A will that waits: its client is back, or begins anew and has given it up.
        if claim.clean_start {
            self.wills.extend(session.will.take());
        }
        session.will = None;
        let (to, begins_anew) = (claim.gateway.clone(), claim.clean_start);
        let leaving = Leaving { session, to, begins_anew };
        let Some(attached) = &leaving.session.attached else {
            return Claimed::Goes(leaving.hand_over(&client, now_ms, taken));
        };
        attached.waker.notify_one();
        self.moves.leaving.insert(client, leaving);
        Claimed::Goes(Vec::new())
    }

    /// Takes in a claim that met no session when it came through the log, because the session was on
    /// its way here: everything that was routed since is the session's as well.
    pub(crate) fn claimed_late(&mut self, me: &str, claim: &Claim, now_ms: i64) -> Claimed {
        let Some(session) = self.sessions.get(&*claim.client) else { return Claimed::Unknown };
        let (through, routed) = (session.saved.through.as_ref(), self.routed.as_ref());
        let log = routed.map_or("", |routed| &routed.log);
        let ahead = routed.filter(|routed| Place::behind(through, log) <= routed.position);
        let Some(place) = ahead.or(through).cloned() else { return Claimed::Unknown };
        let taken = session.saved.taken.clone();
        self.claimed(me, claim, place, taken, now_ms)
    }

    /// Takes up sessions that came from other gateways and have their messages up to `through`;
    /// `keeps` is what must be durable for that. Those that are here already stay as they are.
    /// Returns all that must be durable.
    pub(crate) fn take_up(
        &mut self,
        from: Self,
        through: &Place,
        mut keeps: Vec<Keep>,
    ) -> Vec<Keep> {
        self.last_key = self.last_key.max(from.last_key);
        keeps.retain(|keep| !self.sessions.contains_key(keep.change.client()));
        for (client, mut session) in from.sessions {
            if self.sessions.contains_key(&client) {
                continue;
            }
            (session.saved.through, session.saved.is_arriving) = (Some(through.clone()), false);
            session.saved.taken = Taken::default();
            self.subscribe_all(&client, &session.saved);
            keeps.push(Keep { change: session.save(&client), receipt: None });
            self.sessions.insert(client, session);
        }
        keeps
    }
}
