//! Action is what a rule decides.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Object;

/// How bad an alert is, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look.
    Info,
    /// Something is off.
    Warning,
    /// Act today.
    Minor,
    /// Act now.
    Major,
    /// Wake somebody.
    Critical,
}

impl Severity {
    /// All of them, worst last.
    pub const ALL: [Self; 5] =
        [Self::Info, Self::Warning, Self::Minor, Self::Major, Self::Critical];

    /// The severity as a lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }

    /// Parses the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == word)
    }
}

/// What one rule decides when it is woken, in the order in which it said so.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Raises an alert; nothing happens if this rule's alert of that name is active already.
    Alert {
        /// Name of the alert.
        alert: String,
        /// How bad it is.
        severity: Severity,
        /// A sentence for the person.
        message: String,
        /// What the rule read.
        values: Object,
    },
    /// Clears this rule's alert of that name; nothing happens if it is not active.
    Clear {
        /// Name of the alert.
        alert: String,
        /// What the rule read.
        values: Object,
    },
    /// Sets desired attributes: a merge patch, `null` deletes.
    Desire {
        /// Attribute -> value.
        patch: Object,
    },
    /// Calls a service of the device, without waiting.
    Call {
        /// Identifier of the service.
        service: String,
        /// Input -> value.
        inputs: Object,
    },
    /// Publishes to a topic.
    Publish {
        /// Full topic, no wildcards.
        topic: String,
        /// Text; a map or array of the rule is JSON text by now.
        payload: String,
    },
    /// Answers the request that woke the rule.
    Respond {
        /// Body of the response.
        body: Value,
    },
    /// Writes a line to the log.
    Log {
        /// The line.
        text: String,
    },
}
