//! What was refused lately, so that it is not fetched again and again: bounded in number and in time.

use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Refusals remembered.
const ENTRIES_MAX: usize = 1024;
/// After so long a refused document may be asked for once more: what was missing may have come in the meantime.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Things that were refused, the oldest first out.
#[derive(Debug, Clone)]
pub(super) struct Memory<K> {
    since: BTreeMap<K, Timestamp>,
    order: VecDeque<K>,
}

impl<K> Default for Memory<K> {
    fn default() -> Self {
        Self { since: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<K: Ord + Copy> Memory<K> {
    pub(super) fn insert(&mut self, key: K, now: Timestamp) {
        if self.since.insert(key, now).is_some() {
            self.order.retain(|other| *other != key);
        }
        self.order.push_back(key);
        if self.order.len() > ENTRIES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.since.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, key: &K, now: Timestamp) -> bool {
        self.since.get(key).is_some_and(|since| now.since(*since) < FORGOTTEN_AFTER)
    }

    /// Keeps what `keep` says.
    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.since.retain(|key, _| keep(key));
        self.order.retain(keep);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_forgotten_after_a_time_or_when_there_are_too_many() {
        let mut memory = Memory::default();
        let (now, later) = (Timestamp::ZERO, Timestamp::ZERO + FORGOTTEN_AFTER);
        (0..=ENTRIES_MAX).for_each(|i| memory.insert(i, now));
        assert!(!memory.contains(&0, now) && memory.contains(&1, now));
        memory.insert(1, later);
        assert!(memory.contains(&1, later) && !memory.contains(&2, later));
        assert_eq!((memory.since.len(), memory.order.len()), (ENTRIES_MAX, ENTRIES_MAX));
    }
}
