//! The index of what is due, in memory: for stores that only one process can open.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use gnomon_model::{DueKind, DueTimes};

/// When something in which record is due. `K` names a record.
pub(crate) struct DueIndex<K> {
    kinds: [OneKind<K>; DueKind::ALL.len()],
}

struct OneKind<K> {
    by_time: BTreeSet<(i64, K)>,
    by_key: HashMap<K, i64>,
}

impl<K> Default for DueIndex<K> {
    fn default() -> Self {
        let kinds =
            DueKind::ALL.map(|_| OneKind { by_time: BTreeSet::new(), by_key: HashMap::new() });
        Self { kinds }
    }
}

impl<K: Clone + Eq + Hash + Ord> DueIndex<K> {
    /// Takes over what a record says now; costs two look-ups when nothing waits in it.
    pub(crate) fn set(&mut self, key: &K, times: DueTimes) {
        for (one, kind) in self.kinds.iter_mut().zip(DueKind::ALL) {
            one.set(key, times.of(kind));
        }
    }

    /// Up to `count_max` records in which something is due by `now_ms`, earliest first.
    pub(crate) fn find(&self, kind: DueKind, now_ms: i64, count_max: usize) -> Vec<(K, i64)> {
        let mut of_kind = self.kinds.iter().zip(DueKind::ALL).filter(|(_, found)| *found == kind);
        let entries = of_kind.next().into_iter().flat_map(|(one, _)| &one.by_time);
        let due = entries.take_while(|(at_ms, _)| *at_ms <= now_ms).take(count_max);
        due.map(|(at_ms, key)| (key.clone(), *at_ms)).collect()
    }
}

impl<K: Clone + Eq + Hash + Ord> OneKind<K> {
    fn set(&mut self, key: &K, at_ms: Option<i64>) {
        let before = self.by_key.get(key).copied();
        if before == at_ms {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, key.clone()));
        }
        match at_ms {
            Some(at_ms) => {
                self.by_key.insert(key.clone(), at_ms);
                self.by_time.insert((at_ms, key.clone()));
            }
            None => drop(self.by_key.remove(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_index_says_what_was_set_last(
            changes in proptest::collection::vec((0..4_u8, proptest::option::of(0..9_i64), any::<bool>()), 0..30),
            now_ms in 0..10_i64,
            count_max in 0..5_usize,
        ) {
            let (mut index, mut last) = (DueIndex::default(), HashMap::new());
            for (key, at_ms, is_call) in changes {
                let times: &mut DueTimes = last.entry(key).or_default();
                if is_call { times.call = at_ms } else { times.reminder = at_ms }
                index.set(&key, *times);
            }
            for kind in DueKind::ALL {
                let due = last.iter().filter_map(|(key, times)| Some((times.of(kind)?, *key)));
                let mut expected: Vec<_> = due.filter(|(at_ms, _)| *at_ms <= now_ms).collect();
                expected.sort_unstable();
                expected.truncate(count_max);
                let found = index.find(kind, now_ms, count_max);
                let found: Vec<_> = found.into_iter().map(|(key, at_ms)| (at_ms, key)).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
