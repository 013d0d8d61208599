//! Peers that were turned away while they were no members, and where they say they listen: they are dialled once they are
//! enrolled, and never before. Bounded; nobody's word is proven, so that any of them may give way.

use super::addresses::PER_PEER_MAX;
use crate::id::PeerId;
use crate::wire::ADDRESS_BYTES_MAX;
use std::collections::BTreeMap;

/// Peers that are remembered.
const PEERS_MAX: usize = 256;

/// Who was turned away.
#[derive(Debug, Clone, Default)]
pub(super) struct Strangers(BTreeMap<PeerId, Vec<String>>);

impl Strangers {
    /// A peer was turned away that says it listens there.
    pub(super) fn remember(&mut self, peer: PeerId, listen: &[String]) {
        if self.0.len() >= PEERS_MAX && !self.0.contains_key(&peer) {
            self.0.pop_first();
        }
        let fit = |address: &&String| address.len() <= ADDRESS_BYTES_MAX;
        let listen = listen.iter().filter(fit).take(PER_PEER_MAX).cloned().collect();
        self.0.insert(peer, listen);
    }

    /// A peer is no stranger any more: where it listens.
    pub(super) fn take(&mut self, peer: PeerId) -> Option<Vec<String>> {
        self.0.remove(&peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_without_end_take_no_more_room() {
        let mut strangers = Strangers::default();
        let peer = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            PeerId(id)
        };
        let listen: Vec<String> = (0..100).map(|n| format!("/ip4/10.0.0.1/tcp/{n}")).collect();
        (0..2 * PEERS_MAX).for_each(|n| strangers.remember(peer(n), &listen));
        strangers.remember(peer(2 * PEERS_MAX), &["x".repeat(ADDRESS_BYTES_MAX + 1), listen[0].clone()]);
        assert_eq!(strangers.0.len(), PEERS_MAX);
        assert_eq!(strangers.take(peer(2 * PEERS_MAX - 1)).unwrap(), listen[..PER_PEER_MAX]);
        assert_eq!(strangers.take(peer(2 * PEERS_MAX)).unwrap(), listen[..1]);
        assert_eq!(strangers.take(peer(0)), None);
    }
}
