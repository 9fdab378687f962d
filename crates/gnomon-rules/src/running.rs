//! The evaluation that runs on this thread.
//!
//! Rhai hands its callbacks nothing of ours, so they find it by the thread; an evaluation never
//! leaves it, and none runs within another.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use gnomon_model::Action;
use rhai::Dynamic;

use crate::engine::Limits;
use crate::memory::Scale;

/// The constants of a rule, by name.
pub(crate) type Constants = Arc<BTreeMap<String, Dynamic>>;

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// What one evaluation has decided so far, and what it may.
#[derive(Debug)]
struct Running {
    deadline_ns: u64,
    actions_max: usize,
    actions: Vec<Action>,
    scale: Scale,
    constants: Constants,
}

/// Begins an evaluation that is given so many bytes.
pub(crate) fn begin(limits: &Limits, deadline_ns: u64, given_bytes: usize, constants: Constants) {
    // Each nested call may hold a copy of what was given.
    let scale = Scale::new(
        limits.value_bytes_max + given_bytes,
        limits.total_bytes_max + given_bytes * limits.call_levels_max,
    );
    let (actions_max, actions) = (limits.actions_max, Vec::new());
    RUNNING.set(Some(Running { deadline_ns, actions_max, actions, scale, constants }));
}

/// Ends it; returns what it decided.
pub(crate) fn end() -> Vec<Action> {
    RUNNING.take().map(|running| running.actions).unwrap_or_default()
}

/// Adds an action.
pub(crate) fn act(action: Action) -> Result<(), String> {
    within(|running| {
        if running.actions.len() >= running.actions_max {
            return Err(format!("more than {} actions", running.actions_max));
        }
        running.actions.push(action);
        Ok(())
    })
    .unwrap_or(Ok(()))
}

/// Whether it has run too long.
pub(crate) fn is_late(now_ns: u64) -> bool {
    within(|running| now_ns > running.deadline_ns).unwrap_or(false)
}

/// Whether it bears these values, see [`Scale::bears`].
pub(crate) fn bears<'a>(level: usize, values: impl Iterator<Item = &'a Dynamic>) -> bool {
    within(|running| running.scale.bears(level, values)).unwrap_or(true)
}

/// The value of a constant of the rule.
pub(crate) fn constant(name: &str) -> Option<Dynamic> {
    within(|running| running.constants.get(name).cloned()).flatten()
}

fn within<T>(on_running: impl FnOnce(&mut Running) -> T) -> Option<T> {
    RUNNING.with_borrow_mut(|running| running.as_mut().map(on_running))
}
