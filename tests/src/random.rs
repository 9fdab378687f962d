//! Random numbers from a seed that can be printed and given again.

use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the variable that repeats a random test.
pub const SEED_VARIABLE: &str = "TEST_SEED";

/// A `SplitMix64` generator: ten lines instead of a dependency.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed; the same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Yields a number from `low` to `high`, both included.
    ///
    /// # Panics
    /// `low` is above `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "{low} is above {high}");
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (mixed ^ (mixed >> 31)) % (high - low + 1)
    }
}

/// The seed of `TEST_SEED`, else one of this moment.
///
/// # Panics
/// `TEST_SEED` is set and is no number.
#[must_use]
pub fn seed() -> u64 {
    if let Ok(text) = std::env::var(SEED_VARIABLE) {
        return text.parse().expect("TEST_SEED is a decimal number");
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    since.as_nanos() as u64
}
