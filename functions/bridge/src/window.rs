//! Messages between the downlink log and the broker, in order.
//!
//! Invariants: a message is in the window from the moment when the log hands it out until the broker
//! has answered it; after a connection has ended, all of them are sent again, oldest first.

use std::collections::{HashMap, VecDeque};

use gnomon_host::downlink::Downlink;

use crate::client::Answer;
use crate::feed::Place;

/// How often the broker may answer "not now" to one message before it is dropped.
const REFUSALS_MAX: u8 = 5;

/// The messages.
#[derive(Default)]
pub(crate) struct Window {
    messages: VecDeque<Pending>,
    /// How many of them, from the front, were asked to be sent on this connection.
    asked: usize,
    /// Those that were asked for and not yet sent, in order.
    unsent: VecDeque<Place>,
    /// Those that were sent and not yet answered, by packet id.
    flying: HashMap<u16, Place>,
}

struct Pending {
    place: Place,
    message: Downlink,
    refusals: u8,
}

/// What becomes of an answered message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is settled.
    Settled(Place),
    /// It is settled, since the broker never takes it.
    Dropped(Place, &'static str),
    /// The broker must be asked again, on another connection, so that the order is kept.
    Again(&'static str),
    /// No such message is on its way.
    Unknown,
}

impl Window {
    /// Messages that were asked to be sent and are not answered.
    pub(crate) fn flying(&self) -> usize {
        self.asked
    }

    pub(crate) fn push(&mut self, place: Place, message: Downlink) {
        self.messages.push_back(Pending { place, message, refusals: 0 });
    }

    /// The connection has ended.
    pub(crate) fn rewind(&mut self) {
        self.asked = 0;
        self.unsent.clear();
        self.flying.clear();
    }

    /// The next message that was not asked to be sent.
    pub(crate) fn next(&self) -> Option<(Place, &Downlink)> {
        self.messages.get(self.asked).map(|pending| (pending.place, &pending.message))
    }

    /// [`Window::next`] was asked to be sent.
    pub(crate) fn asked(&mut self, place: Place) {
        self.asked += 1;
        self.unsent.push_back(place);
    }

    /// The next one was sent; it is settled with that if it is of QoS 0, which has no packet id.
    pub(crate) fn sent(&mut self, packet_id: u16) -> Option<Place> {
        let place = self.unsent.pop_front()?;
        if packet_id != 0 {
            self.flying.insert(packet_id, place);
            return None;
        }
        self.remove(place);
        Some(place)
    }

    /// The broker has answered.
    pub(crate) fn answered(&mut self, packet_id: u16, answer: Answer) -> Outcome {
        let Some(place) = self.flying.remove(&packet_id) else { return Outcome::Unknown };
        match answer {
            Answer::Taken => {
                self.remove(place);
                Outcome::Settled(place)
            }
            Answer::NotNow(reason) if self.refuse(place) < REFUSALS_MAX => Outcome::Again(reason),
            Answer::Refused(reason) | Answer::NotNow(reason) => {
                self.remove(place);
                Outcome::Dropped(place, reason)
            }
        }
    }

    /// Takes a message out, sent or not.
    pub(crate) fn remove(&mut self, place: Place) {
        if let Some(index) = self.messages.iter().position(|pending| pending.place == place) {
            self.messages.remove(index);
            self.asked -= usize::from(index < self.asked);
        }
    }

    fn refuse(&mut self, place: Place) -> u8 {
        let pending = self.messages.iter_mut().find(|pending| pending.place == place);
        pending.map_or(REFUSALS_MAX, |pending| {
            pending.refusals = pending.refusals.saturating_add(1);
            pending.refusals
        })
    }

    /// Topic of a message, for the log.
    pub(crate) fn topic(&self, packet_id: u16) -> String {
        let place = self.flying.get(&packet_id);
        let found = self.messages.iter().find(|pending| Some(&pending.place) == place);
        found.map(|pending| pending.message.topic.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(count: u64) -> Window {
        let mut window = Window::default();
        for number in 1..=count {
            let message = Downlink::new(&number.to_string(), 1, Default::default());
            window.push(Place::of(number), message);
        }
        window
    }

    /// Asks for everything that waits, and has it sent under packet ids from 1.
    fn send(window: &mut Window) -> Vec<String> {
        let mut topics = Vec::new();
        while let Some((place, message)) = window.next() {
            topics.push(message.topic.clone());
            window.asked(place);
        }
        for packet_id in 1..=topics.len() {
            assert_eq!(window.sent(u16::try_from(packet_id).unwrap()), None);
        }
        topics
    }

    #[test]
    fn what_is_not_answered_is_sent_again_in_order() {
        let mut window = window(4);
        assert_eq!(send(&mut window), ["1", "2", "3", "4"]);
        assert_eq!(window.answered(2, Answer::Taken), Outcome::Settled(Place::of(2)));
        assert_eq!(window.answered(2, Answer::Taken), Outcome::Unknown);
        assert_eq!(window.flying(), 3);
        window.rewind();
        assert_eq!(send(&mut window), ["1", "3", "4"]);
    }

    #[test]
    fn a_message_that_is_refused_for_ever_is_dropped() {
        let mut window = window(2);
        for _ in 1..REFUSALS_MAX {
            send(&mut window);
            assert_eq!(window.answered(1, Answer::NotNow("x")), Outcome::Again("x"));
            window.rewind();
        }
        send(&mut window);
        let dropped = Outcome::Dropped(Place::of(1), "x");
        assert_eq!(window.answered(1, Answer::NotNow("x")), dropped);
        let refused = Outcome::Dropped(Place::of(2), "y");
        assert_eq!(window.answered(2, Answer::Refused("y")), refused);
        assert_eq!((window.flying(), window.next().is_none()), (0, true));
    }

    #[test]
    fn a_message_without_an_answer_is_settled_when_sent() {
        let mut window = window(1);
        let (place, _) = window.next().unwrap();
        window.asked(place);
        assert_eq!((window.sent(0), window.flying()), (Some(Place::of(1)), 0));
    }
}
