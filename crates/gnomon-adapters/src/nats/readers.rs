//! Entries of acknowledgements: of a log's one consumer, and of its named readers.

use futures_util::StreamExt;
use gnomon_host::port::{Log, QueueError};

use super::acks::Acks;
use super::consumer::{claim, forget_earlier};
use super::{Nats, subject, unavailable};

impl Nats {
    /// What is acknowledged of a log, and the revision of the entry; none when there is none yet.
    pub(super) async fn acks(
        &self,
        log: Log,
        reader: Option<&str>,
    ) -> Result<Option<(Acks, u64)>, QueueError> {
        let entry = self.shared.acks.entry(subject::acks(log, reader)).await;
        let entry =
            entry.map_err(|error| unavailable("read the acknowledgements of", log, &error))?;
        let Some(entry) = entry else { return Ok(None) };
        let acks = Acks::decode(&entry.value);
        let acks =
            acks.map_err(|error| unavailable("understand the acknowledgements of", log, &error))?;
        Ok(Some((acks, entry.revision)))
    }

    pub(super) async fn reader_names(&self, log: Log) -> Result<Vec<String>, QueueError> {
        self.open_context()?;
        let fault = |error: &dyn std::error::Error| unavailable("list readers of", log, error);
        let mut keys = self.shared.acks.keys().await.map_err(|error| fault(&error))?;
        let mut names = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|error| fault(&error))?;
            names.extend(subject::reader(log, &key));
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(super) async fn bar_reader(&self, log: Log, reader: &str) -> Result<u64, QueueError> {
        let stream = self.stream(log).await?;
        let last = stream.cached_info().state.last_sequence;
        let (acks, _) = claim(self, log, Some(reader), last).await?;
        forget_earlier(&stream, &subject::consumers(Some(reader)), acks.epoch, log).await?;
        Ok(acks.floor)
    }

    pub(super) async fn retire_reader(&self, log: Log, reader: &str) -> Result<(), QueueError> {
        self.open_context()?;
        // Not deleted as a key is, which would leave a mark behind for ever.
        let bucket = &self.shared.acks;
        let subject = subject::entry(&bucket.prefix, &subject::acks(log, Some(reader)));
        let gone = bucket.stream.purge().filter(subject).await;
        gone.map(|_| ()).map_err(|error| unavailable("retire a reader of", log, &error))
    }

    /// Everything up to here may be dropped: all consumers of the log are done with it.
    pub(super) async fn floor(&self, log: Log) -> Result<u64, QueueError> {
        let all = self.all_acks(log).await?;
        Ok(all.iter().map(|acks| acks.floor).min().unwrap_or(0))
    }

    /// Messages that are acknowledged by the consumer of the log, or by all of its readers.
    pub(super) async fn acknowledged(&self, log: Log) -> Result<u64, QueueError> {
        let all = self.all_acks(log).await?;
        Ok(all.iter().map(Acks::acknowledged).min().unwrap_or(0))
    }

    async fn all_acks(&self, log: Log) -> Result<Vec<Acks>, QueueError> {
        let readers = self.reader_names(log).await?;
        let mut all = Vec::with_capacity(readers.len() + 1);
        for reader in readers.iter().map(|name| Some(&**name)).chain([None]) {
            all.extend(self.acks(log, reader).await?.map(|(acks, _)| acks));
        }
        Ok(all)
    }
}
