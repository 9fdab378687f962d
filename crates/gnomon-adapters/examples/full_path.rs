//! Measures the full path on NATS and Redis: a message in JetStream, validated, a stateful rule, the
//! record committed in Redis, the alert out, the message acknowledged; by `gnomon-telemetry` as a
//! process of its own. Beside it, the ceiling: a bare process that only consumes, reads one hash and
//! does one compare-and-set for each message in batches, and acknowledges.
//!
//! `cargo run --release -p gnomon-adapters --example full_path -- [rate] [latency] [devices] [rules]`
//! with `gnomon-telemetry` built in the same profile. See: docs/benchmarks.md

#[path = "full_path/bare.rs"]
mod bare;
#[path = "full_path/figures.rs"]
mod figures;
#[path = "full_path/world.rs"]
mod world;

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gnomon_adapters::Nats;
use gnomon_host::downlink::{Downlink, Entry};
use gnomon_host::port::{Consumer, Log, Queue, Stream};
use gnomon_host::watch::now_ms;

use crate::figures::{Figures, percentile, show};
use crate::world::World;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Messages of one run, if there are not more devices.
const MESSAGES: u32 = 200_000;
/// Devices of the runs that do not ask how cost grows with them.
const DEVICES: u32 = 1000;
const RUNS: usize = 3;
/// How long the paced run lasts.
const PACED: Duration = Duration::from_secs(8);
/// Messages appended together when paced, and how often.
const TICK: Duration = Duration::from_millis(5);

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [bare, queue, store] = &arguments[..]
        && bare == "bare"
    {
        return runtime.block_on(bare::run(queue, store));
    }
    let wants = |name: &str| arguments.is_empty() || arguments.iter().any(|one| one == name);
    runtime.block_on(async {
        println!(
            "{MESSAGES} messages or one for each device, half of the devices alerting with each of theirs; \
             NATS file storage, Redis appendfsync always; per CPU-s: of the function's process\n"
        );
        let rate = if wants("rate") || wants("latency") { rate().await? } else { 0.0 };
        if wants("latency") {
            latency(rate / 2.0).await?;
        }
        if wants("devices") {
            devices().await?;
        }
        if wants("rules") {
            rules().await?;
        }
        Ok(())
    })
}

/// The full path and the ceiling in turns; returns the rate of the full path.
async fn rate() -> Outcome<f64> {
    println!("{}", figures::head("rate"));
    let (mut full, mut ceiling) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        full.push(World::start(0).await?.full(DEVICES, MESSAGES).await?);
        ceiling.push(World::start(0).await?.bare(DEVICES, MESSAGES).await?);
    }
    let (full, ceiling) = (Figures::median(full), Figures::median(ceiling));
    println!("{}\n{}", full.row("full path"), ceiling.row("bare loop"));
    let (rate, cpu) = (full.rate() / ceiling.rate(), full.per_cpu() / ceiling.per_cpu());
    println!("full path to bare loop: {rate:.2} of its rate, {cpu:.2} per CPU-second (aim 0.6)\n");
    Ok(full.rate())
}

/// From publish to alert at a paced rate: the alert carries the time at which its message came.
async fn latency(rate: f64) -> Outcome {
    let world = World::start(0).await?;
    let queue = world.queue().await?;
    let function = world.telemetry()?;
    let listening = tokio::spawn(listen(queue.clone()));
    let begun = Instant::now();
    let (mut sent, mut ticks) = (0_u32, tokio::time::interval(TICK));
    while begun.elapsed() < PACED {
        ticks.tick().await;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small rate")]
        let due = (begun.elapsed().as_secs_f64() * rate) as u32;
        queue.append((sent..due).map(|number| world::message(number, DEVICES)).collect()).await?;
        sent = sent.max(due);
    }
    world::drained(&queue, u64::from(sent)).await?;
    queue.close();
    let mut latencies = listening.await?;
    drop(function);
    latencies.sort_unstable();
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| percentile(&latencies, share));
    println!(
        "publish to alert at {rate:.0}/s, half of the rate above: p50 {p50} ms, p99 {p99} ms, most {most} ms \
         ({} alerts; aim: p99 10 ms)\n",
        latencies.len()
    );
    Ok(())
}

/// Milliseconds from the publish to each alert, until the queue is closed.
async fn listen(queue: Nats) -> Vec<i64> {
    let log = Log { stream: Stream::Downlink, partition: 0 };
    let mut latencies = Vec::new();
    let Ok(mut follower) = queue.follow(log).await else { return latencies };
    while let Ok(batch) = follower.pull(256).await {
        let now_ms = now_ms();
        latencies.extend(batch.iter().filter_map(|one| raised_at(&one.body)).map(|at| now_ms - at));
    }
    latencies
}

/// When the message came whose alert this is, if it is one.
fn raised_at(body: &Bytes) -> Option<i64> {
    let Ok(Entry::Message(Downlink { topic, payload, .. })) = Entry::decode(body) else {
        return None;
    };
    let alert: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    alert["at"].as_i64().filter(|_| topic.ends_with("/alerts"))
}

/// How cost grows with the number of devices.
async fn devices() -> Outcome {
    println!("{}", figures::head("devices"));
    for devices in [1000, 100_000, 1_000_000] {
        let figures = World::start(0).await?.full(devices, MESSAGES.max(devices)).await?;
        println!("{}", figures.row(&show(devices)));
    }
    println!();
    Ok(())
}

/// How cost grows with the number of rules of the same product, of which all but the shipped ones
/// read what no message reports.
async fn rules() -> Outcome {
    println!("{}", figures::head("more rules"));
    for rules in [0, 10_000] {
        let figures = World::start(rules).await?.full(DEVICES, MESSAGES).await?;
        println!("{}", figures.row(&show(rules)));
    }
    println!();
    Ok(())
}
