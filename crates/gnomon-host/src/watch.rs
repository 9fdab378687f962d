//! What people see of the driver: metrics, log lines, and the health of each rule.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use gnomon_model::{DeviceKey, Note};
use serde::Serialize;
use tracing::{info, warn};

use crate::driver::Verdict;

/// Most rules whose health is kept.
const RULES_MAX: usize = 100_000;

/// How one rule fares since this process started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RuleHealth {
    /// Evaluations that ended well.
    pub runs: u64,
    /// Evaluations that failed.
    pub failures: u64,
    /// The last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<RuleFailure>,
}

/// One failure of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleFailure {
    /// `file:line`.
    pub at: String,
    /// What went wrong.
    pub message: String,
    /// Device on whose message it went wrong.
    pub device: String,
    /// When, Unix milliseconds.
    pub time_ms: i64,
}

/// Sees what the driver does. Cheap to clone; clones share what they saw.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    rules: Arc<Mutex<BTreeMap<String, RuleHealth>>>,
}

impl Watch {
    /// Health of each rule that ran or failed, by name.
    #[must_use]
    pub fn rules(&self) -> BTreeMap<String, RuleHealth> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts what became of a batch.
    pub(crate) fn settled(&self, function: &'static str, verdicts: &[Verdict]) {
        let count = |name: &'static str, wanted: fn(&Verdict) -> bool| {
            let found = verdicts.iter().filter(|verdict| wanted(verdict)).count() as u64;
            if found > 0 {
                metrics::counter!(name, "function" => function).increment(found);
            }
        };
        count("gnomon_messages_applied_total", |verdict| *verdict == Verdict::Ack);
        count("gnomon_messages_retried_total", |verdict| *verdict == Verdict::Retry);
        for verdict in verdicts {
            if let Verdict::Dead(reject) = verdict {
                let kind = reject.kind.as_str();
                metrics::counter!("gnomon_messages_dead_total", "function" => function, "kind" => kind)
                    .increment(1);
            }
        }
    }

    /// Counts a record that somebody else wrote first.
    pub(crate) fn conflict(&self) {
        metrics::counter!("gnomon_record_conflicts_total").increment(1);
    }

    /// Logs and counts what the steps of a device noted.
    pub(crate) fn notes(&self, device: &DeviceKey, notes: &[Note]) {
        for note in notes {
            self.note(device, note);
        }
    }

    fn note(&self, device: &DeviceKey, note: &Note) {
        match note {
            Note::Log { rule, text } => info!(%device, rule, text, "rule says"),
            Note::RuleRan { rule } => {
                metrics::counter!("gnomon_rule_runs_total").increment(1);
                self.with_rule(rule, |health| health.runs += 1);
            }
            Note::RuleFailed { rule, at, message } => {
                warn!(%device, rule, at, message, "rule failed");
                metrics::counter!("gnomon_rule_failures_total", "rule" => rule.clone())
                    .increment(1);
                let failure = RuleFailure {
                    at: at.clone(),
                    message: message.clone(),
                    device: device.to_string(),
                    time_ms: now_ms(),
                };
                self.with_rule(rule, |health| {
                    health.failures += 1;
                    health.last_failure = Some(failure);
                });
            }
            Note::ActionRefused { rule, message } => {
                warn!(%device, rule, message, "action refused");
                metrics::counter!("gnomon_rule_actions_refused_total").increment(1);
            }
            Note::Late { count } => {
                metrics::counter!("gnomon_late_attributes_total").increment(*count);
            }
            Note::Faults { count } => {
                metrics::counter!("gnomon_faults_total").increment(*count);
            }
            Note::NoReply { service, rule } => {
                let caller = if rule.is_some() { "rule" } else { "application" };
                metrics::counter!("gnomon_calls_without_reply_total", "caller" => caller)
                    .increment(1);
                // An application is told by its answer; of a rule's call nobody else hears.
                if let Some(rule) = rule {
                    warn!(%device, rule, service, "the device did not reply to a rule's call");
                }
            }
            Note::Reminded { count } => {
                metrics::counter!("gnomon_alert_reminders_total").increment(*count);
            }
        }
    }

    fn with_rule(&self, rule: &str, change: impl FnOnce(&mut RuleHealth)) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(health) = rules.get_mut(rule) {
            change(health);
        } else if rules.len() < RULES_MAX {
            change(rules.entry(rule.to_owned()).or_default());
        }
    }
}

/// The wall clock, Unix milliseconds. Read at the edges only.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
