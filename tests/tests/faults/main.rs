//! Functions as processes of their own on NATS and Redis, under load at QoS 1, while one part after
//! the other fails: what was acknowledged is applied exactly once and in order, every alert arrives,
//! and nothing stays pending.
//!
//! The load and its checks are those of `kill`. `FAULT_ROUNDS` asks for more than one round of all
//! faults (`make faults`).

#[path = "../kill/applied.rs"]
mod applied;
#[path = "../kill/meeting.rs"]
mod meeting;
#[path = "../kill/publisher.rs"]
mod publisher;
#[path = "../kill/watcher.rs"]
mod watcher;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gnomon_tests::http;
use gnomon_tests::packet::Version;
use gnomon_tests::server::{Options, Server};
use gnomon_tests::stack::{Kind, Part};
use gnomon_tests::worker::Worker;

use crate::applied::assert_applied_once;
use crate::meeting::Meeting;
use crate::publisher::Publisher;
use crate::watcher::Watcher;

const DEVICES: usize = 8;
/// Acknowledgements and alerts between two faults.
const EVENTS: u64 = 400;
/// How long something may take that takes seconds on a machine that is not busy.
const SOON: Duration = Duration::from_secs(120);

/// Every part of a deployment.
struct World {
    nats: Part,
    redis: Part,
    server: Server,
    telemetry: [Worker; 2],
    others: Vec<Worker>,
    meeting: Arc<Meeting>,
}

#[derive(Debug, Clone, Copy)]
enum Failing {
    Worker,
    OtherWorker,
    Gateway,
    Nats,
    Redis,
    /// Redis stands still while messages come in.
    RedisPaused,
    /// A worker stands still until the other one has its partitions, and then goes on.
    WorkerPaused,
}

impl Failing {
    const ALL: [Self; 7] = [
        Self::Worker,
        Self::Gateway,
        Self::Redis,
        Self::OtherWorker,
        Self::RedisPaused,
        Self::Nats,
        Self::WorkerPaused,
    ];
}

impl World {
    fn start() -> Self {
        let (nats, redis) = (Part::start(Kind::Nats), Part::start(Kind::Redis));
        let (queue, store) = (nats.url(), redis.url());
        let more = ["--queue", &queue, "--store", &store, "--only", "gateway,api"];
        let more = more.map(str::to_owned).to_vec();
        let server = Server::start(Options { more, ..Options::default() });
        let worker = |function| Worker::start(function, &queue, &store, &[]);
        let telemetry = [worker("telemetry"), worker("telemetry")];
        let others = vec![worker("shadow"), worker("rrpc")];
        let meeting = Arc::new(Meeting::new(server.mqtt()));
        Self { nats, redis, server, telemetry, others, meeting }
    }

    fn fail(&mut self, what: Failing) {
        match what {
            Failing::Worker => self.telemetry[0].kill_9_and_restart(),
            Failing::OtherWorker => self.telemetry[1].kill_9_and_restart(),
            Failing::Gateway => {
                self.meeting.close();
                self.server.kill_9();
                self.server.restart();
                self.meeting.open(self.server.mqtt());
            }
            Failing::Nats => self.nats.restart(),
            Failing::Redis => self.redis.restart(),
            Failing::RedisPaused => {
                self.redis.signal("STOP");
                self.meeting.wait_for_events(EVENTS / 4, SOON);
                self.redis.signal("CONT");
            }
            Failing::WorkerPaused => {
                self.telemetry[0].signal("STOP");
                self.meeting.wait_for_events(4 * EVENTS, SOON);
                self.telemetry[0].signal("CONT");
            }
        }
    }
}

#[test]
fn whatever_fails_nothing_is_lost_and_nothing_is_applied_twice() {
    let rounds = std::env::var("FAULT_ROUNDS").map_or(1, |text| text.parse().expect("a number"));
    let mut world = World::start();
    let meeting = world.meeting.clone();
    let watcher = Watcher::start(meeting.clone());
    let publishers: Vec<_> = (0..DEVICES)
        .map(|index| (index, meeting.clone()))
        .map(|(index, meeting)| thread::spawn(move || device(index).run(&meeting)))
        .collect();
    for what in Failing::ALL.repeat(rounds) {
        meeting.wait_for_events(EVENTS, SOON);
        println!("{what:?} fails");
        world.fail(what);
    }
    meeting.wait_for_events(EVENTS, SOON);
    meeting.finish();
    let sent: Vec<u64> =
        publishers.into_iter().map(|one| one.join().expect("the publisher is content")).collect();
    let seen = watcher.join(&sent, SOON);
    println!("{} messages, {} alerts came twice", sent.iter().sum::<u64>(), seen.again);
    for (index, sent) in sent.iter().enumerate() {
        assert_applied_once(&world.server, index, *sent, SOON);
        seen.assert_complete(index, *sent);
    }
    let dead = http::get(&world.server.url("/v1/dead")).json();
    assert_eq!(dead["dead"], serde_json::json!([]), "dead letters");
    for worker in world.telemetry.into_iter().chain(world.others) {
        worker.terminate();
    }
}

/// MQTT 3.1.1 has no word for "not now", so its clients wait; a client of MQTT 5 would be refused while
/// the queue is away, and what it sends next might get in first.
fn device(index: usize) -> Publisher {
    Publisher::speaking(index, Version::V311)
}
