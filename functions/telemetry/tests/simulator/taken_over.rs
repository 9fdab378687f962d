//! A worker that comes back to a partition on which another one has worked in between.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use gnomon_adapters::{Fault, Faulty, Memory, Operation, Plan};
use gnomon_host::driver::Driver;
use gnomon_host::port::{Consumer, Log, Queue, Store, Stream};
use gnomon_host::runner::work;
use gnomon_host::steps::Source;
use gnomon_host::watch::Watch;
use gnomon_model::DeviceKey;
use tokio_util::sync::CancellationToken;

use crate::script::{Said, Spoken, T0};
use crate::telemetry;

const LOG: Log = Log { stream: Stream::Telemetry, partition: 0 };

async fn append(memory: &Memory, number: usize, said: Said) {
    let device = DeviceKey::parse("coldroom", "north").unwrap();
    let received_at_ms = T0 + number as i64;
    let spoken = Spoken { id: format!("north-{number}"), device, number, received_at_ms, said };
    let mut message = spoken.message();
    message.log = LOG;
    memory.append(vec![message]).await.unwrap();
}

/// What another worker does: takes the partition over and applies all that is there.
async fn work_through(memory: &Memory) {
    let mut consumer = memory.consume(LOG).await.unwrap();
    let source = Source { log: LOG, log_id: consumer.log_id().to_owned() };
    let batch = consumer.pull(100).await.unwrap();
    let mut driver = Driver::new(memory.clone(), memory.clone(), Watch::default());
    driver.drive(&telemetry(), &source, &batch).await;
    let positions: Vec<u64> = batch.iter().map(|one| one.position).collect();
    consumer.acknowledge(&positions).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_back_does_not_decide_on_what_it_remembers() {
    let memory = Memory::new(1);
    let plan = Plan::none();
    let (world, stop) = (Faulty::new(memory.clone(), plan.clone()), CancellationToken::new());
    let function = telemetry();
    let life = work(move || function.clone(), 0, world.clone(), world, Watch::default(), stop);
    let mut worker = Box::pin(life);
    let mut poll =
        || assert!(worker.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());

    append(&memory, 0, Said::Presence { online: true, connection: 1 }).await;
    poll();
    // Its next acknowledgement fails: it lets go of the partition and rests.
    plan.script(Operation::Acknowledge, Fault::Before);
    append(&memory, 1, Said::NotJson).await;
    poll();
    append(&memory, 2, Said::Presence { online: true, connection: 2 }).await;
    work_through(&memory).await;
    // It comes back. What it remembers of the device is from before connection 2.
    append(&memory, 3, Said::Presence { online: false, connection: 2 }).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    (0..3).for_each(|_| poll());

    let counts = memory.counts(LOG).await.unwrap();
    assert_eq!(counts.acknowledged, 4);
    let device = DeviceKey::parse("coldroom", "north").unwrap();
    let record = memory.load(&[device]).await.unwrap().remove(0).record;
    assert!(!record.presence.online, "the end of connection 2 is acknowledged and not applied");
}
