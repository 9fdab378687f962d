//! `gnomon rebuild`: a Redis that lost everything ends as it was.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use gnomon_tests::http;
use gnomon_tests::server::Server;
use gnomon_tests::worker::Worker;
use serde_json::Value;

use crate::world::{Device, Remote, SOON, document, refused, told};

const DEVICES: usize = 6;

fn url(server: &Server, device: usize, what: &str) -> String {
    server.url(&format!("/v1/devices/coldroom/room-{device}{what}"))
}

/// Every device reports, is told what is desired, and is called without an answer.
fn load(server: &Server) {
    let mut devices: Vec<Device> =
        (0..DEVICES).map(|number| Device::connect(server, &format!("room-{number}"))).collect();
    for round in 0..5 {
        for (number, device) in devices.iter_mut().enumerate() {
            device.report(&format!("{{\"temperature\": {round}.5}}"));
            device.report("no json");
            http::get_until(&url(server, number, "/shadow"), SOON, |shadow| {
                shadow["state"]["reported"]["temperature"] == f64::from(round) + 0.5
            });
            let desired = format!("{{\"state\":{{\"desired\":{{\"setpoint\":{round}.25}}}}}}");
            let kind = [("content-type", "application/json")];
            let answer = http::request("PATCH", &url(server, number, "/shadow"), &kind, &desired);
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    }
    let call = url(server, 1, "/calls/defrost?timeout_ms=200");
    let kind = [("content-type", "application/json")];
    let answer = http::request("POST", &call, &kind, "{\"minutes\":5}");
    assert_eq!(answer.status, 504, "{}", answer.text);
    devices.into_iter().for_each(|device| device.leave(server));
}

/// What applications see of all devices.
fn seen(server: &Server) -> Vec<Value> {
    let read = |number: usize| {
        let mut shadow = http::get(&url(server, number, "/shadow")).json();
        shadow.as_object_mut().expect("an object").remove("timestamp");
        let alerts = http::get(&url(server, number, "/alerts")).json();
        serde_json::json!([shadow, alerts])
    };
    (0..DEVICES).map(read).collect()
}

#[test]
fn a_redis_that_lost_everything_is_rebuilt_from_nats_as_it_was() {
    let remote = Remote::start(&[], &[]);
    let mut server = remote.server(&["--only", "gateway,api"]);
    let (queue, store) = (remote.nats.url(), remote.redis.url());
    let start = |function| Worker::start(function, &queue, &store, &[]);
    let workers: Vec<Worker> = ["telemetry", "shadow", "rrpc"].map(start).into();
    load(&server);
    let before = seen(&server);
    let place = remote.words();
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let words = |more: &[&'static str]| [&["rebuild", "--json"], more, &place].concat();
    let said = refused(&words(&[]));
    assert!(said.contains("workers of telemetry are there"), "{said}");
    workers.into_iter().for_each(Worker::terminate);
    assert!(server.terminate().success());

    let replayed = document(&words(&["--dry-run", "--as-if-empty"]));
    assert_eq!(replayed["records"], DEVICES, "{replayed:#}");
    let real = document(&words(&["--dry-run"]));
    assert_eq!((&real["changed"], &real["records"]), (&Value::from(0), &replayed["records"]));
    assert_eq!(real["sha256"], replayed["sha256"], "a replay is what it was: {real:#}");

    assert_eq!(remote.redis(&["FLUSHALL"]), "OK");
    let dry = document(&words(&["--dry-run"]));
    assert_eq!(dry["sha256"], real["sha256"]);
    assert_eq!(remote.redis(&["SMEMBERS", "gnomon:products"]), "", "a dry run writes nothing");
    let rebuilt = document(&words(&[]));
    assert_eq!(rebuilt["sha256"], real["sha256"], "{rebuilt:#}");
    let again = document(&words(&[]));
    assert_eq!((&again["changed"], &again["sha256"]), (&Value::from(0), &real["sha256"]));
    server.restart();
    assert_eq!(seen(&server), before);
}

#[test]
fn what_the_queue_no_longer_has_is_told_before_anything_is_rebuilt() {
    let remote = Remote::start(&[], &[]);
    let mut server = remote.server(&[]);
    load(&server);
    assert!(server.terminate().success());
    for partition in 0..4 {
        purge(&remote, &format!("gnomon-telemetry-{partition}"));
    }
    let place = remote.words();
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    // With records there, it only brings them up to date.
    told(&[&["rebuild"], &place[..]].concat());
    remote.redis(&["FLUSHALL"]);
    let said = refused(&[&["rebuild"], &place[..]].concat());
    assert!(said.contains("begins at 3: 2 messages are missing"), "{said}");
    assert!(said.contains("--partial") && said.contains("backup"), "{said}");
    assert_eq!(remote.redis(&["SMEMBERS", "gnomon:products"]), "");
    let said = told(&[&["rebuild", "--partial"], &place[..]].concat());
    assert!(said.contains("records  6"), "{said}");
}

/// Removes the first two messages of a stream, in the server's own words.
fn purge(remote: &Remote, stream: &str) {
    let mut socket = TcpStream::connect(remote.nats.address()).expect("the server accepts");
    let body = "{\"seq\":3}";
    let words = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB $JS.API.STREAM.PURGE.{stream} answer {}\r\n{body}\r\n",
        body.len()
    );
    socket.write_all(words.as_bytes()).expect("it can be written");
    let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
    let answered = lines.any(|line| line.contains("\"success\":true"));
    assert!(answered, "{stream} is purged");
}
