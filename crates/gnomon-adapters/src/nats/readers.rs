//! Entries of acknowledgements: of a log's one consumer, and of its named readers.

use async_nats::jetstream::{kv, stream};
use futures_util::TryStreamExt;
use gnomon_host::port::{Log, QueueError};

use super::acks::Acks;
use super::consumer::{Aim, claim, forget_earlier};
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
        let below = subject::readers(log);
        let keys = keys(&self.shared.acks, &below).await;
        let keys = keys.map_err(|error| unavailable("list readers of", log, &error))?;
        let mut names: Vec<_> = keys.iter().filter_map(|key| subject::reader(log, key)).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(super) async fn bar_reader(&self, log: Log, reader: &str) -> Result<u64, QueueError> {
        let stream = self.stream(log).await?;
        let last = stream.cached_info().state.last_sequence;
        let (acks, _) = claim(self, log, Some(reader), last, Aim::Bar).await?;
        forget_earlier(&stream, &subject::consumers(Some(reader)), acks.epoch, log).await?;
        Ok(acks.floor)
    }

    pub(super) async fn retire_reader(&self, log: Log, reader: &str) -> Result<(), QueueError> {
        self.open_context()?;
        let gone = erase(&self.shared.acks, &subject::acks(log, Some(reader))).await;
        gone.map_err(|error| unavailable("retire a reader of", log, &error))
    }

    /// The reader's entry is made before the other one goes; one that it has already stays.
    pub(super) async fn hand_to_reader(
        &self,
        log: Log,
        reader: &str,
        dry_run: bool,
    ) -> Result<bool, QueueError> {
        self.open_context()?;
        let Some((acks, _)) = self.acks(log, None).await? else { return Ok(false) };
        if dry_run {
            return Ok(true);
        }
        if self.acks(log, Some(reader)).await?.is_none() {
            let key = subject::acks(log, Some(reader));
            let made = self.shared.acks.put(&key, acks.encode().into()).await;
            made.map_err(|error| unavailable("name a reader of", log, &error))?;
        }
        let gone = erase(&self.shared.acks, &subject::acks(log, None)).await;
        gone.map_err(|error| unavailable("forget the one consumer of", log, &error))?;
        Ok(true)
    }

    /// What is acknowledged by the consumer of the log, or of its readers by the one that has
    /// acknowledged least: what that one is done with, all are.
    pub(super) async fn slowest(&self, log: Log) -> Result<Acks, QueueError> {
        let all = self.all_acks(log).await?;
        Ok(all.into_iter().min_by_key(|acks| (acks.floor, acks.acknowledged())).unwrap_or_default())
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

/// Keys of a bucket that match a pattern. Asked of the stream below it: to list keys, the library
/// makes a consumer each time, and leaves it to the server to forget.
pub(super) async fn keys(
    bucket: &kv::Store,
    pattern: &str,
) -> Result<Vec<String>, stream::InfoError> {
    let info = bucket.stream.info_with_subjects(subject::entry(&bucket.prefix, pattern));
    let subjects: Vec<(String, usize)> = info.await?.try_collect().await?;
    let key =
        |(subject, _): (String, usize)| Some(subject.strip_prefix(&bucket.prefix)?.to_owned());
    Ok(subjects.into_iter().filter_map(key).collect())
}

/// Removes a key without a trace: deleted as a key is, it would leave a mark behind.
pub(super) async fn erase(bucket: &kv::Store, key: &str) -> Result<(), stream::PurgeError> {
    bucket.stream.purge().filter(subject::entry(&bucket.prefix, key)).await.map(|_| ())
}
