//! Recognises a message that the broker sends again because it did not see its acknowledgement.
//!
//! A broker sends again, with the DUP flag and under the same packet id, only what it has sent in
//! this session and not seen acknowledged. So of a message with that flag, and of no other, the
//! newest one that came under its packet id is compared: if it had the same topic and payload, it
//! was the first copy. A new message under a used packet id has no flag and is never absorbed.
//!
//! The one way to be wrong: the broker used the packet id anew, that message did not reach us before
//! the connection broke, and it equals the earlier one byte for byte. Brokers count packet ids up to
//! 65,535 before they use one again; far fewer are remembered.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};

/// Most messages that are remembered: more than a broker sends without an acknowledgement.
const MESSAGES_MAX: usize = 2048;

/// Messages of this session that were taken, the newest of each packet id.
#[derive(Default)]
pub(crate) struct Taken {
    hasher: RandomState,
    /// Content and number of the newest message.
    newest: HashMap<u16, (u64, u64)>,
    /// Packet ids in the order in which they came, with the numbers of their messages; one that
    /// came anew is in it again.
    order: VecDeque<(u16, u64)>,
    count: u64,
}

impl Taken {
    /// Remembers a message, and forgets the oldest beyond the bound.
    pub(crate) fn remember(&mut self, packet_id: u16, topic: &str, payload: &[u8]) {
        self.count += 1;
        self.newest.insert(packet_id, (self.content(topic, payload), self.count));
        self.order.push_back((packet_id, self.count));
        if self.order.len() > MESSAGES_MAX
            && let Some((oldest, number)) = self.order.pop_front()
            && self.newest.get(&oldest).is_some_and(|(_, newest)| *newest == number)
        {
            self.newest.remove(&oldest);
        }
    }

    /// Whether the newest message under this packet id is this one.
    pub(crate) fn has(&self, packet_id: u16, topic: &str, payload: &[u8]) -> bool {
        let newest = self.newest.get(&packet_id);
        newest.is_some_and(|(content, _)| *content == self.content(topic, payload))
    }

    /// Forgets everything: the broker has a new session, and sends nothing of the old one again.
    pub(crate) fn clear(&mut self) {
        self.newest.clear();
        self.order.clear();
    }

    fn content(&self, topic: &str, payload: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(topic.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(payload);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_message_of_a_packet_id_is_known() {
        let mut taken = Taken::default();
        taken.remember(1, "t", b"a");
        assert!(taken.has(1, "t", b"a"));
        for (packet_id, topic, payload) in [(2, "t", b"a"), (1, "u", b"a"), (1, "t", b"b")] {
            assert!(!taken.has(packet_id, topic, payload), "{packet_id} {topic} {payload:?}");
        }
        taken.remember(1, "t", b"b");
        assert!(!taken.has(1, "t", b"a") && taken.has(1, "t", b"b"));
        taken.clear();
        assert!(!taken.has(1, "t", b"b"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut taken = Taken::default();
        taken.remember(1, "t", b"first");
        taken.remember(2, "t", b"same");
        let many = u16::try_from(MESSAGES_MAX).unwrap();
        (3..many + 2).for_each(|packet_id| taken.remember(packet_id, "t", b"x"));
        assert!(!taken.has(1, "t", b"first") && taken.has(2, "t", b"same"));
        taken.remember(2, "t", b"same");
        assert!(taken.has(2, "t", b"same"), "the newer one is remembered");
        assert!(taken.newest.len() <= MESSAGES_MAX && taken.order.len() == MESSAGES_MAX);
    }
}
