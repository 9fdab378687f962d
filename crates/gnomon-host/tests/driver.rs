//! The driver's promises: applied once, effects under stable ids, order per device, over faults.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use gnomon_adapters::memory::Memory;
use gnomon_host::dead::DeadLetter;
use gnomon_host::driver::{Driver, Verdict};
use gnomon_host::function::Function;
use gnomon_host::port::{Consumer, Delivery, Log, Message, Queue, Store, Stream, Write};
use gnomon_host::steps::Source;
use gnomon_host::watch::Watch;
use gnomon_model::{
    Destination, DeviceKey, Envelope, EnvelopeId, Outcome, Outgoing, Record, Reject, RejectKind,
    What,
};

const LOG: Log = Log { stream: Stream::Telemetry, partition: 0 };
const DOWNLINK: Log = Log { stream: Stream::Downlink, partition: 0 };
const DEAD: Log = Log { stream: Stream::Dead, partition: 0 };

/// Counts what it applies; refuses `bad`, says on `count` how much it was, panics on `panic`.
#[derive(Default)]
struct Counting {
    steps: AtomicU64,
}

impl Function for Counting {
    const NAME: &'static str = "counting";
    const STREAM: Stream = Stream::Telemetry;

    fn step(&self, mut record: Record, envelope: &Envelope) -> Outcome {
        self.steps.fetch_add(1, Ordering::Relaxed);
        let What::Published { payload, .. } = &envelope.what else {
            panic!("a publish is expected")
        };
        let told = |text: &str| (Destination::Topic { topic: "t".into(), qos: 1 }, text.to_owned());
        match &payload[..] {
            b"bad" => {
                let reject = Reject::new(RejectKind::Invalid, "bad");
                Outcome::refused(record, &envelope.id, reject, [told("why")])
            }
            b"panic" => panic!("on purpose"),
            b"count" => {
                let count = record.counts.applied.to_string();
                Outcome::unchanged(record, &envelope.id, [told(&count)])
            }
            _ => {
                record.counts.applied += 1;
                let id = format!("{}.0", envelope.id);
                let (to, payload) = told(&record.counts.applied.to_string());
                let outgoing = vec![Outgoing { id, to, payload }];
                Outcome { record, changed: true, outgoing, notes: Vec::new(), refused: None }
            }
        }
    }
}

fn device(name: &str) -> DeviceKey {
    DeviceKey::parse("p", name).unwrap()
}

fn message(id: &str, of: &str, payload: &str) -> Message {
    let envelope = Envelope {
        id: EnvelopeId::parse(id).unwrap(),
        device: device(of),
        received_at_ms: 1,
        what: What::Published {
            topic: String::new(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            packet: None,
        },
    };
    Message { log: LOG, id: id.to_owned(), device: None, body: envelope.encode() }
}

async fn deliver(memory: &Memory, messages: Vec<Message>) -> (Source, Vec<Delivery>) {
    memory.append(messages).await.unwrap();
    let mut consumer = memory.consume(LOG).await.unwrap();
    let log_id = consumer.log_id().to_owned();
    (Source { log: LOG, log_id }, consumer.pull(1000).await.unwrap())
}

async fn record(memory: &Memory, of: &str) -> Record {
    memory.load(&[device(of)]).await.unwrap().remove(0).record
}

async fn told(memory: &Memory, log: Log) -> Vec<String> {
    memory.read(log, 1, 1000).await.unwrap().into_iter().map(|one| one.id).collect()
}

fn driver(memory: &Memory) -> Driver<Memory, Memory> {
    Driver::new(memory.clone(), memory.clone(), Watch::default())
}

#[tokio::test]
async fn a_batch_delivered_again_is_applied_once_and_told_once() {
    let memory = Memory::new(1);
    let function = Counting::default();
    let messages = vec![message("a", "x", "1"), message("b", "y", "1"), message("c", "x", "2")];
    let (source, batch) = deliver(&memory, messages).await;
    for _ in 0..3 {
        // A new driver each time: nothing is remembered but what is committed.
        let verdicts = driver(&memory).drive(&function, &source, &batch).await;
        assert_eq!(verdicts, vec![Verdict::Ack; 3]);
    }
    assert_eq!(record(&memory, "x").await.counts.applied, 2);
    assert_eq!(record(&memory, "y").await.counts.applied, 1);
    assert_eq!(function.steps.load(Ordering::Relaxed), 3);
    let mut ids = told(&memory, DOWNLINK).await;
    ids.sort();
    assert_eq!(ids, ["a.0", "b.0", "c.0"]);
}

#[tokio::test]
async fn what_changes_nothing_is_decided_on_the_record_as_it_is_now() {
    let memory = Memory::new(1);
    let function = Counting::default();
    let messages = vec![message("a", "x", "1"), message("b", "x", "count")];
    let (source, batch) = deliver(&memory, messages).await;
    let mut driver = driver(&memory);
    assert_eq!(driver.drive(&function, &source, &batch[..1]).await, [Verdict::Ack]);
    // Another function writes the record, of which this driver remembers what it wrote itself.
    let mut stored = memory.load(&[device("x")]).await.unwrap().remove(0);
    stored.record.counts.applied = 7;
    let (device, due_before) = (device("x"), stored.record.due_times());
    let (record, expected_revision) = (stored.record, stored.revision);
    memory.commit(&[Write { device, expected_revision, record, due_before }]).await.unwrap();
    assert_eq!(driver.drive(&function, &source, &batch[1..]).await, [Verdict::Ack]);
    let told = memory.read(DOWNLINK, 2, 1).await.unwrap().remove(0);
    assert!(told.body.ends_with(b"7"), "{told:?}");
}

#[tokio::test]
async fn any_split_of_a_stream_gives_the_same_record_but_for_the_outbox() {
    let messages: Vec<Message> =
        (0..20).map(|n| message(&format!("m{n}"), ["x", "y"][n % 2], "1")).collect();
    let mut seen = Vec::new();
    for size in [1, 3, 20] {
        let memory = Memory::new(1);
        let (mut source, batch) = deliver(&memory, messages.clone()).await;
        source.log_id = "the same".to_owned();
        let mut driver = driver(&memory);
        for part in batch.chunks(size) {
            driver.drive(&Counting::default(), &source, part).await;
        }
        let mut record = record(&memory, "x").await;
        record.ledgers.values_mut().for_each(|ledger| ledger.outbox.clear());
        seen.push(record.encode());
    }
    assert!(seen.windows(2).all(|two| two[0] == two[1]));
}

#[tokio::test]
async fn a_refused_message_is_dead_and_its_neighbours_live() {
    let memory = Memory::new(1);
    let messages = vec![message("a", "x", "1"), message("b", "x", "bad"), message("c", "x", "1")];
    let (source, batch) = deliver(&memory, messages).await;
    let verdicts = driver(&memory).drive(&Counting::default(), &source, &batch).await;
    assert!(matches!(&verdicts[1], Verdict::Dead(reject) if reject.kind == RejectKind::Invalid));
    assert_eq!(record(&memory, "x").await.counts.applied, 2);
    assert_eq!(told(&memory, DOWNLINK).await, ["a.0", "b.0", "c.0"]);
    assert_eq!(told(&memory, DEAD).await, ["b.dead"]);
}

#[tokio::test]
async fn what_a_refused_message_says_survives_a_crash_before_it_is_said() {
    let memory = Memory::new(1);
    let messages = vec![message("a", "x", "bad"), message("b", "x", "1")];
    let (source, batch) = deliver(&memory, messages).await;
    // Commit to this store, but publish into a queue that is lost.
    let lost = Memory::new(1);
    let mut first = Driver::new(memory.clone(), lost, Watch::default());
    first.drive(&Counting::default(), &source, &batch).await;
    assert!(told(&memory, DEAD).await.is_empty());
    driver(&memory).drive(&Counting::default(), &source, &batch).await;
    assert_eq!(told(&memory, DOWNLINK).await, ["a.0", "b.0"]);
    assert_eq!(told(&memory, DEAD).await, ["a.dead"]);
}

#[tokio::test]
async fn a_message_that_makes_a_step_panic_is_dead_and_its_neighbours_live() {
    let memory = Memory::new(1);
    let messages = vec![message("a", "x", "1"), message("b", "x", "panic"), message("c", "x", "1")];
    let (source, batch) = deliver(&memory, messages).await;
    let verdicts = driver(&memory).drive(&Counting::default(), &source, &batch).await;
    assert!(matches!(&verdicts[1], Verdict::Dead(reject) if reject.kind == RejectKind::Internal));
    assert_eq!([&verdicts[0], &verdicts[2]], [&Verdict::Ack, &Verdict::Ack]);
    assert_eq!(record(&memory, "x").await.counts.applied, 2);
}

#[tokio::test]
async fn bytes_that_are_no_envelope_are_a_dead_letter_with_the_bytes() {
    let memory = Memory::new(1);
    let garbage =
        Message { log: LOG, id: "g".into(), device: None, body: Bytes::from_static(b"garbage") };
    let (source, batch) = deliver(&memory, vec![garbage, message("a", "x", "1")]).await;
    let verdicts = driver(&memory).drive(&Counting::default(), &source, &batch).await;
    assert!(matches!(verdicts[..], [Verdict::Dead(_), Verdict::Ack]));
    let dead = memory.read(DEAD, 1, 10).await.unwrap();
    let letter = DeadLetter::decode(&dead[0].body).unwrap();
    assert_eq!(letter.payload, gnomon_host::dead::Payload::Text("garbage".into()));
}

#[tokio::test]
async fn bytes_without_an_id_are_a_dead_letter_each() {
    let memory = Memory::new(1);
    let (source, mut batch) = deliver(&memory, vec![message("a", "x", "1")]).await;
    let nameless = |position| Delivery { position, id: String::new(), body: "garbage".into() };
    batch.extend([nameless(2), nameless(3)]);
    for _ in 0..2 {
        driver(&memory).drive(&Counting::default(), &source, &batch).await;
    }
    assert_eq!(memory.read(DEAD, 1, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn two_drivers_on_one_record_lose_no_step() {
    let memory = Memory::new(1);
    let function = Counting::default();
    let (source, first) = deliver(&memory, vec![message("a", "x", "1")]).await;
    let (mut one, mut other) = (driver(&memory), driver(&memory));
    one.drive(&function, &source, &first).await;
    let (source, both) = deliver(&memory, vec![message("b", "x", "1")]).await;
    // `other` writes behind the back of `one`, whose cached record is stale from now on.
    other.drive(&function, &source, &both[1..]).await;
    let (source, all) = deliver(&memory, vec![message("c", "x", "1")]).await;
    one.drive(&function, &source, &all[2..]).await;
    assert_eq!(record(&memory, "x").await.counts.applied, 3);
}
