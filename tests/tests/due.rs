//! What comes by itself, without any message of the device: the end of a call, a reminder of an alert.
//! On the embedded store, and with every function a process of its own on NATS and Redis.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use gnomon_tests::http;
use gnomon_tests::mosquitto::{publish, subscribe};
use gnomon_tests::server::{Beside, Options, Server, write};
use gnomon_tests::stack::{Kind, Part};
use gnomon_tests::worker::Worker;
use serde_json::{Value, json};

/// How long something may take that takes a second or two on a machine that is not busy.
const SOON: Duration = Duration::from_secs(30);
const TELEMETRY: &str = "devices/coldroom/room-1/telemetry";
const ALERTS: &str = "devices/coldroom/room-1/alerts";
const ROOM: &str = "/v1/devices/coldroom/room-1";

/// A rule that calls the device whenever it is warm.
const CALLS: &str = "// Defrosts.\nconst PRODUCT = \"coldroom\";\nfn on_report(report) {\n    \
                     if this.reported.temperature > 8.0 { call_service(\"defrost\", #{ minutes: 5 }); }\n}\n";

fn options(words: &[&str]) -> Options {
    let more = words.iter().map(|word| (*word).to_owned()).collect();
    Options { more, ..Options::default() }
}

fn with_calls(dir: &Path, words: &[&str]) -> Options {
    write(&dir.join("defrosts.rhai"), CALLS);
    Options { rules: dir.to_owned(), ..options(words) }
}

/// Waits until a metric stands at a value.
fn wait_for_metric(base: &str, line: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let metrics = http::get(&format!("{base}/metrics")).text;
        if metrics.lines().any(|found| found == line) {
            return;
        }
        assert!(Instant::now() < deadline, "no `{line}` in {metrics}");
        std::thread::yield_now();
    }
}

/// How often something was applied to the record of the room.
fn applied(base: &str, count: u64) -> Value {
    let url = format!("{base}{ROOM}");
    http::get_until(&url, SOON, |room| room["counts"]["applied"] == json!(count))
}

fn acknowledge(base: &str, id: &str) -> http::Response {
    let url = format!("{base}{ROOM}/alerts/{id}/acknowledge");
    http::request("POST", &url, &[("content-type", "application/json")], r#"{"by":"Ana"}"#)
}

fn id_of(alert: &str) -> String {
    let body = alert.split_once(' ').expect("a topic and a payload").1;
    let body: Value = serde_json::from_str(body).expect("an alert is JSON");
    body["id"].as_str().expect("an alert has an id").to_owned()
}

#[test]
fn a_rules_call_that_nobody_answers_ends_by_itself() {
    let rules = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(with_calls(rules.path(), &["--rule-call-timeout", "1s"]));
    publish(server.mqtt(), TELEMETRY, r#"{"temperature": 9.5}"#);
    let base = server.url("");
    // The report, and the end of the call.
    let room = applied(&base, 2);
    assert_eq!(room["calls"], json!([]));
    wait_for_metric(&base, r#"gnomon_calls_without_reply_total{caller="rule"} 1"#);
    assert!(server.log().contains("did not reply to a rule's call"), "{}", server.log());
}

#[test]
fn an_applications_call_that_nobody_answers_leaves_nothing_behind() {
    let server = Server::start(Options::default());
    // An anonymous subscriber plays the device, and says nothing.
    let _room = subscribe(server.mqtt(), "silent", "devices/coldroom/room-1/calls/+/+");
    let base = server.url("");
    applied(&base, 1);
    let headers = [("content-type", "application/json")];
    let call = format!("{base}{ROOM}/calls/defrost?timeout_ms=500");
    let answer = http::request("POST", &call, &headers, r#"{"minutes":5}"#);
    assert_eq!(answer.status, 504, "{}", answer.text);
    assert!(answer.text.contains("did not reply within 500 ms"), "{}", answer.text);
    // That it came, the call, and its end.
    applied(&base, 3);
    wait_for_metric(&base, r#"gnomon_calls_without_reply_total{caller="application"} 1"#);
}

/// Raises an alert, is reminded of it twice, acknowledges it, and clears it.
fn an_alert_is_reminded_of_and_acknowledged(mqtt: SocketAddr, base: &str) {
    let mut alerts = subscribe(mqtt, "watcher", ALERTS);
    publish(mqtt, TELEMETRY, r#"{"temperature": 9.5}"#);
    let raised = alerts.wait_for(&[ALERTS, r#""status":"active""#], SOON);
    assert!(!raised.contains("reminder") && !raised.contains("acknowledged"), "{raised}");
    let id = id_of(&raised);
    for number in [1, 2] {
        let again = alerts.wait_for(&[&format!(r#""reminder":{number}"#)], SOON);
        assert_eq!(id_of(&again), id);
    }
    assert_eq!(acknowledge(base, "none").status, 404);
    let answer = acknowledge(base, &id);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["acknowledged_by"], "Ana");
    let told = alerts.wait_for(&[r#""acknowledged_by":"Ana""#, r#""status":"active""#], SOON);
    assert!(told.contains(&id) && !told.contains("reminder"), "{told}");
    let shown = http::get(&format!("{base}{ROOM}/alerts")).json();
    let alert = &shown["alerts"][0];
    assert_eq!((&alert["acknowledged_by"], &alert["remind_at"]), (&json!("Ana"), &Value::Null));
    assert_eq!(acknowledge(base, &id).json(), answer.json(), "again changes nothing");
    publish(mqtt, TELEMETRY, r#"{"temperature": 6.5}"#);
    alerts.wait_for(&[r#""acknowledged_by":"Ana""#, r#""status":"cleared""#], SOON);
    let answer = acknowledge(base, &id);
    assert_eq!((answer.status, &answer.json()["kind"]), (409, &json!("alert-cleared")));
}

#[test]
fn an_alert_is_reminded_of_and_acknowledged_on_the_embedded_store() {
    let server = Server::start(options(&["--alert-remind", "1s"]));
    an_alert_is_reminded_of_and_acknowledged(server.mqtt(), &server.url(""));
}

/// Waits for the second reminder; until then the first one came once.
fn assert_first_reminder_once(alerts: &mut Beside) {
    alerts.wait_for(&[r#""reminder":2"#], SOON);
    let first = alerts.seen(&[r#""reminder":1"#]);
    assert_eq!(first.len(), 1, "{first:#?}");
}

#[test]
fn a_reminder_comes_once_over_a_kill_of_everything() {
    let mut server = Server::start(options(&["--alert-remind", "2s"]));
    let mut alerts = subscribe(server.mqtt(), "watcher", ALERTS);
    publish(server.mqtt(), TELEMETRY, r#"{"temperature": 9.5}"#);
    alerts.wait_for(&[ALERTS, r#""status":"active""#], SOON);
    server.kill_9();
    assert_eq!(alerts.seen(&["reminder"]), [""; 0], "the kill came too late");
    server.restart_in_place();
    // The subscriber connects again by itself, and its session is still there.
    assert_first_reminder_once(&mut alerts);
}

/// Every function a process of its own, two timers, devices on Mosquitto.
struct Apart {
    // Stopped before what they stand on.
    workers: Vec<Worker>,
    timers: [Worker; 2],
    alert: Worker,
    base: String,
    broker: Part,
    _stack: [Part; 2],
}

impl Apart {
    fn start(words: &[&str]) -> Self {
        let stack = [Part::start(Kind::Nats), Part::start(Kind::Redis)];
        let broker = Part::start(Kind::Mosquitto);
        let (queue, store) = (stack[0].url(), stack[1].url());
        let worker = |function: &str| Worker::start(function, &queue, &store, words);
        let api = Worker::start("api", &queue, &store, &["--http", "127.0.0.1:0"]);
        let url = api.greeting().split_whitespace().find(|word| word.starts_with("http://"));
        let base = url.expect("it says where it listens").to_owned();
        let bridge = Worker::start("bridge", &queue, &store, &["--broker", &broker.url()]);
        let workers = vec![api, bridge, worker("telemetry"), worker("shadow"), worker("rrpc")];
        let (timers, alert) = ([worker("timer"), worker("timer")], worker("alert"));
        Self { workers, timers, alert, base, broker, _stack: stack }
    }

    fn terminate(self) {
        let workers = self.workers.into_iter().chain(self.timers);
        workers.chain([self.alert]).for_each(Worker::terminate);
    }
}

#[test]
fn an_alert_is_reminded_of_and_acknowledged_on_nats_and_redis() {
    let apart = Apart::start(&["--alert-remind", "1s"]);
    an_alert_is_reminded_of_and_acknowledged(apart.broker.address(), &apart.base);
    apart.terminate();
}

#[test]
fn a_rules_call_that_nobody_answers_ends_by_itself_on_nats_and_redis() {
    let rules = tempfile::tempdir().expect("a temporary folder can be made");
    write(&rules.path().join("defrosts.rhai"), CALLS);
    let folder = rules.path().display().to_string();
    let apart = Apart::start(&["--rule-call-timeout", "1s", "--rules", &folder]);
    publish(apart.broker.address(), TELEMETRY, r#"{"temperature": 9.5}"#);
    // That the device spoke for the first time, the report, and the end of the call.
    let room = applied(&apart.base, 3);
    assert_eq!(room["calls"], json!([]), "{room}");
    apart.terminate();
}

#[test]
fn a_reminder_comes_once_over_a_kill_of_timers_and_alerts() {
    let mut apart = Apart::start(&["--alert-remind", "2s"]);
    let mut alerts = subscribe(apart.broker.address(), "watcher", ALERTS);
    publish(apart.broker.address(), TELEMETRY, r#"{"temperature": 9.5}"#);
    alerts.wait_for(&[ALERTS, r#""status":"active""#], SOON);
    let [one, other] = &mut apart.timers;
    [one, other, &mut apart.alert].into_iter().for_each(Worker::kill_9_and_restart);
    assert_first_reminder_once(&mut alerts);
    apart.terminate();
}
