//! A row of a log: all messages that one transaction appended to it, up to some size.
//!
//! Many messages in a row cost the tree one insertion, and retention drops them together.
//! Layout: for each message the length of its id (u16, little-endian) and of its body (u32), then
//! both.

use bytes::{Buf, Bytes};
use gnomon_host::port::Delivery;

/// Longest row of more than one message. With the tree's own bytes it just fits four pages of 4 KiB,
/// since the file gives out pages in powers of two.
const ROW_BYTES_MAX: usize = (16 << 10) - 128;

const HEAD_BYTES: usize = 6;

/// Whether this message must begin a new row.
pub(super) fn is_full(row: &[u8], id: &str, body: &[u8]) -> bool {
    !row.is_empty() && row.len() + HEAD_BYTES + id.len() + body.len() > ROW_BYTES_MAX
}

/// Whether a row of this many bytes may be added to another one.
pub(super) fn fits(row: &[u8], bytes: usize) -> bool {
    row.len() + bytes <= ROW_BYTES_MAX
}

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

/// Visits each message's id and body in the row without copying it; how many there are.
pub(super) fn each<'r>(mut row: &'r [u8], mut visit: impl FnMut(&'r str, &'r [u8])) -> usize {
    let mut count = 0;
    while row.len() >= HEAD_BYTES {
        let id_bytes = usize::from(row.get_u16_le());
        let body_bytes = row.get_u32_le() as usize;
        let Some((message, rest)) = row.split_at_checked(id_bytes + body_bytes) else { break };
        let (id, body) = message.split_at(id_bytes);
        visit(std::str::from_utf8(id).unwrap_or_default(), body);
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
