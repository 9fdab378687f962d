//! What waits in a record for its time: calls for a reply, alerts for somebody to acknowledge them.
//!
//! Invariants: when something is due is a pure function of the record, so that a store can keep an
//! index of it, and a step that comes too early, too late or twice finds out by itself.
//! See: docs/decisions/2026-11-24-due-index.md

use crate::record::PendingCall;
use crate::{DeviceKey, EnvelopeId, Record, id};

/// Longest pause between two reminders of one alert, unless the first one is longer: a day.
const REMIND_PAUSE_MS_MAX: i64 = 86_400_000;
/// First time after which a due that was told is told again, milliseconds; each further one is twice
/// as late.
const TELL_AGAIN_MS: i64 = 30_000;

/// A kind of thing that waits in a record. Each is looked for by itself, and is the affair of one
/// function, so that one that lags holds up no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DueKind {
    /// A call whose deadline passes without a reply.
    Call,
    /// An alert that somebody is to be reminded of.
    Reminder,
}

impl DueKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Call, Self::Reminder];

    /// The kind as a lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Reminder => "reminder",
        }
    }
}

/// When the earliest of each kind is due, Unix milliseconds; none when nothing waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DueTimes {
    /// The first millisecond after the earliest deadline of a call.
    pub call: Option<i64>,
    /// The earliest reminder.
    pub reminder: Option<i64>,
}

impl DueTimes {
    /// The time of one kind.
    #[must_use]
    pub fn of(self, kind: DueKind) -> Option<i64> {
        match kind {
            DueKind::Call => self.call,
            DueKind::Reminder => self.reminder,
        }
    }
}

/// How long things wait. Settings: the same for all functions of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// How long a call by a rule waits for its reply, milliseconds, at least 1.
    pub rule_call_ms: i64,
    /// After how long an alert that nobody acknowledged is told again, milliseconds, at least 1; none
    /// for never.
    pub remind_ms: Option<i64>,
}

impl Default for Waits {
    /// A minute for a reply, and no reminders.
    fn default() -> Self {
        Self { rule_call_ms: 60_000, remind_ms: None }
    }
}

impl Waits {
    /// When an alert that was told at `told_at_ms`, by now `reminders` times again, is to be told
    /// once more: after the configured time, and twice as long each further time, at most a day.
    #[must_use]
    pub fn remind_at(self, told_at_ms: i64, reminders: u32) -> Option<i64> {
        let first = self.remind_ms?;
        let doubled = first.saturating_mul(1 << reminders.min(30));
        Some(told_at_ms.saturating_add(doubled.min(REMIND_PAUSE_MS_MAX.max(first))))
    }
}

impl Record {
    /// When the earliest of each kind is due. Costs a look at each pending call and each alert.
    #[must_use]
    pub fn due_times(&self) -> DueTimes {
        let deadlines = self.calls.values().map(due_of_call);
        let reminders = self.alerts.values().filter_map(|alert| alert.remind_at);
        DueTimes { call: deadlines.min(), reminder: reminders.min() }
    }

    /// Whether the bytes of an encoded record may hold something that waits; false for most, without
    /// decoding them.
    #[must_use]
    pub fn may_wait(encoded: &[u8]) -> bool {
        let holds = |part: &[u8]| encoded.windows(part.len()).any(|window| window == part);
        holds(b"\"deadline_ms\":") || holds(b"\"remind_at\":")
    }

    /// Takes out the calls whose deadline is before `now_ms`, in the order of their ids.
    pub fn time_out_calls(&mut self, now_ms: i64) -> Vec<PendingCall> {
        let is_over = |call: &PendingCall| due_of_call(call) <= now_ms;
        if !self.calls.values().any(is_over) {
            return Vec::new();
        }
        let (over, pending) =
            std::mem::take(&mut self.calls).into_iter().partition(|(_, call)| is_over(call));
        self.calls = pending;
        let over: std::collections::BTreeMap<_, _> = over;
        over.into_values().collect()
    }
}

/// A reply in the very millisecond of the deadline is still in time.
fn due_of_call(call: &PendingCall) -> i64 {
    call.deadline_ms.saturating_add(1)
}

impl EnvelopeId {
    /// The id of the envelope that tells of something due at `at_ms`, as of `now_ms`. The same for
    /// everybody who looks at about the same time, so that a queue takes one of them; another one
    /// when half a minute has passed in vain, again at twice that lateness, and so on: what was
    /// lost with the queue is told again, and a function that is down for an hour finds few of them.
    ///
    /// # Panics
    /// Never: what it is made of is a word.
    #[must_use]
    pub fn of_due(kind: DueKind, device: &DeviceKey, at_ms: i64, now_ms: i64) -> Self {
        let (product, name) = (device.product.as_str(), device.device.as_str());
        // Names are longer than an id and of other characters; two hashes of 64 bits stand for them.
        let (one, other) = (id::fnv1a(&[product, "/", name]), id::fnv1a(&[name, "/", product]));
        let kind = match kind {
            DueKind::Call => 'c',
            DueKind::Reminder => 'r',
        };
        let late = now_ms.saturating_sub(at_ms).max(0) / TELL_AGAIN_MS;
        let round = i64::BITS - late.leading_zeros();
        Self::parse(&format!("due-{at_ms}-{one:016x}{other:016x}-{kind}{round}"))
            .expect("digits and letters are a word")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::CallId;

    fn call(deadline_ms: i64) -> PendingCall {
        PendingCall { service: "defrost".to_owned(), request: None, rule: None, deadline_ms }
    }

    proptest! {
        #[test]
        fn what_is_taken_out_is_what_was_due(
            deadlines in proptest::collection::vec(0..20_i64, 0..6),
            now_ms in 0..22_i64,
        ) {
            let mut record = Record::default();
            for (id, deadline_ms) in (0..).zip(&deadlines) {
                record.calls.insert(CallId(id), call(*deadline_ms));
            }
            prop_assert_eq!(record.due_times().call, deadlines.iter().min().map(|one| one + 1));
            prop_assert_eq!(Record::may_wait(&record.encode()), !deadlines.is_empty());
            let over = record.time_out_calls(now_ms);
            prop_assert_eq!(over.len(), deadlines.iter().filter(|one| **one < now_ms).count());
            prop_assert_eq!(over.len() + record.calls.len(), deadlines.len());
            prop_assert!(record.due_times().call.is_none_or(|at_ms| at_ms > now_ms));
            prop_assert!(record.time_out_calls(now_ms).is_empty());
        }
    }

    #[test]
    fn pauses_between_reminders_double_up_to_a_day() {
        let waits = Waits { remind_ms: Some(900_000), ..Waits::default() };
        let pauses: Vec<_> = (0..9)
            .map(|sent| waits.remind_at(7, sent).unwrap() - 7)
            .map(|ms| ms / 60_000)
            .collect();
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 960, 1440, 1440]);
        assert_eq!(waits.remind_at(0, u32::MAX), Some(86_400_000));
        let rare = Waits { remind_ms: Some(2 * 86_400_000), ..Waits::default() };
        assert_eq!(rare.remind_at(0, 5), Some(2 * 86_400_000));
        assert_eq!(Waits::default().remind_at(0, 0), None);
    }

    #[test]
    fn the_id_of_a_due_is_one_for_all_who_look_and_changes_when_it_is_late() {
        let (one, other) =
            (DeviceKey::parse("p", "a").unwrap(), DeviceKey::parse("p", "b").unwrap());
        let id = |device, at_ms, now_ms| EnvelopeId::of_due(DueKind::Call, device, at_ms, now_ms);
        let at_ms = 1_700_000_000_000;
        let first = id(&one, at_ms, at_ms);
        assert_eq!(first, id(&one, at_ms, at_ms + 29_999));
        let again: Vec<_> = [30_000, 60_000, 119_999, 120_000, 3_600_000]
            .map(|late| id(&one, at_ms, at_ms + late).to_string().pop().unwrap())
            .into();
        assert_eq!(again, ['1', '2', '2', '3', '7']);
        let others = [
            id(&other, at_ms, at_ms),
            id(&one, at_ms + 1, at_ms),
            EnvelopeId::of_due(DueKind::Reminder, &one, at_ms, at_ms),
        ];
        assert!(others.iter().all(|id| *id != first));
        // The longest there is.
        let name = DeviceKey::parse(&"p".repeat(32), &"d".repeat(64)).unwrap();
        let _ = EnvelopeId::of_due(DueKind::Reminder, &name, i64::MIN, i64::MAX);
    }
}
