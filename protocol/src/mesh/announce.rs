//! Haves: which neighbours learn of a stored piece, and when.

use super::Mesh;
use crate::geometry::PieceIndex;
use crate::id::{ContentHash, PeerId};
use crate::neighbour::rate::time_for;
use crate::time::Timestamp;
use crate::wire::{Have, Message};
use std::time::Duration;

/// Haves in one message; 4096 varints stay below the frame limit.
const HAVES_MAX: usize = 4096;

/// Neighbours that have a piece, at least this many and this part of all, from which on it spreads without this peer.
const COMMON_MIN: u32 = 4;
const COMMON_SHARE: u32 = 4;

impl Mesh {
    /// Rule 6: at once when nobody else is known to hold a piece, else gathered, the longer the more have it; never to a
    /// peer that has it.
    pub(super) fn announce(&mut self, content: ContentHash, piece: PieceIndex, now: Timestamp) {
        let neighbours = self.neighbours.len() as u32;
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        let holders = swarm.picker.availability(piece);
        if holders == 0 {
            return self.send_haves(content, &[piece]);
        }
        swarm.unannounced.push(piece);
        if swarm.picker.have().is_full() {
            // Whoever counts what is spread counts to the end, and no further piece comes.
            self.announce_at = Some(now);
            return;
        }
        // Waiting pays only where further pieces come meanwhile.
        let limits = &self.config.limits;
        let is_common = u32::from(holders) >= COMMON_MIN.max(neighbours / COMMON_SHARE);
        let most = if is_common { limits.have_batch_common } else { limits.have_batch };
        let two_pieces = time_for(u64::from(swarm.geometry.piece_bytes()) * 2, self.received_rate.rate());
        let least = most.min(Duration::from_millis(3) * neighbours);
        let gather = match two_pieces {
            _ if is_common => most,
            Some(time) if time <= most => time.max(least),
            _ => least,
        };
        let at = now + gather;
        self.announce_at = Some(self.announce_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Tells a peer that has just joined what was stored since our own `Open` went to it: haves go to parties only, so
    /// it heard of none of that. A peer that has everything may be a seeder, which wants to hear of every piece. An origin
    /// had everything when it opened.
    pub(super) fn catch_up(&mut self, peer: PeerId, content: ContentHash) {
        let Some(swarm) = self.swarms.get(&content).filter(|swarm| swarm.origin.is_none()) else { return };
        let have = swarm.picker.have();
        let told = self.neighbours.get_mut(&peer).and_then(|neighbour| neighbour.told.remove(&content));
        if told == Some(have.count()) {
            return;
        }
        let Some(party) = swarm.parties.get(&peer) else { return };
        let news = |piece: &PieceIndex| party.joined_full || !party.have.contains(*piece);
        let pieces: Vec<PieceIndex> = have.iter().filter(news).collect();
        let channel = swarm.channel;
        for part in pieces.chunks(HAVES_MAX) {
            let message = Message::Have(Have { channel, pieces: part.to_vec() });
            self.actions.push_back(super::Action::Send { peer, message });
        }
    }

    pub(super) fn announce_gathered(&mut self) {
        let contents: Vec<ContentHash> = self.swarms.keys().copied().collect();
        for content in contents {
            let gathered = self.swarms.get_mut(&content).map(|s| std::mem::take(&mut s.unannounced));
            for part in gathered.unwrap_or_default().chunks(HAVES_MAX) {
                self.send_haves(content, part);
            }
        }
    }

    fn send_haves(&mut self, content: ContentHash, pieces: &[PieceIndex]) {
        let Some(swarm) = self.swarms.get(&content) else { return };
        for (&peer, party) in swarm.parties.iter() {
            let lacks = |piece: &&PieceIndex| party.joined_full || !party.have.contains(**piece);
            let pieces: Vec<PieceIndex> = pieces.iter().filter(lacks).copied().collect();
            if !pieces.is_empty() {
                let message = Message::Have(Have { channel: swarm.channel, pieces });
                self.actions.push_back(super::Action::Send { peer, message });
            }
        }
    }
}
