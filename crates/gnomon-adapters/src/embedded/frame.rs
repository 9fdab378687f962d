//! What a frame of the write-ahead log says: sections, each of one kind.
//!
//! Layout of a section: kind (u8), number (u32), place (u64), length (u32), bytes; numbers are
//! little-endian. What number, place and bytes mean depends on the kind, see [`Section`].

use bytes::Buf;
use gnomon_host::port::SessionChange;

use super::error::Failure;
use super::rows;
use crate::log::Marks;

const HEAD_BYTES: usize = 17;

/// One section, borrowed from its frame.
#[derive(Debug, PartialEq)]
pub(super) enum Section<'f> {
    /// Messages of a log (its number) from a position (place) on, as a row.
    Messages { log: u32, first: u64, row: &'f [u8] },
    /// Records: keys and values as a row.
    Records { row: &'f [u8] },
    /// Marks of a log (its number).
    Marks { log: u32, marks: Marks },
    /// The message of a log (its number) at a position is given up.
    Forget { log: u32, position: u64 },
    /// A change of saved sessions; the place is the key of a message.
    Session(SessionChange),
}

const MARKS_BYTES: usize = 32;

const MESSAGES: u8 = 1;
const RECORDS: u8 = 2;
const MARKS: u8 = 3;
const SAVE: u8 = 4;
const FORGET: u8 = 5;
const KEEP: u8 = 6;
const DROP: u8 = 7;
const GIVE_UP: u8 = 8;

fn push(frame: &mut Vec<u8>, kind: u8, (number, place): (u32, u64), bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("rows are bounded");
    frame.push(kind);
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&place.to_le_bytes());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(bytes);
}

pub(super) fn push_messages(frame: &mut Vec<u8>, log: u32, first: u64, row: &[u8]) {
    push(frame, MESSAGES, (log, first), row);
}

pub(super) fn push_records(frame: &mut Vec<u8>, row: &[u8]) {
    push(frame, RECORDS, (0, 0), row);
}

pub(super) fn push_marks(frame: &mut Vec<u8>, log: u32, marks: Marks) {
    let mut bytes = [0; MARKS_BYTES];
    bytes[..8].copy_from_slice(&marks.appended.to_le_bytes());
    bytes[8..16].copy_from_slice(&marks.floor.to_le_bytes());
    bytes[16..24].copy_from_slice(&marks.dropped.to_le_bytes());
    bytes[24..].copy_from_slice(&marks.dead.to_le_bytes());
    push(frame, MARKS, (log, 0), &bytes);
}

pub(super) fn push_forget(frame: &mut Vec<u8>, log: u32, position: u64) {
    push(frame, GIVE_UP, (log, position), &[]);
}

pub(super) fn push_session(frame: &mut Vec<u8>, change: &SessionChange) {
    let (kind, key, client, bytes) = match change {
        // There is one gateway only.
        SessionChange::Save { client, document }
        | SessionChange::HandOver { client, document, .. } => (SAVE, 0, client, &**document),
        SessionChange::Forget { client } => (FORGET, 0, client, &[][..]),
        SessionChange::Keep { client, key, message } => (KEEP, *key, client, &**message),
        SessionChange::Drop { client, key } => (DROP, *key, client, &[][..]),
    };
    let mut row = Vec::with_capacity(client.len() + bytes.len() + 8);
    rows::push(&mut row, client, bytes);
    push(frame, kind, (0, key), &row);
}

/// Visits each section of a frame in order.
///
/// # Errors
/// A section is cut or of an unknown kind: the frame passed its checksum, so another build wrote it.
pub(super) fn each<'f>(
    mut frame: &'f [u8],
    mut visit: impl FnMut(Section<'f>),
) -> Result<(), Failure> {
    while !frame.is_empty() {
        let (section, rest) = parse(frame).ok_or_else(|| {
            Failure::Broken("the write-ahead log holds what this build does not know".into())
        })?;
        visit(section);
        frame = rest;
    }
    Ok(())
}

fn parse(frame: &[u8]) -> Option<(Section<'_>, &[u8])> {
    let (mut head, rest) = frame.split_at_checked(HEAD_BYTES)?;
    let (kind, log, place) = (head.get_u8(), head.get_u32_le(), head.get_u64_le());
    let (bytes, rest) = rest.split_at_checked(head.get_u32_le() as usize)?;
    let section = match kind {
        MESSAGES => Section::Messages { log, first: place, row: bytes },
        RECORDS => Section::Records { row: bytes },
        MARKS => Section::Marks { log, marks: parse_marks(bytes)? },
        GIVE_UP => Section::Forget { log, position: place },
        _ => Section::Session(parse_session(kind, place, bytes)?),
    };
    Some((section, rest))
}

fn parse_marks(mut bytes: &[u8]) -> Option<Marks> {
    // Builds before this one did not count the dead.
    let counts_dead = bytes.len() == MARKS_BYTES;
    (counts_dead || bytes.len() == MARKS_BYTES - 8).then(|| Marks {
        appended: bytes.get_u64_le(),
        floor: bytes.get_u64_le(),
        dropped: bytes.get_u64_le(),
        dead: if counts_dead { bytes.get_u64_le() } else { 0 },
    })
}

fn parse_session(kind: u8, key: u64, row: &[u8]) -> Option<SessionChange> {
    let mut change = None;
    rows::each(row, |client, bytes| {
        let client = client.to_owned();
        change = match kind {
            SAVE => Some(SessionChange::Save { client, document: bytes.to_vec().into() }),
            FORGET => Some(SessionChange::Forget { client }),
            KEEP => Some(SessionChange::Keep { client, key, message: bytes.to_vec().into() }),
            DROP => Some(SessionChange::Drop { client, key }),
            _ => None,
        };
    });
    change
}
