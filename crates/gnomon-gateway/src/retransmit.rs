//! Recognises a publish that a client sends again because its connection broke before the
//! acknowledgement came.
//!
//! A client sends again, with DUP set, only what it sent on its last connection, if that did not
//! end in order. What was taken then is remembered by packet id and content; nothing else is ever
//! absorbed.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

/// Content of one publish, as far as it must be recognised within one process.
pub(crate) type Fingerprint = (u16, u64);

/// Publishes of one connection that the queue has, the newest last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken(VecDeque<Fingerprint>);

impl Taken {
    /// Remembers a publish, and forgets the oldest beyond `count_max`. A packet id that is used
    /// anew stands for its new publish only.
    pub(crate) fn remember(&mut self, fingerprint: Fingerprint, count_max: usize) {
        if self.0.len() >= count_max {
            self.0.pop_front();
        }
        self.0.push_back(fingerprint);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.0.contains(&fingerprint)
    }

    /// Appends what a later connection took.
    pub(crate) fn extend(&mut self, later: Self, count_max: usize) {
        later.0.into_iter().for_each(|one| self.remember(one, count_max));
    }
}

/// What clients without a connection may send again. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Retransmits {
    clients: Arc<Mutex<HashMap<Arc<str>, Taken>>>,
    clients_max: usize,
    hasher: RandomState,
}

impl Retransmits {
    pub(crate) fn new(clients_max: usize) -> Self {
        Self { clients: Arc::default(), clients_max, hasher: RandomState::new() }
    }

    /// Fingerprint of a publish, comparable within this process only.
    pub(crate) fn fingerprint(&self, packet_id: u16, topic: &str, payload: &[u8]) -> Fingerprint {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(topic.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(payload);
        (packet_id, hasher.finish())
    }

    /// Takes over what a client may send again, as its connection begins.
    pub(crate) fn take(&self, client: &str) -> Taken {
        self.lock().remove(client).unwrap_or_default()
    }

    /// Remembers what a client may send again, as its connection has ended out of order.
    pub(crate) fn put(&self, client: &Arc<str>, taken: Taken) {
        let mut clients = self.lock();
        if clients.len() >= self.clients_max
            && let Some(any) = clients.keys().next().cloned()
        {
            clients.remove(&any);
        }
        clients.insert(client.clone(), taken);
    }

    /// Adds one publish that an earlier process took.
    pub(crate) fn add(&self, client: &str, fingerprint: Fingerprint, count_max: usize) {
        let mut clients = self.lock();
        if clients.len() < self.clients_max || clients.contains_key(client) {
            clients.entry(client.into()).or_default().remember(fingerprint, count_max);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Taken>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_under_the_same_packet_id_are_the_same() {
        let all = Retransmits::new(10);
        let client: Arc<str> = "c".into();
        let mut taken = Taken::default();
        taken.remember(all.fingerprint(1, "t", b"a"), 10);
        all.put(&client, taken);
        let known = all.take("c");
        assert!(known.contains(all.fingerprint(1, "t", b"a")));
        for (packet_id, topic, payload) in [(2, "t", b"a"), (1, "u", b"a"), (1, "t", b"b")] {
            assert!(!known.contains(all.fingerprint(packet_id, topic, payload)));
        }
        assert!(!all.take("c").contains(all.fingerprint(1, "t", b"a")), "taken once");
    }

    #[test]
    fn memory_is_bounded() {
        let all = Retransmits::new(2);
        let mut taken = Taken::default();
        (0..10).for_each(|n| taken.remember((n, 0), 3));
        assert_eq!(taken.0, [(7, 0), (8, 0), (9, 0)]);
        (0..10).for_each(|n| all.put(&n.to_string().into(), taken.clone()));
        assert_eq!(all.lock().len(), 2);
    }
}
