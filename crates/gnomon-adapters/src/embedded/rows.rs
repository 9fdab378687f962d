//! A row of a log: all messages that one transaction appended to it, up to some size.
//!
//! Many messages in a row cost the tree one insertion, and retention drops them together.
//! Layout: for each message the length of its id (u16, little-endian) and of its body (u32), then
//! both.

use bytes::{Buf, Bytes};
use gnomon_host::port::Delivery;

/// A row is closed once it is this long; chosen by measurement, see `examples/embedded_load.rs`.
pub(super) const ROW_BYTES: usize = 16 << 10;

const HEAD_BYTES: usize = 6;

/// Adds a message to a row.
pub(super) fn push(row: &mut Vec<u8>, id: &str, body: &[u8]) {
    let id_bytes = u16::try_from(id.len()).expect("append refuses longer ids");
    let body_bytes = u32::try_from(body.len()).expect("append refuses longer bodies");
    row.extend_from_slice(&id_bytes.to_le_bytes());
    row.extend_from_slice(&body_bytes.to_le_bytes());
    row.extend_from_slice(id.as_bytes());
    row.extend_from_slice(body);
}

/// Takes the first message off a row: id and body. None at the end, and where the row is damaged,
/// which the file's checksums make unlikely.
pub(super) fn pop(row: &mut Bytes) -> Option<(Bytes, Bytes)> {
    if row.len() < HEAD_BYTES {
        return None;
    }
    let id_bytes = usize::from(row.get_u16_le());
    let body_bytes = row.get_u32_le() as usize;
    if row.len() < id_bytes + body_bytes {
        return None;
    }
    let id = row.split_to(id_bytes);
    Some((id, row.split_to(body_bytes)))
}

/// Length of each message's id and body in the row, without copying it.
pub(super) fn each<'r>(mut row: &'r [u8], mut visit: impl FnMut(&'r str, usize)) -> usize {
    let mut count = 0;
    while row.len() >= HEAD_BYTES {
        let id_bytes = usize::from(row.get_u16_le());
        let body_bytes = row.get_u32_le() as usize;
        let Some((message, rest)) = row.split_at_checked(id_bytes + body_bytes) else { break };
        visit(std::str::from_utf8(&message[..id_bytes]).unwrap_or_default(), body_bytes);
        row = rest;
        count += 1;
    }
    count
}

/// Messages of a row that begins at `first`.
pub(super) fn deliveries(first: u64, row: &[u8]) -> impl Iterator<Item = Delivery> {
    let mut row = Bytes::copy_from_slice(row);
    let messages = std::iter::from_fn(move || pop(&mut row));
    (first..).zip(messages).map(|(position, (id, body))| {
        let id = String::from_utf8_lossy(&id).into_owned();
        Delivery { position, id, body }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_back_what_was_pushed() {
        let mut row = Vec::new();
        let messages = [("a", &b"one"[..]), ("", b""), ("long-id", &[0xff; 300])];
        messages.iter().for_each(|(id, body)| push(&mut row, id, body));
        let found: Vec<_> = deliveries(7, &row).collect();
        assert_eq!(found.len(), 3);
        for (index, (id, body)) in messages.iter().enumerate() {
            assert_eq!((found[index].position, &*found[index].id), (7 + index as u64, *id));
            assert_eq!(found[index].body, body);
        }
        assert_eq!(each(&row, |_, _| {}), 3);
    }

    #[test]
    fn a_cut_row_ends_early_and_never_panics() {
        let mut row = Vec::new();
        push(&mut row, "id", b"body");
        for length in 0..row.len() {
            assert_eq!(deliveries(1, &row[..length]).count(), 0);
            assert_eq!(each(&row[..length], |_, _| {}), 0);
        }
    }
}
