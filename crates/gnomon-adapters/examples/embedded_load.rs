//! Measures the embedded store: throughput, commits, processor time for each message, latency.
//!
//! `cargo run --release -p gnomon-adapters --example embedded_load [interval in µs] [directory] [case]`

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gnomon_adapters::{Embedded, EmbeddedOptions};
use gnomon_host::port::{Committed, Consumer, Delivery, Log, Message, Queue, Store, Stream, Write};
use gnomon_model::{DeviceKey, Object, Record};
use tokio::task::JoinSet;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const PARTITIONS: u16 = 4;
const DEVICES: u64 = 1000;
const PACED: Option<u64> = Some(10_000);
const DOWNLINK: Log = Log { stream: Stream::Downlink, partition: 0 };

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let interval = arguments.next().map_or(Ok(2000), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut options = EmbeddedOptions::new(PARTITIONS);
    options.commit_interval = Duration::from_micros(interval);
    println!("commit interval {interval} µs, in {}", parent.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&parent, &options, arguments.next().as_deref()))
}

/// Runs the case of this name, or all.
async fn run(parent: &PathBuf, options: &EmbeddedOptions, case: Option<&str>) -> Outcome {
    let wanted = |name| case.is_none_or(|case| case == name);
    if wanted("append-lone") {
        appends(parent, options, 1, 2000).await?;
    }
    if wanted("append") {
        appends(parent, options, 1000, 300_000).await?;
    }
    if wanted("commit-lone") {
        commits(parent, options, (500, 1), 200_000, DEVICES).await?;
    }
    if wanted("commit-hot") {
        commits(parent, options, (8, 25), 400_000, DEVICES).await?;
    }
    // A fleet in which no device comes again soon: the journal saves least.
    if wanted("commit-sparse") {
        commits(parent, options, (8, 25), 600_000, 200_000).await?;
    }
    if wanted("pipeline-paced") {
        pipeline(parent, options, PACED, 50_000).await?;
    }
    if wanted("pipeline") {
        pipeline(parent, options, None, 300_000).await?;
    }
    Ok(())
}

/// An open store in a directory of its own, and what was spent since.
struct Bench {
    store: Embedded,
    dir: tempfile::TempDir,
    began: Instant,
    cpu_us: u64,
}

impl Bench {
    fn begin(parent: &PathBuf, options: &EmbeddedOptions) -> Outcome<Self> {
        let dir = tempfile::tempdir_in(parent)?;
        let store = Embedded::open(dir.path(), options.clone())?;
        Ok(Self { store, dir, began: Instant::now(), cpu_us: cpu_us()? })
    }

    async fn end(self, name: &str, count: u64) -> Outcome {
        let seconds = self.began.elapsed().as_secs_f64();
        let cpu_us = (cpu_us()? - self.cpu_us) as f64;
        let transactions = self.store.transactions();
        self.store.close().await;
        let file_mb = std::fs::metadata(self.dir.path().join("gnomon.redb"))?.len() >> 20;
        println!(
            "{name}: {:.0}/s, {:.1} CPU-µs each ({:.0} per CPU-second), {:.0} transactions/s, \
             {:.1} each, {:.0} CPU-µs per transaction, file {file_mb} MB",
            count as f64 / seconds,
            cpu_us / count as f64,
            count as f64 * 1e6 / cpu_us,
            transactions as f64 / seconds,
            count as f64 / transactions as f64,
            cpu_us / transactions as f64,
        );
        Ok(())
    }
}

/// User and system time of this process; the kernel counts in hundredths of a second.
fn cpu_us() -> Outcome<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? * 10_000)
}

fn log_of(number: u64) -> Log {
    let partition = (number % u64::from(PARTITIONS)) as u16;
    Log { stream: Stream::Telemetry, partition }
}

fn message(log: Log, prefix: &str, number: u64, body: Bytes) -> Message {
    // As long as a UUID.
    Message { log, id: format!("{prefix}{number:035}"), device: None, body }
}

async fn join(mut tasks: JoinSet<Outcome>) -> Outcome {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn appends(parent: &PathBuf, options: &EmbeddedOptions, tasks: u64, count: u64) -> Outcome {
    let bench = Bench::begin(parent, options)?;
    let mut appending = JoinSet::new();
    for task in 0..tasks {
        let queue = bench.store.clone();
        appending.spawn(async move {
            let body = Bytes::from(vec![b'x'; 256]);
            for number in (task..count).step_by(tasks as usize) {
                let message = message(log_of(number), "a", number, body.clone());
                queue.append(vec![message]).await?;
            }
            Ok(())
        });
    }
    join(appending).await?;
    bench.end(&format!("append 256 B, {tasks} in flight"), count).await
}

fn device(number: u64) -> Outcome<DeviceKey> {
    Ok(DeviceKey::parse("coldroom", &format!("room-{number:06}"))?)
}

/// Writes the record of each device, and counts on each being written: a conflict costs next to
/// nothing, so one that went unnoticed would flatter every figure.
async fn write_all(
    store: &Embedded,
    record: &Record,
    revisions: &mut HashMap<u64, u64>,
    numbers: &[u64],
) -> Outcome {
    let mut writes = Vec::with_capacity(numbers.len());
    for number in numbers {
        let expected_revision = revisions.get(number).copied().unwrap_or(0);
        let device = device(*number)?;
        writes.push(Write {
            device,
            expected_revision,
            record: record.clone(),
            due_before: Default::default(),
        });
    }
    for (number, answer) in numbers.iter().zip(store.commit(&writes).await?) {
        let Committed::Done { revision } = answer else {
            return Err(format!("device {number} conflicts, the measurement is void").into());
        };
        revisions.insert(*number, revision);
    }
    Ok(())
}

fn record() -> Record {
    let mut state = Object::new();
    state.insert("window".into(), "x".repeat(800).into());
    Record { rules: [("rule".into(), state)].into(), ..Record::default() }
}

async fn commits(
    parent: &PathBuf,
    options: &EmbeddedOptions,
    (tasks, batch): (u64, u64),
    count: u64,
    devices: u64,
) -> Outcome {
    let bench = Bench::begin(parent, options)?;
    let mut committing = JoinSet::new();
    let mine = devices / tasks;
    for task in 0..tasks {
        let store = bench.store.clone();
        committing.spawn(async move {
            let (record, mut revisions) = (record(), HashMap::new());
            for number in 0..count / tasks / batch {
                // Scattered, as devices report; in key order a batch would share its pages. Coprime
                // to every `mine` here, so that each device comes once in a round.
                const STRIDE: u64 = 7919;
                let of = |at| task * mine + (number * batch + at) * STRIDE % mine;
                let numbers: Vec<_> = (0..batch).map(of).collect();
                write_all(&store, &record, &mut revisions, &numbers).await?;
            }
            Ok(())
        });
    }
    join(committing).await?;
    let bytes = record().encode().len();
    bench.end(&format!("commit {bytes} B, {tasks} x {batch}, {devices} devices"), count).await
}

/// Takes what one partition received through commit, downlink and acknowledgement, as the driver
/// does, with records in its own memory.
async fn drive(store: Embedded, partition: u16) -> Outcome {
    let mut consumer = store.consume(Log { stream: Stream::Telemetry, partition }).await?;
    let (record, mut revisions) = (record(), HashMap::new());
    loop {
        let pulled = consumer.pull(256).await?;
        let mut numbers: Vec<u64> = pulled.iter().map(|one| number_of(one) % DEVICES).collect();
        numbers.sort_unstable();
        numbers.dedup();
        write_all(&store, &record, &mut revisions, &numbers).await?;
        let reply = |one: &Delivery| message(DOWNLINK, "d", number_of(one), one.body.clone());
        store.append(pulled.iter().map(reply).collect()).await?;
        consumer.acknowledge(&pulled.iter().map(|one| one.position).collect::<Vec<_>>()).await?;
    }
}

fn number_of(delivery: &Delivery) -> u64 {
    delivery.id.trim_start_matches(['a', 'd', '0']).parse().unwrap_or(0)
}

/// Takes `count` downlinks, and says how long each was on its way, in µs, sorted.
async fn deliver(store: Embedded, began: Instant, count: u64) -> Outcome<Vec<u64>> {
    let mut consumer = store.consume(DOWNLINK).await?;
    let mut waits = Vec::with_capacity(count as usize);
    while (waits.len() as u64) < count {
        let pulled = consumer.pull(1024).await?;
        let now = began.elapsed().as_micros() as u64;
        let sent = |one: &Delivery| one.body.first_chunk().map_or(0, |at| u64::from_le_bytes(*at));
        waits.extend(pulled.iter().map(|one| now - sent(one)));
        consumer.acknowledge(&pulled.iter().map(|one| one.position).collect::<Vec<_>>()).await?;
    }
    waits.sort_unstable();
    Ok(waits)
}

async fn pipeline(
    parent: &PathBuf,
    options: &EmbeddedOptions,
    per_second: Option<u64>,
    count: u64,
) -> Outcome {
    let bench = Bench::begin(parent, options)?;
    let began = bench.began;
    let mut drivers = JoinSet::new();
    for partition in 0..PARTITIONS {
        drivers.spawn(drive(bench.store.clone(), partition));
    }
    let delivering = tokio::spawn(deliver(bench.store.clone(), began, count));
    match per_second {
        Some(per_second) => paced(&bench.store, began, per_second, count).await?,
        None => unpaced(&bench.store, began, count).await?,
    }
    let waits = tokio::select! {
        waits = delivering => waits??,
        // Drivers never end but by an error.
        failed = join(drivers) => return failed,
    };
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    let name = per_second.map_or("unpaced, 1000 in flight".into(), |rate| format!("{rate}/s"));
    println!(
        "pipeline {name}: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    bench.end(&format!("pipeline {name}"), count).await
}

fn stamped(began: Instant, number: u64) -> Message {
    let mut body = vec![b'x'; 256];
    body[..8].copy_from_slice(&(began.elapsed().as_micros() as u64).to_le_bytes());
    // Devices keep to their partition.
    message(log_of(number % DEVICES), "a", number, body.into())
}

async fn paced(store: &Embedded, began: Instant, per_second: u64, count: u64) -> Outcome {
    let mut sending = JoinSet::new();
    let mut sent = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while sent < count {
        tick.tick().await;
        let due = (began.elapsed().as_micros() as u64 * per_second / 1_000_000).min(count);
        for number in sent..due {
            let queue = store.clone();
            sending.spawn(async move { Ok(queue.append(vec![stamped(began, number)]).await?) });
        }
        sent = due;
    }
    join(sending).await
}

async fn unpaced(store: &Embedded, began: Instant, count: u64) -> Outcome {
    let next = Arc::new(AtomicU64::new(0));
    let mut sending = JoinSet::new();
    for _ in 0..1000 {
        let (queue, next) = (store.clone(), Arc::clone(&next));
        sending.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(());
                }
                queue.append(vec![stamped(began, number)]).await?;
            }
        });
    }
    join(sending).await
}
