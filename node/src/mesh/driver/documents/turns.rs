//! One thing of each peer at a time, so that none of them takes the documents' thread for itself; what waits is bounded.

use samara_protocol::id::PeerId;
use std::collections::{BTreeMap, VecDeque};

/// How many things of one peer may wait: as many as the catalog asks of one at once.
const WAITING_MAX: usize = 64;
/// And bytes of them: what the catalog asks for at once, and one more of the largest.
const WAITING_BYTES_MAX: usize = 320 << 10;

/// What takes memory while it waits.
pub(super) trait Weight {
    /// Its bytes.
    fn bytes(&self) -> usize;
}

impl Weight for Vec<u8> {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Weight for samara_protocol::id::DocumentId {
    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// What each peer has under way (an entry is there) and what waits behind it.
#[derive(Debug)]
pub(super) struct Turns<T> {
    of: BTreeMap<PeerId, VecDeque<T>>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { of: BTreeMap::new() }
    }
}

impl<T: Weight> Turns<T> {
    /// Gives the thing back if its turn is now; else it waits, or is dropped where too much waits already.
    pub(super) fn begin(&mut self, peer: PeerId, thing: T) -> Option<T> {
        let Some(waiting) = self.of.get_mut(&peer) else {
            self.of.insert(peer, VecDeque::new());
            return Some(thing);
        };
        let bytes: usize = waiting.iter().map(Weight::bytes).sum();
        if waiting.len() < WAITING_MAX && bytes + thing.bytes() <= WAITING_BYTES_MAX {
            waiting.push_back(thing);
        }
        None
    }

    /// What was under way is done; the next of the peer.
    pub(super) fn next(&mut self, peer: PeerId) -> Option<T> {
        let next = self.of.get_mut(&peer)?.pop_front();
        if next.is_none() {
            self.of.remove(&peer);
        }
        next
    }

    /// Nothing of the peer waits any more; what is under way ends by itself.
    pub(super) fn drop_waiting(&mut self, peer: PeerId) {
        if let Some(waiting) = self.of.get_mut(&peer) {
            waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PeerId = PeerId([1; 32]);
    const TWO: PeerId = PeerId([2; 32]);

    #[test]
    fn a_peer_that_floods_holds_little_memory_and_one_place_and_another_has_its_own() {
        let mut turns = Turns::default();
        let small = |i: usize| vec![i as u8; 10];
        let begun = (0..1000).filter_map(|i| turns.begin(ONE, small(i))).count();
        assert_eq!((begun, turns.begin(TWO, small(1))), (1, Some(small(1))));
        let waited: Vec<_> = std::iter::from_fn(|| turns.next(ONE)).collect();
        assert_eq!(waited, (1..=WAITING_MAX).map(small).collect::<Vec<_>>());
        let large = || vec![0; 64 << 10];
        assert!(turns.begin(ONE, large()).is_some());
        (0..1000).for_each(|_| assert!(turns.begin(ONE, large()).is_none()));
        assert_eq!(std::iter::from_fn(|| turns.next(ONE)).count(), WAITING_BYTES_MAX / (64 << 10));
    }

    #[test]
    fn a_peer_that_is_gone_leaves_nothing_behind_but_what_is_under_way() {
        let mut turns = Turns::default();
        assert!(turns.begin(ONE, vec![1]).is_some());
        assert!(turns.begin(ONE, vec![2]).is_none());
        turns.drop_waiting(ONE);
        assert!(turns.begin(ONE, vec![3]).is_none(), "its first is still under way");
        assert_eq!((turns.next(ONE), turns.next(ONE)), (Some(vec![3]), None));
        assert!(turns.of.is_empty());
    }
}
