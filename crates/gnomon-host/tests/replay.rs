//! A replay takes what is acknowledged, in one order, and never twice.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use gnomon_adapters::memory::Memory;
use gnomon_host::function::Function;
use gnomon_host::port::{Consumer, Log, Message, Queue, Store, Stored, Stream};
use gnomon_host::replay::{Again, Replayed, Steps, cut_logs, replay, step_again};
use gnomon_host::steps::{Input, Source};
use gnomon_model::{
    Destination, DeviceKey, Envelope, EnvelopeId, Object, Outcome, Outgoing, Record, Reject,
    RejectKind, What,
};
use serde_json::{Value, json};

/// Writes down ids in the order of the steps; refuses "dead", panics at "bomb".
fn note(mut record: Record, envelope: &Envelope) -> Outcome {
    let id = envelope.id.as_str();
    assert!(!id.starts_with("bomb"), "on purpose");
    if id.starts_with("dead") {
        let reject = Reject::new(RejectKind::Invalid, "on purpose");
        return Outcome::refused(record, &envelope.id, reject, []);
    }
    let ids = record.rules.entry("ids".to_owned()).or_default();
    let ids = ids.entry("ids").or_insert_with(|| json!([]));
    ids.as_array_mut().unwrap().push(Value::from(id));
    let to = Destination::Topic { topic: "t".to_owned(), qos: 1 };
    let outgoing = vec![Outgoing { id: format!("{id}.0"), to, payload: String::new() }];
    Outcome { record, changed: true, outgoing, notes: Vec::new(), refused: None }
}

struct Reports;
struct Desires;

impl Function for Reports {
    const NAME: &'static str = "reports";
    const STREAM: Stream = Stream::Telemetry;

    fn step(&self, record: Record, envelope: &Envelope) -> Outcome {
        note(record, envelope)
    }
}

impl Function for Desires {
    const NAME: &'static str = "desires";
    const STREAM: Stream = Stream::Shadow;

    fn step(&self, record: Record, envelope: &Envelope) -> Outcome {
        note(record, envelope)
    }
}

struct Both;

impl Steps for Both {
    fn step(&self, stream: Stream, source: &Source, input: &Input, stored: Stored) -> Again {
        match stream {
            Stream::Telemetry => step_again(&Reports, source, input, stored),
            _ => step_again(&Desires, source, input, stored),
        }
    }
}

fn device() -> DeviceKey {
    DeviceKey::parse("p", "d").unwrap()
}

fn message(stream: Stream, id: &str, received_at_ms: i64) -> Message {
    let what = What::Desire { patch: Object::new(), expected_version: None };
    let envelope_id = EnvelopeId::parse(id).unwrap();
    let envelope = Envelope { id: envelope_id, device: device(), received_at_ms, what };
    let log = Log { stream, partition: 0 };
    Message { log, id: id.to_owned(), device: Some(device()), body: envelope.encode() }
}

async fn acknowledge(queue: &Memory, stream: Stream, positions: &[u64]) {
    let mut consumer = queue.consume(Log { stream, partition: 0 }).await.unwrap();
    consumer.acknowledge(positions).await.unwrap();
}

async fn record(store: &Memory) -> Record {
    store.load(&[device()]).await.unwrap().remove(0).record
}

#[tokio::test]
async fn what_is_acknowledged_is_applied_in_one_order_and_only_once() {
    use Stream::{Shadow, Telemetry};
    let (queue, store) = (Memory::new(1), Memory::new(1));
    let garbage = Log { stream: Telemetry, partition: 0 };
    let garbage = Message { log: garbage, id: "g".into(), device: None, body: "garbage".into() };
    let batch = vec![
        message(Telemetry, "t10", 10),
        garbage,
        message(Telemetry, "bomb", 12),
        message(Telemetry, "t30", 30),
        message(Telemetry, "dead", 31),
        message(Telemetry, "t50", 50),
        message(Telemetry, "t60-pending", 60),
        // Received before its neighbour, and still behind it in its log.
        message(Shadow, "s20", 20),
        message(Shadow, "s5", 5),
        message(Shadow, "s30", 30),
    ];
    queue.append(batch).await.unwrap();
    acknowledge(&queue, Telemetry, &[1, 2, 3, 4, 5, 6]).await;
    acknowledge(&queue, Shadow, &[1, 2, 3]).await;
    let replayed = replay(&queue, &store, &Both, |_| {}).await.unwrap();
    assert_eq!(replayed, Replayed { inputs: 8, changed: 6, known: 0 });
    let first = record(&store).await;
    assert_eq!(first.rules["ids"]["ids"], json!(["t10", "s20", "s5", "t30", "s30", "t50"]));
    let unsent: usize = first.ledgers.values().map(|ledger| ledger.outbox.len()).sum();
    assert_eq!(unsent, 0, "what is acknowledged was sent");
    let replayed = replay(&queue, &store, &Both, |_| {}).await.unwrap();
    assert_eq!((replayed.changed, record(&store).await), (0, first));
    assert_eq!(cut_logs(&queue).await.unwrap(), []);
}
