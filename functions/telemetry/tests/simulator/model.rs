//! What must become of each message, said a second time and without any product code: a model of
//! one device that reads numbers instead of JSON.

use std::collections::BTreeMap;

use gnomon_model::{AlertStatus, Record};
use serde_json::{Value, json};

use crate::script::{Said, Spoken};

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The record changes.
    Applied,
    /// Nothing to change: the end of a connection that is over already.
    Ignored,
    /// A dead letter.
    Dead,
}

/// An alert's change of status as people are told: id of the message that raised it, name, status.
pub(crate) type Told = (String, String, AlertStatus);

/// One device as it must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Device {
    pub(crate) applied: u64,
    late: u64,
    faults: u64,
    version: u64,
    /// Tenths of a degree, label, and when they were measured.
    measured: Option<(i64, String, i64)>,
    /// When the compressor's state was measured.
    compressor_ms: i64,
    connection: Option<usize>,
    /// Alert to the message that raised it, and whether it is active.
    alerts: BTreeMap<&'static str, (String, bool)>,
    /// Everything that people were told of alerts.
    pub(crate) told: Vec<Told>,
}

impl Device {
    /// Applies one message.
    pub(crate) fn hear(&mut self, spoken: &Spoken) -> Fate {
        match &spoken.said {
            Said::NotJson | Said::NoEnvelope => return Fate::Dead,
            Said::Report { tenths, time_ms, misfit } => {
                self.faults += u64::from(*misfit);
                self.version += 1;
                self.measure(spoken, *tenths, *time_ms);
            }
            Said::Compressor { on } => {
                self.version += 1;
                // Sent again after a later one, it may come late.
                if spoken.received_at_ms < self.compressor_ms {
                    self.late += 1;
                } else {
                    self.compressor_ms = spoken.received_at_ms;
                    self.judge(spoken, "compressor_fault", false, *on);
                }
            }
            Said::CompressorFault => self.judge(spoken, "compressor_fault", true, false),
            Said::Limits => {}
            Said::Presence { online: true, connection } => self.connection = Some(*connection),
            Said::Presence { online: false, connection } => {
                if self.connection != Some(*connection) {
                    return Fate::Ignored;
                }
                self.connection = None;
            }
        }
        self.applied += 1;
        Fate::Applied
    }

    fn measure(&mut self, spoken: &Spoken, tenths: i64, time_ms: i64) {
        if self.measured.as_ref().is_some_and(|(.., before_ms)| time_ms < *before_ms) {
            // Temperature and, of a cold room, the label.
            self.late += 1 + u64::from(spoken.is_room());
            return;
        }
        self.measured = Some((tenths, spoken.label(), time_ms));
        if spoken.is_room() {
            self.judge(spoken, "too_warm", tenths > 80, tenths <= 70);
        } else {
            self.judge(spoken, "overheated", tenths > 1000, tenths <= 950);
            self.judge(spoken, "stopped", tenths < 450, tenths >= 600);
        }
    }

    fn judge(&mut self, spoken: &Spoken, alert: &'static str, raise: bool, clear: bool) {
        let active = self.alerts.get(alert).is_some_and(|(_, active)| *active);
        if raise && !active {
            self.alerts.insert(alert, (spoken.id.clone(), true));
            self.told.push((spoken.id.clone(), alert.to_owned(), AlertStatus::Active));
        } else if clear && active {
            let open = self.alerts.get_mut(alert).unwrap();
            open.1 = false;
            self.told.push((open.0.clone(), alert.to_owned(), AlertStatus::Cleared));
        }
    }

    /// What is wrong with a record, if anything.
    pub(crate) fn compare(&self, record: &Record, is_room: bool) -> Result<(), String> {
        let counts = (record.counts.applied, record.counts.late, record.counts.faults);
        same("counts of applied, late, faults", &counts, &(self.applied, self.late, self.faults))?;
        same("version", &record.shadow.version, &self.version)?;
        let reported = |name: &str| record.shadow.reported.get(name).cloned();
        let (temperature, label) = match &self.measured {
            Some((tenths, label, _)) => {
                (Some(json!(*tenths as f64 / 10.0)), is_room.then(|| Value::from(label.as_str())))
            }
            None => (None, None),
        };
        same("temperature", &reported("temperature"), &temperature)?;
        same("label", &reported("label"), &label)?;
        let connection = record.presence.online.then(|| record.presence.connection.clone());
        same("connection", &connection, &self.connection.map(|number| number.to_string()))?;
        let alerts: Vec<(&str, &str, bool)> = record
            .alerts
            .values()
            .map(|one| (&*one.alert, raised_by(&one.id), one.status == AlertStatus::Active))
            .collect();
        let mut expected: Vec<_> = self
            .alerts
            .iter()
            .map(|(alert, (by, active))| (*alert, by.as_str(), *active))
            .collect();
        expected.sort_unstable();
        same("alerts", &alerts, &expected)
    }
}

/// The message that raised the alert of this id.
pub(crate) fn raised_by(alert_id: &str) -> &str {
    alert_id.rsplit_once('-').map_or(alert_id, |(message, _)| message)
}

/// Two things that must be the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, expected {expected:?}"))
}
