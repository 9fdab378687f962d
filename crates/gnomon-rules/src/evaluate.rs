//! One evaluation of one rule.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gnomon_model::{Action, AlertStatus, Object, Turn};
use rhai::{CallFnOptions, Dynamic, EvalAltResult, Map, Scope};

use crate::check::{ARGUMENTS, DEVICE};
use crate::compile::{Rule, WAKES};
use crate::engine::{Limits, MEMORY, Machine};
use crate::reads::Part;
use crate::value::{to_dynamic_of, to_map, to_map_of, to_object};
use crate::{Wake, memory, running};

/// Why an evaluation failed, and at which line of the rule, if it is known.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
}

/// Actions of a rule and, if it changed, its state.
pub(crate) type Evaluated = Result<(Vec<Action>, Option<Object>), Failure>;

/// What all rules of one run see. Each is given the part that it reads.
pub(crate) struct Snapshot<'a> {
    /// Time of what wakes the rules, Unix milliseconds.
    pub(crate) time_ms: i64,
    turn: &'a Turn<'a>,
    wake: &'a Wake<'a>,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn of(turn: &'a Turn<'a>, wake: &'a Wake<'a>) -> Self {
        let received_at_ms = turn.envelope.received_at_ms;
        let time_ms = match wake {
            Wake::Report { time_ms, .. } | Wake::Event { time_ms, .. } => *time_ms,
            Wake::Presence { .. } | Wake::Request { .. } | Wake::Shadow { .. } => received_at_ms,
        };
        Self { time_ms, turn, wake }
    }

    /// The device, as far as the rule reads it.
    fn this(&self, rule: &Rule) -> Dynamic {
        let (record, device) = (&self.turn.record, self.turn.device());
        let values = |values: &Object, part: &Part| to_map_of(values, part).into();
        read(
            &rule.reads.this,
            |member, part| match member {
                "product" => device.product.as_str().into(),
                "name" => device.device.as_str().into(),
                "online" => record.presence.online.into(),
                "reported" => values(&record.shadow.reported, part),
                "desired" => values(&record.shadow.desired, part),
                "alerts" => self.alerts(rule).into(),
                _ => self.state(rule).map(to_map).unwrap_or_default().into(),
            },
            &DEVICE,
        )
    }

    fn alerts(&self, rule: &Rule) -> rhai::Array {
        let alerts = self.turn.record.alerts.values();
        let own =
            alerts.filter(|alert| alert.rule == rule.name && alert.status == AlertStatus::Active);
        own.map(|alert| alert.alert.as_str().into()).collect()
    }

    fn state(&self, rule: &Rule) -> Option<&'a Object> {
        self.turn.record.rules.get(&rule.name)
    }

    /// What the wake hands to the function, as far as the function reads it.
    fn argument(&self, rule: &Rule) -> Dynamic {
        let part = &rule.reads.arguments[self.wake.index()];
        let (time_ms, names) = (self.time_ms, ARGUMENTS[self.wake.index()]);
        let values = |values: &Object, part: &Part| to_map_of(values, part).into();
        match self.wake {
            Wake::Report { values: reported, .. } => read(
                part,
                |member, part| match member {
                    "values" => values(reported, part),
                    _ => time_ms.into(),
                },
                names,
            ),
            Wake::Event { name, outputs, .. } => read(
                part,
                |member, part| match member {
                    "name" => (*name).into(),
                    "values" => values(outputs, part),
                    _ => time_ms.into(),
                },
                names,
            ),
            Wake::Presence { online, reason } => read(
                part,
                |member, _| match member {
                    "online" => (*online).into(),
                    "reason" => (*reason).into(),
                    _ => time_ms.into(),
                },
                names,
            ),
            Wake::Request { name, body, .. } => read(
                part,
                |member, part| match member {
                    "name" => (*name).into(),
                    "body" => to_dynamic_of(body, part),
                    _ => time_ms.into(),
                },
                names,
            ),
            Wake::Shadow { patch } => read(
                part,
                |member, part| match member {
                    "desired" => values(patch, part),
                    "delta" => values(&self.turn.record.shadow.delta(), part),
                    _ => time_ms.into(),
                },
                names,
            ),
        }
    }

    /// What the rule read, of what it could; for an event all outputs if it names none.
    fn values(&self, rule: &Rule) -> Object {
        let (readable, is_event) = match self.wake {
            Wake::Event { outputs, .. } => (*outputs, true),
            Wake::Report { .. }
            | Wake::Presence { .. }
            | Wake::Request { .. }
            | Wake::Shadow { .. } => (&self.turn.record.shadow.reported, false),
        };
        let read = readable.iter().filter(|(name, _)| rule.reads.names.contains(*name));
        let values: Object = read.map(|(name, value)| (name.clone(), value.clone())).collect();
        if is_event && values.is_empty() { readable.clone() } else { values }
    }
}

/// A map of those members that are read.
fn read(part: &Part, value: impl Fn(&str, &Part) -> Dynamic, members: &[&str]) -> Dynamic {
    let read = members.iter().filter_map(|name| Some((*name, part.member(name)?)));
    let map: Map = read.map(|(name, part)| (name.into(), value(name, part))).collect();
    map.into()
}

/// Evaluates the rule.
pub(crate) fn evaluate(machine: &Machine, rule: &Rule, snapshot: &Snapshot<'_>) -> Evaluated {
    let Machine { engine, limits, .. } = machine;
    let mut this = snapshot.this(rule);
    let argument = snapshot.argument(rule);
    let given_bytes = memory::bytes(&this) + memory::bytes(&argument);
    running::begin(limits, machine.deadline_ns(), given_bytes, rule.constants.clone());
    let called = catch_unwind(AssertUnwindSafe(|| {
        // The constants are known already: nothing is left to evaluate.
        let options = CallFnOptions::new().eval_ast(false).bind_this_ptr(&mut this);
        let wake = WAKES[snapshot.wake.index()];
        let mut scope = Scope::new();
        engine.call_fn_with_options::<Dynamic>(options, &mut scope, &rule.ast, wake, (argument,))
    }));
    let mut actions = running::end();
    match called {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(failure(&error, limits)),
        Err(_) => {
            return Err(at_end("the rule engine panicked"));
        }
    }
    let state = match rule.reads.this.member("state") {
        Some(_) => changed_state(&this, snapshot.state(rule), limits)?,
        None => None,
    };
    if actions.iter().any(|action| matches!(action, Action::Alert { .. } | Action::Clear { .. })) {
        let values = snapshot.values(rule);
        actions.iter_mut().for_each(|action| give_values(action, &values));
    }
    Ok((actions, state))
}

fn give_values(action: &mut Action, read: &Object) {
    match action {
        Action::Alert { values, .. } | Action::Clear { values, .. } => values.clone_from(read),
        Action::Desire { .. }
        | Action::Call { .. }
        | Action::Publish { .. }
        | Action::Respond { .. }
        | Action::Log { .. } => {}
    }
}

/// The rule's state, if it is another than before.
fn changed_state(
    this: &Dynamic,
    before: Option<&Object>,
    limits: &Limits,
) -> Result<Option<Object>, Failure> {
    let device = this.as_map_ref().map_err(|_| at_end("`this` is the device no more"))?;
    let state = device.get("state").and_then(|state| state.as_map_ref().ok());
    let state = state.ok_or_else(|| at_end("`this.state` is no map"))?;
    if state.is_empty() && before.is_none_or(Object::is_empty) {
        return Ok(None);
    }
    let after = to_object(&state, "this.state", limits.state_bytes_max).map_err(at_end)?;
    if before == Some(&after) {
        return Ok(None);
    }
    let bytes = serde_json::to_string(&after).map_or(0, |text| text.len());
    if bytes > limits.state_bytes_max {
        let message = format!("this.state has {bytes} bytes, at most {}", limits.state_bytes_max);
        return Err(at_end(message));
    }
    Ok(Some(after))
}

/// A failure that has no line.
fn at_end(message: impl Into<String>) -> Failure {
    Failure { line: None, message: shorten(message.into()) }
}

fn failure(error: &EvalAltResult, limits: &Limits) -> Failure {
    Failure { line: line(error), message: told(error, limits) }
}

/// What went wrong, for people.
pub(crate) fn told(error: &EvalAltResult, limits: &Limits) -> String {
    match error.unwrap_inner() {
        EvalAltResult::ErrorTerminated(why, _) if why.to_string() == MEMORY => format!(
            "held a value of more than {} bytes, keys counted, or more than {} in all variables",
            limits.value_bytes_max, limits.total_bytes_max
        ),
        EvalAltResult::ErrorTerminated(..) => format!("ran longer than {} ms", limits.deadline_ms),
        EvalAltResult::ErrorTooManyOperations(_) => {
            format!("did more than {} operations", limits.operations_max)
        }
        other => shorten(without_closure_names(&other.to_string())),
    }
}

/// Longest message about a rule, bytes.
const TOLD_BYTES_MAX: usize = 500;

/// Cuts a message to its longest length.
pub(crate) fn shorten(mut message: String) -> String {
    if message.len() > TOLD_BYTES_MAX {
        message.truncate(message.floor_char_boundary(TOLD_BYTES_MAX - "...".len()));
        message.push_str("...");
    }
    message
}

/// Rhai names a closure by a hash, which may differ between machines.
fn without_closure_names(message: &str) -> String {
    let mut parts = message.split("anon$");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        told.push_str("closure");
        told.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    told
}

/// The innermost line that is known: where it failed, else where it was called from.
fn line(error: &EvalAltResult) -> Option<usize> {
    match error {
        EvalAltResult::ErrorInFunctionCall(.., inner, at) => line(inner).or(at.line()),
        other => other.position().line(),
    }
}
