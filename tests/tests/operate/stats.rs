//! `gnomon stats`: the equation, and what a power cut costs.

use std::fs;

use gnomon_tests::http;
use gnomon_tests::server::{Options, Server};
use serde_json::Value;

use crate::world::{Device, Remote, document, free_port, sum, told, wait_for_temperature};

/// Three good reports and two bad ones.
fn load(server: &Server) {
    let mut device = Device::connect(server, "room-1");
    for payload in ["{\"temperature\": 1.5}", "no json", "{\"temperature\": 2.5}", "{\"t\": 1}"] {
        device.report(payload);
    }
    device.report("{\"temperature\": 3.5}");
    wait_for_temperature(server, "room-1", 3.5);
    device.leave(server);
}

#[track_caller]
fn assert_balanced(stats: &Value, dead: u64) {
    assert_eq!(stats["conserved"], true, "{stats:#}");
    for log in stats["logs"].as_array().expect("there are logs") {
        let count = |name: &str| log[name].as_u64().expect("a number");
        let known = count("applied") + count("dead") + count("pending") + count("dropped");
        assert_eq!(count("received"), known, "{log}");
        assert_eq!(count("missing"), 0, "{log}");
    }
    assert_eq!(sum(stats, "telemetry", "dead"), dead, "{stats:#}");
    assert!(sum(stats, "telemetry", "applied") >= 3, "{stats:#}");
    assert_eq!(sum(stats, "dead", "received"), dead, "{stats:#}");
}

#[test]
fn the_books_of_an_embedded_store_balance_running_and_stopped() {
    let mut server = Server::start(Options::default());
    load(&server);
    let (http, data) = (server.http().to_string(), server.data().display().to_string());
    let running = document(&["stats", "--http", &http, "--json"]);
    assert_balanced(&running, 2);
    let metrics = http::get(&server.url("/metrics")).text;
    assert!(metrics.contains("gnomon_log_missing{log=\"telemetry/3\"} 0"), "{metrics}");
    http::get_until(&server.url("/v1/stats"), crate::world::SOON, |_| {
        let metrics = http::get(&server.url("/metrics")).text;
        let dead = metrics.lines().filter(|line| line.starts_with("gnomon_log_dead{log=\"tele"));
        dead.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>() == 2
    });
    assert!(server.terminate().success());
    // Nobody answers at that address now, and nobody has the store open.
    let stopped = document(&["stats", "--http", &http, "--data", &data, "--json"]);
    assert_eq!(stopped["logs"], running["logs"]);
    let shown = told(&["stats", "--http", &http, "--data", &data]);
    assert!(shown.starts_with("log          received  applied  dead"), "{shown}");
    assert!(shown.contains("embedded, format"), "{shown}");
}

#[test]
fn the_books_of_nats_and_redis_balance_and_the_servers_settings_are_told() {
    let (monitor, folder) = (free_port().to_string(), tempfile::tempdir().expect("a folder"));
    let config = folder.path().join("nats.conf");
    fs::write(&config, "jetstream { sync_interval: always, max_file_store: 1TB }\n")
        .expect("it can be written");
    let config = config.display().to_string();
    let remote = Remote::start(&["-m", &monitor, "-c", &config], &[]);
    let server = remote.server(&[]);
    load(&server);
    let settings = folder.path().join("gnomon.toml");
    let monitor = format!("queue_monitor = \"http://127.0.0.1:{monitor}\"\n");
    fs::write(&settings, monitor).expect("it can be written");
    let settings = settings.display().to_string();
    let mut words = vec!["stats".to_owned(), "--json".to_owned()];
    words.extend(remote.words());
    let blind = document(&words);
    assert_balanced(&blind, 2);
    assert_eq!(blind["logs"], http::get(&server.url("/v1/stats")).json()["logs"]);
    assert_eq!(setting(&blind["queue"], "sync_interval"), "not visible (set queue_monitor)");
    assert_eq!(setting(&blind["store"], "appendfsync"), "always");
    assert_eq!(blind["store"]["weak"], false);
    words.extend(["--config".to_owned(), settings]);
    let seeing = document(&words);
    assert_eq!(setting(&seeing["queue"], "sync_interval"), "always");
    let cost = seeing["queue"]["power_cut"].as_str().expect("a line");
    assert!(cost.contains("no acknowledged message"), "{cost}");
}

#[test]
fn a_server_that_loses_much_is_told_at_the_start() {
    let remote = Remote::start(&[], &["--appendonly", "no"]);
    let server = remote.server(&[]);
    let log = server.log();
    for said in ["WARN", "appendonly no", "since the last snapshot", "sync_interval not visible"] {
        assert!(log.contains(said), "{said} in {log}");
    }
}

#[test]
fn each_stream_is_kept_as_its_class_and_the_settings_say() {
    let remote = Remote::start(&[], &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("gnomon.toml");
    fs::write(&settings, "kept_days = 30\nkept_mib = 64\n").expect("it can be written");
    let settings = settings.display().to_string();
    let mut words = vec!["stats".to_owned(), "--json".to_owned(), "--config".to_owned(), settings];
    words.extend(remote.words());
    let stats = document(&words);
    let kept = |name: &str| {
        let streams = stats["streams"].as_array().expect("there are streams");
        let found = streams.iter().find(|stream| stream["stream"] == name).expect("it is there");
        (found["class"].clone(), found["kept_age_ms"].as_u64(), found["kept_bytes"].as_u64())
    };
    let month = Some(30 * 86_400_000);
    assert_eq!(kept("telemetry"), ("telemetry".into(), month, Some(64 << 20)));
    assert_eq!(kept("calls"), ("commands".into(), month, Some(16 << 20)));
    assert_eq!(kept("dead"), ("events".into(), None, Some(256 << 20)));
    words.retain(|word| word != "--json");
    assert!(told(&words).contains("30 days"), "{}", told(&words));
}

/// The value of a server's setting.
fn setting(place: &Value, name: &str) -> String {
    let settings = place["settings"].as_array().expect("there are settings");
    let found = settings.iter().find(|setting| setting[0] == name);
    let found = found.unwrap_or_else(|| panic!("{name} in {place:#}"));
    found[1].as_str().expect("a text").to_owned()
}
