//! Publishes that an earlier process took, and whose clients may send them again.

use gnomon_host::port::{Log, Queue, QueueError, Stream};
use gnomon_model::{Envelope, What};
use tracing::warn;

use crate::retransmit::Retransmits;
use crate::switchboard::Switchboard;

/// Messages of each log in which publishes are looked for that a client may send again.
const TAIL: u64 = 2048;

/// Finds the publishes that clients may send again because this process's predecessor took them
/// and did not live to acknowledge them.
pub(crate) async fn recall_publishes<Q: Queue>(queue: &Q, board: &Switchboard) {
    for stream in [Stream::Telemetry, Stream::Calls] {
        for partition in 0..queue.partitions() {
            let log = Log { stream, partition };
            if let Err(error) = recall_from(queue, board, log).await {
                warn!(%log, error = %error, "look for publishes that may be sent again");
            }
        }
    }
}

async fn recall_from<Q: Queue>(queue: &Q, board: &Switchboard, log: Log) -> Result<(), QueueError> {
    let newest = queue.counts(log).await?.appended;
    let first = newest.saturating_sub(TAIL) + 1;
    let count_max = usize::from(board.options.pending_publishes_max);
    for delivery in queue.read(log, first, TAIL as usize).await? {
        let Ok(envelope) = Envelope::decode(&delivery.body) else { continue };
        if let What::Published { topic, payload, packet: Some((client, packet_id)) } = envelope.what
        {
            let print = Retransmits::fingerprint(packet_id, &topic, &payload);
            board.retransmits.add(&client, print, count_max);
        }
    }
    Ok(())
}
