//! The ceiling: consumes, reads one hash and does one compare-and-set for each message, in batches,
//! and acknowledges; decides nothing.

use gnomon_adapters::{Nats, NatsOptions};
use gnomon_host::port::{Consumer, Delivery, Log, Queue, Stream};
use redis::aio::MultiplexedConnection;

use crate::Outcome;
use crate::world::PARTITIONS;

/// Messages taken at once, as the functions do.
const BATCH: usize = 256;
/// Bytes of what is written: about those of a record.
const DOCUMENT: usize = 900;
/// Writes a hash if its version is as expected.
const SET: &str = "\
if (redis.call('HGET', KEYS[1], 'v') or '0') ~= ARGV[1] then return 0 end \
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'doc', ARGV[3]) return 1";

pub(crate) async fn run(queue: &str, store: &str) -> Outcome {
    let mut options = NatsOptions::new(queue, PARTITIONS);
    options.bounds.telemetry.pending_messages_max = 2_000_000;
    let queue = Nats::open(&options).await?;
    let store = redis::Client::open(store)?.get_multiplexed_async_connection().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for partition in 0..PARTITIONS {
        let consumer = queue.consume(Log { stream: Stream::Telemetry, partition }).await?;
        tasks.spawn(consume(consumer, store.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn consume(
    mut consumer: <Nats as Queue>::Consumer,
    mut store: MultiplexedConnection,
) -> Outcome {
    let script = redis::Script::new(SET);
    let document = vec![b'x'; DOCUMENT];
    loop {
        let batch = consumer.pull(BATCH).await?;
        let keys: Vec<Vec<u8>> = batch.iter().map(key).collect();
        let mut reads = redis::pipe();
        for key in &keys {
            reads.cmd("HMGET").arg(key).arg("v").arg("doc");
        }
        let read: Vec<(Option<u64>, Option<Vec<u8>>)> = reads.query_async(&mut store).await?;
        let mut writes = redis::pipe();
        writes.load_script(&script).ignore();
        for (key, (version, _)) in keys.iter().zip(read) {
            let version = version.unwrap_or(0);
            let mut set = script.key(key);
            writes.invoke_script(set.arg(version).arg(version + 1).arg(&document));
        }
        let _: Vec<i64> = writes.query_async(&mut store).await?;
        let positions: Vec<u64> = batch.iter().map(|delivery| delivery.position).collect();
        consumer.acknowledge(&positions).await?;
    }
}

/// The device stands in the envelope's first bytes.
fn key(delivery: &Delivery) -> Vec<u8> {
    const DEVICE: &[u8] = b"\"room-";
    let body = &delivery.body;
    let at = body.windows(DEVICE.len()).position(|window| window == DEVICE).unwrap_or_default();
    let name = body[at + 1..].split(|byte| *byte == b'"').next().unwrap_or_default();
    [b"bare:", name].concat()
}
