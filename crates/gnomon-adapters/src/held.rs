//! What memory keeps of each message that a log holds, and how its id is looked up.

use std::hash::Hasher;

/// Hasher for keys that are hashes already: passes on their low half.
#[derive(Default)]
pub(crate) struct PassThrough(u64);

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// What is remembered of each message that the log holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// Both halves of the id's hash; as halves, so that this takes 24 bytes and not 32.
    pub(crate) hash: [u64; 2],
    pub(crate) bytes: u32,
}

impl Held {
    pub(crate) fn hash(self) -> u128 {
        u128::from(self.hash[0]) << 64 | u128::from(self.hash[1])
    }
}
