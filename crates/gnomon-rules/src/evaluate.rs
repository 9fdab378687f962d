//! One evaluation of one rule.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gnomon_model::{Action, AlertStatus, Object, Turn};
use rhai::{CallFnOptions, Dynamic, Engine, EvalAltResult, Map, Scope};

use crate::compile::{Rule, WAKES};
use crate::engine::{Limits, Running};
use crate::value::{to_dynamic, to_map, to_object};
use crate::{Clock, Wake};

/// Why an evaluation failed, and at which line of the rule, if it is known.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
}

/// What all rules of one run see, taken from the record once.
pub(crate) struct Snapshot {
    /// Time of what wakes the rules, Unix milliseconds.
    pub(crate) time_ms: i64,
    /// The device, but for the rule's own state and alerts.
    device: Map,
    /// Rule and name of each active alert.
    alerts: Vec<(String, String)>,
    /// What the wake hands to the function.
    argument: Dynamic,
    /// Values that an alert may hold: those of the event, else what is reported.
    readable: Object,
}

impl Snapshot {
    pub(crate) fn of(turn: &Turn<'_>, wake: &Wake<'_>) -> Self {
        let record = &turn.record;
        let received_at_ms = turn.envelope.received_at_ms;
        let time_ms = match wake {
            Wake::Report { time_ms, .. } | Wake::Event { time_ms, .. } => *time_ms,
            Wake::Presence { .. } | Wake::Request { .. } | Wake::Shadow { .. } => received_at_ms,
        };
        let readable = match wake {
            Wake::Event { outputs, .. } => (*outputs).clone(),
            Wake::Report { .. }
            | Wake::Presence { .. }
            | Wake::Request { .. }
            | Wake::Shadow { .. } => record.shadow.reported.clone(),
        };
        let device = Map::from([
            ("product".into(), turn.device().product.as_str().into()),
            ("name".into(), turn.device().device.as_str().into()),
            ("online".into(), record.presence.online.into()),
            ("reported".into(), to_map(&record.shadow.reported).into()),
            ("desired".into(), to_map(&record.shadow.desired).into()),
        ]);
        let alerts = record.alerts.values().filter(|alert| alert.status == AlertStatus::Active);
        let alerts = alerts.map(|alert| (alert.rule.clone(), alert.alert.clone())).collect();
        Self { time_ms, device, alerts, argument: argument(turn, wake, time_ms), readable }
    }

    fn this(&self, rule: &Rule, state: Option<&Object>) -> Dynamic {
        let mut this = self.device.clone();
        let own = self.alerts.iter().filter(|(by, _)| *by == rule.name);
        let alerts: rhai::Array = own.map(|(_, alert)| alert.as_str().into()).collect();
        this.insert("alerts".into(), alerts.into());
        this.insert("state".into(), state.map(to_map).unwrap_or_default().into());
        this.into()
    }

    /// What the rule read, of what it could; for an event all outputs if it names none.
    fn values(&self, rule: &Rule, wake: &Wake<'_>) -> Object {
        let read = |(name, _): &(&String, _)| rule.reads.names.contains(*name);
        let values: Object = self
            .readable
            .iter()
            .filter(read)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        match wake {
            Wake::Event { .. } if values.is_empty() => self.readable.clone(),
            _ => values,
        }
    }
}

fn argument(turn: &Turn<'_>, wake: &Wake<'_>, time_ms: i64) -> Dynamic {
    let mut argument = match wake {
        Wake::Report { values, .. } => Map::from([("values".into(), to_map(values).into())]),
        Wake::Event { name, outputs, .. } => {
            Map::from([("name".into(), (*name).into()), ("values".into(), to_map(outputs).into())])
        }
        Wake::Presence { online, reason } => {
            Map::from([("online".into(), (*online).into()), ("reason".into(), (*reason).into())])
        }
        Wake::Request { name, body, .. } => {
            Map::from([("name".into(), (*name).into()), ("body".into(), to_dynamic(body))])
        }
        Wake::Shadow { patch } => Map::from([
            ("desired".into(), to_map(patch).into()),
            ("delta".into(), to_map(&turn.record.shadow.delta()).into()),
        ]),
    };
    argument.insert("time".into(), time_ms.into());
    argument.into()
}

/// Evaluates the rule. Returns its actions and, if it changed, its state.
pub(crate) fn evaluate(
    engine: &Engine,
    limits: &Limits,
    clock: Clock,
    rule: &Rule,
    snapshot: &Snapshot,
    wake: &Wake<'_>,
    state: Option<&Object>,
) -> Result<(Vec<Action>, Option<Object>), Failure> {
    let mut this = snapshot.this(rule, state);
    let deadline_ns = clock().saturating_add(limits.deadline_ms * 1_000_000);
    Running::begin(deadline_ns, limits.actions_max);
    let called = catch_unwind(AssertUnwindSafe(|| {
        // The optimiser has put the constants into the functions: nothing is left to evaluate.
        let options = CallFnOptions::new().eval_ast(false).bind_this_ptr(&mut this);
        let argument = (snapshot.argument.clone(),);
        let mut scope = Scope::new();
        engine.call_fn_with_options::<Dynamic>(
            options,
            &mut scope,
            &rule.ast,
            WAKES[wake.index()],
            argument,
        )
    }));
    let mut actions = Running::end();
    match called {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(failure(&error, limits)),
        Err(_) => {
            return Err(Failure { line: None, message: "the rule engine panicked".to_owned() });
        }
    }
    let state = changed_state(&this, state, limits)?;
    if !actions.is_empty() {
        let values = snapshot.values(rule, wake);
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
    let at_end = |message: String| Failure { line: None, message };
    let device = this.as_map_ref().map_err(|_| at_end("`this` is the device no more".into()))?;
    let state = device.get("state").and_then(|state| state.as_map_ref().ok());
    let state = state.ok_or_else(|| at_end("`this.state` is no map".into()))?;
    if state.is_empty() && before.is_none_or(Object::is_empty) {
        return Ok(None);
    }
    let after = to_object(&state, "this.state").map_err(at_end)?;
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

fn failure(error: &EvalAltResult, limits: &Limits) -> Failure {
    let inner = error.unwrap_inner();
    let line = line(error);
    let message = match inner {
        EvalAltResult::ErrorTerminated(..) => format!("ran longer than {} ms", limits.deadline_ms),
        EvalAltResult::ErrorTooManyOperations(_) => {
            format!("did more than {} operations", limits.operations_max)
        }
        other => other.to_string(),
    };
    Failure { line, message }
}

/// The innermost line that is known: where it failed, else where it was called from.
fn line(error: &EvalAltResult) -> Option<usize> {
    match error {
        EvalAltResult::ErrorInFunctionCall(.., inner, at) => line(inner).or(at.line()),
        other => other.position().line(),
    }
}
