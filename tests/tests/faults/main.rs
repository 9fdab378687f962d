//! Functions as processes of their own on NATS and Redis, under load at QoS 1, while one part after
//! the other fails: what was acknowledged is applied exactly once and in order, every alert arrives,
//! and nothing stays pending.
//!
//! The load and its checks are those of `kill`, whose own tests show that they find a message that is
//! lost, doubled or swapped. `FAULT_ROUNDS` asks for more than one round of all faults, and for longer
//! ones (`make faults`).

#[path = "../kill/applied.rs"]
mod applied;
#[path = "../kill/meeting.rs"]
mod meeting;
mod poison;
#[path = "../kill/publisher.rs"]
mod publisher;
#[path = "../kill/watcher.rs"]
mod watcher;

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gnomon_tests::http;
use gnomon_tests::packet::Version;
use gnomon_tests::passage::Passage;
use gnomon_tests::random::{Random, SEED_VARIABLE, seed};
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
/// Kills of a worker at random moments in one round.
const KILLS: u64 = 4;
const PARTITIONS: u16 = 4;
/// How long something may take that takes seconds on a machine that is not busy.
const SOON: Duration = Duration::from_secs(120);

/// Every part of a deployment.
struct World {
    nats: Part,
    redis: Part,
    server: Server,
    telemetry: [Worker; 2],
    /// The ways of the first worker to NATS and to Redis.
    ways: [Passage; 2],
    random: Random,
    /// How long Redis answers nobody, milliseconds.
    silence_ms: u32,
    /// Messages appended that are none.
    poisoned: usize,
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
    /// A worker is killed at random moments: before, in the middle of and after a batch.
    WorkerKilledOften,
    /// What is on its way between a worker and NATS is cut off.
    CutFromNats,
    /// The same with Redis.
    CutFromRedis,
    /// Redis answers nobody for a while.
    RedisSilent,
    /// Each partition gets a message that is none.
    Poisoned,
}

impl Failing {
    const ALL: [Self; 12] = [
        Self::Worker,
        Self::Gateway,
        Self::Redis,
        Self::OtherWorker,
        Self::RedisPaused,
        Self::Nats,
        Self::WorkerPaused,
        Self::CutFromNats,
        Self::WorkerKilledOften,
        Self::CutFromRedis,
        Self::Poisoned,
        Self::RedisSilent,
    ];
}

impl World {
    fn start(silence_ms: u32, random: Random) -> Self {
        let (nats, redis) = (Part::start(Kind::Nats), Part::start(Kind::Redis));
        let (queue, store) = (nats.url(), redis.url());
        let more = ["--queue", &queue, "--store", &store, "--only", "gateway,api"];
        let more = more.map(str::to_owned).to_vec();
        let server = Server::start(Options { more, ..Options::default() });
        let worker = |function| Worker::start(function, &queue, &store, &[]);
        let ways = [Passage::to(nats.address()), Passage::to(redis.address())];
        let [to_nats, to_redis] = [("nats", &ways[0]), ("redis", &ways[1])]
            .map(|(scheme, way)| format!("{scheme}://{}", way.address()));
        let cuttable = Worker::start("telemetry", &to_nats, &to_redis, &[]);
        let telemetry = [cuttable, worker("telemetry")];
        let others = vec![worker("shadow"), worker("rrpc")];
        let meeting = Arc::new(Meeting::new(server.mqtt()));
        let poisoned = 0;
        Self { nats, redis, server, telemetry, ways, random, silence_ms, poisoned, others, meeting }
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
            Failing::WorkerKilledOften => {
                for _ in 0..KILLS {
                    self.meeting.wait_for_events(self.random.between(0, EVENTS), SOON);
                    self.telemetry[0].kill_9_and_restart();
                }
            }
            Failing::CutFromNats => self.cut(0),
            Failing::CutFromRedis => self.cut(1),
            Failing::RedisSilent => {
                let port = self.redis.address().port().to_string();
                let pause = ["-p", &port, "client", "pause", &self.silence_ms.to_string(), "all"];
                let told = Command::new("redis-cli").args(pause).output().expect("redis-cli runs");
                assert!(told.stdout.starts_with(b"OK"), "{told:?}");
            }
            Failing::Poisoned => {
                for partition in 0..PARTITIONS {
                    poison::append(self.nats.address(), partition);
                    self.poisoned += 1;
                }
            }
        }
    }
}

impl World {
    /// Cuts a way of the first worker several times, in the middle of whatever it carries.
    fn cut(&mut self, way: usize) {
        for _ in 0..KILLS {
            self.meeting.wait_for_events(self.random.between(0, EVENTS), SOON);
            self.ways[way].cut();
        }
    }

    /// What is none is dead, with a reason, and nothing else is.
    fn assert_dead(&self) {
        let dead = http::get(&self.server.url("/v1/dead?limit=1000")).json();
        let letters = dead["dead"].as_array().expect("there is a list");
        assert_eq!(letters.len(), self.poisoned, "dead letters: {dead}");
        assert!(letters.iter().all(|letter| letter["reason"].is_string()), "{dead}");
    }
}

#[test]
fn whatever_fails_nothing_is_lost_and_nothing_is_applied_twice() {
    let asked = std::env::var("FAULT_ROUNDS").ok();
    let rounds = asked.as_deref().map_or(1, |text| text.parse().expect("a number"));
    let silence_ms = if asked.is_some() { 20_000 } else { 1000 };
    let seed = seed();
    println!("{SEED_VARIABLE}={seed} repeats these moments");
    let mut world = World::start(silence_ms, Random::new(seed));
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
    world.assert_dead();
    for worker in world.telemetry.into_iter().chain(world.others) {
        worker.terminate();
    }
}

/// MQTT 3.1.1 has no word for "not now", so its clients wait; a client of MQTT 5 would be refused while
/// the queue is away, and what it sends next might get in first.
fn device(index: usize) -> Publisher {
    Publisher::speaking(index, Version::V311)
}
