//! What a run is summed up to.

use std::time::Duration;

use gnomon_tests::packet::Version;
use serde_json::{Value, json};

use crate::board::Board;
use crate::{Arguments, Rate};

/// The figures of a run, in the order in which they are printed.
#[derive(Debug)]
pub(crate) struct Report {
    figures: Vec<(&'static str, Value)>,
    is_complete: bool,
}

impl Report {
    /// Sums a run up. `sending` is how long messages were sent.
    pub(crate) fn new(
        board: &Board,
        arguments: &Arguments,
        alerting: u32,
        sending: Duration,
        server_cpu: Option<Duration>,
        own_cpu: Option<Duration>,
        memory_kib: Option<(u64, u64)>,
    ) -> Self {
        let mut latencies_us = board.latencies_us.clone();
        latencies_us.sort_unstable();
        let quantile = |share: f64| json!(quantile_ms(&latencies_us, share));
        let per_cpu = server_cpu.map(|cpu| (board.acknowledged as f64 / cpu.as_secs_f64()).round());
        let per_second = (board.acknowledged as f64 / sending.as_secs_f64()).round();
        let rate = match arguments.rate {
            Rate::Unpaced => json!("max"),
            Rate::Paced(rate) => json!(rate),
        };
        let figures = vec![
            ("version", json!(if arguments.version == Version::V5 { "5" } else { "3.1.1" })),
            ("devices", json!(arguments.devices)),
            ("devices_alerting", json!(alerting)),
            ("rate_asked", rate),
            ("seconds", json!(seconds(sending))),
            ("sent", json!(board.sent)),
            ("acknowledged", json!(board.acknowledged)),
            ("refused", json!(board.refused)),
            ("held_back", json!(board.held_back)),
            ("messages_per_second", json!(per_second)),
            ("alerts_expected", json!(board.alerts_expected)),
            ("alerts_delivered", json!(board.delivered())),
            ("alerts_twice", json!(board.duplicates)),
            ("alerts_strange", json!(board.strangers)),
            ("p50_ms", quantile(0.5)),
            ("p99_ms", quantile(0.99)),
            ("max_ms", quantile(1.0)),
            ("server_cpu_seconds", json!(server_cpu.map(seconds))),
            ("messages_per_cpu_second", json!(per_cpu)),
            ("server_memory_mib", json!(memory_kib.map(|(now, _)| now / 1024))),
            ("server_memory_most_mib", json!(memory_kib.map(|(_, most)| most / 1024))),
            ("own_cpu_seconds", json!(own_cpu.map(seconds))),
            ("lost_connections", json!(board.lost_connections)),
            ("first_loss", json!(board.first_loss)),
        ];
        let is_complete = board.is_settled() && board.refused == 0 && board.lost_connections == 0;
        Self { figures, is_complete }
    }

    /// Whether every message was acknowledged and every alert delivered.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        let mut figures: serde_json::Map<_, _> =
            self.figures.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        figures.insert("complete".to_owned(), json!(self.is_complete));
        Value::Object(figures).to_string()
    }

    /// One line a figure; what was not measured is left out.
    pub(crate) fn text(&self) -> String {
        let known = self.figures.iter().filter(|(_, value)| !value.is_null());
        let lines: Vec<String> =
            known.map(|(name, value)| format!("{:<24} {value}", name.replace('_', " "))).collect();
        lines.join("\n")
    }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}

/// Milliseconds within which that share of the sorted latencies lies; none when there are none.
fn quantile_ms(sorted_us: &[u32], share: f64) -> Option<f64> {
    let rank = (sorted_us.len() as f64 * share).ceil() as usize;
    sorted_us.get(rank.saturating_sub(1)).map(|us| f64::from(*us) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_nearest_rank() {
        let hundred: Vec<u32> = (1..=100).map(|ms| ms * 1000).collect();
        for (share, expected) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            assert_eq!(quantile_ms(&hundred, share), Some(expected));
        }
        assert_eq!(quantile_ms(&[7000], 0.5), Some(7.0));
        assert_eq!(quantile_ms(&[], 0.5), None);
    }
}
