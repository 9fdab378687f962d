//! One file of the write-ahead log: frames, each made durable by one sync.
//!
//! Two files take turns. While one is written, what is in the other is folded into the tree; a file
//! is begun anew in place, under the next generation, so that a usual sync writes data and no
//! metadata.
//!
//! Layout: a head of 512 bytes (magic, format, generation, number of the first frame, identity of the
//! store, CRC-32), then frames: length of the payload (u32), CRC-32 of all that follows, generation
//! (u64), number (u64), payload. All numbers are little-endian.
//!
//! Invariants: a frame is written only after the one before it is durable, so only the last can be
//! torn; frames of earlier generations behind the last one carry another generation and end the
//! reading.

use std::io;

use redb::StorageBackend;

/// Where the bytes of a file lie.
pub(super) type Disk = Box<dyn StorageBackend>;

const MAGIC: &[u8; 8] = b"gnomonwl";
const FORMAT: u32 = 1;
const HEAD_BYTES: usize = 512;
const FRAME_HEAD_BYTES: usize = 24;
/// A file grows by this much at once.
const GROWTH_BYTES: u64 = 1 << 20;

/// A file that is being written.
pub(super) struct Wal {
    disk: Disk,
    generation: u64,
    /// Number of the last frame written to either file.
    frame: u64,
    end: u64,
    length: u64,
    /// What is to be written next; its head is filled in at the last moment.
    buffer: Vec<u8>,
}

/// What was found in a file.
pub(super) struct Found {
    pub(super) generation: u64,
    /// Number of the first frame, whether there is one or not.
    pub(super) first: u64,
    /// Payloads of its frames.
    pub(super) frames: Vec<Vec<u8>>,
}

impl Wal {
    pub(super) fn new(disk: Disk) -> io::Result<Self> {
        let length = disk.len()?;
        Ok(Self { disk, generation: 0, frame: 0, end: 0, length, buffer: Vec::new() })
    }

    /// Generation being written; 0 before the first.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of the last frame.
    pub(super) fn frame(&self) -> u64 {
        self.frame
    }

    /// Bytes of the generation so far.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Begins a generation at the beginning of the file; nothing is written yet. What the file held
    /// is lost with the next write. A file longer than `length_max` is cut.
    pub(super) fn begin(
        &mut self,
        generation: u64,
        frame: u64,
        identity: &str,
        length_max: u64,
    ) -> io::Result<()> {
        if self.length > length_max {
            self.disk.set_len(length_max)?;
            self.length = length_max;
        }
        (self.generation, self.frame, self.end) = (generation, frame, 0);
        self.buffer.clear();
        self.buffer.extend_from_slice(&head(generation, frame + 1, identity));
        Ok(())
    }

    /// Writes one frame and makes it durable.
    pub(super) fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        let number = self.frame + 1;
        self.push_frame(number, payload)?;
        let end = self.end + self.buffer.len() as u64;
        if end > self.length {
            let length = end.next_multiple_of(GROWTH_BYTES);
            self.disk.set_len(length)?;
            self.length = length;
        }
        self.disk.write(self.end, &self.buffer)?;
        self.disk.sync_data()?;
        (self.end, self.frame) = (end, number);
        self.buffer.clear();
        Ok(())
    }

    fn push_frame(&mut self, number: u64, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame above 4 GiB"))?;
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&self.generation.to_le_bytes());
        self.buffer.extend_from_slice(&number.to_le_bytes());
        self.buffer.extend_from_slice(payload);
        let sum = crc32fast::hash(&self.buffer[start + 8..]);
        self.buffer[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    /// Reads what the file holds; nothing if it was never begun, or its beginning is torn.
    pub(super) fn read(&self, identity: &str) -> io::Result<Option<Found>> {
        let mut disk = vec![0; usize::try_from(self.length).unwrap_or(usize::MAX)];
        self.disk.read(0, &mut disk)?;
        let Some((generation, first)) = parse_head(&disk, identity)? else { return Ok(None) };
        let mut rest = &disk[HEAD_BYTES..];
        let mut frames = Vec::new();
        while let Some((payload, behind)) = frame(rest, generation, first + frames.len() as u64) {
            frames.push(payload.to_vec());
            rest = behind;
        }
        Ok(Some(Found { generation, first, frames }))
    }
}

fn head(generation: u64, first: u64, identity: &str) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    head[12..20].copy_from_slice(&generation.to_le_bytes());
    head[20..28].copy_from_slice(&first.to_le_bytes());
    let identity = &identity.as_bytes()[..identity.len().min(64)];
    head[28..28 + identity.len()].copy_from_slice(identity);
    let sum = crc32fast::hash(&head[..HEAD_BYTES - 4]);
    head[HEAD_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// Generation and number of the first frame.
fn parse_head(disk: &[u8], identity: &str) -> io::Result<Option<(u64, u64)>> {
    let Some(found) = disk.get(..HEAD_BYTES) else { return Ok(None) };
    if &found[..8] != MAGIC || u32_at(found, HEAD_BYTES - 4) != crc32fast::hash(&found[..508]) {
        return Ok(None);
    }
    let (generation, first) = (u64_at(found, 12), u64_at(found, 20));
    if u32_at(found, 8) != FORMAT {
        let reason = format!("its write-ahead log has format {}", u32_at(found, 8));
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    if found != head(generation, first, identity) {
        let reason = "its write-ahead log belongs to another store";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(Some((generation, first)))
}

/// The payload of the frame at the beginning, and what follows it; none if it is not that frame.
fn frame(disk: &[u8], generation: u64, number: u64) -> Option<(&[u8], &[u8])> {
    let head = disk.get(..FRAME_HEAD_BYTES)?;
    let length = u32_at(head, 0) as usize;
    let (whole, behind) = disk.split_at_checked(FRAME_HEAD_BYTES.checked_add(length)?)?;
    let right = (u64_at(head, 8), u64_at(head, 16)) == (generation, number)
        && u32_at(head, 4) == crc32fast::hash(&whole[8..]);
    right.then_some((&whole[FRAME_HEAD_BYTES..], behind))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
