//! One peer: what it is, what its disk holds, and its process while it runs.

use super::Content;
use super::clock::{Clock, Nanos};
use super::install::Agent;
use super::network::LinkId;
use crate::plan::Lie;
use samara_protocol::geometry::{PieceIndex, PieceRange};
use samara_protocol::id::PeerId;
use samara_protocol::mesh::{Mesh, Ticket};
use samara_protocol::piece_set::PieceSet;
use samara_protocol::rng::Prng;
use samara_protocol::wire::Channel;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Number of a peer: devices from 0, the seeder last.
pub(super) type PeerIndex = u32;
/// Number of a connection, never used again.
pub(super) type ConnectionId = u32;

/// The kernel writes what is older than this by itself (`vm.dirty_expire_centisecs`, and its wake-ups).
const WRITEBACK_NANOS: u64 = 35_000_000_000;

/// By then a neighbour that says nothing is gone.
const SILENCE_NANOS: u64 = 30_000_000_000;

/// A peer id that is random to the machines and tells its number to the world.
pub(super) fn peer_id(index: PeerIndex, rng: &mut Prng) -> PeerId {
    let mut id = [0; 32];
    for chunk in id.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next_u64().to_le_bytes());
    }
    id[28..].copy_from_slice(&index.to_le_bytes());
    PeerId(id)
}

/// The number in a peer id.
pub(super) fn index_of(peer: PeerId) -> PeerIndex {
    let [.., a, b, c, d] = peer.0;
    u32::from_le_bytes([a, b, c, d])
}

/// Where a peer listens.
pub(super) fn address_of(index: PeerIndex) -> String {
    let [_, a, b, c] = index.to_be_bytes();
    format!("/ip4/10.{a}.{b}.{c}/tcp/4810")
}

/// Who listens at an address.
pub(super) fn index_at(address: &str) -> Option<PeerIndex> {
    let mut bytes = address.strip_prefix("/ip4/10.")?.strip_suffix("/tcp/4810")?.split('.');
    let mut next = || bytes.next()?.parse::<u8>().ok();
    Some(u32::from_be_bytes([0, next()?, next()?, next()?]))
}

/// What survives a restart.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    /// Verified pieces, by content.
    pub(super) have: Vec<PieceSet>,
    /// The seeder's ledger, by content.
    pub(super) granted: Vec<PieceSet>,
    /// Numbers of documents.
    pub(super) documents: BTreeSet<u32>,
    /// Pieces that the kernel may not have written yet, and since when; kept only where a plan cuts power.
    pub(super) unsynced: VecDeque<(Nanos, usize, PieceIndex)>,
}

impl Disk {
    /// A piece became whole; the kernel writes it within [`WRITEBACK_NANOS`].
    pub(super) fn wrote(&mut self, content: usize, piece: PieceIndex, now: Nanos) {
        while self.unsynced.front().is_some_and(|(at, ..)| at.plus(WRITEBACK_NANOS) < now) {
            self.unsynced.pop_front();
        }
        self.unsynced.push_back((now, content, piece));
    }

    /// Power is gone: of what the kernel had not written yet each piece is lost or not. Those that are.
    pub(super) fn lose(&mut self, now: Nanos, rng: &mut Prng) -> Vec<(usize, PieceIndex)> {
        let mut lost: Vec<(usize, PieceIndex)> = std::mem::take(&mut self.unsynced)
            .into_iter()
            .filter(|(at, ..)| at.plus(WRITEBACK_NANOS) >= now && rng.below(2) == 0)
            .map(|(_, content, piece)| (content, piece))
            .collect();
        lost.retain(|(content, piece)| self.have[*content].remove(*piece));
        lost
    }
}

/// What arrived and is not stored yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) content: usize,
    pub(super) range: PieceRange,
    pub(super) from: PeerIndex,
    pub(super) is_wrong: bool,
}

/// A running program.
pub(super) struct Process {
    pub(super) mesh: Mesh,
    pub(super) connections: BTreeMap<PeerIndex, ConnectionId>,
    pub(super) tickets: BTreeMap<Ticket, Arrived>,
    pub(super) ticket_next: u64,
    /// Of pieces that are not whole yet the stored groups, one bit each, by content and piece.
    pub(super) parts: BTreeMap<(usize, PieceIndex), u128>,
    /// Grants that the ledger on disk does not know yet.
    pub(super) unwritten: Vec<(usize, PieceIndex)>,
    /// The machine's names of the contents.
    pub(super) channels: BTreeMap<Channel, usize>,
    pub(super) is_open: bool,
    /// By which its machine measures.
    pub(super) clock: Clock,
    /// The disk is busy with earlier writes until then.
    pub(super) disk_free_at: Nanos,
    /// Of a device that installs.
    pub(super) agent: Option<Box<Agent>>,
}

/// Artifact bytes that a device received.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Received {
    pub(super) from_seeder: u64,
    pub(super) from_peers: u64,
    pub(super) duplicate: u64,
}

/// A device, or the seeder.
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) is_seeder: bool,
    /// How it harms others; `None` if it is honest.
    pub(super) lie: Option<Lie>,
    pub(super) up: LinkId,
    pub(super) down: LinkId,
    pub(super) disk: Disk,
    pub(super) process: Option<Box<Process>>,
    /// Rises with every start and end of the process: what was meant for an earlier one is dropped.
    pub(super) life: u32,
    /// Runs, or is about to.
    pub(super) is_started: bool,
    pub(super) is_linked: bool,
    pub(super) power_cut: Option<Nanos>,
    pub(super) joined: Option<Nanos>,
    pub(super) verified: Option<Nanos>,
    pub(super) received: Received,
    /// What earlier lives of the process, and swarms that were closed, sent and repaired.
    pub(super) sent_before: u64,
    pub(super) repaired_before: u64,
}

impl Peer {
    /// Whether its neighbours may not know yet that it lost power, and what with it.
    pub(super) fn is_unknown(&self, now: Nanos) -> bool {
        self.power_cut.is_some_and(|at| now < at.plus(SILENCE_NANOS))
    }

    /// Counts what its swarms did before they are closed.
    pub(super) fn keep_stats(&mut self, contents: &[Content]) {
        let Some(process) = &self.process else { return };
        for stats in contents.iter().filter_map(|content| process.mesh.swarm_stats(&content.hash)) {
            self.sent_before += stats.sent_bytes;
            self.repaired_before += stats.repair_bytes;
            self.received.duplicate += stats.duplicate_bytes;
        }
    }

    /// Whether the device is one of those that must finish.
    pub(super) fn is_living(&self) -> bool {
        self.is_started && self.is_linked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_addresses_tell_whose_they_are() {
        let mut rng = Prng::new(1);
        for index in [0, 1, 255, 256, 70_000] {
            assert_eq!(index_of(peer_id(index, &mut rng)), index);
            assert_eq!(index_at(&address_of(index)), Some(index));
        }
        assert_eq!(index_at("/ip4/192.168.0.1/tcp/4810"), None);
    }
}
