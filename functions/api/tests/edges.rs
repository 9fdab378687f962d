//! Edges of the interface: conditions, bounds, paging, faults of the queue, and the stop.
//!
//! The client writes bytes to a socket, so that it can say what no library lets one say. The test
//! itself plays the function: it takes the envelope, looks at it, and answers.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gnomon_adapters::memory::{Memory, MemoryConsumer};
use gnomon_adapters::{LogBounds, QueueBounds};
use gnomon_api::{Api, serve};
use gnomon_host::dead::DeadLetter;
use gnomon_host::port::{Consumer, Log, Message, Queue, Store, Stream, Write};
use gnomon_model::record::PendingCall;
use gnomon_model::{
    Alert, AlertStatus, Answer, CallId, Destination, DeviceKey, Envelope, EnvelopeId, Ledger,
    Object, Outgoing, Record, Reject, RejectKind, Severity, What,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PARTITIONS: u16 = 3;
const ROOM: &str = "/v1/devices/coldroom/room-1";
const JSON: &str = "content-type: application/json\r\n";
/// What never happens is noticed after this long.
const NEVER: Duration = Duration::from_secs(30);

struct Served {
    at: SocketAddr,
    memory: Memory,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

struct Response {
    status: u16,
    head: String,
    body: Value,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
        Some(self.head.lines().find(|one| line(one))?[name.len() + 2..].trim())
    }

    fn detail(&self) -> &str {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        assert_eq!(self.body["status"], self.status, "{}", self.body);
        self.body["detail"].as_str().unwrap()
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(NEVER, what).await.unwrap()
}

async fn serve_memory(memory: Memory) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let api = Api {
        store: memory.clone(),
        queue: memory.clone(),
        rules: Arc::new(|| json!({ "rules": [{ "name": "too_warm", "runs": 3 }] })),
        metrics: Arc::new(String::new),
    };
    let serving = tokio::spawn(serve(listener, api, stop.clone()));
    Served { at, memory, stop, serving }
}

/// Serves, with the records of these devices of the product `coldroom`.
async fn served(devices: Vec<(&str, Record)>) -> Served {
    let served = serve_memory(Memory::new(PARTITIONS)).await;
    let writes: Vec<Write> = devices
        .into_iter()
        .map(|(name, record)| Write {
            device: key(name),
            expected_revision: 0,
            record,
            due_before: Default::default(),
        })
        .collect();
    served.memory.commit(&writes).await.unwrap();
    served
}

fn key(name: &str) -> DeviceKey {
    DeviceKey::parse("coldroom", name).unwrap()
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

/// A record whose desired state is this.
fn desiring(desired: Value) -> Record {
    let mut record = Record::default();
    record.shadow.desire(&object(desired), 1000);
    record
}

/// Sends one request; `headers` are whole lines.
async fn send(at: SocketAddr, line: String, headers: String, body: String) -> Response {
    let mut socket = TcpStream::connect(at).await.unwrap();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: gnomon\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    in_time(socket.read_to_string(&mut response)).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|_| body.into());
    Response { status, head: head.to_owned(), body }
}

impl Served {
    fn ask(&self, line: &str, headers: &str, body: &str) -> impl Future<Output = Response> + use<> {
        send(self.at, line.to_owned(), headers.to_owned(), body.to_owned())
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path}"), "", "").await
    }

    /// Asks in the background, until the test has answered.
    fn begin(&self, line: &str, headers: &str, body: &str) -> JoinHandle<Response> {
        tokio::spawn(self.ask(line, headers, body))
    }

    /// The one consumer of the room's partition of a stream.
    async fn function(&self, stream: Stream) -> MemoryConsumer {
        let partition = key("room-1").partition(PARTITIONS);
        self.memory.consume(Log { stream, partition }).await.unwrap()
    }

    async fn answer(&self, envelope: &Envelope, answer: &Answer) {
        let to = Destination::Caller { request: envelope.id.clone() };
        let payload = serde_json::to_string(answer).unwrap();
        let outgoing = Outgoing { id: format!("{}.0", envelope.id), to, payload };
        let body = serde_json::to_vec(&outgoing).unwrap().into();
        let log = Log { stream: Stream::Answers, partition: 0 };
        self.memory
            .append(vec![Message { log, id: outgoing.id, device: None, body }])
            .await
            .unwrap();
    }

    async fn bury(&self, letters: Vec<Vec<u8>>) {
        let log = Log { stream: Stream::Dead, partition: 0 };
        let message = |(n, body): (usize, Vec<u8>)| Message {
            log,
            id: n.to_string(),
            device: None,
            body: body.into(),
        };
        let messages = letters.into_iter().enumerate().map(message).collect();
        self.memory.append(messages).await.unwrap();
    }
}

async fn taken(function: &mut MemoryConsumer) -> Envelope {
    let batch = in_time(function.pull(1)).await.unwrap();
    Envelope::decode(&batch[0].body).unwrap()
}

#[tokio::test]
async fn a_patch_becomes_one_envelope_of_its_device() {
    let served =
        served(vec![("room-1", desiring(json!({ "setpoint": 4, "fan": { "on": true } })))]);
    let served = served.await;
    let mut shadow = served.function(Stream::Shadow).await;
    for (condition, body, patch, expected_version) in [
        ("", r#"{"state":{"desired":{"a":1}}}"#, json!({ "a": 1 }), None),
        ("if-match: \"7\"\r\n", r#"{"state":{"desired":{}}}"#, json!({}), Some(7)),
        ("if-match: *\r\n", r#"{"state":{"desired":{"a":null}}}"#, json!({ "a": null }), None),
        ("", r#"{"state":{"desired":null}}"#, json!({ "setpoint": null, "fan": null }), None),
    ] {
        let headers = format!("content-type: Application/Merge-Patch+JSON; a=b\r\n{condition}");
        let asked = served.begin(&format!("PATCH {ROOM}/shadow"), &headers, body);
        let envelope = taken(&mut shadow).await;
        assert_eq!(envelope.device, key("room-1"), "{body}");
        assert!(envelope.received_at_ms > 1_700_000_000_000, "{body}");
        let what = What::Desire { patch: object(patch), expected_version };
        assert_eq!(envelope.what, what, "{body}");
        served.answer(&envelope, &Answer::Desired { version: 8 }).await;
        let response = asked.await.unwrap();
        assert_eq!((response.status, response.body.clone()), (200, json!({ "version": 8 })));
        assert_eq!(response.header("etag"), Some("\"8\""));
    }
}

#[tokio::test]
async fn a_patch_that_is_wrong_in_itself_is_refused_before_the_queue() {
    let served = served(vec![("room-1", desiring(json!({ "a": 1 })))]).await;
    let good = r#"{"state":{"desired":{"a":1}}}"#;
    // One byte too many and no more: whoever notices has read all of it, and closes without a reset.
    let large = format!("{good}{}", " ".repeat(64 * 1024 + 1 - good.len()));
    let twice = r#"{"state":{"desired":{"a":1,"a":2}}}"#;
    let reported = r#"{"state":{"desired":{},"reported":{}}}"#;
    let tops = r#"{"state":{"desired":{}},"version":1,"clientToken":"t"}"#;
    for (path, headers, body, status, said) in [
        ("room-1/shadow", JSON, "{\"state\":", 400, "line 1 column 9"),
        ("room-1/shadow", JSON, twice, 400, "`a` stands twice"),
        ("room-1/shadow", JSON, reported, 400, "`reported` in `state`"),
        ("room-1/shadow", JSON, tops, 400, "`clientToken`, `version` in the document"),
        ("room-1/shadow", JSON, r#"{"state":null}"#, 400, "`state` is missing"),
        ("room-1/shadow", JSON, r#"{"state":{}}"#, 400, "`desired` is missing"),
        ("room-1/shadow", "content-type: text/plain\r\n", good, 415, "text/plain"),
        ("room-1/shadow", JSON, &large, 413, "larger than 65536 bytes"),
        ("room-1/shadow", "if-match: seven\r\n", good, 400, "seven"),
        ("nobody/shadow", "if-match: *\r\n", good, 412, "coldroom/nobody"),
        ("nobody/shadow", JSON, r#"{"state":{"desired":null}}"#, 404, "coldroom/nobody"),
        ("%ff/shadow", JSON, good, 400, "UTF-8"),
        ("a%2Fb/shadow", JSON, good, 400, "without /"),
    ] {
        let line = format!("PATCH /v1/devices/coldroom/{path}");
        let response = served.ask(&line, headers, body).await;
        assert_eq!(response.status, status, "{path} {body:.80}: {}", response.body);
        assert!(response.detail().contains(said), "{path} {body:.80}: {}", response.detail());
        let accepted = response.header("accept-patch").is_some();
        assert_eq!(accepted, status == 415, "{path} {body:.80}");
    }
    for partition in 0..PARTITIONS {
        let log = Log { stream: Stream::Shadow, partition };
        assert_eq!(served.memory.counts(log).await.unwrap().appended, 0);
    }
}

#[tokio::test]
async fn a_change_without_an_answer_is_said_to_be_applied_later() {
    let served = served(vec![]).await;
    let line = format!("PATCH {ROOM}/shadow");
    let response = served.ask(&line, JSON, r#"{"state":{"desired":{"a":1}}}"#).await;
    assert_eq!(response.status, 504);
    assert!(response.detail().contains("will be applied"), "{}", response.detail());
    let mut shadow = served.function(Stream::Shadow).await;
    assert!(matches!(taken(&mut shadow).await.what, What::Desire { .. }));
}

#[tokio::test]
async fn an_acknowledgement_waits_for_what_becomes_of_it() {
    let served = served(vec![]).await;
    let mut alerts = served.function(Stream::Alerts).await;
    let line = format!("POST {ROOM}/alerts/e-1/acknowledge");
    let mut acknowledged = alert("warm", AlertStatus::Active, 10).1;
    acknowledged.acknowledge("Ana", 20);
    let shown = json!({
        "alert": "warm", "status": "active", "severity": "major", "message": "",
        "product": "coldroom", "device": "room-1", "at": 10, "values": {}, "id": "warm",
        "rule": "rule", "acknowledged_at": 20, "acknowledged_by": "Ana",
    });
    let refused = |kind| Answer::Refused(Reject::new(kind, "why"));
    for (answer, status, body) in [
        (Answer::Acknowledged { alert: Box::new(acknowledged) }, 200, Some(shown)),
        (refused(RejectKind::UnknownAlert), 404, None),
        (refused(RejectKind::AlertCleared), 409, None),
        (Answer::TimedOut, 500, None),
    ] {
        let asked = served.begin(&line, JSON, r#"{"by":"Ana"}"#);
        let envelope = taken(&mut alerts).await;
        let (alert, by) = ("e-1".to_owned(), "Ana".to_owned());
        assert_eq!(envelope.what, What::Acknowledge { alert, by });
        served.answer(&envelope, &answer).await;
        let response = asked.await.unwrap();
        assert_eq!(response.status, status, "{answer:?}: {}", response.body);
        assert!(body.is_none_or(|body| body == response.body), "{}", response.body);
    }
    let long = format!("POST {ROOM}/alerts/{}/acknowledge", "x".repeat(129));
    for (line, kind, body, status) in [
        (&line, JSON, "{}", 400),
        (&line, JSON, r#"{"by":""}"#, 400),
        (&long, JSON, r#"{"by":"Ana"}"#, 400),
        (&line, "content-type: text/plain\r\n", r#"{"by":"Ana"}"#, 415),
    ] {
        let response = served.ask(line, kind, body).await;
        assert_eq!(response.status, status, "{line:.80} {body}: {}", response.body);
    }
    let response = served.ask(&line, JSON, r#"{"by":"Ana"}"#).await;
    assert_eq!(response.status, 504, "{}", response.body);
    assert!(response.detail().contains("will be applied"), "{}", response.detail());
}

#[tokio::test]
async fn a_call_that_timed_out_is_told_like_one_that_nobody_answered() {
    let served = served(vec![]).await;
    let mut calls = served.function(Stream::Calls).await;
    let asked = served.begin(&format!("POST {ROOM}/calls/defrost?timeout_ms=60000"), "", "");
    let envelope = taken(&mut calls).await;
    served.answer(&envelope, &Answer::TimedOut).await;
    let response = asked.await.unwrap();
    assert_eq!(response.status, 504);
    assert!(response.detail().contains("did not reply within 60000 ms"), "{}", response.detail());
}

#[tokio::test]
async fn a_call_carries_inputs_and_time_to_the_function() {
    let served = served(vec![]).await;
    let mut calls = served.function(Stream::Calls).await;
    for (path, body, service, inputs, timeout_ms) in [
        ("defrost?timeout_ms=3000", r#"{"minutes":5}"#, "defrost", json!({ "minutes": 5 }), 3000),
        ("a%20b", "", "a b", json!({}), 8000),
    ] {
        let kind = if body.is_empty() { "" } else { JSON };
        let asked = served.begin(&format!("POST {ROOM}/calls/{path}"), kind, body);
        let envelope = taken(&mut calls).await;
        let (service, inputs) = (service.to_owned(), object(inputs));
        assert_eq!(envelope.what, What::Call { service, inputs, timeout_ms });
        let outputs = object(json!({ "ok": true }));
        served.answer(&envelope, &Answer::Outputs { outputs }).await;
        let response = asked.await.unwrap();
        assert_eq!((response.status, response.body), (200, json!({ "ok": true })));
    }
}

#[tokio::test]
async fn a_failure_of_the_device_is_told_with_its_code() {
    let served = served(vec![]).await;
    let mut calls = served.function(Stream::Calls).await;
    let asked = served.begin(&format!("POST {ROOM}/calls/defrost"), "", "");
    let envelope = taken(&mut calls).await;
    served.answer(&envelope, &Answer::Failed { code: 7, message: "frozen".to_owned() }).await;
    let response = asked.await.unwrap();
    assert_eq!(response.status, 502);
    let told = (&response.body["code"], &response.body["message"]);
    assert_eq!(told, (&json!(7), &json!("frozen")));
    assert!(response.detail().contains("coldroom/room-1"), "{}", response.detail());
}

#[tokio::test]
async fn a_call_that_is_wrong_in_itself_is_refused_before_the_queue() {
    let served = served(vec![]).await;
    let long = format!("calls/{}", "x".repeat(129));
    for (path, body, status) in [
        ("calls/a?timeout_ms=0", "", 400),
        ("calls/a?timeout_ms=x", "", 400),
        ("calls/a?wait=1", "", 400),
        ("calls/a", "[]", 400),
        ("calls/a", "{", 400),
        ("calls/%ff", "", 400),
        ("calls/a", &" ".repeat(64 * 1024 + 1), 413),
        (&long, "", 400),
    ] {
        let response = served.ask(&format!("POST {ROOM}/{path}"), "", body).await;
        assert_eq!(response.status, status, "{path:.40} {body:.40}: {}", response.body);
        assert!(!response.detail().is_empty());
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json"]
    {
        let headers = format!("content-type: {kind}\r\n");
        for body in ["{}", ""] {
            let response = served.ask(&format!("POST {ROOM}/calls/a"), &headers, body).await;
            assert_eq!(response.status, 415, "{kind}: {}", response.body);
            assert_eq!(response.header("accept-post"), Some("application/json"));
            assert!(response.detail().contains(kind), "{}", response.detail());
        }
    }
    let log = Log { stream: Stream::Calls, partition: key("room-1").partition(PARTITIONS) };
    assert_eq!(served.memory.counts(log).await.unwrap().appended, 0);
}

#[tokio::test]
async fn a_full_queue_asks_to_come_again() {
    let none = LogBounds { pending_messages_max: 0, ..LogBounds::consumed(10, 1 << 20) };
    let full = Memory::with_bounds(PARTITIONS, &QueueBounds::uniform(none));
    let served = serve_memory(full).await;
    let patch = (format!("PATCH {ROOM}/shadow"), JSON, r#"{"state":{"desired":{"a":1}}}"#);
    for (line, headers, body) in [patch, (format!("POST {ROOM}/calls/defrost"), "", "")] {
        let response = served.ask(&line, headers, body).await;
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")), "{line}");
        assert!(response.detail().contains("full"), "{}", response.detail());
    }
    assert_eq!(served.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn health_tells_that_store_and_queue_are_gone() {
    let served = served(vec![]).await;
    assert_eq!(served.get("/healthz").await.body, json!({ "status": "ok" }));
    served.memory.close();
    for path in ["/healthz", "/v1/devices", "/v1/dead", "/v1/dead/1", ROOM] {
        let response = served.get(path).await;
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")), "{path}");
        assert!(response.detail().contains("closed"), "{path}: {}", response.detail());
    }
}

#[tokio::test]
async fn devices_are_listed_page_by_page() {
    let names = ["a", "b.c", "设备", "~d"];
    let served = served(names.map(|name| (name, Record::default())).to_vec()).await;
    let (mut path, mut found) = ("/v1/devices?limit=3".to_owned(), Vec::new());
    loop {
        let page = served.get(&path).await.body;
        let devices = page["devices"].as_array().unwrap();
        found.extend(devices.iter().map(|one| one["device"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        let next: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
        path = format!("/v1/devices?limit=3&product=coldroom&after={next}");
    }
    assert_eq!(found, ["a", "b.c", "~d", "设备"]);
    let none = served.get("/v1/devices?product=other").await.body;
    assert_eq!(none, json!({ "devices": [], "next": null }));
    for bad in ["product=a.b", "after=coldroom", "after=coldroom/a%20b", "limit=-1", "page=2"] {
        let response = served.get(&format!("/v1/devices?{bad}")).await;
        assert_eq!(response.status, 400, "{bad}: {}", response.body);
    }
}

fn alert(name: &str, status: AlertStatus, at: i64) -> (String, Alert) {
    let DeviceKey { product, device } = key("room-1");
    let alert = Alert {
        alert: name.to_owned(),
        status,
        severity: Severity::Major,
        message: String::new(),
        product,
        device,
        at,
        values: Object::new(),
        id: name.to_owned(),
        rule: "rule".to_owned(),
        acknowledged_at: None,
        acknowledged_by: None,
        remind_at: None,
        reminders: 0,
    };
    (format!("rule/{name}"), alert)
}

/// A record with something of everything.
fn full_record() -> Record {
    let mut record = desiring(json!({ "setpoint": 4.0 }));
    record.alerts.extend([
        alert("a", AlertStatus::Active, 10),
        alert("b", AlertStatus::Cleared, 30),
        alert("c", AlertStatus::Active, 20),
    ]);
    let call = |service: &str, deadline_ms| PendingCall {
        service: service.to_owned(),
        request: Some(EnvelopeId::parse("e-1").unwrap()),
        rule: None,
        deadline_ms,
    };
    record.calls.insert(CallId(1), call("timed_out", 1));
    record.calls.insert(CallId(2), call("defrost", i64::MAX));
    record.ledgers.insert("telemetry".to_owned(), Ledger::default());
    record.counts.applied = 5;
    record
}

#[tokio::test]
async fn a_device_is_shown_without_what_only_functions_need() {
    let served = served(vec![("room-1", full_record())]).await;
    let mut body = served.get(ROOM).await.body;
    let alerts: Vec<Value> =
        body["alerts"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(alerts, ["b", "c", "a"]);
    body.as_object_mut().unwrap().remove("alerts");
    let expected = json!({
        "product": "coldroom",
        "device": "room-1",
        "dialect": "plain",
        "presence": { "online": false, "since": null, "reason": "" },
        "shadow": {
            "desired": { "setpoint": 4.0 },
            "reported": {},
            "delta": { "setpoint": 4.0 },
            "metadata": { "desired": { "setpoint": { "timestamp": 1000 } } },
            "version": 1,
        },
        "calls": [{ "id": "2", "service": "defrost", "deadline": i64::MAX }],
        "rules": {},
        "counts": { "applied": 5, "late": 0, "faults": 0 },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn alerts_are_newest_first_and_filtered_by_status() {
    let served = served(vec![("room-1", full_record())]).await;
    for (query, then) in [("", "b,c,a"), ("?status=active", "c,a"), ("?status=cleared", "b")] {
        let body = served.get(&format!("{ROOM}/alerts{query}")).await.body;
        let alerts = body["alerts"].as_array().unwrap().iter();
        let ids: Vec<&str> = alerts.map(|one| one["id"].as_str().unwrap()).collect();
        assert_eq!(ids.join(","), then, "{query}");
    }
    assert_eq!(served.get(&format!("{ROOM}/alerts?status=open")).await.status, 400);
    assert_eq!(served.get("/v1/devices/coldroom/nobody/alerts").await.status, 404);
}

#[tokio::test]
async fn a_damaged_dead_letter_hides_no_other() {
    let served = served(vec![]).await;
    let reject = Reject::new(RejectKind::NotJson, "why");
    let letter = DeadLetter::undecodable(&b"\xff"[..].into(), &reject, "telemetry", "telemetry/0");
    served.bury(vec![b"garbage".to_vec(), letter.encode().into_bytes()]).await;
    let body = served.get("/v1/dead").await.body;
    let (damaged, good) = (&body["dead"][0], &body["dead"][1]);
    assert_eq!((&damaged["position"], damaged["reason"].is_string()), (&json!(1), true));
    assert_eq!((&good["position"], &good["payload"]), (&json!(2), &json!({ "hex": "ff" })));
    assert_eq!(served.get("/v1/dead/1").await.status, 200);
}

#[tokio::test]
async fn a_replay_appends_the_envelope_once() {
    let served = served(vec![]).await;
    let topic = "devices/coldroom/room-1/telemetry".to_owned();
    let what = What::Published { topic, payload: b"{\"a\":1}"[..].into(), packet: None };
    let id = EnvelopeId::parse("e-1").unwrap();
    let envelope = Envelope { id, device: key("room-1"), received_at_ms: 1000, what };
    let reject = Reject::new(RejectKind::Invalid, "why");
    let letter = DeadLetter::new(&envelope, &reject, "telemetry", "telemetry/0@x/1");
    served.bury(vec![b"garbage".to_vec(), letter.encode().into_bytes()]).await;
    for _ in 0..2 {
        let response = served.ask("POST /v1/dead/2/replay", "", "").await;
        assert_eq!((response.status, &response.body["id"]), (202, &json!("replay-2-e-1")));
    }
    let mut telemetry = served.function(Stream::Telemetry).await;
    let batch = in_time(telemetry.pull(10)).await.unwrap();
    assert_eq!(batch.len(), 1);
    let id = EnvelopeId::parse("replay-2-e-1").unwrap();
    assert_eq!(Envelope::decode(&batch[0].body).unwrap(), Envelope { id, ..envelope });
    for (path, status) in [("1", 409), ("3", 404), ("0", 404), ("x", 400)] {
        let response = served.ask(&format!("POST /v1/dead/{path}/replay"), "", "").await;
        assert_eq!(response.status, status, "{path}: {}", response.body);
        assert!(!response.detail().is_empty());
    }
}

#[tokio::test]
async fn a_dead_letter_that_is_no_longer_kept_is_gone() {
    let bounds = QueueBounds { dead: LogBounds::newest(2, 1 << 20), ..QueueBounds::default() };
    let served = serve_memory(Memory::with_bounds(PARTITIONS, &bounds)).await;
    served.bury(vec![b"garbage".to_vec(); 5]).await;
    for line in ["GET /v1/dead/1", "POST /v1/dead/1/replay"] {
        assert_eq!(served.ask(line, "", "").await.status, 410, "{line}");
    }
}

#[tokio::test]
async fn a_page_of_large_dead_letters_ends_early_and_loses_none() {
    let served = served(vec![]).await;
    served.bury(vec![vec![b'x'; 1 << 20]; 7]).await;
    let (mut after, mut positions, mut pages) = (0, Vec::new(), 0);
    loop {
        let page = served.get(&format!("/v1/dead?after={after}")).await.body;
        let dead = page["dead"].as_array().unwrap().iter();
        positions.extend(dead.map(|one| one["position"].as_u64().unwrap()));
        pages += 1;
        let Some(next) = page["next"].as_u64() else { break };
        after = next;
    }
    assert_eq!((positions, pages), ((1..=7).collect(), 2));
}

#[tokio::test]
async fn every_path_says_which_methods_it_has() {
    let served = served(vec![]).await;
    for (line, allowed) in [
        (format!("DELETE {ROOM}/shadow"), "GET,HEAD,PATCH"),
        (format!("GET {ROOM}/calls/defrost"), "POST"),
        ("PUT /v1/devices".to_owned(), "GET,HEAD"),
    ] {
        let response = served.ask(&line, "", "").await;
        assert_eq!((response.status, response.header("allow")), (405, Some(allowed)), "{line}");
        assert!(!response.detail().is_empty());
    }
    let index = served.get("/").await.body;
    assert!(index["endpoints"].as_array().unwrap().len() > 9, "{index}");
    assert_eq!(served.get("/v1/rules").await.body["rules"][0]["name"], "too_warm");
}

#[tokio::test]
async fn a_request_that_runs_at_the_stop_is_answered() {
    let served = served(vec![]).await;
    let mut calls = served.function(Stream::Calls).await;
    let asked = served.begin(&format!("POST {ROOM}/calls/defrost"), "", "");
    let envelope = taken(&mut calls).await;
    served.stop.cancel();
    served.answer(&envelope, &Answer::Outputs { outputs: Object::new() }).await;
    assert_eq!(asked.await.unwrap().status, 200);
    in_time(served.serving).await.unwrap().unwrap();
}
