//! Rules written in Rhai: compile, index, run within hard limits.
//!
//! Invariants: a rule that fails takes none of its actions and affects no other rule; equal
//! inputs give equal outcomes, as long as no deadline strikes.
//! Never: files, a clock of its own, another crate of this workspace than the model.
//! See: docs/rules.md

mod check;
mod compile;
mod engine;
mod evaluate;
mod functions;
mod index;
mod memory;
mod names;
mod reads;
mod running;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use gnomon_model::{Note, Object, ReplyTo, Turn};
use serde::Serialize;
use serde_json::Value;

use crate::compile::Rule;
use crate::engine::Machine;
use crate::evaluate::{Evaluated, Snapshot, evaluate};
use crate::index::ByProduct;

pub use crate::engine::Limits;

/// Monotonic nanoseconds, for the deadline: this crate has no clock, so the caller lends one.
pub type Clock = fn() -> u64;

/// The text of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSource {
    /// Path, as it shall be shown: `rules/too_warm.rhai`. The rule is named by its stem.
    pub file: String,
    /// The text.
    pub text: String,
}

/// What is wrong with a rule, and where. Shown as `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleProblem {
    /// Path.
    pub file: String,
    /// 1-based; 0 when the problem has no place.
    pub line: usize,
    /// 1-based; 0 when the problem has no place.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message } = self;
        if *line == 0 {
            return write!(f, "{file}: {message}");
        }
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

/// One rule, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleListing {
    /// Stem of the file.
    pub name: String,
    /// Path.
    pub file: String,
    /// Product whose devices it applies to.
    pub product: String,
    /// Pattern of device names, with `*` and `?`.
    pub device: String,
    /// Functions that wake it.
    pub wakes: Vec<&'static str>,
    /// The comment at its top.
    pub about: String,
    /// Hash of the text that is in force.
    pub revision: String,
    /// Why the file on disk is not in force, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
}

/// What wakes rules.
#[derive(Debug, Clone, Copy)]
pub enum Wake<'a> {
    /// The device reported properties: `on_report`.
    Report {
        /// Property -> value, those that were taken.
        values: &'a Object,
        /// When they were measured, Unix milliseconds.
        time_ms: i64,
    },
    /// An event happened: `on_event`.
    Event {
        /// Identifier of the event.
        name: &'a str,
        /// Output -> value.
        outputs: &'a Object,
        /// When it happened, Unix milliseconds.
        time_ms: i64,
    },
    /// The device came or went: `on_presence`.
    Presence {
        /// Whether it came.
        online: bool,
        /// Why.
        reason: &'a str,
    },
    /// The device asks: `on_request`.
    Request {
        /// Name of the request.
        name: &'a str,
        /// Its body.
        body: &'a Value,
        /// How to answer it.
        to: &'a ReplyTo,
    },
    /// An application changed the desired state: `on_shadow`.
    Shadow {
        /// The patch that it sent.
        patch: &'a Object,
    },
}

impl Wake<'_> {
    /// Place of this wake in [`WAKES`].
    fn index(&self) -> usize {
        match self {
            Self::Report { .. } => 0,
            Self::Event { .. } => 1,
            Self::Presence { .. } => 2,
            Self::Request { .. } => 3,
            Self::Shadow { .. } => 4,
        }
    }
}

/// A set of rules. Immutable and cheap to clone; clones share it.
#[derive(Clone)]
pub struct RuleSet {
    inner: Arc<Inner>,
}

struct Inner {
    machine: Arc<Machine>,
    rules: Vec<(Arc<Rule>, Option<String>)>,
    /// By product.
    index: HashMap<String, ByProduct>,
}

impl RuleSet {
    /// A set without rules.
    #[must_use]
    pub fn empty(clock: Clock, limits: Limits) -> Self {
        let machine = Arc::new(Machine::new(clock, limits));
        Self { inner: Arc::new(Inner { machine, rules: Vec::new(), index: HashMap::new() }) }
    }

    /// Compiles the sources into a new set. A source with a problem keeps the version that this
    /// set has, marked stale; without one it is left out. Rules whose source is gone are gone.
    /// Of two files of one name, the one that is in force stays, else the first is taken.
    #[must_use]
    pub fn reload(&self, sources: Vec<RuleSource>) -> (Self, Vec<RuleProblem>) {
        let mut problems = Vec::new();
        let mut rules = BTreeMap::new();
        let last_good = self.last_good();
        let files = files(&sources, &last_good);
        for source in &sources {
            let file = files[&compile::stem(&source.file)];
            if file != source.file {
                problems.push(same_name(source, file));
                continue;
            }
            match compile::compile(&self.inner.machine, source) {
                Ok(rule) => drop(rules.insert(rule.name.clone(), (Arc::new(rule), None))),
                Err(found) => {
                    if let Some(last) = last_good.get(&*source.file).copied() {
                        let last = last.clone();
                        let stale = found.first().map(ToString::to_string);
                        rules.insert(last.name.clone(), (last, stale));
                    }
                    problems.extend(found);
                }
            }
        }
        let rules: Vec<_> = rules.into_values().collect();
        let index = index::by_product(rules.iter().map(|(rule, _)| &**rule));
        let machine = self.inner.machine.clone();
        (Self { inner: Arc::new(Inner { machine, rules, index }) }, problems)
    }

    /// Rules that are in force, by file.
    fn last_good(&self) -> HashMap<&str, &Arc<Rule>> {
        self.inner.rules.iter().map(|(rule, _)| (&*rule.file, rule)).collect()
    }

    /// All rules, sorted by name.
    #[must_use]
    pub fn listing(&self) -> Vec<RuleListing> {
        let listed = |(rule, stale): &(Arc<Rule>, Option<String>)| rule.listing(stale.clone());
        self.inner.rules.iter().map(listed).collect()
    }

    /// Runs the rules that this wakes, in order of their names, and carries out what they decide.
    /// A report wakes only rules that read something of it, as far as their text tells.
    /// Rules see the record as it is now, none sees what another decides. Returns how many ran.
    pub fn run(&self, turn: &mut Turn<'_>, wake: &Wake<'_>) -> usize {
        let product = turn.device().product.as_str();
        let Some(index) = self.inner.index.get(product) else { return 0 };
        let woken = match wake {
            Wake::Report { values, .. } => index.woken_by_report(values, turn.model),
            Wake::Event { .. }
            | Wake::Presence { .. }
            | Wake::Request { .. }
            | Wake::Shadow { .. } => index.woken(wake.index()),
        };
        let device = &turn.device().device;
        let rules = woken.iter().map(|place| &*self.inner.rules[*place].0);
        let concerned: Vec<&Rule> = rules.filter(|rule| rule.applies_to(device.as_str())).collect();
        if concerned.is_empty() {
            return 0;
        }
        // All are evaluated before anything is carried out: that is how none sees another's.
        let snapshot = Snapshot::of(turn, wake);
        let evaluated: Vec<_> =
            concerned.iter().map(|rule| evaluate(&self.inner.machine, rule, &snapshot)).collect();
        let time_ms = snapshot.time_ms;
        for (rule, evaluated) in concerned.iter().zip(evaluated) {
            conclude(turn, wake, time_ms, rule, evaluated);
        }
        concerned.len()
    }
}

/// The file of each rule: the one that is in force, else the first of the name.
fn files<'a>(
    sources: &'a [RuleSource],
    last_good: &HashMap<&str, &Arc<Rule>>,
) -> BTreeMap<String, &'a str> {
    let mut files = BTreeMap::new();
    let in_force = sources.iter().filter(|source| last_good.contains_key(&*source.file));
    for source in in_force.chain(sources) {
        files.entry(compile::stem(&source.file)).or_insert(source.file.as_str());
    }
    files
}

fn same_name(source: &RuleSource, other: &str) -> RuleProblem {
    let name = compile::stem(&source.file);
    RuleProblem {
        file: source.file.clone(),
        line: 0,
        column: 0,
        message: format!("{other} is the rule `{name}` already: give this file another name"),
    }
}

/// Carries out what a rule decided, or tells how it failed.
fn conclude(turn: &mut Turn<'_>, wake: &Wake<'_>, time_ms: i64, rule: &Rule, evaluated: Evaluated) {
    match evaluated {
        Ok((actions, state)) => {
            keep_state(turn, rule, state);
            let request = match wake {
                Wake::Request { to, .. } => Some(*to),
                Wake::Report { .. }
                | Wake::Event { .. }
                | Wake::Presence { .. }
                | Wake::Shadow { .. } => None,
            };
            for action in actions {
                turn.act(&rule.name, action, time_ms, request);
            }
            turn.note(Note::RuleRan { rule: rule.name.clone() });
        }
        Err(failure) => turn.note(Note::RuleFailed {
            rule: rule.name.clone(),
            at: format!("{}:{}", rule.file, failure.line.unwrap_or(rule.wakes[&wake.index()])),
            message: failure.message,
        }),
    }
}

fn keep_state(turn: &mut Turn<'_>, rule: &Rule, state: Option<Object>) {
    let Some(state) = state else { return };
    if state.is_empty() {
        turn.record.rules.remove(&rule.name);
    } else {
        turn.record.rules.insert(rule.name.clone(), state);
    }
}
