//! Bounds of connections, over raw sockets: how many there are, and how long one may keep waiting.
//!
//! Each test makes the one bound small that it is about; the others stay too long to matter.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gnomon_adapters::memory::Memory;
use gnomon_api::{Api, Limits, serve_within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

const SHORT: Duration = Duration::from_millis(50);
/// What never happens is noticed after this long.
const NEVER: Duration = Duration::from_secs(30);
const RULES: &str = "GET /v1/rules HTTP/1.1\r\nhost: gnomon\r\n\r\n";
/// Bytes of the answer to [`RULES`] when it is asked to be large: no socket holds that many.
const LARGE: usize = 32 << 20;

/// Serves within these bounds, with rules of this many bytes, until the guard is dropped.
async fn served(limits: Limits, rules_bytes: usize) -> (SocketAddr, DropGuard) {
    let memory = Memory::new(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let api = Api {
        store: memory.clone(),
        queue: memory,
        rules: Arc::new(move || json!({ "rules": "x".repeat(rules_bytes) })),
        metrics: Arc::new(String::new),
    };
    tokio::spawn(serve_within(limits, listener, api, stop.clone()));
    (at, stop.drop_guard())
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(NEVER, what).await.unwrap()
}

/// Opens a connection and says this much on it.
async fn say(at: SocketAddr, words: &str) -> TcpStream {
    let mut socket = TcpStream::connect(at).await.unwrap();
    socket.write_all(words.as_bytes()).await.unwrap();
    socket
}

/// Reads until the service closes the connection.
async fn rest(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    in_time(socket.read_to_end(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// Reads one answer to [`RULES`] from a connection that stays open.
async fn answer(socket: &mut TcpStream) {
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        assert_ne!(in_time(socket.read_buf(&mut text)).await.unwrap(), 0, "it was closed");
    }
    assert!(text.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_connection_that_never_ends_its_head_is_closed() {
    let limits = Limits { head_max: SHORT, ..Limits::default() };
    let (at, _guard) = served(limits, 1).await;
    for words in ["", "GET", "GET / HTTP/1.1\r\nhost: gnomon\r\n"] {
        assert_eq!(rest(&mut say(at, words).await).await, "", "{words}");
    }
}

#[tokio::test]
async fn a_connection_that_asks_nothing_more_is_closed() {
    let limits = Limits { head_max: SHORT, ..Limits::default() };
    let (at, _guard) = served(limits, 1).await;
    let text = rest(&mut say(at, RULES).await).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with(r#"{"rules":"x"}"#), "{text}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_problem() {
    let limits = Limits { body_max: SHORT, ..Limits::default() };
    let (at, _guard) = served(limits, 1).await;
    for line in ["PATCH /v1/devices/a/b/shadow", "POST /v1/devices/a/b/calls/c"] {
        let words = format!("{line} HTTP/1.1\r\nhost: gnomon\r\ncontent-length: 9\r\n\r\n{{");
        let text = rest(&mut say(at, &words).await).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{line}: {text}");
        assert!(text.contains("application/problem+json"), "{line}: {text}");
        assert!(text.contains("did not arrive within 50 ms"), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_client_that_takes_no_answer_makes_room() {
    let limits = Limits { write_max: SHORT, connections_max: 1, ..Limits::default() };
    let (at, _guard) = served(limits, LARGE).await;
    let _deaf = say(at, RULES).await;
    let mut next = say(at, "GET / HTTP/1.1\r\nhost: gnomon\r\nconnection: close\r\n\r\n").await;
    assert!(rest(&mut next).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_connection_above_the_bound_waits_for_its_turn() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let (at, _guard) = served(limits, 1).await;
    let (mut first, mut second) = (say(at, RULES).await, say(at, RULES).await);
    answer(&mut first).await;
    answer(&mut second).await;
    let waiting = tokio::spawn(async move { answer(&mut say(at, RULES).await).await });
    for _ in 0..100 {
        first.write_all(RULES.as_bytes()).await.unwrap();
        answer(&mut first).await;
    }
    assert!(!waiting.is_finished());
    drop(second);
    in_time(waiting).await.unwrap();
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_hold_up_the_stop() {
    let (at, guard) = served(Limits::default(), 1).await;
    let mut silent = say(at, "").await;
    let mut idle = say(at, RULES).await;
    answer(&mut idle).await;
    drop(guard);
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut silent).await, "");
}
