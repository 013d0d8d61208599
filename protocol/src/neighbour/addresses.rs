//! Where members may be reached: learned from hellos and from each other, passed on once when new.

use crate::id::PeerId;
use crate::rng::Prng;
use crate::wire::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, PeerAddress};
use std::collections::{BTreeMap, BTreeSet};

/// Addresses kept of one peer; bounds memory against a peer that invents them.
pub(super) const PER_PEER_MAX: usize = 4;

/// Addresses of members.
#[derive(Debug, Clone, Default)]
pub struct AddressBook {
    known: BTreeMap<PeerId, Vec<String>>,
    news: BTreeSet<PeerId>,
}

impl AddressBook {
    /// Learns where a peer may be reached; true if that is new.
    pub fn learn(&mut self, peer: PeerId, addresses: &[String], peers_max: usize) -> bool {
        let fit = |address: &&String| !address.is_empty() && address.len() <= ADDRESS_BYTES_MAX;
        let kept: Vec<String> = addresses.iter().filter(fit).take(PER_PEER_MAX).cloned().collect();
        let is_full = self.known.len() >= peers_max && !self.known.contains_key(&peer);
        if kept.is_empty() || is_full || self.known.get(&peer) == Some(&kept) {
            return false;
        }
        // Hearsay does not replace what is known: two peers that disagree would pass news to and fro for ever.
        self.known.insert(peer, kept);
        self.news.insert(peer);
        true
    }

    /// Members that are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether something is known of a peer.
    pub fn knows(&self, peer: &PeerId) -> bool {
        self.known.contains_key(peer)
    }

    /// A random choice of members for `newcomer`.
    pub fn some_for(&self, newcomer: PeerId, rng: &mut Prng) -> Vec<PeerAddress> {
        let mut peers: Vec<&PeerId> = self.known.keys().filter(|peer| **peer != newcomer).collect();
        rng.shuffle(&mut peers);
        peers.into_iter().take(ADDRESSES_MAX).map(|peer| self.entry(peer)).collect()
    }

    /// What was learned since the last call, at most one message full.
    pub fn take_news(&mut self) -> Vec<PeerAddress> {
        let peers: Vec<PeerId> = self.news.iter().copied().take(ADDRESSES_MAX).collect();
        peers.iter().for_each(|peer| {
            self.news.remove(peer);
        });
        peers.iter().map(|peer| self.entry(peer)).collect()
    }

    /// Whether there are news.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    fn entry(&self, peer: &PeerId) -> PeerAddress {
        PeerAddress { peer: *peer, addresses: self.known.get(peer).cloned().unwrap_or_default() }
    }
}
