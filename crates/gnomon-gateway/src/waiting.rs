//! Messages that wait for one client: in order, bounded by count and by bytes.

use std::collections::VecDeque;

use gnomon_host::downlink::Downlink;
use gnomon_host::port::sessions::SessionChange;

use crate::options::GatewayOptions;
use crate::session::{Keep, Queued, Session};

/// What a message costs beside its own bytes: the entry in the queue and the allocations of its
/// parts, bytes.
const OVERHEAD_BYTES: usize = 256;

/// Messages that wait, the oldest first, and how many bytes they are.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    messages: VecDeque<Queued>,
    bytes: usize,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn push_back(&mut self, queued: Queued) {
        self.bytes += bytes_of(&queued.message);
        self.messages.push_back(queued);
    }

    pub(crate) fn push_front(&mut self, queued: Queued) {
        self.bytes += bytes_of(&queued.message);
        self.messages.push_front(queued);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Queued> {
        let queued = self.messages.pop_front()?;
        self.bytes -= bytes_of(&queued.message);
        Some(queued)
    }

    /// Leaves out messages of QoS 0: nobody is promised them once the connection is over.
    pub(crate) fn leave_out_qos_0(&mut self) {
        self.messages.retain(|queued| queued.qos > 0);
        self.bytes = self.messages.iter().map(|queued| bytes_of(&queued.message)).sum();
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Queued> {
        self.messages.iter_mut()
    }

    /// Whether one more message fits. The first always does: a bound smaller than the largest
    /// message would otherwise keep it from everybody.
    fn has_room(&self, message: &Downlink, count_max: usize, bytes_max: usize) -> bool {
        let bytes = self.bytes.saturating_add(bytes_of(message));
        self.messages.is_empty() || self.messages.len() < count_max && bytes <= bytes_max
    }
}

impl FromIterator<Queued> for Waiting {
    fn from_iter<I: IntoIterator<Item = Queued>>(messages: I) -> Self {
        let mut waiting = Self::default();
        messages.into_iter().for_each(|queued| waiting.push_back(queued));
        waiting
    }
}

/// Bytes that a message holds in memory, about. Those that several sessions share count for each.
fn bytes_of(message: &Downlink) -> usize {
    let of = &message.properties;
    let texts = [&of.content_type, &of.response_topic, &message.publisher];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let user: usize = of.user.iter().map(|(key, value)| key.len() + value.len()).sum();
    let correlation = of.correlation.as_ref().map_or(0, Vec::len);
    OVERHEAD_BYTES + message.topic.len() + message.payload.len() + texts + user + correlation
}

impl Session {
    /// Puts a message behind those that wait. Returns what must be kept or dropped on disk.
    pub(crate) fn enqueue(
        &mut self,
        client: &str,
        mut queued: Queued,
        options: &GatewayOptions,
    ) -> Vec<Keep> {
        let bytes_max = options.waiting_bytes_max;
        let Some(attached) = &self.attached else {
            let mut keeps = self.make_room(client, &queued.message, options);
            keeps.extend(queued.keep(client));
            self.queue.push_back(queued);
            return keeps;
        };
        if !self.queue.has_room(&queued.message, options.online_messages_max, bytes_max) {
            self.tell_dropped(client, "slow client");
            return Vec::new();
        }
        let lags = self.queue.len() >= options.lagging_messages && queued.receipt.is_some();
        let keeps = if lags { queued.keep(client) } else { None };
        self.queue.push_back(queued);
        attached.waker.notify_one();
        keeps.into_iter().collect()
    }

    /// Drops the oldest messages of a client that is away until one more fits.
    fn make_room(
        &mut self,
        client: &str,
        message: &Downlink,
        options: &GatewayOptions,
    ) -> Vec<Keep> {
        let (count_max, bytes_max) = (options.offline_messages_max, options.waiting_bytes_max);
        let mut keeps = Vec::new();
        while !self.queue.has_room(message, count_max, bytes_max) {
            let Some(oldest) = self.queue.pop_front() else { break };
            let change = SessionChange::Drop { client: client.to_owned(), key: oldest.key };
            keeps.push(Keep { change, receipt: oldest.receipt });
            self.tell_dropped(client, "offline queue full");
        }
        keeps
    }

    /// Counts a message that is dropped; the first since the client last had everything is told.
    fn tell_dropped(&mut self, client: &str, reason: &'static str) {
        metrics::counter!("gnomon_mqtt_dropped_total", "reason" => reason).increment(1);
        if !std::mem::replace(&mut self.is_dropping, true) {
            let (messages, bytes) = (self.queue.len(), self.queue.bytes);
            tracing::warn!(client, reason, messages, bytes, "messages for a client are dropped");
        }
    }
}
