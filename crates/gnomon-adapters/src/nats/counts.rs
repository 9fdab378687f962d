//! How many messages a log has seen, how far its consumer has come, and who consumes.

use gnomon_host::port::{Counts, Log, Progress, QueueError};

use super::{Nats, absent, readers, subject};
use crate::bounds::Retention;

impl Nats {
    pub(super) async fn read_progress(&self, log: Log) -> Result<Progress, QueueError> {
        let acks = self.slowest(log).await?;
        let stream = self.stream(log).await?;
        let first = stream.cached_info().state.first_sequence.max(1);
        Ok(acks.progress(super::consumer::log_id(log, &stream), first))
    }

    /// Members of a group that were there in the last few seconds.
    pub(super) async fn members(&self, group: &str) -> Result<Vec<String>, QueueError> {
        let fault = |error: &dyn std::error::Error| absent("attend", group, error);
        let keys = readers::keys(&self.shared.workers, &subject::workers(group)).await;
        let keys = keys.map_err(|error| fault(&error))?;
        Ok(keys.iter().filter_map(|key| subject::member(group, key)).map(str::to_owned).collect())
    }

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
        let acks = self.slowest(log).await?;
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
