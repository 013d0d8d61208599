//! A map by peer, in the order of ids like a `BTreeMap`, made for a few dozen neighbours that every input looks up.
//!
//! ```text
//!  heads    | 12.. | 5f.. | a0.. |      the first eight bytes of each id, close together: searched
//!  entries  | (id, value) | ... |      in the same order
//! ```
//! Identities are random, so that the heads nearly always decide, and lie about where they would if they were evenly spread:
//! a search looks at a few neighbouring ones. An insertion moves what follows, which is cheap at this
//! size and happens only when a neighbour comes or goes.

use crate::id::PeerId;

/// Values by peer.
#[derive(Debug, Clone)]
pub struct PeerMap<V> {
    heads: Vec<u64>,
    entries: Vec<(PeerId, V)>,
}

impl<V> Default for PeerMap<V> {
    fn default() -> Self {
        Self { heads: Vec::new(), entries: Vec::new() }
    }
}

impl<V> PeerMap<V> {
    /// The value of a peer.
    #[inline]
    pub fn get(&self, peer: &PeerId) -> Option<&V> {
        self.place(peer).ok().map(|place| &self.entries[place].1)
    }

    /// The same, to change it.
    #[inline]
    pub fn get_mut(&mut self, peer: &PeerId) -> Option<&mut V> {
        self.place(peer).ok().map(|place| &mut self.entries[place].1)
    }

    /// Whether the peer has a value.
    #[inline]
    pub fn contains_key(&self, peer: &PeerId) -> bool {
        self.place(peer).is_ok()
    }

    /// Sets the value of a peer; the one that it had.
    pub fn insert(&mut self, peer: PeerId, value: V) -> Option<V> {
        match self.place(&peer) {
            Ok(place) => Some(std::mem::replace(&mut self.entries[place].1, value)),
            Err(place) => {
                self.heads.insert(place, head(&peer));
                self.entries.insert(place, (peer, value));
                None
            }
        }
    }

    /// Takes a peer out.
    pub fn remove(&mut self, peer: &PeerId) -> Option<V> {
        let place = self.place(peer).ok()?;
        self.heads.remove(place);
        Some(self.entries.remove(place).1)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All peers in order.
    pub fn keys(&self) -> impl Iterator<Item = &PeerId> {
        self.entries.iter().map(|(peer, _)| peer)
    }

    /// All values in the order of their peers.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The same, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// All in the order of peers.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &V)> {
        self.entries.iter().map(|(peer, value)| (peer, value))
    }

    /// Where a peer is, or would be: near the part of the way that its head is of all heads.
    #[inline]
    fn place(&self, peer: &PeerId) -> Result<usize, usize> {
        let head = head(peer);
        let heads = self.heads.as_slice();
        let mut place = ((u128::from(head) * heads.len() as u128) >> 64) as usize;
        while place > 0 && heads[place - 1] >= head {
            place -= 1;
        }
        while let Some(other) = heads.get(place).filter(|other| **other <= head) {
            if *other == head {
                match self.entries[place].0.cmp(peer) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => return Ok(place),
                    std::cmp::Ordering::Greater => return Err(place),
                }
            }
            place += 1;
        }
        Err(place)
    }
}

#[inline]
fn head(peer: &PeerId) -> u64 {
    peer.0.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_peer_map_behaves_like_an_ordered_map_even_where_ids_begin_alike(
            ops in prop::collection::vec((0_u8..3, 0_u8..4, 0_u8..6, any::<u16>()), 0..200),
        ) {
            let mut map = PeerMap::default();
            let mut naive = BTreeMap::new();
            for (op, first, last, value) in ops {
                let mut id = [first; 32];
                id[31] = last;
                let peer = PeerId(id);
                match op {
                    0 => prop_assert_eq!(map.insert(peer, value), naive.insert(peer, value)),
                    1 => prop_assert_eq!(map.remove(&peer), naive.remove(&peer)),
                    _ => {
                        prop_assert_eq!(map.get(&peer), naive.get(&peer));
                        prop_assert_eq!(map.get_mut(&peer), naive.get_mut(&peer));
                        prop_assert_eq!(map.contains_key(&peer), naive.contains_key(&peer));
                    }
                }
                prop_assert_eq!((map.len(), map.is_empty()), (naive.len(), naive.is_empty()));
            }
            prop_assert!(map.iter().eq(naive.iter()));
            prop_assert!(map.keys().eq(naive.keys()) && map.values().eq(naive.values()));
            prop_assert!(map.values_mut().eq(naive.values_mut()));
        }
    }
}
