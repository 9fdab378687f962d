//! Finds what an earlier process of this bridge appended and may not have acknowledged to the broker.

use gnomon_host::port::{Log, Queue, QueueError, Stream};
use gnomon_model::{Envelope, What};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::BridgeError;
use crate::pace::Pace;
use crate::taken::Taken;

/// Newest messages of each log that are looked at: twice as many as wait for the queue at most.
const TAIL: u64 = 4096;

/// What `client` has taken, from the logs: the envelopes carry client and packet id. None if `stop`
/// was cancelled before the queue answered.
pub(crate) async fn recall<Q: Queue>(
    queue: &Q,
    client: &str,
    stop: &CancellationToken,
) -> Result<Option<Taken>, BridgeError> {
    let mut pace = Pace::new();
    while !stop.is_cancelled() {
        match recall_now(queue, client).await {
            Ok(taken) => return Ok(Some(taken)),
            Err(QueueError::Closed) => return Err(BridgeError::QueueClosed { what: "uplink" }),
            Err(error) => warn!(error = %error, "look for messages that may be sent again"),
        }
        pace.wait(stop).await;
    }
    Ok(None)
}

async fn recall_now<Q: Queue>(queue: &Q, client: &str) -> Result<Taken, QueueError> {
    let mut found = Vec::new();
    for stream in [Stream::Telemetry, Stream::Calls] {
        for partition in 0..queue.partitions() {
            recall_log(queue, client, Log { stream, partition }, &mut found).await?;
        }
    }
    // Of all logs together, in the order in which they came.
    found.sort_by_key(|(received_at_ms, made, ..)| (*received_at_ms, *made));
    let mut taken = Taken::default();
    for (_, _, packet_id, topic, payload) in found {
        taken.remember(packet_id, &topic, &payload);
    }
    Ok(taken)
}

/// When it came, the number of its id, packet id, topic, payload.
type Found = (i64, u64, u16, String, bytes::Bytes);

async fn recall_log<Q: Queue>(
    queue: &Q,
    client: &str,
    log: Log,
    found: &mut Vec<Found>,
) -> Result<(), QueueError> {
    let newest = queue.counts(log).await?.appended;
    let first = newest.saturating_sub(TAIL) + 1;
    for delivery in queue.read(log, first, TAIL as usize).await? {
        let Ok(envelope) = Envelope::decode(&delivery.body) else { continue };
        let made = envelope.id.as_str().rsplit_once('-').map_or("", |(_, number)| number);
        let made = u64::from_str_radix(made, 16).unwrap_or(0);
        if let What::Published { topic, payload, packet: Some((by, packet_id)) } = envelope.what
            && by == client
        {
            found.push((envelope.received_at_ms, made, packet_id, topic, payload));
        }
    }
    Ok(())
}
