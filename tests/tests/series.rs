//! Real telemetry through the running system, played by `gnomon simulate`: the alerts that the
//! series holds, each once, also over a `kill -9` in the middle.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gnomon_tests::http;
use gnomon_tests::packet::{self, Connect, Incoming, Publish, Sent, Session, Version};
use gnomon_tests::server::{Options, Server, binary, repository};
use gnomon_tests::wire::Client;
use serde_json::Value;

/// How long something may take that takes seconds on a machine that is not busy.
const SOON: Duration = Duration::from_secs(120);
const ALERTS: &str = "devices/machine/press-7/alerts";

/// A series, and what it holds: rows that step back in time, its last value, and how often each
/// alert is raised and cleared. Counted by a script that shares no code with Gnomon.
struct Series {
    csv: PathBuf,
    rows: u64,
    late: u64,
    last: f64,
    /// How often `overheated` is raised and cleared, then `stopped`.
    alerts: [usize; 4],
}

fn part() -> Series {
    let csv = repository().join("tests/data/machine_part.csv");
    Series { csv, rows: 2300, late: 11, last: LAST_OF_PART, alerts: [3, 2, 1, 1] }
}

/// The whole series, where it lies beside the repository.
fn whole() -> Option<Series> {
    let csv = repository().join("../shared/data/machine_temperature_system_failure.csv");
    let (rows, late, last) = (22_695, 11, 96.903_860_85);
    csv.is_file().then_some(Series { csv, rows, late, last, alerts: [21, 21, 3, 3] })
}

/// Value of the part's last row.
const LAST_OF_PART: f64 = 100.7623435;

#[test]
fn a_part_of_the_series_gives_its_alerts_once() {
    play(&part(), "max", None);
}

#[test]
fn a_part_of_the_series_gives_its_alerts_once_over_a_kill() {
    play(&part(), "200000x", Some(1));
}

#[test]
fn the_whole_series_gives_its_alerts_once() {
    if let Some(series) = whole() {
        play(&series, "max", None);
    }
}

#[test]
fn the_whole_series_gives_its_alerts_once_over_a_kill() {
    if let Some(series) = whole() {
        play(&series, "200000x", Some(20));
    }
}

/// Plays the series; kills and restarts the server after so many alerts.
fn play(series: &Series, speed: &str, kill_after: Option<usize>) {
    let mut server = Server::start(Options::default());
    let mut watcher = Watcher::connect(&server);
    let mut simulate = simulate(&server, &series.csv, speed);
    if let Some(count) = kill_after {
        watcher.see_until(|seen| seen.len() >= count);
        server.restart_in_place();
        watcher.reconnect(&server);
    }
    let end = simulate.wait().expect("a child can be waited for");
    assert!(end.success(), "simulate ended with {end}");
    let url = server.url("/v1/devices/machine/press-7");
    let device = http::get_until(&url, SOON, |device| {
        device["shadow"]["version"].as_u64().is_some_and(|version| version >= series.rows)
    });
    watcher.see_to_the_end(&server);
    let count = |alert: &str, status: &str| {
        let counted = |one: &&(String, String)| one.0 == alert && one.1 == status;
        watcher.seen.values().filter(counted).count()
    };
    let counts = [
        ("overheated", "active"),
        ("overheated", "cleared"),
        ("stopped", "active"),
        ("stopped", "cleared"),
    ]
    .map(|(alert, status)| count(alert, status));
    assert_eq!(counts, series.alerts);
    assert_eq!(device["shadow"]["version"], series.rows, "every row is applied once");
    assert_eq!(device["shadow"]["reported"]["temperature"], series.last);
    assert_eq!(device["counts"]["late"], series.late);
    assert_eq!(http::get(&server.url("/v1/dead")).json()["dead"], serde_json::json!([]));
    if kill_after.is_none() {
        assert_eq!(watcher.again, 0, "without a kill, no alert comes twice");
    }
}

fn simulate(server: &Server, csv: &Path, speed: &str) -> Child {
    Command::new(binary())
        .args(["simulate", "--product", "machine", "--device", "press-7"])
        .args(["--property", "temperature", "--speed", speed, "--csv"])
        .arg(csv)
        .args(["--mqtt", &server.mqtt().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

/// A subscriber with a persistent session, and the alerts that it has seen.
struct Watcher {
    client: Client,
    /// Alert id and status -> name and status.
    seen: BTreeMap<String, (String, String)>,
    /// Alerts that came once more.
    again: usize,
    ended: bool,
}

impl Watcher {
    fn connect(server: &Server) -> Self {
        let (mut client, _) = Self::dial(server);
        client.subscribe(ALERTS).expect("the subscription is granted");
        Self { client, seen: BTreeMap::new(), again: 0, ended: false }
    }

    fn dial(server: &Server) -> (Client, bool) {
        let connect = Connect {
            version: Version::V311,
            client: "watcher",
            user: None,
            session: Session::Kept,
        };
        Client::connect(server.mqtt(), connect).expect("the server accepts")
    }

    fn reconnect(&mut self, server: &Server) {
        let (client, session_present) = Self::dial(server);
        assert!(session_present, "the session survives a kill");
        self.client = client;
    }

    fn see_until(&mut self, enough: impl Fn(&BTreeMap<String, (String, String)>) -> bool) {
        while !enough(&self.seen) {
            self.see_one().expect("alerts come in time");
        }
    }

    /// Publishes a last message on the alerts' topic, and sees all that come before it.
    fn see_to_the_end(&mut self, server: &Server) {
        let connect = Connect {
            version: Version::V311,
            client: "ender",
            user: None,
            session: Session::Clean,
        };
        let (mut ender, _) = Client::connect(server.mqtt(), connect).expect("the server accepts");
        let mut out = Vec::new();
        let publish = Publish {
            version: Version::V311,
            topic: ALERTS,
            packet: 1,
            sent: Sent::First,
            payload: b"end",
        };
        packet::publish(&mut out, publish);
        ender.send(&out).expect("the connection stands");
        while !self.ended {
            self.see_one().expect("the last message comes in time");
        }
    }

    fn see_one(&mut self) -> io::Result<()> {
        let (packet, payload) = match self.client.next(SOON)? {
            Incoming::Published { packet, payload, .. } => (packet, payload.to_vec()),
            _ => return Ok(()),
        };
        let mut out = Vec::new();
        if let Some(packet) = packet {
            packet::acknowledge(&mut out, packet);
        }
        self.client.send(&out)?;
        if payload == b"end" {
            self.ended = true;
            return Ok(());
        }
        let alert: Value = serde_json::from_slice(&payload).expect("an alert is JSON");
        let text = |key: &str| alert[key].as_str().expect("an alert has its keys").to_owned();
        let (id, name, status) = (text("id"), text("alert"), text("status"));
        if self.seen.insert(format!("{id} {status}"), (name, status)).is_some() {
            self.again += 1;
        }
        Ok(())
    }
}
