//! Functions as processes of their own on NATS and Redis, under load at QoS 1, while one part after
//! the other fails: what was acknowledged is applied exactly once and in order, every alert arrives,
//! and nothing stays pending.
//!
//! The load and its checks are those of `kill`, whose own tests show that they find a message that is
//! lost, doubled or swapped. `FAULT_ROUNDS` asks for more than one round of all faults, and for longer
//! ones (`make faults`).

#[path = "../kill/applied.rs"]
mod applied;
mod books;
mod logs;
#[path = "../kill/meeting.rs"]
mod meeting;
#[path = "../kill/publisher.rs"]
mod publisher;
mod rules;
#[path = "../kill/watcher.rs"]
mod watcher;

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gnomon_tests::http;
use gnomon_tests::packet::Version;
use gnomon_tests::passage::Passage;
use gnomon_tests::random::{Random, SEED_VARIABLE, seed};
use gnomon_tests::server::{Options, Server};
use gnomon_tests::stack::{Kind, Part};
use gnomon_tests::worker::Worker;
use tempfile::TempDir;

use crate::applied::assert_applied_once;
use crate::books::{Books, sum};
use crate::meeting::Meeting;
use crate::publisher::Publisher;
use crate::watcher::Watcher;

const DEVICES: usize = 8;
const GATEWAYS: usize = 2;
/// Acknowledgements and alerts between two faults.
const EVENTS: u64 = 400;
/// Kills of a worker at random moments in one round.
const KILLS: u64 = 4;
/// Messages that are delivered again by force, at least.
const AGAIN: u64 = 100;
const PARTITIONS: u16 = 4;
/// How long something may take that takes seconds on a machine that is not busy.
const SOON: Duration = Duration::from_secs(120);
/// What a gateway says that misses another one.
const TAKES_OVER: &str = "take over from a gateway that is gone";
/// What a gateway says that others have missed.
const MISSED: &str = "other gateways missed this one";

/// Every part of a deployment.
struct World {
    nats: Part,
    redis: Part,
    gateways: [Server; GATEWAYS],
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
    books: Books,
    /// The gateway that fails next: after the first time, the one that all clients have gone to.
    next_gateway: usize,
    _rules: TempDir,
}

#[derive(Debug, Clone, Copy)]
enum Failing {
    Worker,
    OtherWorker,
    /// A gateway is killed: clients go on at the other one, and it starts again.
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
    /// Of each partition, what was acknowledged last and what is at hand comes again.
    ComesAgain,
}

impl Failing {
    const ALL: [Self; 14] = [
        Self::Worker,
        Self::Gateway,
        Self::Redis,
        Self::OtherWorker,
        Self::RedisPaused,
        Self::Nats,
        Self::ComesAgain,
        Self::WorkerPaused,
        Self::CutFromNats,
        Self::WorkerKilledOften,
        Self::CutFromRedis,
        Self::Poisoned,
        Self::Gateway,
        Self::RedisSilent,
    ];
}

impl World {
    fn start(silence_ms: u32, random: Random) -> Self {
        let (nats, redis) = (Part::start(Kind::Nats), Part::start(Kind::Redis));
        let (queue, store) = (nats.url(), redis.url());
        let folder = rules::folder();
        let more = ["--queue", &queue, "--store", &store, "--only", "gateway,api"];
        let more = more.map(str::to_owned).to_vec();
        let options = Options { more, rules: folder.path().to_owned(), ..Options::default() };
        let gateways = [(); GATEWAYS].map(|()| Server::start(options.clone()));
        let rules = folder.path().display().to_string();
        let rules = ["--rules", &rules];
        let worker = |function| Worker::start(function, &queue, &store, &rules);
        let ways = [Passage::to(nats.address()), Passage::to(redis.address())];
        let [to_nats, to_redis] = [("nats", &ways[0]), ("redis", &ways[1])]
            .map(|(scheme, way)| format!("{scheme}://{}", way.address()));
        let cuttable = Worker::start("telemetry", &to_nats, &to_redis, &rules);
        let telemetry = [cuttable, worker("telemetry")];
        let others = vec![worker("shadow"), worker("rrpc")];
        let meeting = Arc::new(Meeting::new(&[0, 1].map(|index: usize| gateways[index].mqtt())));
        let books = Books::of(&queue, &store);
        Self {
            nats,
            redis,
            gateways,
            telemetry,
            ways,
            random,
            silence_ms,
            poisoned: 0,
            others,
            meeting,
            books,
            next_gateway: 1,
            _rules: folder,
        }
    }

    fn fail(&mut self, what: Failing) {
        match what {
            Failing::Worker => self.telemetry[0].kill_9_and_restart(),
            Failing::OtherWorker => self.telemetry[1].kill_9_and_restart(),
            Failing::Gateway => {
                let index = self.close_gateway();
                self.gateways[index].kill_9();
                // Clients go on at the other one: nothing else makes events.
                self.meeting.wait_for_events(EVENTS, SOON);
                self.gateways[index].restart();
                self.meeting.open(index, self.gateways[index].mqtt());
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
                    logs::poison(self.nats.address(), partition);
                    self.poisoned += 1;
                }
            }
            Failing::ComesAgain => self.let_it_come_again(),
        }
    }
}

impl World {
    /// The gateway that fails now, whose clients know it.
    fn close_gateway(&mut self) -> usize {
        let index = self.next_gateway;
        self.next_gateway = (index + 1) % GATEWAYS;
        self.meeting.close(index);
        index
    }

    /// Lets a gateway stand still that a watcher uses and no device: what it was about to append when it
    /// stopped is appended when it goes on, and its device has sent that again elsewhere.
    fn stop_gateway(&mut self) -> usize {
        let index = self.close_gateway();
        self.gateways[index].signal("STOP");
        index
    }

    /// Lets it go on when the other one has its sessions, and waits until it has begun anew.
    fn let_gateway_go_on(&mut self, index: usize) {
        let deadline = Instant::now() + SOON;
        let wait_for = |server: &Server, line: &str| {
            while !server.log().contains(line) {
                assert!(Instant::now() < deadline, "a gateway does not say: {line}");
                thread::yield_now();
            }
        };
        wait_for(&self.gateways[(index + 1) % GATEWAYS], TAKES_OVER);
        self.gateways[index].signal("CONT");
        wait_for(&self.gateways[index], MISSED);
        self.meeting.open(index, self.gateways[index].mqtt());
    }

    /// Takes back what was acknowledged in the last moments.
    fn let_it_come_again(&mut self) {
        let nats = self.nats.address();
        let earlier: Vec<_> =
            (0..PARTITIONS).map(|partition| logs::acknowledged(nats, partition)).collect();
        let since = || {
            let floors =
                (0..PARTITIONS).map(|partition| logs::acknowledged(nats, partition).floor());
            floors.zip(&earlier).map(|(floor, earlier)| floor - earlier.floor()).sum::<u64>()
        };
        // The workers may still have to come back from the fault before.
        let deadline = Instant::now() + SOON;
        while since() < AGAIN {
            assert!(Instant::now() < deadline, "nothing is acknowledged");
            self.meeting.wait_for_events(1, SOON);
        }
        println!("{} messages come again", since());
        for (partition, earlier) in (0..PARTITIONS).zip(&earlier) {
            logs::take_back(nats, partition, earlier);
        }
    }

    /// Cuts a way of the first worker several times, in the middle of whatever it carries.
    fn cut(&mut self, way: usize) {
        for _ in 0..KILLS {
            self.meeting.wait_for_events(self.random.between(0, EVENTS), SOON);
            self.ways[way].cut();
        }
    }

    /// What is none is dead, with a reason, and nothing else is.
    fn assert_dead(&self) {
        let dead = http::get(&self.gateways[0].url("/v1/dead?limit=1000")).json();
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
    let watchers = [0, 1].map(|preferred| Watcher::start(meeting.clone(), preferred));
    let paused = world.stop_gateway();
    let publishers: Vec<_> = (0..DEVICES)
        .map(|index| (index, meeting.clone()))
        .map(|(index, meeting)| thread::spawn(move || device(index).run(&meeting)))
        .collect();
    world.let_gateway_go_on(paused);
    for what in Failing::ALL.repeat(rounds) {
        meeting.wait_for_events(EVENTS, SOON);
        println!("{what:?} fails");
        let begun = Instant::now();
        world.fail(what);
        world.books.assert_balanced(SOON);
        println!("{what:?} has failed: {:.1?}", begun.elapsed());
    }
    meeting.wait_for_events(EVENTS, SOON);
    meeting.finish();
    let sent: Vec<u64> =
        publishers.into_iter().map(|one| one.join().expect("the publisher is content")).collect();
    let sum_sent = sent.iter().sum::<u64>();
    for watcher in watchers {
        let seen = watcher.join(&sent, SOON);
        println!("{sum_sent} messages, {} alerts came twice", seen.again);
        (0..).zip(&sent).for_each(|(index, sent)| seen.assert_complete(index, *sent));
    }
    for (index, sent) in sent.iter().enumerate() {
        assert_applied_once(&world.gateways[0], index, *sent, SOON);
    }
    let stats = world.books.assert_settled(SOON);
    assert!(sum(&stats, "telemetry", "applied") >= sum_sent, "{stats:#}");
    assert_eq!(sum(&stats, "telemetry", "dead"), world.poisoned as u64, "{stats:#}");
    rules::assert_failed(&world.telemetry.each_ref().map(Worker::log));
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
