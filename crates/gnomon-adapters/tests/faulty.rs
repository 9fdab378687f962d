//! Each fault does what it says, and the same seed fails in the same way.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use gnomon_adapters::{Fault, Faulty, Memory, Odds, Operation, Plan};
use gnomon_host::port::{
    Committed, Consumer, Log, Message, Queue, QueueError, SessionChange, Sessions, Store, Stream,
    Write,
};
use gnomon_model::{DeviceKey, Record};

const LOG: Log = Log { stream: Stream::Calls, partition: 0 };

fn faulty(plan: &Plan) -> Faulty<Memory> {
    Faulty::new(Memory::new(1), plan.clone())
}

fn message(id: u64) -> Message {
    Message { log: LOG, id: id.to_string(), device: None, body: "".into() }
}

fn write(expected_revision: u64) -> Write {
    let device = DeviceKey::parse("p", "d").unwrap();
    Write { device, expected_revision, record: Record::default(), due_before: Default::default() }
}

async fn appended(queue: &Faulty<Memory>) -> u64 {
    queue.inner().counts(LOG).await.unwrap().appended
}

#[tokio::test]
async fn appends_fail_before_or_after_they_took_effect() {
    let plan = Plan::none();
    let queue = faulty(&plan);
    let faults = [(Fault::Before, 0), (Fault::Full, 0), (Fault::Conflict, 0), (Fault::After, 1)];
    for (fault, there) in faults {
        plan.script(Operation::Append, fault);
        let error = queue.append(vec![message(1)]).await.unwrap_err();
        assert_eq!(matches!(error, QueueError::Full { .. }), fault == Fault::Full, "{error}");
        assert_eq!(appended(&queue).await, there, "{fault:?}");
    }
    queue.append(vec![message(1)]).await.unwrap();
    assert_eq!((appended(&queue).await, plan.injected(), plan.calls(Operation::Append)), (1, 4, 5));
}

#[tokio::test]
async fn commits_fail_before_or_after_or_conflict() {
    let plan = Plan::none();
    let store = faulty(&plan);
    for (fault, revision) in [(Fault::Before, 0), (Fault::After, 1)] {
        plan.script(Operation::Commit, fault);
        store.commit(&[write(0)]).await.unwrap_err();
        let stored = store.load(&[write(0).device]).await.unwrap();
        assert_eq!(stored[0].revision, revision, "{fault:?}");
    }
    plan.script(Operation::Commit, Fault::Conflict);
    assert_eq!(store.commit(&[write(1)]).await.unwrap(), [Committed::Conflict]);
    assert_eq!(store.commit(&[write(1)]).await.unwrap(), [Committed::Done { revision: 2 }]);
}

#[tokio::test]
async fn what_is_held_waits_for_its_release() {
    let plan = Plan::none();
    let queue = faulty(&plan);
    plan.script(Operation::Append, Fault::Hold);
    let mut held = pin!(queue.append(vec![message(1)]));
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(held.as_mut().poll(&mut context), Poll::Pending));
    queue.append(vec![message(2)]).await.unwrap();
    assert!(matches!(held.as_mut().poll(&mut context), Poll::Pending));
    plan.release();
    held.await.unwrap();
    let order = queue.read(LOG, 0, 9).await.unwrap();
    assert_eq!(order.iter().map(|one| &*one.id).collect::<Vec<_>>(), ["2", "1"]);
}

#[tokio::test]
async fn a_late_acknowledgement_is_lost_with_its_consumer() {
    let plan = Plan::none();
    let queue = faulty(&plan);
    queue.append(vec![message(1), message(2)]).await.unwrap();
    for (then, again) in [(false, 2), (true, 0)] {
        let mut consumer = queue.consume(LOG).await.unwrap();
        plan.script(Operation::Acknowledge, Fault::Late);
        consumer.acknowledge(&[1]).await.unwrap();
        if then {
            consumer.acknowledge(&[2]).await.unwrap();
        }
        drop(consumer);
        let counts = queue.counts(LOG).await.unwrap();
        assert_eq!(counts.appended - counts.acknowledged, again);
    }
}

#[tokio::test]
async fn a_failed_pull_loses_nothing() {
    let plan = Plan::none();
    let queue = faulty(&plan);
    queue.append(vec![message(1)]).await.unwrap();
    let mut consumer = queue.consume(LOG).await.unwrap();
    for fault in [Fault::Before, Fault::After] {
        plan.script(Operation::Pull, fault);
        consumer.pull(1).await.unwrap_err();
    }
    assert_eq!(consumer.pull(1).await.unwrap()[0].id, "1");
}

#[tokio::test]
async fn changes_of_sessions_fail_before_or_after() {
    let plan = Plan::none();
    let sessions = faulty(&plan);
    let save = || vec![SessionChange::Save { client: "a".into(), document: "".into() }];
    for (fault, there) in [(Fault::Before, 0), (Fault::After, 1)] {
        plan.script(Operation::Change, fault);
        sessions.change("g", save()).await.unwrap_err();
        assert_eq!(sessions.load_all("g").await.unwrap().len(), there);
    }
}

/// What became of two hundred calls, as text.
async fn history(seed: u64) -> String {
    let odds = Odds { before: 100, after: 100, full: 50, conflict: 50, late: 50, yields_max: 2 };
    let plan = Plan::seeded(seed, odds);
    let faulty = faulty(&plan);
    let mut seen = String::new();
    for number in 0..100 {
        seen += &format!("{:?}", faulty.append(vec![message(number)]).await);
        seen += &format!("{:?}", faulty.commit(&[write(0)]).await);
    }
    assert!((20..100).contains(&plan.injected()), "{}", plan.injected());
    plan.heal();
    faulty.append(vec![message(1000)]).await.unwrap();
    assert!(appended(&faulty).await > 50);
    seen
}

#[tokio::test]
async fn a_seed_decides_everything() {
    for seed in [0, 1, 2, u64::MAX] {
        assert_eq!(history(seed).await, history(seed).await);
    }
    assert_ne!(history(1).await, history(2).await);
}
