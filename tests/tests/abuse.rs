//! Bad input at the front door: each gets an answer where the protocol has one, a dead letter with
//! its reason where it can never be applied, and never disturbs a neighbour.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use gnomon_tests::http;
use gnomon_tests::packet::{self, Connect, Incoming, Publish, Sent, Session, Version};
use gnomon_tests::server::{Options, Server};
use gnomon_tests::wire::Client;
use serde_json::Value;

/// How long something may take that takes milliseconds on a machine that is not busy.
const SOON: Duration = Duration::from_secs(30);
const TELEMETRY: &str = "devices/coldroom/room-1/telemetry";

fn connect(server: &Server, client: &str, version: Version) -> Client {
    let connect = Connect { version, client, user: None, session: Session::Clean };
    Client::connect(server.mqtt(), connect).expect("the server accepts").0
}

/// Publishes at QoS 1 and waits for the acknowledgement; its reason.
fn publish(client: &mut Client, version: Version, topic: &str, payload: &[u8]) -> u8 {
    let mut out = Vec::new();
    let publish = Publish { version, topic, packet: 7, sent: Sent::First, payload };
    packet::publish(&mut out, publish);
    client.send(&out).expect("the connection stands");
    loop {
        if let Incoming::Acknowledged { packet: 7, reason } =
            client.next(SOON).expect("the server answers")
        {
            return reason;
        }
    }
}

/// The neighbour: a good report, applied in spite of everything before it.
fn assert_serves(server: &Server, temperature: f64) {
    let mut client = connect(server, "neighbour", Version::V311);
    let payload = format!("{{\"temperature\": {temperature}}}");
    publish(&mut client, Version::V311, "devices/coldroom/room-2/telemetry", payload.as_bytes());
    let url = server.url("/v1/devices/coldroom/room-2/shadow");
    http::get_until(&url, SOON, |shadow| shadow["state"]["reported"]["temperature"] == temperature);
}

#[test]
fn payloads_that_cannot_be_applied_are_dead_letters_with_a_reason() {
    let server = Server::start(Options::default());
    let deep = format!("{{\"temperature\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let many: String = (0..2000).map(|n| format!("\"p{n}\": 1,")).collect();
    let many = format!("{{{}\"x\": 1}}", many);
    let rows: &[(&str, &[u8], &str)] = &[
        (TELEMETRY, b"not json", "not-json"),
        (TELEMETRY, b"", "not-json"),
        (TELEMETRY, b"{\"temperature\": \"\xff\xfe\"}", "not-json"),
        (TELEMETRY, deep.as_bytes(), "not-json"),
        (TELEMETRY, b"{\"temperature\": NaN}", "not-json"),
        (TELEMETRY, b"{\"temperature\": 1e400}", "not-json"),
        (TELEMETRY, b"{\"temperature\": 1, \"temperature\": 2}", "not-json"),
        (TELEMETRY, b"{\"temperature\": 18446744073709551615}", "not-json"),
        (TELEMETRY, b"[1, 2]", "malformed"),
        (TELEMETRY, b"{\"temperature\": 9007199254740993}", "invalid"),
        (TELEMETRY, b"{\"temprature\": 5.0}", "invalid"),
        (TELEMETRY, b"{\"temperature\": null}", "invalid"),
        (TELEMETRY, b"{\"time\": -1, \"values\": {\"temperature\": 5.0}}", "bad-time"),
        (TELEMETRY, many.as_bytes(), "too-large"),
        ("devices/coldroom/room-1/events/fire", b"{}", "invalid"),
        ("devices/coldroom/room-1/replies/77", b"{}", "unknown-call"),
        ("devices/nowhere/room-1/telemetry", b"{\"temperature\": 5.0}", "unknown-product"),
    ];
    for version in [Version::V311, Version::V5] {
        let mut client = connect(&server, "careless", version);
        for (topic, payload, _) in rows {
            assert_eq!(publish(&mut client, version, topic, payload), 0, "it is in the queue");
        }
    }
    let expected = rows.len() * 2;
    let dead = http::get_until(&server.url("/v1/dead"), SOON, |dead| {
        dead["dead"].as_array().is_some_and(|letters| letters.len() >= expected)
    });
    let letters = dead["dead"].as_array().expect("a list");
    assert_eq!(letters.len(), expected);
    for (_, _, kind) in rows {
        let found = letters.iter().filter(|letter| letter["kind"] == *kind).count();
        let wanted = 2 * rows.iter().filter(|(.., other)| other == kind).count();
        assert_eq!(found, wanted, "{kind}");
    }
    assert!(
        letters.iter().all(|letter| letter["reason"].as_str().is_some_and(|why| why.len() > 5))
    );
    let record = http::request("GET", &server.url("/v1/devices/coldroom/room-1"), &[], "");
    assert_eq!(record.status, 404, "refused messages leave no record");
    assert_serves(&server, 4.0);
}

#[test]
fn bytes_that_are_no_mqtt_end_their_connection_only() {
    let server = Server::start(Options::default());
    let huge_claim = [0x30, 0xff, 0xff, 0xff, 0x7f];
    let rows: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xff; 64],
        &[0x10, 0x00],
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x30, 0x05, 0x00, 0x01, b'a', 0x00, 0x00],
        &huge_claim,
    ];
    for bytes in rows {
        let mut stream = TcpStream::connect(server.mqtt()).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a time-out can be set");
        stream.write_all(bytes).expect("the bytes go out");
        let mut rest = Vec::new();
        // An end of stream or a reset: either way the server has closed it.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 64, "{rest:?}");
    }
    // Half a packet, and gone.
    let mut half = TcpStream::connect(server.mqtt()).expect("it listens");
    half.write_all(&[0x10, 0x20, 0x00, 0x04]).expect("the bytes go out");
    drop(half);
    assert_serves(&server, 4.5);
}

#[test]
fn a_packet_beyond_the_limit_is_refused_with_a_reason_where_there_is_one() {
    let server = Server::start(Options::default());
    let payload = vec![b'x'; 1_000_000];
    for version in [Version::V311, Version::V5] {
        let mut client = connect(&server, "big", version);
        let mut out = Vec::new();
        let publish =
            Publish { version, topic: TELEMETRY, packet: 1, sent: Sent::First, payload: &payload };
        packet::publish(&mut out, publish);
        // The server may close while we still write.
        let _ = client.send(&out);
        match client.next(SOON) {
            Ok(Incoming::Disconnected { reason }) => assert_eq!(reason, 0x95),
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    }
    assert_serves(&server, 5.0);
    let metrics: Value = http::get(&server.url("/v1/dead")).json();
    assert_eq!(metrics["dead"], serde_json::json!([]), "what was not taken is not dead");
}
