//! What an evaluation holds, in bytes.
//!
//! Rhai bounds the texts, items and members of a value, but not the keys of a map, and it does not
//! look at a map again that grows by `map[key] = value`. So at every few reads of variables, all
//! variables and `this` are weighed.

use rhai::Dynamic;

/// What an item of an array or a member of a map takes besides its texts, bytes.
const ITEM_BYTES: usize = 24;
/// Reads of variables from one weighing to the next: each adds at most what one value may have.
const READS_PER_WEIGHING: usize = 4;

/// The bytes of a value: its texts and keys, and what holds its items.
pub(crate) fn bytes(value: &Dynamic) -> usize {
    if value.is_string() {
        return value.as_immutable_string_ref().map_or(0, |text| text.len());
    }
    if value.is_array() {
        let items = |items: &rhai::Array| items.iter().map(|item| ITEM_BYTES + bytes(item)).sum();
        return value.as_array_ref().map_or(0, |array| items(&array));
    }
    if value.is_map() {
        let member =
            |(key, value): (&rhai::Identifier, &Dynamic)| ITEM_BYTES + key.len() + bytes(value);
        return value.as_map_ref().map_or(0, |map| map.iter().map(member).sum());
    }
    0
}

/// The scale of one evaluation.
#[derive(Debug, Default)]
pub(crate) struct Scale {
    value_bytes_max: usize,
    total_bytes_max: usize,
    reads: usize,
    /// Bytes of all variables of each call that is going on, as weighed last.
    by_level: Vec<usize>,
}

impl Scale {
    pub(crate) const fn none() -> Self {
        Self { value_bytes_max: 0, total_bytes_max: 0, reads: 0, by_level: Vec::new() }
    }

    /// A scale that lets through so many bytes in one value and in all.
    pub(crate) fn new(value_bytes_max: usize, total_bytes_max: usize) -> Self {
        Self { value_bytes_max, total_bytes_max, ..Self::none() }
    }

    /// Counts a read of a variable by the call at this level. Whether `this` and the variables of
    /// the call are as light as they must be, each and together with those of the calls above it.
    pub(crate) fn bears<'a>(
        &mut self,
        level: usize,
        values: impl Iterator<Item = &'a Dynamic>,
    ) -> bool {
        self.reads += 1;
        if !self.reads.is_multiple_of(READS_PER_WEIGHING) && level <= self.by_level.len() {
            return true;
        }
        let (mut heaviest, mut total) = (0, 0);
        for bytes in values.map(bytes) {
            heaviest = heaviest.max(bytes);
            total += bytes;
        }
        self.by_level.resize(level, 0);
        self.by_level.push(total);
        heaviest <= self.value_bytes_max
            && self.by_level.iter().sum::<usize>() <= self.total_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_texts_and_items_are_counted() {
        let engine = rhai::Engine::new();
        for (text, expected) in [
            ("1", 0),
            ("\"abc\"", 3),
            ("[1, 2]", 2 * ITEM_BYTES),
            ("#{ abcd: 1 }", ITEM_BYTES + 4),
            ("[#{ a: \"bc\" }, \"d\"]", 3 * ITEM_BYTES + 4),
        ] {
            let value: Dynamic = engine.eval(text).expect(text);
            assert_eq!(bytes(&value), expected, "{text}");
        }
    }
}
