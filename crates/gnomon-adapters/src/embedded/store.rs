//! Records of the embedded store: read in short transactions on the caller's thread, written by the
//! writer.

use gnomon_host::port::{Committed, Page, Store, StoreError, Stored, Write};
use gnomon_model::{DeviceKey, ProductKey, Record};
use std::sync::Arc;
use tokio::sync::oneshot;

use super::error::Failure;
use super::file::RECORDS;
use super::inbox::{Commit, RecordRow};
use super::queue::ended;
use super::writer::revision;
use super::{Core, Embedded};
use crate::memory::page;

const REVISION_BYTES: usize = 8;

/// Key of a device: product, zero byte, device.
fn key(device: &DeviceKey) -> Vec<u8> {
    let (product, device) = (device.product.as_str(), device.device.as_str());
    [product.as_bytes(), &[0], device.as_bytes()].concat()
}

fn device(key: &[u8]) -> Option<DeviceKey> {
    let (product, device) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    DeviceKey::parse(product, device).ok()
}

fn row(write: &Write) -> RecordRow {
    let expected_revision = write.expected_revision;
    let json = write.record.encode();
    let mut value = Vec::with_capacity(REVISION_BYTES + json.len());
    value.extend_from_slice(&(expected_revision + 1).to_le_bytes());
    value.extend_from_slice(&json);
    RecordRow { key: key(&write.device), expected_revision, value }
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

impl Store for Embedded {
    /// Reads on the caller's thread: about a microsecond for each record whose page is in memory.
    async fn load(&self, devices: &[DeviceKey]) -> Result<Vec<Stored>, StoreError> {
        if self.core().is_closed() {
            return Err(StoreError::Closed);
        }
        let read = self.core().file.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let one = |device| -> Result<Result<Stored, StoreError>, Failure> {
                let row = records.get(&*key(device))?;
                Ok(decode(device, row.as_ref().map(redb::AccessGuard::value)))
            };
            devices.iter().map(one).collect::<Result<Vec<_>, _>>()
        });
        read.map_err(|failure| failure.store())?.into_iter().collect()
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
}

impl Core {
    /// One device more than asked for, if there is one.
    fn list(
        &self,
        product: Option<&ProductKey>,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Vec<DeviceKey>, Failure> {
        let (start, end) = range(product, after);
        self.file.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let mut found = Vec::new();
            if start >= end {
                return Ok(found);
            }
            for row in records.range(&*start..&*end)?.take(count_max.saturating_add(1)) {
                found.extend(device(row?.0.value()));
            }
            Ok(found)
        })
    }
}

/// From the first key that may be listed to the first one that may not.
fn range(product: Option<&ProductKey>, after: Option<&DeviceKey>) -> (Vec<u8>, Vec<u8>) {
    let bounded =
        |product: &ProductKey, bound: u8| [product.as_str().as_bytes(), &[bound]].concat();
    // No UTF-8 text begins with 0xff.
    let end = product.map_or(vec![0xff], |product| bounded(product, 1));
    let first = product.map_or(Vec::new(), |product| bounded(product, 0));
    // The key that comes right after another one is that one and a zero byte.
    let next = after.map_or(Vec::new(), |after| [&*key(after), &[0]].concat());
    (first.max(next), end)
}
