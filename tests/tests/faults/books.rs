//! The books as `gnomon stats` tells them: received = applied + dead + pending + dropped, for every
//! log, and what was received stays received.

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use gnomon_tests::server::binary;
use serde_json::Value;

/// The books of a deployment, read again and again.
#[derive(Debug)]
pub(crate) struct Books {
    queue: String,
    store: String,
    /// What each log had received when they were read last.
    received: HashMap<String, u64>,
}

impl Books {
    pub(crate) fn of(queue: &str, store: &str) -> Self {
        Self { queue: queue.to_owned(), store: store.to_owned(), received: HashMap::new() }
    }

    /// Reads them, as soon as the servers answer, and checks them.
    pub(crate) fn assert_balanced(&mut self, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        let stats = loop {
            match self.read() {
                Ok(stats) => break stats,
                Err(said) => assert!(Instant::now() < deadline, "no books: {said}"),
            }
        };
        assert_eq!(self.fault(&stats), None, "{stats:#}");
        stats
    }

    /// Reads them until nothing is pending in what devices report.
    pub(crate) fn assert_settled(&mut self, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        loop {
            let stats = self.assert_balanced(within);
            if sum(&stats, "telemetry", "pending") == 0 {
                return stats;
            }
            assert!(Instant::now() < deadline, "still pending: {stats:#}");
        }
    }

    fn read(&self) -> Result<Value, String> {
        let mut command = Command::new(binary());
        command.args(["stats", "--json", "--queue", &self.queue, "--store", &self.store]);
        let output = command.current_dir("/").output().expect("gnomon runs");
        // If messages are missing it fails, and tells all the same.
        serde_json::from_slice(&output.stdout)
            .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What is wrong with the books; takes note of what they say.
    fn fault(&mut self, stats: &Value) -> Option<String> {
        let logs = stats["logs"].as_array().filter(|logs| !logs.is_empty());
        let Some(logs) = logs else { return Some("there are no logs".to_owned()) };
        for log in logs {
            let name = log["log"].as_str().unwrap_or_default().to_owned();
            let count = |what: &str| log[what].as_u64().unwrap_or(0);
            let received = count("received");
            let known = count("applied") + count("dead") + count("pending") + count("dropped");
            if received != known || count("missing") != 0 {
                return Some(format!("{name}: {received} received, {known} known"));
            }
            let before = self.received.insert(name.clone(), received).unwrap_or(0);
            if received < before {
                return Some(format!("{name}: {received} received, and {before} before"));
            }
        }
        (stats["conserved"] != true).then(|| "it says itself that something is missing".to_owned())
    }
}

/// A count over all logs of a stream.
pub(crate) fn sum(stats: &Value, stream: &str, what: &str) -> u64 {
    let logs = stats["logs"].as_array().into_iter().flatten();
    let of_stream = logs.filter(|log| {
        let name = log["log"].as_str().unwrap_or_default();
        name.split('/').next() == Some(stream)
    });
    of_stream.filter_map(|log| log[what].as_u64()).sum()
}

/// The check finds what it is for.
mod controls {
    use serde_json::json;

    use super::*;

    /// A log as it should be.
    fn good() -> Value {
        json!({
            "conserved": true,
            "logs": [{ "log": "telemetry/0", "received": 10, "applied": 6, "dead": 1, "pending": 3,
                       "dropped": 0, "missing": 0 }],
        })
    }

    /// What the books say that are read one after the other.
    fn faults(readings: &[Value]) -> Vec<Option<String>> {
        let mut books = Books::of("", "");
        readings.iter().map(|stats| books.fault(stats)).collect()
    }

    fn with(what: &str, count: u64) -> Value {
        let mut stats = good();
        stats["logs"][0][what] = json!(count);
        stats
    }

    #[test]
    fn a_missing_and_a_doubled_message_are_seen_in_the_books() {
        assert_eq!(faults(&[good(), good()]), [None, None]);
        for (what, count) in
            [("applied", 5), ("applied", 7), ("dead", 0), ("pending", 2), ("missing", 1)]
        {
            assert!(faults(&[with(what, count)])[0].is_some(), "{what} is {count}");
        }
    }

    #[test]
    fn a_log_that_forgets_what_it_received_is_seen_in_the_books() {
        let mut fewer = with("received", 9);
        fewer["logs"][0]["applied"] = json!(5);
        assert_eq!(faults(std::slice::from_ref(&fewer)), [None]);
        assert!(faults(&[good(), fewer])[1].is_some());
    }

    #[test]
    fn books_without_logs_and_books_that_say_that_they_do_not_hold_are_seen() {
        let (mut empty, mut broken) = (good(), good());
        empty["logs"] = json!([]);
        broken["conserved"] = json!(false);
        assert!(faults(&[empty])[0].is_some());
        assert!(faults(&[broken])[0].is_some());
    }
}
