//! `kill -9` at random moments under load: what was acknowledged is applied exactly once and in
//! order, and no alert is lost.
//!
//! Devices publish at QoS 1 with several messages under way, and publish again with DUP what was
//! not acknowledged; a subscriber with a persistent session takes the alerts. Each message turns
//! the alert of its device on or off, and carries its number in its temperature.

mod applied;
mod meeting;
mod publisher;
mod watcher;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gnomon_tests::http;
use gnomon_tests::packet::Version;
use gnomon_tests::random::{Random, SEED_VARIABLE, seed};
use gnomon_tests::server::{Options, Server};

use crate::applied::assert_applied_once;
use crate::meeting::Meeting;
use crate::publisher::Publisher;
use crate::watcher::Watcher;

const ROUNDS: usize = 20;
const DEVICES: usize = 8;
/// Acknowledgements and alerts from a start to the next kill, at most: a second or two.
const EVENTS_MAX: u64 = 1500;
/// How long something may take that takes milliseconds on a machine that is not busy.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn twenty_kills_lose_nothing_and_apply_nothing_twice() {
    let seed = seed();
    println!("{SEED_VARIABLE}={seed} repeats these moments");
    let mut random = Random::new(seed);
    let mut server = Server::start(Options::default());
    let meeting = Arc::new(Meeting::new(&[server.mqtt()]));
    let watcher = Watcher::start(meeting.clone(), 0);
    let publishers: Vec<_> = (0..DEVICES)
        .map(|index| (index, meeting.clone()))
        .map(|(index, meeting)| thread::spawn(move || device(index).run(&meeting)))
        .collect();
    for _ in 0..ROUNDS {
        meeting.wait_for_events(random.between(0, EVENTS_MAX), SOON);
        meeting.close(0);
        server.kill_9();
        server.restart();
        meeting.open(0, server.mqtt());
    }
    meeting.wait_for_events(EVENTS_MAX, SOON);
    meeting.finish();
    let sent: Vec<u64> =
        publishers.into_iter().map(|one| one.join().expect("the publisher is content")).collect();
    let seen = watcher.join(&sent, SOON);
    println!("{} messages, {} alerts came twice", sent.iter().sum::<u64>(), seen.again);
    for (index, sent) in sent.iter().enumerate() {
        assert_applied_once(&server, index, *sent, SOON);
        seen.assert_complete(index, *sent);
    }
    assert_nothing_pending(&server);
    let end = server.terminate();
    assert!(end.success(), "the server ended with {end}");
}

/// A device; every second one speaks MQTT 5.
fn device(index: usize) -> Publisher {
    let version = if index.is_multiple_of(2) { Version::V311 } else { Version::V5 };
    Publisher::speaking(index, version)
}

/// received = applied + dead + pending, with nothing dead and, soon, nothing pending.
fn assert_nothing_pending(server: &Server) {
    let dead = http::get(&server.url("/v1/dead")).json();
    assert_eq!(dead["dead"], serde_json::json!([]), "dead letters");
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let metrics = http::get(&server.url("/metrics")).text;
        let pending: Vec<&str> = metrics
            .lines()
            .filter(|line| line.starts_with("gnomon_log_pending{log=\"telemetry"))
            .collect();
        assert!(!pending.is_empty(), "the metric is missing");
        if pending.iter().all(|line| line.ends_with(" 0")) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "still pending: {pending:#?}");
        thread::yield_now();
    }
}
