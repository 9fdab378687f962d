//! One simulated life: gateways that append, workers that drive, and a schedule that polls,
//! crashes and starts them as the seed says.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use gnomon_adapters::{Faulty, Odds, Plan};
use gnomon_host::port::{Log, Message, Queue, Stream};
use gnomon_host::runner::work;
use gnomon_host::watch::Watch;
use gnomon_telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

use crate::oracle::{self, Snapshot};
use crate::random::Random;
use crate::rig::{Broken, Rig};
use crate::script::{PARTITIONS, Spoken, script};

/// Workers that may run on one partition at a time.
const WORKERS: u16 = 2;
/// Steps of the schedule before gateways that have not finished are given up.
const STEPS_MAX: usize = 3_000;
/// Steps within which a world without faults must come to rest.
const REST_STEPS_MAX: usize = 20_000;

type Life = Pin<Box<dyn Future<Output = ()>>>;

/// Who lives in the world.
enum Role {
    /// Appends the messages of its devices; `done` of them are acknowledged or given up.
    Gateway { messages: Arc<Vec<Spoken>>, done: Arc<Mutex<usize>>, random: Random },
    /// Works on a partition.
    Worker { partition: u16, stop: CancellationToken },
}

struct Actor {
    name: String,
    role: Role,
    /// None while it is dead.
    life: Option<Life>,
    /// How often it is passed over when it is its turn, in thousandths.
    slowness: usize,
}

/// A world and its schedule.
struct Run<'a> {
    telemetry: &'a Telemetry,
    world: Faulty<Rig>,
    actors: Vec<Actor>,
    random: Random,
    snapshots: Vec<Snapshot>,
    /// How often time passes, in thousandths of the steps.
    time_odds: usize,
}

/// Lives one seed and judges it. Gives what is wrong with it.
pub(crate) fn live(
    telemetry: &Telemetry,
    seed: u64,
    broken: Broken,
    trace: &mut Option<Vec<String>>,
) -> Result<(), String> {
    let mut random = Random::new(seed, 2);
    let torn = random.below(150);
    let rig = Rig::new(Random::new(seed, 3), torn, broken, trace.is_some());
    let world = Faulty::new(rig.clone(), Plan::seeded(seed, odds(&mut random)));
    let script = script(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    let lived = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(tokio::task::unconstrained(async {
            let mut run = Run::new(telemetry, world, &script, random);
            run.with_faults().await;
            run.come_to_rest().await?;
            oracle::judge(telemetry, &rig, &script, &run.snapshots).await
        }))
    }));
    if let Some(trace) = trace {
        *trace = rig.schedule();
    }
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// How often what goes wrong; nothing but crashes in one world of eight.
fn odds(random: &mut Random) -> Odds {
    let scale = random.below(8) as u16;
    let mut below = |bound: u16| scale * random.below(usize::from(bound)) as u16 / 4;
    Odds {
        before: below(120),
        after: below(120),
        full: below(40),
        conflict: below(120),
        late: below(250),
        yields_max: 1 + below(3),
    }
}

impl<'a> Run<'a> {
    fn new(
        telemetry: &'a Telemetry,
        world: Faulty<Rig>,
        script: &[Vec<Spoken>],
        mut random: Random,
    ) -> Self {
        let mut actors = Vec::new();
        // Two gateways, each with half of the devices, whose messages it mixes.
        for (number, devices) in script.chunks(2).enumerate() {
            let messages = Arc::new(mix(&mut random, devices));
            let done = Arc::default();
            let role = Role::Gateway { messages, done, random: Random::new(random.next(), 4) };
            actors.push(Actor { name: format!("gateway {number}"), role, life: None, slowness: 0 });
        }
        for slot in 0..PARTITIONS * WORKERS {
            let (partition, stop) = (slot / WORKERS, CancellationToken::new());
            let role = Role::Worker { partition, stop };
            actors.push(Actor { name: format!("worker {slot}"), role, life: None, slowness: 0 });
        }
        let (snapshots, time_odds) = (Vec::new(), 5 + random.below(120));
        let mut run = Self { telemetry, world, actors, random, snapshots, time_odds };
        (0..run.actors.len()).for_each(|at| run.start(at));
        run
    }

    fn rig(&self) -> &Rig {
        self.world.inner()
    }

    /// Starts an actor: a worker with nothing in its cache, a gateway where it stopped.
    fn start(&mut self, at: usize) {
        let (world, telemetry) = (self.world.clone(), self.telemetry.clone());
        let actor = &mut self.actors[at];
        world.inner().trace(|| format!("start {}", actor.name));
        actor.life = Some(match &mut actor.role {
            Role::Gateway { messages, done, random } => {
                let random = Random::new(random.next(), 5);
                Box::pin(send(world, messages.clone(), done.clone(), random))
            }
            Role::Worker { partition, stop } => {
                *stop = CancellationToken::new();
                let function = move || telemetry.clone();
                let queue = world.clone();
                Box::pin(work(function, *partition, world, queue, Watch::default(), stop.clone()))
            }
        });
    }

    /// Lets faults, crashes and chance do their work until the gateways have finished.
    async fn with_faults(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.gateways_finished() && self.random.happens(15) {
                return;
            }
            if self.random.happens(self.time_odds) {
                self.pass_time().await;
            }
            let at = self.random.below(self.actors.len());
            match self.random.below(1000) {
                0..35 => self.crash(at),
                35..130 => self.start_if_dead(at),
                130..138 => self.ask_to_stop(at),
                138..146 => self.snapshot().await,
                146..160 => self.actors[at].slowness = [0, 0, 500, 980][self.random.below(4)],
                _ if self.random.happens(self.actors[at].slowness) => {}
                _ => self.poll(at),
            }
        }
    }

    /// Ends all faults and waits until nothing is pending.
    async fn come_to_rest(&mut self) -> Result<(), String> {
        self.rig().trace(|| "heal".to_owned());
        self.rig().heal();
        self.world.plan().heal();
        // All workers crash once more, which gives acknowledgements that were taken and not done.
        let workers = |actor: &&mut Actor| matches!(actor.role, Role::Worker { .. });
        self.actors.iter_mut().filter(workers).for_each(|actor| actor.life = None);
        for step in 0..REST_STEPS_MAX {
            if step % 16 == 0 && self.gateways_finished() && self.nothing_pending().await {
                self.snapshot().await;
                return Ok(());
            }
            let at = self.random.below(self.actors.len());
            let spare = matches!(self.actors[at].role, Role::Worker { .. }) && at % 2 == 1;
            if !spare {
                self.start_if_dead(at);
            }
            if self.random.happens(50) {
                self.pass_time().await;
            }
            self.poll(at);
        }
        Err("does not come to rest after the faults have ended".to_owned())
    }

    fn poll(&mut self, at: usize) {
        let actor = &mut self.actors[at];
        let Some(life) = &mut actor.life else { return };
        let before = self.world.plan().injected();
        self.world.inner().trace(|| format!("poll {}", actor.name));
        let ended = life.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        let faults = self.world.plan().injected() - before;
        if faults > 0 {
            self.world.inner().trace(|| format!("    {faults} faults"));
        }
        if ended {
            self.world.inner().trace(|| format!("    {} ended", actor.name));
            actor.life = None;
        }
    }

    fn crash(&mut self, at: usize) {
        let actor = &mut self.actors[at];
        if actor.life.take().is_some() {
            self.world.inner().trace(|| format!("crash {}", actor.name));
        }
    }

    fn start_if_dead(&mut self, at: usize) {
        let finished = match &self.actors[at].role {
            Role::Gateway { messages, done, .. } => *done.lock().unwrap() >= messages.len(),
            Role::Worker { .. } => false,
        };
        if self.actors[at].life.is_none() && !finished {
            self.start(at);
        }
    }

    fn ask_to_stop(&mut self, at: usize) {
        let actor = &self.actors[at];
        if let Role::Worker { stop, .. } = &actor.role {
            self.world.inner().trace(|| format!("stop {}", actor.name));
            stop.cancel();
        }
    }

    async fn pass_time(&mut self) {
        let passed_ms = 20 + self.random.below(2000) as u64;
        tokio::time::advance(Duration::from_millis(passed_ms)).await;
    }

    async fn snapshot(&mut self) {
        let snapshot = Snapshot::take(self.rig()).await;
        self.snapshots.push(snapshot);
    }

    fn gateways_finished(&self) -> bool {
        self.actors.iter().all(|actor| match &actor.role {
            Role::Gateway { messages, done, .. } => *done.lock().unwrap() >= messages.len(),
            Role::Worker { .. } => true,
        })
    }

    async fn nothing_pending(&self) -> bool {
        for partition in 0..PARTITIONS {
            let log = Log { stream: Stream::Telemetry, partition };
            let counts = self.rig().counts(log).await.unwrap();
            if counts.appended != counts.acknowledged {
                return false;
            }
        }
        true
    }
}

/// Mixes the messages of several devices, each device's in order.
fn mix(random: &mut Random, devices: &[Vec<Spoken>]) -> Vec<Spoken> {
    let mut left: Vec<_> = devices.iter().map(|messages| messages.iter()).collect();
    let mut mixed = Vec::new();
    while !left.is_empty() {
        let at = random.below(left.len());
        match left[at].next() {
            Some(spoken) => mixed.push(spoken.clone()),
            None => drop(left.remove(at)),
        }
    }
    mixed
}

/// A gateway: appends a few messages at a time, and again under the same ids until the queue has
/// them or, rarely, the device has given up. Sometimes what is acknowledged comes once more.
async fn send(
    world: Faulty<Rig>,
    messages: Arc<Vec<Spoken>>,
    done: Arc<Mutex<usize>>,
    mut random: Random,
) {
    // Some send as fast as they can, some let workers wait.
    let pause_max = [2, 6, 40][random.below(3)];
    loop {
        let start = *done.lock().unwrap();
        if start >= messages.len() {
            return;
        }
        for _ in 0..random.below(pause_max) {
            tokio::task::yield_now().await;
        }
        let end = messages.len().min(start + 1 + random.below(4));
        // A retransmission after the acknowledgement got lost on its way to the device.
        let from = if random.happens(150) { start.saturating_sub(random.below(4)) } else { start };
        let batch: Vec<Message> = messages[from..end].iter().map(Spoken::message).collect();
        while world.append(batch.clone()).await.is_err() {
            if random.happens(120) {
                world.inner().trace(|| format!("    give up {}", messages[start].id));
                *done.lock().unwrap() = end;
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut done = done.lock().unwrap();
        if *done < end {
            world.inner().told_device(messages[from..end].iter().map(|one| one.id.clone()));
            *done = end;
        }
    }
}
