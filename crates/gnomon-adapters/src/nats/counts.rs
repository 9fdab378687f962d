//! How many messages a log has seen, from two answers of the server.

use gnomon_host::port::{Counts, Log, QueueError};

use super::Nats;
use crate::bounds::Retention;

impl Nats {
    pub(super) async fn count_steadily(&self, log: Log) -> Result<Counts, QueueError> {
        // Two answers of the server, between which the log may have moved: asked again if they do not
        // fit each other.
        const TRIES: usize = 3;
        let drops = self.shared.bounds.of(log.stream).retention == Retention::Oldest;
        let mut counts = self.count(log).await?;
        for _ in 1..TRIES {
            if drops || counts.missing() == 0 {
                break;
            }
            counts = self.count(log).await?;
        }
        Ok(counts)
    }

    async fn count(&self, log: Log) -> Result<Counts, QueueError> {
        let (acks, _) = self.acks(log).await?;
        let stream = self.stream(log).await?;
        let state = &stream.cached_info().state;
        let deleted = state.deleted_count.unwrap_or(0);
        Ok(Counts {
            appended: state.last_sequence,
            acknowledged: acks.acknowledged(),
            dead: acks.dead,
            pending: acks.pending(state.first_sequence, state.last_sequence, deleted),
        })
    }
}
