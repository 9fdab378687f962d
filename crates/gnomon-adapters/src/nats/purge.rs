//! Old messages go: by number, bytes and age, and only what is acknowledged.
//!
//! The server could drop by age itself (`max_age`), but it does not know what is acknowledged: it would
//! drop what is pending in silence. See: docs/decisions/2026-11-24-old-messages-are-purged-by-their-reader.md

use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use gnomon_host::port::{Log, QueueError};

use super::unavailable;
use crate::bounds::{LogBounds, Retention};

/// Longest time between two looks at how old messages are.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(60);

/// When old messages of a log were last purged.
#[derive(Debug, Default)]
pub(super) struct Purging {
    /// Acknowledged since then.
    news: u64,
    /// When age was looked at last.
    looked: Option<Instant>,
}

impl Purging {
    /// Takes note of acknowledgements; whether it is worth to look for what may go.
    pub(super) fn is_due(&mut self, news: u64, bounds: &LogBounds) -> bool {
        self.news += news;
        if bounds.retention != Retention::Acknowledged {
            return false;
        }
        let by_count = self.news > bounds.kept_messages.min(16_384) / 16;
        let by_age = bounds.kept_age.is_some_and(|age| {
            let pause = (age / 16).min(LOOK_EVERY_MAX);
            self.looked.is_none_or(|looked| looked.elapsed() >= pause)
        });
        by_count || by_age
    }

    /// Purges what is at or below `floor` and beyond one of the bounds.
    pub(super) async fn purge(
        &mut self,
        stream: &Stream,
        log: Log,
        floor: u64,
        bounds: &LogBounds,
    ) -> Result<(), QueueError> {
        (self.news, self.looked) = (0, Some(Instant::now()));
        let fault = |error: &dyn std::error::Error| unavailable("purge", log, error);
        let state = stream.get_info().await.map_err(|error| fault(&error))?.state;
        let by_count = (floor + 1).saturating_sub(bounds.kept_messages);
        // Messages of a log are much alike, so bytes are shared out evenly.
        let each = (state.bytes / state.messages.max(1)).max(1);
        let by_bytes = state.bytes.saturating_sub(bounds.kept_bytes) / each + state.first_sequence;
        let cutoff = bounds.kept_age.and_then(|age| SystemTime::now().checked_sub(age));
        let by_age = match cutoff {
            Some(cutoff) if state.first_timestamp < cutoff && state.messages > 0 => {
                first_since(stream, log, cutoff).await?.unwrap_or(floor + 1)
            }
            _ => 0,
        };
        let first = by_count.max(by_bytes).max(by_age).min(floor + 1);
        if first > state.first_sequence {
            stream.purge().sequence(first).await.map_err(|error| fault(&error))?;
        }
        Ok(())
    }
}

/// Position of the first message that is not older than the cutoff; none if all are.
async fn first_since(
    stream: &Stream,
    log: Log,
    cutoff: SystemTime,
) -> Result<Option<u64>, QueueError> {
    let fault = |error: &dyn std::error::Error| unavailable("look for old messages of", log, error);
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartTime { start_time: cutoff.into() },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: Duration::from_secs(5),
        headers_only: true,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| fault(&error))?;
    let fetch = consumer.fetch().max_messages(1).messages().await;
    let first = match fetch.map_err(|error| fault(&error))?.next().await {
        Some(message) => {
            let message = message.map_err(|error| fault(&*error))?;
            Some(super::consumer::delivery(&message, log)?.position)
        }
        None => None,
    };
    let name = consumer.cached_info().name.clone();
    if let Err(error) = stream.delete_consumer(&name).await {
        tracing::debug!(%log, %error, "a reader is left to the server to forget");
    }
    Ok(first)
}
