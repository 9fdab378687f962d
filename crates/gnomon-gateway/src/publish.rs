//! Publishes: recognised if they come again, taken in, and acknowledged once the queue has them.

use std::sync::Arc;

use gnomon_dialect::topic::valid_topic;
use gnomon_host::port::{Message, QueueError};

use crate::idle::LeftWill;
use crate::intake::Intake;
use crate::link::{Identity, Link};
use crate::request::{Goodbye, Publish, PublishAnswer, Will};
use crate::retransmit::{Fate, Fingerprint, Retransmits};
use crate::switchboard::Switchboard;

/// Messages on their way to the queue, with how the publishes that made them will be answered.
#[derive(Default)]
pub(crate) struct Batch {
    /// What to append.
    pub(crate) entries: Vec<Entry>,
    /// Packet id, the answer if the queue takes the messages, and what to remember then.
    answers: Vec<(u16, PublishAnswer, Option<Fingerprint>)>,
}

/// One message of a batch.
pub(crate) struct Entry {
    pub(crate) message: Message,
    pub(crate) origin: Origin,
}

/// Who would send a message again that the queue refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The client, once its publish is answered.
    Publish,
    /// Nobody but the gateway.
    Gateway,
}

/// What to do after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Send the next one.
    Next,
    /// Append the same one again, after a pause: MQTT 3.1.1 has no word for "not now", so its
    /// client waits.
    Again,
    /// Send the next one after a pause: it begins with what the gateway itself has to say.
    Pause,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.answers.is_empty()
    }

    /// The messages, to be appended.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.entries.iter().map(|entry| entry.message.clone()).collect()
    }
}

impl Link {
    /// Whether more may be read: not while too many publishes wait for the queue.
    pub(crate) fn may_read(&self) -> bool {
        let count_max = usize::from(self.board.options.pending_publishes_max);
        // One publish makes at most two messages; those of QoS 0 have no answer to count.
        !self.wire.ended
            && self.arriving.is_none()
            && self.next.answers.len() < count_max
            && self.next.entries.len() < 2 * count_max
    }

    pub(crate) fn publish(&mut self, publish: Publish, now_ms: i64) {
        let Some(client) = &self.client else { return self.wire.goodbye(Goodbye::ProtocolError) };
        let publisher = client.id.clone();
        let answer = check(&client.identity, &publish.topic);
        if answer != PublishAnswer::Accepted {
            metrics::counter!("gnomon_mqtt_publishes_refused_total").increment(1);
            self.tell_refused(&publish.topic);
            let refused = publish.packet_id.map(|packet_id| (packet_id, answer, None));
            return self.next.answers.extend(refused);
        }
        let Publish { topic, payload, qos, is_again, packet_id, properties } = publish;
        let mut id = self.board.id();
        if let Some(packet_id) = packet_id {
            let print = Retransmits::fingerprint(packet_id, &topic, &payload);
            if is_again {
                match self.recognise(print) {
                    Some(Fate::Queued) => {
                        return self.next.answers.push((packet_id, answer, None));
                    }
                    Some(Fate::Pending(earlier)) => id = earlier,
                    None => {}
                }
            }
            let Some(client) = &mut self.client else { return };
            if is_again && client.pending.iter().any(|(one, _)| *one == print) {
                // On its way on this very connection: answered with the first copy.
                return;
            }
            client.pending.push((print, id.clone()));
            self.next.answers.push((packet_id, answer, Some(print)));
        }
        let intake = Intake { topic, payload, qos, properties, packet_id, id };
        self.take_in(intake, &publisher, now_ms);
    }

    /// What became of the first copy of a publish that comes again, if there was one on an earlier
    /// connection or if this one took it.
    fn recognise(&mut self, print: Fingerprint) -> Option<Fate> {
        let client = self.client.as_mut()?;
        if client.known.find(print).is_none() {
            // The connection that this one replaced may have ended only now.
            let earlier = self.board.retransmits.take(&client.id);
            client.known.extend(earlier, usize::MAX);
        }
        let fate = client.taken.find(print).or_else(|| client.known.find(print))?.clone();
        if fate == Fate::Queued {
            metrics::counter!("gnomon_mqtt_retransmitted_total").increment(1);
            // The acknowledgement may be lost once more.
            client.taken.remember(
                print,
                Fate::Queued,
                self.board.options.pending_publishes_max.into(),
            );
        }
        Some(fate)
    }

    /// Publishes a will. It is authorised now, not when it was left: a right may have been revoked
    /// since.
    pub(crate) fn publish_will(&mut self, left: LeftWill, now_ms: i64) {
        let LeftWill { client, identity, will } = left;
        if check(&identity, &will.topic) == PublishAnswer::Accepted {
            let Will { topic, payload, qos, properties, .. } = will;
            let id = self.board.id();
            let intake = Intake { topic, payload, qos, properties, packet_id: None, id };
            self.take_in(intake, &client, now_ms);
        }
    }

    /// Answers what needs no queue, unless something before it waits for the queue.
    pub(crate) fn answer_at_once(&mut self) {
        if !self.appending
            && self.next.entries.is_empty()
            && self.next.answers.iter().all(|(.., print)| print.is_none())
        {
            for (packet_id, answer, _) in std::mem::take(&mut self.next.answers) {
                self.wire.answer_publish(packet_id, answer);
            }
        }
    }

    /// Takes in what became of a batch. One that is to be appended again is left as it is.
    pub(crate) fn appended(&mut self, batch: &mut Batch, result: &Result<(), QueueError>) -> After {
        let failed = match result {
            Ok(()) => None,
            Err(QueueError::Closed) if !self.wire.is_v5() => {
                // Its client keeps the publishes for its next connection.
                batch.entries.clear();
                self.wire.goodbye(Goodbye::ShuttingDown);
                return After::Next;
            }
            Err(_) if !self.wire.is_v5() => return After::Again,
            Err(QueueError::Full { .. }) => Some(PublishAnswer::QuotaExceeded),
            Err(
                QueueError::Unavailable { .. } | QueueError::TooLarge { .. } | QueueError::Closed,
            ) => Some(PublishAnswer::Failed),
        };
        self.appending = false;
        for (packet_id, answer, fingerprint) in batch.answers.drain(..) {
            if let Some(print) = fingerprint {
                self.is_done(print, failed.is_none());
            }
            let accepted = answer == PublishAnswer::Accepted;
            self.wire.answer_publish(packet_id, failed.filter(|_| accepted).unwrap_or(answer));
        }
        let keeps_trying = failed.is_some() && !matches!(result, Err(QueueError::Closed));
        batch.entries.retain(|entry| keeps_trying && entry.origin == Origin::Gateway);
        if batch.entries.is_empty() {
            return After::Next;
        }
        batch.entries.append(&mut self.next.entries);
        std::mem::swap(&mut batch.entries, &mut self.next.entries);
        After::Pause
    }

    /// A publish is no longer on its way: the queue has it, or the client was told that it has not.
    fn is_done(&mut self, print: Fingerprint, queued: bool) {
        let Some(client) = &mut self.client else { return };
        client.pending.retain(|(one, _)| *one != print);
        if queued {
            let count_max = self.board.options.pending_publishes_max.into();
            client.taken.remember(print, Fate::Queued, count_max);
        }
    }
}

/// The messages of wills whose connections are long gone.
pub(crate) fn messages_of_wills(
    board: &Arc<Switchboard>,
    wills: Vec<LeftWill>,
    now_ms: i64,
) -> Vec<Message> {
    let mut link = Link::new(board.clone());
    wills.into_iter().for_each(|left| link.publish_will(left, now_ms));
    link.next.messages()
}

/// Whether a client may publish on a topic.
fn check(identity: &Identity, topic: &str) -> PublishAnswer {
    if !valid_topic(topic) {
        return PublishAnswer::TopicInvalid;
    }
    let allowed = match identity {
        Identity::Anyone => !topic.starts_with('$'),
        Identity::Device(_, device) => gnomon_dialect::may_publish(device, topic),
    };
    if allowed { PublishAnswer::Accepted } else { PublishAnswer::NotAuthorized }
}
