//! Merge: a patch into one section of a document, together with the times of its leaves.
//!
//! Invariants: state and times change together, so that they keep the same shape.
//! See: `wire/aws.md` 1.3. Recursion is as deep as the patch, which its reader has bounded
//! ([`crate::json::DEPTH_MAX`]).

use serde_json::Value;

use super::{Patch, Time, Times};
use crate::Object;

/// The time that leaves get, and which stored ones stand above it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    at_ms: i64,
    /// A stored leaf of a later time is kept.
    beats_ms: i64,
}

impl Stamp {
    /// Leaves stored later than `time_ms` are kept.
    pub(super) fn unless_newer(time_ms: i64) -> Self {
        Self { at_ms: time_ms, beats_ms: time_ms }
    }

    /// No stored leaf is kept.
    pub(super) fn last_write(at_ms: i64) -> Self {
        Self { at_ms, beats_ms: i64::MAX }
    }

    fn is_late_for(self, time: &Time) -> bool {
        time.newest_ms() > Some(self.beats_ms)
    }
}

/// What became of a value: all of it taken, all of it late, or some of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) taken: bool,
    pub(super) late: bool,
}

impl Fate {
    const TAKEN: Self = Self { taken: true, late: false };
    const LATE: Self = Self { taken: false, late: true };

    /// The fate of an object: that of all its members; an empty one is taken.
    fn of_members(fates: impl Iterator<Item = Self>) -> Self {
        fates
            .reduce(|all, one| Self { taken: all.taken | one.taken, late: all.late | one.late })
            .unwrap_or(Self::TAKEN)
    }
}

/// Merges one section's part of an update.
pub(super) fn merge_patch(state: &mut Object, times: &mut Times, patch: &Patch, stamp: Stamp) {
    match patch {
        Patch::Keep => {}
        Patch::Clear => {
            state.clear();
            times.clear();
        }
        Patch::Merge(patch) => {
            merge_object(state, times, patch, stamp);
        }
    }
}

pub(super) fn merge_object(
    state: &mut Object,
    times: &mut Times,
    patch: &Object,
    stamp: Stamp,
) -> Fate {
    let fates = patch.iter().map(|(key, value)| merge_member(state, times, key, value, stamp));
    Fate::of_members(fates)
}

/// Merges the member `key`; `null` deletes it.
pub(super) fn merge_member(
    state: &mut Object,
    times: &mut Times,
    key: &str,
    value: &Value,
    stamp: Stamp,
) -> Fate {
    let (Some(old), Some(time)) = (state.get_mut(key), times.get_mut(key)) else {
        return add(state, times, key, value, stamp);
    };
    match (old, time, value) {
        (old, time, Value::Null) => {
            let fate = prune(old, time, stamp);
            if !fate.late {
                state.remove(key);
                times.remove(key);
            }
            fate
        }
        (Value::Object(old), Time::Object(times), Value::Object(new)) => {
            merge_object(old, times, new, stamp)
        }
        (old, time, new) => replace(old, time, new, stamp),
    }
}

fn add(state: &mut Object, times: &mut Times, key: &str, value: &Value, stamp: Stamp) -> Fate {
    if value.is_null() {
        state.remove(key);
        times.remove(key);
        return Fate::TAKEN;
    }
    let value = without_nulls(value);
    times.insert(key.to_owned(), Time::of(&value, stamp.at_ms));
    state.insert(key.to_owned(), value);
    Fate::TAKEN
}

fn replace(old: &mut Value, time: &mut Time, new: &Value, stamp: Stamp) -> Fate {
    if stamp.is_late_for(time) {
        return Fate::LATE;
    }
    *old = without_nulls(new);
    *time = Time::of(old, stamp.at_ms);
    Fate::TAKEN
}

/// Removes all members that hold no newer leaf. The caller removes the value itself when its fate
/// is not late.
fn prune(value: &mut Value, time: &mut Time, stamp: Stamp) -> Fate {
    let (Value::Object(members), Time::Object(times)) = (value, &mut *time) else {
        return if stamp.is_late_for(time) { Fate::LATE } else { Fate::TAKEN };
    };
    let mut fates = Vec::with_capacity(members.len());
    members.retain(|key, member| {
        let fate = times.get_mut(key).map_or(Fate::TAKEN, |time| prune(member, time, stamp));
        if !fate.late {
            times.remove(key);
        }
        fates.push(fate);
        fate.late
    });
    Fate::of_members(fates.into_iter())
}

/// Copies a value without members that are null. Arrays are opaque, so theirs stay.
fn without_nulls(value: &Value) -> Value {
    let Value::Object(members) = value else { return value.clone() };
    let kept = members.iter().filter(|(_, member)| !member.is_null());
    Value::Object(kept.map(|(key, member)| (key.clone(), without_nulls(member))).collect())
}
