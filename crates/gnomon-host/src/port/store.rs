//! The store: one record per device, written by compare-and-set.

use std::future::Future;

use gnomon_model::{DeviceKey, DueKind, DueTimes, ProductKey, Record};

use super::promise::Promise;

/// A record and the number by which its next write is checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stored {
    /// The record; the default one when the device has none yet.
    pub record: Record,
    /// Number of commits so far; 0 when the device has no record yet.
    pub revision: u64,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Write {
    /// The device.
    pub device: DeviceKey,
    /// Revision that the record had when it was loaded.
    pub expected_revision: u64,
    /// The record to keep.
    pub record: Record,
    /// What was due when in the record that was loaded ([`Record::due_times`]), so that a store
    /// whose index stands elsewhere touches it only when something is due earlier than before.
    pub due_before: DueTimes,
}

/// What became of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The record is durable, at this revision.
    Done {
        /// Revision after the write.
        revision: u64,
    },
    /// Somebody else wrote first; nothing was written. Load and decide again.
    Conflict,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Devices, sorted by key.
    pub devices: Vec<DeviceKey>,
    /// Ask again from after this one; none at the end.
    pub next: Option<DeviceKey>,
}

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or written; try again later.
    #[error("store is unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// A record cannot be read by this build; only its device is affected.
    #[error("record of {device} cannot be read: {reason}")]
    Damaged {
        /// The device.
        device: DeviceKey,
        /// What is wrong with it.
        reason: String,
    },
    /// The store was shut down; stop.
    #[error("store is closed")]
    Closed,
}

/// Records of devices. Cheap to clone; clones share one store.
pub trait Store: Clone + Send + Sync + 'static {
    /// Loads the records of the devices, in the order asked, in one round trip. A device without
    /// a record yields the default one at revision 0.
    ///
    /// # Errors
    /// The store is unavailable or closed; a record is damaged.
    fn load(
        &self,
        devices: &[DeviceKey],
    ) -> impl Future<Output = Result<Vec<Stored>, StoreError>> + Send;

    /// Writes each record whose revision is still the expected one, in one round trip; the answers
    /// are in the order of the writes. Returns once those written are durable.
    ///
    /// # Errors
    /// It is not known which were written: load again before deciding.
    fn commit(
        &self,
        writes: &[Write],
    ) -> impl Future<Output = Result<Vec<Committed>, StoreError>> + Send;

    /// Lists devices that have a record, sorted by key, of one product or of all, `after` a key.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn list(
        &self,
        product: Option<&ProductKey>,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Removes the records of the devices for good, also from listings; returns once that is durable.
    /// Only while nobody works on them: a worker that remembers one would write it again.
    ///
    /// # Errors
    /// The store is unavailable or closed; some may be removed.
    fn erase(&self, _devices: &[DeviceKey]) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Err(StoreError::Unavailable { reason: "this store cannot erase".to_owned() }) }
    }

    /// What the server behind it does to keep records, and what a power cut would cost.
    fn promise(&self) -> impl Future<Output = Promise> + Send {
        async { Promise::unknown() }
    }

    /// Finds up to `count_max` devices in whose records something of a kind is due at `now_ms` or
    /// before, and since when, earliest first. Every commit that was answered before is seen. Costs
    /// about as much as there is to find, however many records there are.
    ///
    /// # Errors
    /// The store is unavailable or closed.
    fn due(
        &self,
        kind: DueKind,
        now_ms: i64,
        count_max: usize,
    ) -> impl Future<Output = Result<Vec<(DeviceKey, i64)>, StoreError>> + Send;
}
