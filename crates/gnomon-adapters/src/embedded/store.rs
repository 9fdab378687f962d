//! Records of the embedded store: read in short transactions on the caller's thread, written by the
//! writer.

use std::ops::Bound;
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use gnomon_host::port::{Committed, Page, Promise, Store, StoreError, Stored, Write};
use gnomon_model::{DeviceKey, DueKind, ProductKey, Record};
use redb::{ReadTransaction, ReadableTable};
use tokio::sync::oneshot;

use super::error::Failure;
use super::file::RECORDS;
use super::inbox::{Commit, Erase, RecordRow};
use super::queue::ended;
use super::{Core, Embedded};
use crate::due::DueIndex;
use crate::memory::page;

pub(super) const REVISION_BYTES: usize = 8;

/// Revision of a record's row; 0 if it is too short to be one.
pub(super) fn revision(row: &[u8]) -> u64 {
    row.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Key of a device: product, zero byte, device.
pub(super) fn key(device: &DeviceKey) -> String {
    [device.product.as_str(), "\0", device.device.as_str()].concat()
}

fn device(key: &str) -> Option<DeviceKey> {
    let (product, device) = key.split_once('\0')?;
    DeviceKey::parse(product, device).ok()
}

fn row(write: &Write) -> RecordRow {
    let expected_revision = write.expected_revision;
    let json = write.record.encode();
    let mut value = Vec::with_capacity(REVISION_BYTES + json.len());
    value.extend_from_slice(&(expected_revision.wrapping_add(1)).to_le_bytes());
    value.extend_from_slice(&json);
    let due = write.record.due_times();
    RecordRow { key: key(&write.device), expected_revision, value: value.into(), due }
}

fn decode(device: &DeviceKey, row: Option<&[u8]>) -> Result<Stored, StoreError> {
    let Some(row) = row else { return Ok(Stored::default()) };
    let json = row.get(REVISION_BYTES..).unwrap_or_default();
    match Record::decode(json) {
        Ok(record) => Ok(Stored { record, revision: revision(row) }),
        Err(error) => {
            Err(StoreError::Damaged { device: device.clone(), reason: error.to_string() })
        }
    }
}

impl Embedded {
    /// Rows of records as they are durable; none where there is no record.
    pub(super) fn rows(&self, devices: &[DeviceKey]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if self.core().is_closed() {
            return Err(StoreError::Closed);
        }
        let keys: Vec<_> = devices.iter().map(key).collect();
        let mut rows = self.core().overlay.find(&keys);
        // Looked for second: what has left the overlay meanwhile is in the tree.
        if rows.iter().any(Option::is_none) {
            self.core().find(&keys, &mut rows).map_err(|failure| failure.store())?;
        }
        Ok(rows)
    }
}

impl Store for Embedded {
    /// Reads on the caller's thread: about a microsecond for each record whose page is in memory.
    async fn load(&self, devices: &[DeviceKey]) -> Result<Vec<Stored>, StoreError> {
        let rows = self.rows(devices)?;
        devices.iter().zip(rows).map(|(device, row)| decode(device, row.as_deref())).collect()
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Committed>, StoreError> {
        let (reply, done) = oneshot::channel();
        let rows = writes.iter().map(row).collect();
        self.core().inbox.commit(Commit { rows, reply }).map_err(|refused| refused.store())?;
        done.await.map_err(|_| ended().store())?
    }

    async fn list(
        &self,
        product: Option<&ProductKey>,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Page, StoreError> {
        if self.core().is_closed() {
            return Err(StoreError::Closed);
        }
        let (product, after) = (product.cloned(), after.cloned());
        let core = Arc::clone(&self.life.core);
        let list = move || core.list(product.as_ref(), after.as_ref(), count_max);
        let listed = tokio::task::spawn_blocking(list).await.map_err(|_| ended().store())?;
        listed.map(|devices| page(devices, count_max)).map_err(|failure| failure.store())
    }

    async fn erase(&self, devices: &[DeviceKey]) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        let keys = devices.iter().map(key).collect();
        self.core().inbox.erase(Erase { keys, reply }).map_err(|refused| refused.store())?;
        done.await.map_err(|_| ended().store())?.map_err(|failure| failure.store())
    }

    async fn promise(&self) -> Promise {
        super::queue::promise()
    }

    async fn due(
        &self,
        kind: DueKind,
        now_ms: i64,
        count_max: usize,
    ) -> Result<Vec<(DeviceKey, i64)>, StoreError> {
        if self.core().is_closed() {
            return Err(StoreError::Closed);
        }
        let due = self.core().due().find(kind, now_ms, count_max);
        Ok(due.into_iter().filter_map(|(key, at_ms)| Some((device(&key)?, at_ms))).collect())
    }
}

impl Core {
    pub(super) fn due(&self) -> MutexGuard<'_, DueIndex<String>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the records in the tree what is due. Only those are decoded in which something may
    /// wait.
    pub(super) fn reload_due(&self, transaction: &ReadTransaction) -> Result<(), redb::Error> {
        let mut due = DueIndex::default();
        for row in transaction.open_table(RECORDS)?.iter()? {
            let (key, row) = row?;
            let json = row.value().get(REVISION_BYTES..).unwrap_or_default();
            // One that cannot be read is told of when somebody loads it.
            if let Some(record) =
                Record::may_wait(json).then(|| Record::decode(json).ok()).flatten()
            {
                due.set(&key.value().to_owned(), record.due_times());
            }
        }
        *self.due() = due;
        Ok(())
    }

    /// Revision of a record as it is durable; 0 when there is none.
    pub(super) fn revision(&self, key: &str) -> Result<u64, Failure> {
        if let Some(row) = self.overlay.get(key) {
            return Ok(revision(&row));
        }
        self.file.read(|transaction| {
            let found = transaction.open_table(RECORDS)?.get(key)?;
            Ok(found.map_or(0, |row| revision(row.value())))
        })
    }

    /// Fills in the rows that are missing, as far as the tree has them.
    fn find(&self, keys: &[String], rows: &mut [Option<Bytes>]) -> Result<(), Failure> {
        self.file.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            for (key, row) in keys.iter().zip(rows).filter(|(_, row)| row.is_none()) {
                *row = records.get(&**key)?.map(|row| Bytes::copy_from_slice(row.value()));
            }
            Ok(())
        })
    }

    /// One device more than asked for, if there is one.
    fn list(
        &self,
        product: Option<&ProductKey>,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Vec<DeviceKey>, Failure> {
        let (start, end) = range(product, after);
        if end.as_ref().is_some_and(|end| *end <= start) {
            return Ok(Vec::new());
        }
        let count_max = count_max.saturating_add(1);
        let mut keys = self.overlay.keys(&start, end.as_deref(), count_max);
        // Looked for second: what has left the overlay meanwhile is in the tree.
        self.file.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            for row in records.range::<&str>((Bound::Included(&*start), end))?.take(count_max) {
                keys.push(row?.0.value().to_owned());
            }
            Ok(())
        })?;
        keys.sort_unstable();
        keys.dedup();
        Ok(keys.iter().take(count_max).filter_map(|key| device(key)).collect())
    }
}

/// The first key that may be listed, and the first one behind it that may not.
fn range(product: Option<&ProductKey>, after: Option<&DeviceKey>) -> (String, Option<String>) {
    let end = product.map(|product| format!("{product}\u{1}"));
    let first = product.map_or(String::new(), |product| format!("{product}\0"));
    // The key that comes right after another one is that one and a zero byte.
    let next = after.map_or(String::new(), |after| key(after) + "\0");
    (first.max(next), end)
}
