//! The timer's loop, over a store and a queue in memory.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use gnomon_adapters::memory::Memory;
use gnomon_adapters::{Fault, Faulty, Operation, Plan};
use gnomon_host::port::{Consumer, Log, Queue, Store, Stream, Write};
use gnomon_host::watch::now_ms;
use gnomon_model::{CallId, DeviceKey, DueTimes, Envelope, PendingCall, Record, What};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

fn key(name: &str) -> DeviceKey {
    DeviceKey::parse("coldroom", name).unwrap()
}

async fn keep_call(store: &impl Store, name: &str, deadline_ms: i64) {
    let mut record = Record::default();
    let service = "defrost".to_owned();
    record.calls.insert(CallId(1), PendingCall { service, request: None, rule: None, deadline_ms });
    let (device, due_before) = (key(name), DueTimes::default());
    let write = Write { device, expected_revision: 0, record, due_before };
    store.commit(&[write]).await.unwrap();
}

fn start<P: Store + Queue>(ports: &P, member: &str, stop: &CancellationToken) -> JoinHandle<()> {
    let (store, queue) = (ports.clone(), ports.clone());
    tokio::spawn(gnomon_timer::run(store, queue, member.to_owned(), stop.clone()))
}

const CALLS: Log = Log { stream: Stream::Calls, partition: 0 };

/// The next envelopes of the calls stream, of which there is one partition.
async fn next(consumer: &mut impl Consumer, count: usize) -> Vec<Envelope> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch = consumer.pull(count).await.unwrap();
        taken.extend(batch.iter().map(|one| Envelope::decode(&one.body).unwrap()));
    }
    taken
}

#[tokio::test]
async fn what_is_due_is_told_when_its_time_has_come_and_once_by_two_timers() {
    let memory = Memory::new(1);
    let deadline_ms = now_ms() + 400;
    keep_call(&memory, "soon", deadline_ms).await;
    keep_call(&memory, "long-ago", 5).await;
    let stop = CancellationToken::new();
    // In memory each sees itself alone, so both lead.
    let timers = [start(&memory, "a", &stop), start(&memory, "b", &stop)];
    let mut consumer = memory.consume(CALLS).await.unwrap();
    let told = next(&mut consumer, 2).await;
    assert_eq!((&told[0].device, &told[0].what), (&key("long-ago"), &What::Due { at_ms: 6 }));
    let at_ms = deadline_ms + 1;
    assert_eq!((&told[1].device, &told[1].what), (&key("soon"), &What::Due { at_ms }));
    assert!(told[1].received_at_ms >= at_ms);
    keep_call(&memory, "last", 7).await;
    // Nothing came twice before it.
    assert_eq!(next(&mut consumer, 1).await[0].device, key("last"));
    stop.cancel();
    for timer in timers {
        timer.await.unwrap();
    }
    assert_eq!(memory.counts(CALLS).await.unwrap().appended, 3);
}

#[tokio::test]
async fn what_fails_is_done_with_the_next_look() {
    let plan = Plan::none();
    let faulty = Faulty::new(Memory::new(1), plan.clone());
    keep_call(&faulty, "room-1", 5).await;
    plan.script(Operation::Due, Fault::Before);
    plan.script(Operation::Append, Fault::Before);
    plan.script(Operation::Append, Fault::After);
    let stop = CancellationToken::new();
    let timer = start(&faulty, "a", &stop);
    let mut consumer = faulty.consume(CALLS).await.unwrap();
    assert_eq!(next(&mut consumer, 1).await[0].device, key("room-1"));
    keep_call(&faulty, "room-2", 5).await;
    assert_eq!(next(&mut consumer, 1).await[0].device, key("room-2"));
    faulty.inner().close();
    // A closed store ends it.
    timer.await.unwrap();
    assert_eq!(plan.injected(), 3);
    stop.cancel();
}
