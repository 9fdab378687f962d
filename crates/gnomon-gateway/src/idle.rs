//! Sessions without a connection: how long they last, and the wills that wait with them.
//!
//! Time is counted here in what passes while the process lives; the clock on the wall may jump, and
//! is asked only for sessions that an earlier process left.

use std::sync::Arc;

use crate::broker::Broker;
use crate::link::Identity;
use crate::request::Will;
use crate::session::Keep;

/// A will whose client is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftWill {
    pub(crate) client: Arc<str>,
    pub(crate) identity: Identity,
    pub(crate) will: Will,
}

impl Broker {
    /// Number of the client's session: another one once it was forgotten and began anew.
    pub(crate) fn session_number(&self, client: &str) -> Option<u64> {
        self.sessions.get(client).map(|session| session.number)
    }

    /// Holds back a will that is to be delayed, as long as the session of that number lasts and its
    /// client stays away (MQTT 5, 3.1.3.2.2). Returns it if it is to be published now.
    pub(crate) fn hold_will(&mut self, left: LeftWill, number: Option<u64>) -> Option<LeftWill> {
        let session = self.sessions.get_mut(&left.client);
        let Some(session) = session.filter(|session| Some(session.number) == number) else {
            return Some(left);
        };
        if left.will.delay_s == 0 {
            return Some(left);
        }
        if session.attached.is_none() {
            session.will = Some(left);
        }
        None
    }

    /// Lets time pass, milliseconds. Sessions that have outlived their connection for long enough are
    /// forgotten, up to one tick late. Returns what must be durable, and the wills to be published.
    pub(crate) fn tick(&mut self, elapsed_ms: u64) -> (Vec<Keep>, Vec<LeftWill>) {
        let mut expired = Vec::new();
        for (client, session) in &mut self.sessions {
            if session.attached.is_some() {
                continue;
            }
            // The first tick came some time after the connection ended.
            let idle_ms = session.idle_ms.map_or(0, |ms| ms.saturating_add(elapsed_ms));
            session.idle_ms = Some(idle_ms);
            let is_over = |seconds: u32| u64::from(seconds) * 1000 <= idle_ms;
            if session.saved.expiry_s.is_some_and(is_over) {
                expired.push(client.clone());
            } else if session.will.as_ref().is_some_and(|left| is_over(left.will.delay_s)) {
                self.wills.extend(session.will.take());
            }
        }
        let keeps = expired.iter().flat_map(|client| self.forget(client)).collect();
        (keeps, std::mem::take(&mut self.wills))
    }

    /// All wills that wait: a gateway that stops has nobody to publish them later.
    pub(crate) fn take_wills(&mut self) -> Vec<LeftWill> {
        let waiting = self.sessions.values_mut().filter_map(|session| session.will.take());
        self.wills.extend(waiting);
        std::mem::take(&mut self.wills)
    }
}
