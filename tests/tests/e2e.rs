//! Whole paths, as clients written elsewhere see them: Python's `paho-mqtt`, Mosquitto's
//! `mosquitto_pub` and `mosquitto_sub`, MQTT 3.1.1 and 5, plain topics and Alink.
//!
//! Each test has a server of its own, on free ports and empty data.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use gnomon_tests::http;
use gnomon_tests::server::{Beside, Options, Server, build_folder, repository, write};
use gnomon_tests::stack::{Kind, Part};
use gnomon_tests::worker::Worker;
use serde_json::json;

/// How long something may take that takes milliseconds on a machine that is not busy.
const SOON: Duration = Duration::from_secs(20);

fn python() -> PathBuf {
    let target = build_folder().parent().expect("a profile is in the build folder").to_owned();
    let python = target.join("venv/bin/python");
    assert!(python.is_file(), "{} is missing: run `make setup`", python.display());
    python
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Runs a scenario against a server on NATS and Redis of its own.
fn remote_scenario(name: &str, version: &str) {
    let (nats, redis) = (Part::start(Kind::Nats), Part::start(Kind::Redis));
    let more = ["--queue", &nats.url(), "--store", &redis.url()].map(str::to_owned).to_vec();
    scenario(name, version, Options { more, ..Options::default() });
}

/// Runs a scenario of devices on Mosquitto: two bridges that share its messages, one of which has the
/// downlink, two telemetry workers, every function a process of its own.
fn bridged_scenario(name: &str, version: &str) {
    let (nats, redis) = (Part::start(Kind::Nats), Part::start(Kind::Redis));
    let broker = Part::start(Kind::Mosquitto);
    let (queue, store) = (nats.url(), redis.url());
    let more = ["--queue", &queue, "--store", &store, "--only", "api"].map(str::to_owned).to_vec();
    let mut server = Server::start(Options { more, serves_mqtt: false, ..Options::default() });
    let functions = ["telemetry", "telemetry", "shadow", "rrpc"];
    let mut workers: Vec<_> =
        functions.iter().map(|function| Worker::start(function, &queue, &store, &[])).collect();
    let broker_url = broker.url();
    for name in ["bridge-1", "bridge-2"] {
        let told = [("GNOMON_BROKER_CLIENT", name)];
        let flags = ["--broker", &broker_url];
        workers.push(Worker::start_told("bridge", &queue, &store, &flags, &told));
    }
    run_scenario(name, version, &broker.address().to_string(), &server.url(""), &["--bridged"]);
    workers.into_iter().for_each(Worker::terminate);
    let end = server.terminate();
    assert!(end.success(), "the server ended with {end}");
}

/// Two processes that serve devices and applications, and the functions as processes of their own.
struct Gateways {
    servers: [Server; 2],
    workers: Vec<Worker>,
    _parts: [Part; 2],
}

impl Gateways {
    fn start() -> Self {
        let parts = [Part::start(Kind::Nats), Part::start(Kind::Redis)];
        let (queue, store) = (parts[0].url(), parts[1].url());
        let servers = [(); 2].map(|()| {
            let more = ["--queue", &queue, "--store", &store, "--only", "gateway,api"];
            Server::start(Options { more: more.map(str::to_owned).to_vec(), ..Options::default() })
        });
        let functions = ["telemetry", "shadow", "rrpc"];
        let workers =
            functions.iter().map(|function| Worker::start(function, &queue, &store, &[])).collect();
        Self { servers, workers, _parts: parts }
    }
}

/// Runs a scenario in which every connection and every request goes to the other of two servers.
fn gateways_scenario(name: &str, version: &str) {
    let mut all = Gateways::start();
    let mqtt = all.servers.each_ref().map(|server| server.mqtt().to_string()).join(",");
    let http = all.servers.each_ref().map(|server| server.url("")).join(",");
    run_scenario(name, version, &mqtt, &http, &[]);
    all.workers.into_iter().for_each(Worker::terminate);
    for server in &mut all.servers {
        let end = server.terminate();
        assert!(end.success(), "a server ended with {end}");
    }
}

/// Runs a scenario of `tests/python` against a fresh server, which must then stop in order.
fn scenario(name: &str, version: &str, options: Options) {
    let mut server = Server::start(options);
    run_scenario(name, version, &server.mqtt().to_string(), &server.url(""), &[]);
    let end = server.terminate();
    assert!(end.success(), "the server ended with {end}");
}

fn run_scenario(name: &str, version: &str, mqtt: &str, http: &str, more: &[&str]) {
    let output = Command::new(python())
        .arg(repository().join("tests/python/scenario.py"))
        .args(["--mqtt", mqtt, "--http", http])
        .args(["--version", version, name])
        .args(more)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", text(&output));
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        mod mqtt_3 {
            $(#[test] fn $name() {
                crate::scenario(stringify!($name), "3", crate::Options::default());
            })*
        }
        mod mqtt_5 {
            $(#[test] fn $name() {
                crate::scenario(stringify!($name), "5", crate::Options::default());
            })*
        }
        mod mqtt_3_on_nats_and_redis {
            $(#[test] fn $name() { crate::remote_scenario(stringify!($name), "3"); })*
        }
        mod mqtt_5_on_nats_and_redis {
            $(#[test] fn $name() { crate::remote_scenario(stringify!($name), "5"); })*
        }
        mod mqtt_3_on_two_gateways {
            $(#[test] fn $name() { crate::gateways_scenario(stringify!($name), "3"); })*
        }
        mod mqtt_5_on_two_gateways {
            $(#[test] fn $name() { crate::gateways_scenario(stringify!($name), "5"); })*
        }
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios! {
    alink_alert
    alink_batch
    alink_call
    alink_desired
    alink_event
    alink_rejected
    plain_alert
    plain_call
    plain_confined
    plain_desired
    plain_desired_while_away
    plain_event
    plain_rejected
    plain_request
    plain_session
    plain_taken_over
}

macro_rules! bridged_scenarios {
    ($($name:ident)*) => {
        mod mqtt_3_through_mosquitto {
            $(#[test] fn $name() { crate::bridged_scenario(stringify!($name), "3"); })*
        }
        mod mqtt_5_through_mosquitto {
            $(#[test] fn $name() { crate::bridged_scenario(stringify!($name), "5"); })*
        }
    };
}

// Not those about what the gateway does with clients: who may use which topic, sessions, take-over.
bridged_scenarios! {
    alink_alert
    alink_batch
    alink_call
    alink_desired
    alink_event
    alink_rejected
    plain_alert
    plain_call
    plain_desired
    plain_event
    plain_rejected
    plain_request
}

#[test]
fn every_scenario_is_run() {
    let output = Command::new(python())
        .arg(repository().join("tests/python/scenario.py"))
        .arg("--list")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python runs");
    let listed = text(&output);
    assert_eq!(listed.lines().collect::<Vec<_>>(), SCENARIOS);
}

/// `mosquitto_sub` or `mosquitto_pub`, speaking to the server in that version.
fn mosquitto(program: &str, server: &Server, version: &str) -> Command {
    // Written to a pipe, the clients would hold their output back until their buffer is full.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program]);
    command.args(["-h", "127.0.0.1", "-p", &server.mqtt().port().to_string(), "-V", version]);
    command
}

/// Subscribes and waits until the server has granted it.
fn subscriber(server: &Server, version: &str, filter: &str) -> Beside {
    let mut command = mosquitto("mosquitto_sub", server, version);
    let mut subscriber = Beside::start(command.args(["-d", "-v", "-q", "1", "-t", filter]));
    subscriber.wait_for(&["Subscribed (mid: 1): 1"], SOON);
    subscriber
}

fn publish(server: &Server, version: &str, topic: &str, payload: &str) {
    let mut command = mosquitto("mosquitto_pub", server, version);
    let output = command.args(["-q", "1", "-t", topic, "-m", payload]).output();
    let output = output.expect("mosquitto_pub runs: `make test` installs it");
    assert!(output.status.success(), "{}", text(&output));
}

fn mosquitto_sees_an_alert_raised_and_cleared(version: &str) {
    let server = Server::start(Options::default());
    let mut alerts = subscriber(&server, version, "devices/coldroom/+/alerts");
    let topic = "devices/coldroom/room-1/telemetry";
    publish(&server, version, topic, r#"{"temperature": 9.5}"#);
    let alert_topic = "devices/coldroom/room-1/alerts ";
    let raised = [alert_topic, r#""alert":"too_warm""#, r#""status":"active""#, "9.5"];
    alerts.wait_for(&raised, SOON);
    publish(&server, version, topic, r#"{"temperature": 6.5}"#);
    alerts.wait_for(&[alert_topic, r#""status":"cleared""#, "6.5"], SOON);
    let shadow = server.url("/v1/devices/coldroom/room-1/shadow");
    http::get_until(&shadow, SOON, |shadow| {
        shadow["state"]["reported"] == json!({ "temperature": 6.5 }) && shadow["version"] == 2
    });
}

#[test]
fn mosquitto_3_sees_an_alert_raised_and_cleared() {
    mosquitto_sees_an_alert_raised_and_cleared("mqttv311");
}

#[test]
fn mosquitto_5_sees_an_alert_raised_and_cleared() {
    mosquitto_sees_an_alert_raised_and_cleared("mqttv5");
}

#[test]
fn an_anonymous_subscriber_plays_a_device() {
    let server = Server::start(Options::default());
    let mut room = subscriber(&server, "mqttv311", "devices/coldroom/room-1/desired");
    let shadow = server.url("/v1/devices/coldroom/room-1/shadow");
    let desired = r#"{"state":{"desired":{"setpoint":4.0}}}"#;
    let headers = [("content-type", "application/merge-patch+json")];
    let answer = http::request("PATCH", &shadow, &headers, desired);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.etag.is_some());
    room.wait_for(&["devices/coldroom/room-1/desired ", r#"{"setpoint":4.0}"#], SOON);
}

#[test]
fn a_device_is_offline_when_its_gateway_has_died() {
    let mut all = Gateways::start();
    let room = subscriber(&all.servers[0], "mqttv5", "devices/coldroom/room-1/desired");
    let device = all.servers[1].url("/v1/devices/coldroom/room-1");
    http::get_until(&device, SOON, |device| device["presence"]["online"] == true);
    all.servers[0].kill_9();
    let device = http::get_until(&device, SOON, |device| device["presence"]["online"] == false);
    let reason = "the process that held the connection ended";
    assert_eq!(device["presence"]["reason"], reason, "{device}");
    drop(room);
}

#[test]
fn pages_for_people_and_machines_answer() {
    let server = Server::start(Options::default());
    for (path, part) in [
        ("/healthz", ""),
        ("/metrics", "gnomon_"),
        ("/v1/devices", "devices"),
        ("/v1/rules", "too_warm"),
        ("/v1/dead", "dead"),
    ] {
        let response = http::get(&server.url(path));
        assert_eq!(response.status, 200, "{path}: {}", response.text);
        assert!(response.text.contains(part), "{path}: {}", response.text);
    }
    for path in ["/v1/devices/coldroom/nobody", "/v1/devices/coldroom/nobody/shadow", "/v2"] {
        let response = http::get(&server.url(path));
        assert_eq!((response.status, &response.json()["status"]), (404, &json!(404)), "{path}");
    }
}

#[test]
fn a_changed_rule_is_in_force_and_a_broken_one_keeps_the_last() {
    let rules = tempfile::tempdir().expect("a temporary folder can be made");
    let rule = rules.path().join("warm.rhai");
    let source = |limit: f64| {
        format!(
            "// Warns.\nconst PRODUCT = \"coldroom\";\nfn on_report(report) {{\n    \
             if this.reported.temperature > {limit:?} {{ alert(\"warm\", \"minor\", \"warm\"); }}\n}}\n"
        )
    };
    write(&rule, &source(50.0));
    let server = Server::start(Options { rules: rules.path().into(), ..Options::default() });
    let mut alerts = subscriber(&server, "mqttv311", "devices/coldroom/+/alerts");
    let listing = server.url("/v1/rules");
    write(&rule, "// Warns.\nconst PRODUCT = \"coldroom\";\nfn on_report(report) { if }\n");
    http::get_until(&listing, SOON, |rules| rules["problems"] != json!([]));
    publish(&server, "mqttv311", "devices/coldroom/a/telemetry", r#"{"temperature": 55}"#);
    alerts.wait_for(&["devices/coldroom/a/alerts", r#""alert":"warm""#], SOON);
    write(&rule, &source(20.0));
    http::get_until(&listing, SOON, |rules| rules["problems"] == json!([]));
    publish(&server, "mqttv311", "devices/coldroom/b/telemetry", r#"{"temperature": 25}"#);
    alerts.wait_for(&["devices/coldroom/b/alerts", r#""alert":"warm""#], SOON);
}

#[test]
fn state_survives_a_restart() {
    let mut server = Server::start(Options::default());
    publish(&server, "mqttv311", "devices/coldroom/a/telemetry", r#"{"temperature": 9.5}"#);
    let end = server.terminate();
    assert!(end.success(), "the server ended with {end}");
    server.restart();
    let device = server.url("/v1/devices/coldroom/a");
    let body = http::get_until(&device, SOON, |device| device["shadow"]["version"] == 1);
    assert_eq!(body["alerts"][0]["status"], "active", "{body}");
}

#[test]
fn a_data_directory_in_use_is_refused_in_one_line() {
    let server = Server::start(Options::default());
    let output = Command::new(gnomon_tests::server::binary())
        .args(["run", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"])
        .arg(server.data())
        .current_dir(repository())
        .output()
        .expect("gnomon runs");
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{}", text(&output));
}

#[test]
fn a_taken_port_and_an_open_address_are_refused_in_one_line() {
    let server = Server::start(Options::default());
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    for (flag, address) in [
        ("--mqtt", server.mqtt().to_string()),
        ("--http", server.http().to_string()),
        ("--mqtt", "0.0.0.0:0".to_owned()),
    ] {
        let other = if flag == "--mqtt" { "--http" } else { "--mqtt" };
        let output = Command::new(gnomon_tests::server::binary())
            .args(["run", flag, &address, other, "127.0.0.1:0", "--data"])
            .arg(home.path().join("data"))
            .current_dir(repository())
            .output()
            .expect("gnomon runs");
        assert!(!output.status.success(), "{flag} {address}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(error.lines().count(), 1, "{flag} {address}: {error}");
        assert!(error.contains(&address), "{flag} {address}: {error}");
    }
}
