//! The lines of a backup.

use std::fmt;

use bytes::Bytes;
use gnomon_host::port::SavedSession;
use gnomon_model::{DeviceKey, Record};
use serde::{Deserialize, Serialize};

use crate::records::{from_hex, hex};

/// Number of the file's format.
pub(super) const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Line {
    /// The first one.
    Backup { format: u32, build: String, made_at_ms: i64 },
    /// A device's record.
    Record { device: DeviceKey, document: Box<Record> },
    /// A persistent MQTT session; bytes as hexadecimal digits.
    Session { client: String, document: String, pending: Vec<(u64, String)> },
    /// A file under the folder of thing models.
    Model { path: String, text: String },
    /// A file under the folder of rules.
    Rule { path: String, text: String },
    /// The last one.
    End { counts: Counts, sha256: String },
}

/// How many there are of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) sessions: u64,
    pub(super) models: u64,
    pub(super) rules: u64,
}

impl Counts {
    /// Counts a line.
    pub(super) fn add(&mut self, line: &Line) {
        match line {
            Line::Record { .. } => self.records += 1,
            Line::Session { .. } => self.sessions += 1,
            Line::Model { .. } => self.models += 1,
            Line::Rule { .. } => self.rules += 1,
            Line::Backup { .. } | Line::End { .. } => {}
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, sessions, models, rules } = self;
        write!(f, "{records} records, {sessions} sessions, {models} models, {rules} rules")
    }
}

/// The line of a session.
pub(super) fn of_session(session: &SavedSession) -> Line {
    let pending = session.pending.iter().map(|(key, message)| (*key, hex(message)));
    Line::Session {
        client: session.client.clone(),
        document: hex(&session.document),
        pending: pending.collect(),
    }
}

/// The session of a line, without a gateway; none if its digits are none.
pub(super) fn session(
    client: String,
    document: &str,
    pending: &[(u64, String)],
) -> Option<SavedSession> {
    let bytes = |digits: &str| from_hex(digits).map(Bytes::from);
    let pending = pending.iter().map(|(key, message)| Some((*key, bytes(message)?)));
    let (document, pending) = (bytes(document)?, pending.collect::<Option<_>>()?);
    Some(SavedSession { client, gateway: String::new(), document, pending })
}
