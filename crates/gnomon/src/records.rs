//! All records of a store, page by page: copied, hashed, erased.

use std::fmt::Write as _;

use gnomon_host::port::{Store, StoreError, Stored, Write};
use gnomon_model::{DeviceKey, DueTimes};
use sha2::{Digest, Sha256};

/// Records read at once.
const PAGE: usize = 512;

/// The devices after one of them, and their records; none at the end.
pub(crate) async fn page<S: Store>(
    store: &S,
    after: Option<&DeviceKey>,
) -> Result<Vec<(DeviceKey, Stored)>, StoreError> {
    let devices = store.list(None, after, PAGE).await?.devices;
    let stored = store.load(&devices).await?;
    Ok(devices.into_iter().zip(stored).collect())
}

/// Copies all records into a store that has none.
pub(crate) async fn copy<S: Store, T: Store>(from: &S, to: &T) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let some = page(from, after.as_ref()).await?;
        let Some((last, _)) = some.last() else { return Ok(()) };
        after = Some(last.clone());
        let writes: Vec<Write> = some
            .into_iter()
            .map(|(device, stored)| Write {
                device,
                expected_revision: 0,
                record: stored.record,
                due_before: DueTimes::default(),
            })
            .collect();
        to.commit(&writes).await?;
    }
}

/// How many records there are, and the SHA-256 over all of them, sorted by key: `product/device`, a
/// zero byte, the record's JSON, a line feed. What a record has yet to send is left out: it tells when
/// a message was acknowledged, not what it did.
pub(crate) async fn digest<S: Store>(store: &S) -> Result<(u64, String), StoreError> {
    let mut sha256 = Sha256::new();
    let (mut count, mut after) = (0, None);
    loop {
        let some = page(store, after.as_ref()).await?;
        let Some((last, _)) = some.last() else { return Ok((count, hex(&sha256.finalize()))) };
        after = Some(last.clone());
        for (device, mut stored) in some {
            stored.record.ledgers.values_mut().for_each(|ledger| ledger.outbox.clear());
            sha256.update(device.to_string());
            sha256.update(b"\0");
            sha256.update(stored.record.encode());
            sha256.update(b"\n");
            count += 1;
        }
    }
}

/// Erases all records.
pub(crate) async fn erase_all<S: Store>(store: &S) -> Result<(), StoreError> {
    loop {
        let devices = store.list(None, None, PAGE).await?.devices;
        if devices.is_empty() {
            return Ok(());
        }
        store.erase(&devices).await?;
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string takes everything");
        digits
    })
}

/// What [`hex`] wrote.
pub(crate) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16)
                .ok()
        })
        .collect()
}
