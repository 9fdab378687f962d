//! The interface over a real socket, on a store and a queue in memory; a task plays the functions.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use gnomon_adapters::memory::Memory;
use gnomon_api::{Api, serve};
use gnomon_host::dead::DeadLetter;
use gnomon_host::port::{Consumer, Log, Message, Queue, Store, Stream, Write};
use gnomon_model::{
    Answer, Destination, DeviceKey, Envelope, Object, Outgoing, Record, Reject, RejectKind, What,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Served {
    base: String,
    memory: Memory,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves, with one device that reported 9.5 °C and is wanted at 4.0.
async fn served() -> Served {
    let memory = Memory::new(2);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let api = Api {
        store: memory.clone(),
        queue: memory.clone(),
        rules: Arc::new(|| json!({ "rules": [] })),
        metrics: Arc::new(|| "gnomon_test 1\n".to_owned()),
    };
    tokio::spawn(serve(listener, api, stop.clone()));
    let mut record = Record::default();
    record.shadow.report(&object(json!({ "temperature": 9.5 })), 1000);
    record.shadow.desire(&object(json!({ "setpoint": 4.0 })), 2000);
    let device = DeviceKey::parse("coldroom", "room-1").unwrap();
    memory
        .commit(&[Write { device, expected_revision: 0, record, due_before: Default::default() }])
        .await
        .unwrap();
    Served { base, memory, stop }
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

/// Answers every request on the stream as `decide` says; none leaves the caller waiting.
fn play(memory: &Memory, stream: Stream, decide: fn(&What) -> Option<Answer>) {
    for partition in 0..2 {
        let memory = memory.clone();
        tokio::spawn(async move {
            let mut consumer = memory.consume(Log { stream, partition }).await.unwrap();
            while let Ok(batch) = consumer.pull(10).await {
                for delivery in batch {
                    let envelope = Envelope::decode(&delivery.body).unwrap();
                    let Some(answer) = decide(&envelope.what) else { continue };
                    let to = Destination::Caller { request: envelope.id.clone() };
                    let payload = serde_json::to_string(&answer).unwrap();
                    let outgoing = Outgoing { id: format!("{}.0", envelope.id), to, payload };
                    let body = serde_json::to_vec(&outgoing).unwrap().into();
                    let log = Log { stream: Stream::Answers, partition: 0 };
                    memory
                        .append(vec![Message { log, id: outgoing.id, device: None, body }])
                        .await
                        .unwrap();
                }
            }
        });
    }
}

/// Status, ETag, body.
async fn ask(
    method: &str,
    url: String,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, Value) {
    let request = ureq::http::Request::builder().method(method).uri(url);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(body.to_owned()).unwrap();
    tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let mut response = agent.run(request).unwrap();
        let etag = response.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
        let text = response.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (response.status().as_u16(), etag.unwrap_or_default(), body)
    })
    .await
    .unwrap()
}

async fn get(served: &Served, path: &str) -> (u16, String, Value) {
    ask("GET", format!("{}{path}", served.base), &[], "").await
}

const SHADOW: &str = "/v1/devices/coldroom/room-1/shadow";

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_read_in_the_shape_of_aws_with_milliseconds() {
    let served = served().await;
    let (status, etag, mut body) = get(&served, SHADOW).await;
    assert_eq!((status, etag.as_str()), (200, "\"2\""));
    assert!(body.as_object_mut().unwrap().remove("timestamp").unwrap().as_i64().unwrap() > 0);
    let expected = json!({
        "state": {
            "desired": { "setpoint": 4.0 },
            "reported": { "temperature": 9.5 },
            "delta": { "setpoint": 4.0 },
        },
        "metadata": {
            "desired": { "setpoint": { "timestamp": 2000 } },
            "reported": { "temperature": { "timestamp": 1000 } },
        },
        "version": 2,
    });
    assert_eq!(body, expected);
    let url = format!("{}{SHADOW}", served.base);
    assert_eq!(ask("GET", url, &[("if-none-match", "\"2\"")], "").await.0, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn desired_state_is_answered_by_the_function() {
    let served = served().await;
    play(&served.memory, Stream::Shadow, |what| match what {
        What::Desire { expected_version: Some(9), .. } => {
            Some(Answer::Refused(Reject::new(RejectKind::Conflict, "9 is expected, 2 is current")))
        }
        What::Desire { patch, .. } if patch.contains_key("bad") => {
            Some(Answer::Refused(Reject::new(RejectKind::Invalid, "no property `bad`")))
        }
        What::Desire { .. } => Some(Answer::Desired { version: 3 }),
        _ => None,
    });
    let patch = |headers: &'static [(&'static str, &'static str)], body: &'static str| {
        ask("PATCH", format!("{}{SHADOW}", served.base), headers, body)
    };
    let (status, etag, body) = patch(&[], r#"{"state":{"desired":{"setpoint":5}}}"#).await;
    assert_eq!((status, etag.as_str(), &body["version"]), (200, "\"3\"", &json!(3)));
    let good = r#"{"state":{"desired":{"setpoint":5}}}"#;
    assert_eq!(patch(&[("if-match", "\"9\"")], good).await.0, 412);
    let (status, _, problem) = patch(&[], r#"{"state":{"desired":{"bad":5}}}"#).await;
    assert_eq!((status, &problem["kind"]), (422, &json!("invalid")));
    for body in ["{", "[]", "{}", r#"{"state":{"reported":{}}}"#, r#"{"state":{"desired":7}}"#] {
        let (status, _, problem) = patch(&[], body).await;
        assert_eq!((status, &problem["status"]), (400, &json!(400)), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_the_device() {
    let served = served().await;
    play(&served.memory, Stream::Calls, |what| {
        let What::Call { service, .. } = what else { return None };
        match service.as_str() {
            "defrost" => Some(Answer::Outputs { outputs: Object::new() }),
            "offline" => Some(Answer::Refused(Reject::new(RejectKind::Offline, "offline"))),
            "broken" => Some(Answer::Failed { code: 7, message: "frozen".into() }),
            "wrong" => Some(Answer::Refused(Reject::new(RejectKind::Invalid, "minutes"))),
            _ => None,
        }
    });
    for (service, status) in
        [("defrost", 200), ("offline", 409), ("broken", 502), ("wrong", 422), ("silent", 504)]
    {
        let path = format!("/v1/devices/coldroom/room-1/calls/{service}?timeout_ms=500");
        let (found, _, body) = ask("POST", format!("{}{path}", served.base), &[], "{}").await;
        assert_eq!(found, status, "{service}: {body}");
    }
    let path = "/v1/devices/coldroom/room-1/calls/defrost?timeout_ms=0";
    assert_eq!(ask("POST", format!("{}{path}", served.base), &[], "{}").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_dropped_one_by_one_or_up_to_a_position() {
    let served = served().await;
    let log = Log { stream: Stream::Dead, partition: 0 };
    let letter = |id: u32| Message { log, id: id.to_string(), device: None, body: "letter".into() };
    served.memory.append((1..=200).map(letter).collect()).await.unwrap();
    let delete = async |path: &str| {
        let (status, _, body) = ask("DELETE", format!("{}{path}", served.base), &[], "").await;
        (status, body["dropped"].clone())
    };
    assert_eq!(delete("/v1/dead/200").await, (200, json!(1)));
    for gone in ["/v1/dead/200", "/v1/dead/200/replay"] {
        assert_eq!(delete(gone).await.0, if gone.ends_with("replay") { 405 } else { 410 });
    }
    assert_eq!(delete("/v1/dead/201").await.0, 404);
    assert_eq!(delete("/v1/dead").await.0, 400);
    assert_eq!(delete("/v1/dead?through=190").await, (200, json!(190)));
    let (_, _, page) = get(&served, "/v1/dead").await;
    let left: Vec<u64> = page["dead"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["position"].as_u64().unwrap())
        .collect();
    assert_eq!(left, (191..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_and_shown() {
    let served = served().await;
    let reject = Reject::new(RejectKind::NotJson, "payload is not JSON");
    let letter =
        DeadLetter::undecodable(&b"garbage"[..].into(), &reject, "telemetry", "telemetry/0@x/1");
    let log = Log { stream: Stream::Dead, partition: 0 };
    let messages = (0..3).map(|n| Message {
        log,
        id: n.to_string(),
        device: None,
        body: letter.encode().into(),
    });
    served.memory.append(messages.collect()).await.unwrap();
    let (_, _, page) = get(&served, "/v1/dead?limit=2").await;
    assert_eq!(page["dead"].as_array().unwrap().len(), 2);
    let (_, _, rest) = get(&served, &format!("/v1/dead?after={}", page["next"])).await;
    assert_eq!((rest["dead"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    let position = &rest["dead"][0]["position"];
    let (status, _, one) = get(&served, &format!("/v1/dead/{position}")).await;
    assert_eq!(
        (status, &one["kind"], &one["reason"]),
        (200, &json!("not-json"), &json!("payload is not JSON"))
    );
    assert_eq!(get(&served, "/v1/dead/999").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_a_problem_document() {
    let served = served().await;
    for (path, status) in [
        ("/v1/devices/coldroom/nobody/shadow", 404),
        ("/v1/devices/cold%20room/room-1", 400),
        ("/v1/devices?limit=x", 400),
        ("/v1/devices?after=x", 400),
        ("/v1/dead/x", 400),
        ("/nowhere", 404),
    ] {
        let (found, _, problem) = get(&served, path).await;
        assert_eq!((found, &problem["status"]), (status, &json!(status)), "{path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{path}");
    }
    assert_eq!(ask("DELETE", format!("{}/v1/devices", served.base), &[], "").await.0, 405);
    let (status, _, devices) = get(&served, "/v1/devices?product=coldroom").await;
    assert_eq!((status, &devices["devices"][0]["device"]), (200, &json!("room-1")));
    assert_eq!(get(&served, "/healthz").await.0, 200);
    assert_eq!(get(&served, "/metrics").await.2, json!("gnomon_test 1\n"));
}
