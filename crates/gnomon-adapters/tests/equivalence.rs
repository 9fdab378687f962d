//! Embedded and memory are the same queue and store, whatever is asked of them in whatever order.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use std::collections::BTreeSet;
use std::time::Duration;

use gnomon_adapters::{Embedded, EmbeddedOptions, LogBounds, Memory, QueueBounds};
use gnomon_host::port::{
    Consumer, Log, Message, Queue, SessionChange, Sessions, Store, Stream, Write,
};
use gnomon_model::{DeviceKey, Record};
use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

const LOGS: [Log; 3] = [
    Log { stream: Stream::Telemetry, partition: 0 },
    Log { stream: Stream::Telemetry, partition: 1 },
    Log { stream: Stream::Downlink, partition: 0 },
];

#[derive(Debug, Clone)]
enum Step {
    /// Log and id of each message.
    Append(Vec<(usize, u16)>),
    Consume(usize),
    Pull(usize, usize),
    /// Of what was pulled, the places to acknowledge.
    Acknowledge(usize, Vec<usize>),
    Read(usize, u64, usize),
    /// Device and how far the expected revision is from the true one.
    Commit(Vec<(u8, u8)>),
    List(Option<u8>, usize),
    Change(Vec<(u8, u8, u64)>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let log = 0..LOGS.len();
    prop_oneof![
        5 => prop::collection::vec((log.clone(), 0..200_u16), 0..12).prop_map(Step::Append),
        1 => log.clone().prop_map(Step::Consume),
        4 => (log.clone(), 1..9_usize).prop_map(|(log, count)| Step::Pull(log, count)),
        4 => (log.clone(), prop::collection::vec(0..16_usize, 0..6))
            .prop_map(|(log, places)| Step::Acknowledge(log, places)),
        1 => (log, 0..60_u64, 0..20_usize)
            .prop_map(|(log, position, count)| Step::Read(log, position, count)),
        3 => prop::collection::vec((0..12_u8, 0..5_u8), 0..5).prop_map(Step::Commit),
        1 => (any::<Option<u8>>(), 1..9_usize).prop_map(|(after, count)| Step::List(after, count)),
        1 => prop::collection::vec((0..4_u8, 0..3_u8, 0..4_u64), 0..5).prop_map(Step::Change),
        1 => prop::strategy::Just(Step::Reopen),
    ]
}

/// Retention is by rows in one and by messages in the other, so nothing is dropped here; what is
/// dropped has its own laws in the contract.
fn bounds() -> QueueBounds {
    let consumed = LogBounds::consumed(100_000, 1 << 30);
    QueueBounds::uniform(LogBounds { pending_messages_max: 60, ..consumed })
}

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        bounds: bounds(),
        tail_bytes: 100,
        journal_bytes: 1500,
        commit_interval: Duration::ZERO,
        ..EmbeddedOptions::new(2)
    }
}

/// A port, its consumers, and what they pulled.
struct Side<P: Queue> {
    port: P,
    consumers: Vec<P::Consumer>,
    pulled: Vec<Vec<u64>>,
    acknowledged: Vec<BTreeSet<u64>>,
}

impl<P: Queue + Store + Sessions> Side<P> {
    async fn new(port: P) -> Self {
        let (pulled, acknowledged) = (Vec::new(), vec![BTreeSet::new(); LOGS.len()]);
        let mut side = Self { port, consumers: Vec::new(), pulled, acknowledged };
        side.consume_all().await;
        side
    }

    async fn consume_all(&mut self) {
        self.consumers.clear();
        for log in LOGS {
            self.consumers.push(self.port.consume(log).await.unwrap());
        }
        self.pulled = vec![Vec::new(); LOGS.len()];
    }

    /// Takes a step; all that can be seen of it, as text.
    async fn take(&mut self, step: &Step) -> String {
        match step {
            Step::Append(messages) => {
                let message = |(log, id): &(usize, u16)| {
                    let (id, body) = (id.to_string(), vec![b'x'; usize::from(*id)].into());
                    Message { log: LOGS[*log], id, device: None, body }
                };
                let answer = self.port.append(messages.iter().map(message).collect()).await;
                format!("{answer:?}")
            }
            Step::Consume(log) => {
                self.consumers[*log] = self.port.consume(LOGS[*log]).await.unwrap();
                self.pulled[*log].clear();
                String::new()
            }
            Step::Pull(log, count) => self.pull(*log, *count).await,
            Step::Acknowledge(log, places) => {
                let position = |place: &usize| self.pulled[*log].get(*place).copied();
                let positions: Vec<_> = places.iter().filter_map(position).collect();
                self.acknowledge(*log, &positions).await
            }
            Step::Read(log, position, count) => {
                format!("{:?}", self.port.read(LOGS[*log], *position, *count).await)
            }
            Step::Commit(writes) => self.commit(writes).await,
            Step::List(after, count) => {
                let after = after.map(|number| device(number % 12));
                format!("{:?}", self.port.list(None, after.as_ref(), *count).await)
            }
            Step::Change(changes) => {
                self.port.change("g", changes.iter().map(change).collect()).await.unwrap();
                format!("{:?}", self.port.load_all("g").await)
            }
            Step::Reopen => String::new(),
        }
    }

    /// Pulls exactly `count`, or all that is there; how they are cut into pulls is free.
    async fn pull(&mut self, log: usize, count: usize) -> String {
        let counts = self.port.counts(LOGS[log]).await.unwrap();
        let cursor = self.pulled[log].last().copied().unwrap_or(0);
        let pending = cursor + 1..=counts.appended;
        let there = pending.filter(|position| !self.acknowledged[log].contains(position)).count();
        let mut seen = format!("{counts:?}");
        for _ in 0..count.min(there) {
            let pulled = self.consumers[log].pull(1).await.unwrap();
            self.pulled[log].push(pulled[0].position);
            seen += &format!("{pulled:?}");
        }
        seen
    }

    async fn acknowledge(&mut self, log: usize, positions: &[u64]) -> String {
        self.acknowledged[log].extend(positions);
        format!("{:?}", self.consumers[log].acknowledge(positions).await)
    }

    /// What is acknowledged above the floor is not durable, so this raises the floor over all.
    async fn raise_floors(&mut self) {
        for log in 0..LOGS.len() {
            let last = self.acknowledged[log].last().copied().unwrap_or(0);
            self.acknowledge(log, &(1..=last).collect::<Vec<_>>()).await;
        }
    }

    async fn commit(&self, writes: &[(u8, u8)]) -> String {
        let devices: Vec<_> = writes.iter().map(|(number, _)| device(*number)).collect();
        let loaded = self.port.load(&devices).await.unwrap();
        let write = |((device, stored), (_, off)): (
            (&DeviceKey, &gnomon_host::port::Stored),
            &(u8, u8),
        )| {
            let mut record = Record::default();
            record.counts.applied = stored.revision + 1;
            // One in five is stale.
            let expected_revision = stored.revision + u64::from(*off == 4);
            Write {
                device: device.clone(),
                expected_revision,
                record,
                due_before: Default::default(),
            }
        };
        let all: Vec<_> = devices.iter().zip(&loaded).zip(writes).map(write).collect();
        format!(
            "{loaded:?} {:?} {:?}",
            self.port.commit(&all).await,
            self.port.load(&devices).await
        )
    }
}

fn device(number: u8) -> DeviceKey {
    let product = ["a", "a-", "b"][usize::from(number % 3)];
    DeviceKey::parse(product, &format!("d{number}")).unwrap()
}

fn change((client, what, key): &(u8, u8, u64)) -> SessionChange {
    let (client, key) = (format!("c{client}"), *key);
    match (what, key) {
        (0, 0) => SessionChange::Forget { client },
        (0, _) => SessionChange::Save { client, document: key.to_string().into() },
        (1, _) => SessionChange::Keep { client, key, message: "m".into() },
        _ => SessionChange::Drop { client, key },
    }
}

async fn compare(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut memory = Side::new(Memory::with_bounds(2, &bounds())).await;
    let mut embedded = Side::new(Embedded::open(dir.path(), options()).unwrap()).await;
    for step in steps {
        if matches!(step, Step::Reopen) {
            memory.raise_floors().await;
            embedded.raise_floors().await;
            embedded.port.close().await;
            embedded.port = Embedded::open(dir.path(), options()).unwrap();
            embedded.consume_all().await;
            memory.consume_all().await;
        }
        assert_eq!(embedded.take(&step).await, memory.take(&step).await, "{step:?}");
        assert_eq!(embedded.pulled, memory.pulled);
    }
}

proptest! {
    #![proptest_config(Config { cases: 60, failure_persistence: None, ..Config::default() })]

    #[test]
    fn embedded_and_memory_cannot_be_told_apart(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(compare(steps));
    }
}
