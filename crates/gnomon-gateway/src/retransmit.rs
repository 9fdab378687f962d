//! Recognises a publish that a client sends again because its connection broke before the
//! acknowledgement came.
//!
//! A client sends again, with DUP set, only what it sent on its last connection, if that did not
//! end in order. What was taken then is remembered by packet id and content; nothing else is ever
//! absorbed. What was still on its way to the queue is appended again under the ids of its first
//! copy, so that the queue absorbs one of them.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use gnomon_model::EnvelopeId;
use serde::{Deserialize, Serialize};

/// Content of one publish, as far as it must be recognised; the same in all processes of a build.
pub(crate) type Fingerprint = (u16, u64);

/// What became of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    /// The queue has it.
    Queued,
    /// It was on its way to the queue, under this id, when its connection ended.
    Pending(EnvelopeId),
}

/// Publishes of one connection that the queue has or may have, the newest last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Taken(VecDeque<(Fingerprint, Fate)>);

impl Taken {
    /// Remembers a publish, and forgets the oldest beyond `count_max`. A packet id that is used
    /// anew stands for its new publish only.
    pub(crate) fn remember(&mut self, fingerprint: Fingerprint, fate: Fate, count_max: usize) {
        if self.0.len() >= count_max {
            self.0.pop_front();
        }
        self.0.push_back((fingerprint, fate));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What became of a publish, of its newest copy.
    pub(crate) fn find(&self, fingerprint: Fingerprint) -> Option<&Fate> {
        self.0.iter().rev().find(|(one, _)| *one == fingerprint).map(|(_, fate)| fate)
    }

    /// Appends what a later connection took.
    pub(crate) fn extend(&mut self, later: Self, count_max: usize) {
        later.0.into_iter().for_each(|(one, fate)| self.remember(one, fate, count_max));
    }
}

/// What clients without a connection may send again. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Retransmits {
    clients: Arc<Mutex<HashMap<Arc<str>, Taken>>>,
    clients_max: usize,
}

impl Retransmits {
    pub(crate) fn new(clients_max: usize) -> Self {
        Self { clients: Arc::default(), clients_max }
    }

    /// Fingerprint of a publish. A client that found another one of the same fingerprint would hurt
    /// itself only.
    pub(crate) fn fingerprint(packet_id: u16, topic: &str, payload: &[u8]) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        hasher.write(topic.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(payload);
        (packet_id, hasher.finish())
    }

    /// Takes over what a client may send again, as its connection begins.
    pub(crate) fn take(&self, client: &str) -> Taken {
        self.lock().remove(client).unwrap_or_default()
    }

    /// What a client may send again, if its connection has ended out of order.
    pub(crate) fn of(&self, client: &str) -> Taken {
        self.lock().get(client).cloned().unwrap_or_default()
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

    /// Adds what was taken before that which is remembered.
    pub(crate) fn put_before(&self, client: &Arc<str>, mut taken: Taken) {
        taken.extend(self.take(client), usize::MAX);
        self.put(client, taken);
    }

    /// Adds one publish that an earlier process took.
    pub(crate) fn add(&self, client: &str, fingerprint: Fingerprint, count_max: usize) {
        let mut clients = self.lock();
        if clients.len() < self.clients_max || clients.contains_key(client) {
            clients.entry(client.into()).or_default().remember(
                fingerprint,
                Fate::Queued,
                count_max,
            );
        }
    }

    /// Notes that what a connection left on its way has arrived.
    pub(crate) fn settle(&self, client: &str, arrived: &[(Fingerprint, EnvelopeId)]) {
        let mut clients = self.lock();
        let Some(Taken(known)) = clients.get_mut(client) else { return };
        for (_, fate) in known {
            if let Fate::Pending(id) = &fate
                && arrived.iter().any(|(_, one)| one == id)
            {
                *fate = Fate::Queued;
            }
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
        taken.remember(Retransmits::fingerprint(1, "t", b"a"), Fate::Queued, 10);
        all.put(&client, taken);
        let known = all.take("c");
        assert_eq!(known.find(Retransmits::fingerprint(1, "t", b"a")), Some(&Fate::Queued));
        for (packet_id, topic, payload) in [(2, "t", b"a"), (1, "u", b"a"), (1, "t", b"b")] {
            assert_eq!(known.find(Retransmits::fingerprint(packet_id, topic, payload)), None);
        }
        assert_eq!(all.take("c").find(Retransmits::fingerprint(1, "t", b"a")), None, "taken once");
    }

    #[test]
    fn what_was_taken_before_does_not_displace_what_is_known() {
        let all = Retransmits::new(10);
        let client: Arc<str> = "c".into();
        let [earlier, later] = [b"a", b"b"].map(|text| Retransmits::fingerprint(1, "t", text));
        all.add("c", later, 10);
        let mut taken = Taken::default();
        taken.remember(earlier, Fate::Queued, 10);
        all.put_before(&client, taken);
        let known = all.take("c");
        assert!([earlier, later].iter().all(|one| known.find(*one).is_some()));
    }

    #[test]
    fn memory_is_bounded() {
        let all = Retransmits::new(2);
        let mut taken = Taken::default();
        (0..10).for_each(|n| taken.remember((n, 0), Fate::Queued, 3));
        assert_eq!(taken.0, [7, 8, 9].map(|n| ((n, 0), Fate::Queued)));
        (0..10).for_each(|n| all.put(&n.to_string().into(), taken.clone()));
        assert_eq!(all.lock().len(), 2);
    }
}
