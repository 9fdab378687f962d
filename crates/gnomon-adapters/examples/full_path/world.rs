//! NATS and Redis on empty data, and what runs on them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gnomon_adapters::{Nats, NatsOptions};
use gnomon_host::port::{Consumer, Log, Message, Queue, Stream};
use gnomon_host::watch::now_ms;
use gnomon_model::{DeviceKey, Envelope, EnvelopeId, What};
use gnomon_tests::process::{cpu_time, memory_kib};
use gnomon_tests::server::{build_folder, repository};
use gnomon_tests::stack::{Kind, Part};
use redis::AsyncCommands;
use tempfile::TempDir;

use crate::Outcome;
use crate::figures::Figures;

pub(crate) const PARTITIONS: u16 = 4;
/// Messages appended together.
const BATCH: u32 = 2000;
/// How often it is looked whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct World {
    nats: Part,
    redis: Part,
    rules: TempDir,
}

/// A process that ends with this.
pub(crate) struct Function(Child);

impl Drop for Function {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    /// With the rules of the repository, and so many more.
    pub(crate) async fn start(more_rules: u32) -> Outcome<Self> {
        let rules = tempfile::tempdir()?;
        for file in fs::read_dir(repository().join("rules"))? {
            let path = file?.path();
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                fs::copy(&path, rules.path().join(name))?;
            }
        }
        for number in 0..more_rules {
            let text = "// Reads what nobody reports.\nconst PRODUCT = \"coldroom\";\n\
                        fn on_report(report) {\n    if this.reported.setpoint > 100.0 {\n        \
                        alert(\"never\", \"info\", \"never\");\n    }\n}\n";
            fs::write(rules.path().join(format!("more_{number}.rhai")), text)?;
        }
        let world = Self { nats: Part::start(Kind::Nats), redis: Part::start(Kind::Redis), rules };
        // The streams are made before anything is measured.
        world.queue().await?;
        Ok(world)
    }

    pub(crate) async fn queue(&self) -> Outcome<Nats> {
        let mut options = NatsOptions::new(&self.nats.url(), PARTITIONS);
        options.bounds.telemetry.pending_messages_max = 2_000_000;
        Ok(Nats::open(&options).await?)
    }

    /// Starts the function.
    pub(crate) fn telemetry(&self) -> Outcome<Function> {
        let schemas = repository().join("schemas");
        let mut command = Command::new(build_folder().join("gnomon-telemetry"));
        command.args(["--queue", &self.nats.url(), "--store", &self.redis.url()]);
        command.args([Path::new("--rules"), self.rules.path(), Path::new("--schemas"), &schemas]);
        spawn(command.env("GNOMON_LOG", "error"))
    }

    /// The function on a full queue.
    pub(crate) async fn full(&self, devices: u32, messages: u32) -> Outcome<Figures> {
        self.measure(devices, messages, Self::telemetry).await
    }

    /// The bare loop on the same queue.
    pub(crate) async fn bare(&self, devices: u32, messages: u32) -> Outcome<Figures> {
        let bare = |world: &Self| {
            let mut command = Command::new(std::env::current_exe()?);
            spawn(command.args(["bare", &world.nats.url(), &world.redis.url()]))
        };
        self.measure(devices, messages, bare).await
    }

    async fn measure(
        &self,
        devices: u32,
        messages: u32,
        start: impl Fn(&Self) -> Outcome<Function>,
    ) -> Outcome<Figures> {
        let queue = self.queue().await?;
        for first in (0..messages).step_by(BATCH as usize) {
            let some = first..messages.min(first + BATCH);
            queue.append(some.map(|number| message(number, devices)).collect()).await?;
        }
        // Somebody must take the alerts: a downlink log that nobody reads fills up, and holds up all.
        let draining = tokio::spawn(drain(queue.clone()));
        let before = self.redis_bytes().await?;
        let function = start(self)?;
        let pid = function.0.id();
        // It has begun when something is acknowledged: starting is not part of the rate.
        let begun = reached(&queue, 1).await?;
        let (from, cpu) = (begun.0, cpu_time(pid).unwrap_or_default());
        let (_, took) =
            reached(&queue, u64::from(messages)).await.map(|(_, at)| ((), at - begun.1))?;
        let cpu = cpu_time(pid).unwrap_or_default().saturating_sub(cpu);
        let memory_kib = memory_kib(pid).map_or(0, |(_, most)| most);
        let redis_bytes = self.redis_bytes().await?.saturating_sub(before);
        draining.abort();
        let messages = messages.saturating_sub(u32::try_from(from)?);
        Ok(Figures { messages, devices, took, cpu, memory_kib, redis_bytes })
    }

    async fn redis_bytes(&self) -> Outcome<u64> {
        let client = redis::Client::open(self.redis.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let info: redis::InfoDict =
            redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
        let _: String = connection.ping().await?;
        Ok(info.get("used_memory").unwrap_or_default())
    }
}

fn spawn(command: &mut Command) -> Outcome<Function> {
    let program = command.get_program().to_owned();
    let child = command.stdout(Stdio::null()).spawn();
    let child = child.map_err(|error| format!("{}: {error}; is it built?", program.display()))?;
    Ok(Function(child))
}

/// Reads the alerts as a gateway would.
async fn drain(queue: Nats) -> Outcome {
    let log = Log { stream: Stream::Downlink, partition: 0 };
    let mut reader = queue.consume_as(log, "bench").await?;
    loop {
        let batch = reader.pull(256).await?;
        let positions: Vec<u64> = batch.iter().map(|delivery| delivery.position).collect();
        reader.acknowledge(&positions).await?;
    }
}

/// Waits until so many messages are acknowledged: how many are, and when.
async fn reached(queue: &Nats, count: u64) -> Outcome<(u64, Instant)> {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let mut acknowledged = 0;
        for partition in 0..PARTITIONS {
            let log = Log { stream: Stream::Telemetry, partition };
            acknowledged += queue.counts(log).await?.acknowledged;
        }
        if acknowledged >= count {
            return Ok((acknowledged, Instant::now()));
        }
    }
}

/// Waits until so many messages are acknowledged.
pub(crate) async fn drained(queue: &Nats, count: u64) -> Outcome {
    reached(queue, count).await.map(|_| ())
}

/// The message of that number: devices take turns, and every other one goes from cold to warm and
/// back with each of its messages.
pub(crate) fn message(number: u32, devices: u32) -> Message {
    let (device, round) = (number % devices, number / devices);
    let temperature = if device % 2 == 0 || round % 2 == 1 { 4.5 } else { 9.5 };
    let key = DeviceKey::parse("coldroom", &format!("room-{device}")).expect("a device");
    let payload = format!(
        r#"{{"temperature":{temperature},"humidity":55.25,"door":false,"compressor":1,"label":"room 17"}}"#
    );
    let what = What::Published {
        topic: format!("devices/coldroom/room-{device}/telemetry"),
        payload: payload.into(),
        packet: None,
    };
    let id = EnvelopeId::parse(&format!("bench-{number}")).expect("a word");
    let envelope = Envelope { id, device: key.clone(), received_at_ms: now_ms(), what };
    let log = Log { stream: Stream::Telemetry, partition: key.partition(PARTITIONS) };
    Message { log, id: envelope.id.to_string(), device: Some(key), body: envelope.encode() }
}
