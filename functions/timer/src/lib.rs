//! What is due becomes an envelope, for the function whose affair it is.
//!
//! This file decides what to tell; `watching` looks and tells.
//!
//! Invariants: what is told depends on the index alone, and the id of what is told on what is due
//! alone, so that of several timers, or of one before and after its death, the queue takes one
//! envelope. A step finds out by itself whether something is due.
//! See: docs/decisions/2026-11-24-due-index.md

use std::collections::HashSet;

use gnomon_host::port::{Log, Message, Stream};
use gnomon_model::{DeviceKey, DueKind, Envelope, EnvelopeId, What};

mod watching;

pub use crate::watching::{GROUP, run};

/// Most devices that one look at one kind finds. While so many wait for a function that lags, no more
/// are told of: it has enough to do.
pub const FOUND_MAX: usize = 1000;

/// The stream of the function whose affair a kind is.
///
/// A deadline goes where replies go: a reply that came in time and waits in the log comes before it.
fn stream(kind: DueKind) -> Stream {
    match kind {
        DueKind::Call => Stream::Calls,
        DueKind::Reminder => Stream::Alerts,
    }
}

/// What one look found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Devices and since when something is due in their records, for each kind that could be looked
    /// at.
    pub due: Vec<(DueKind, Vec<(DeviceKey, i64)>)>,
}

/// Remembers what was told and is still due, at most [`FOUND_MAX`] of each kind.
#[derive(Debug, Default)]
pub struct Timer {
    told: HashSet<EnvelopeId>,
}

impl Timer {
    /// The messages for what was found at `now_ms` and was not told yet, for a queue of so many
    /// partitions. They count as told once [`Timer::told`] says so.
    #[must_use]
    pub fn tell(&self, found: &Found, now_ms: i64, partitions: u16) -> Vec<Message> {
        let envelopes = envelopes(found, now_ms);
        let news = envelopes.filter(|(_, envelope)| !self.told.contains(&envelope.id));
        news.map(|(kind, envelope)| message(stream(kind), envelope, partitions)).collect()
    }

    /// Notes that the queue has everything that was found at `now_ms`, and forgets what is no longer
    /// due.
    pub fn told(&mut self, found: &Found, now_ms: i64) {
        self.told = envelopes(found, now_ms).map(|(_, envelope)| envelope.id).collect();
    }
}

fn envelopes(found: &Found, now_ms: i64) -> impl Iterator<Item = (DueKind, Envelope)> {
    let each = found.due.iter().flat_map(|(kind, due)| due.iter().map(|one| (*kind, one)));
    each.map(move |(kind, (device, at_ms))| {
        let (id, device) = (EnvelopeId::of_due(kind, device, *at_ms, now_ms), device.clone());
        let what = What::Due { at_ms: *at_ms };
        (kind, Envelope { id, device, received_at_ms: now_ms, what })
    })
}

fn message(stream: Stream, envelope: Envelope, partitions: u16) -> Message {
    let log = Log { stream, partition: envelope.device.partition(partitions) };
    let (id, body) = (envelope.id.to_string(), envelope.encode());
    Message { log, id, device: Some(envelope.device), body }
}

/// How late the latest of what was found is, milliseconds; 0 when nothing is due.
#[must_use]
pub fn latest_ms(found: &Found, now_ms: i64) -> i64 {
    let times = found.due.iter().flat_map(|(_, due)| due.iter().map(|(_, at_ms)| now_ms - at_ms));
    times.max().unwrap_or(0)
}

/// Whether this member of all that are there looks; the others stand by.
#[must_use]
pub fn leads(member: &str, members: &[String]) -> bool {
    members.iter().min().is_some_and(|first| first == member)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_700_000_000_000;

    fn key(name: &str) -> DeviceKey {
        DeviceKey::parse("coldroom", name).unwrap()
    }

    fn found(calls: &[(&str, i64)], reminders: &[(&str, i64)]) -> Found {
        let due = |of: &[(&str, i64)]| of.iter().map(|(name, at)| (key(name), *at)).collect();
        Found { due: vec![(DueKind::Call, due(calls)), (DueKind::Reminder, due(reminders))] }
    }

    #[test]
    fn what_is_due_goes_to_the_function_whose_affair_it_is() {
        let messages = Timer::default().tell(&found(&[("a", T)], &[("b", T - 5)]), T + 7, 64);
        for (message, (stream, name, at_ms)) in
            messages.iter().zip([(Stream::Calls, "a", T), (Stream::Alerts, "b", T - 5)])
        {
            let log = Log { stream, partition: key(name).partition(64) };
            let envelope = Envelope::decode(&message.body).unwrap();
            assert_eq!((message.log, &message.id), (log, &envelope.id.to_string()));
            assert_eq!(message.device.as_ref(), Some(&key(name)));
            assert_eq!((&envelope.device, envelope.received_at_ms), (&key(name), T + 7));
            assert_eq!(envelope.what, What::Due { at_ms });
        }
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn what_stays_due_is_told_once_and_again_when_it_is_late() {
        let mut timer = Timer::default();
        let one = found(&[("a", T)], &[]);
        let ids = |timer: &Timer, found: &Found, now_ms: i64| -> Vec<String> {
            timer.tell(found, now_ms, 4).into_iter().map(|message| message.id).collect()
        };
        let first = ids(&timer, &one, T);
        assert_eq!(ids(&timer, &one, T + 1), first, "until the queue has it");
        timer.told(&one, T + 1);
        assert_eq!(ids(&timer, &one, T + 29_999), [""; 0]);
        let two = found(&[("a", T), ("b", T + 3)], &[]);
        assert_eq!(ids(&timer, &two, T + 300).len(), 1);
        let again = ids(&timer, &one, T + 30_000);
        assert!(again.len() == 1 && again != first);
        timer.told(&found(&[], &[]), T + 30_001);
        assert_eq!(timer.told.len(), 0);
        assert_eq!(ids(&Timer::default(), &one, T + 500), first, "another timer, the same id");
    }

    #[test]
    fn one_of_all_that_are_there_leads() {
        let members = ["c", "a", "b"].map(str::to_owned);
        let leading: Vec<_> = members.iter().filter(|one| leads(one, &members)).collect();
        assert_eq!(leading, ["a"]);
        assert!(!leads("a", &[]) && !leads("", &members));
    }

    #[test]
    fn lateness_is_that_of_the_earliest() {
        assert_eq!(latest_ms(&found(&[("a", T)], &[("b", T - 9)]), T + 1), 10);
        assert_eq!(latest_ms(&Found::default(), T), 0);
    }
}
