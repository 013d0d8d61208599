//! What a [`super::Mesh`] is given once, and what it tells about itself.

use crate::id::{PeerId, SiteId};
use crate::neighbour::Limits;
use crate::wire::ServeMode;
use std::collections::BTreeMap;

/// Places that a device keeps for granting peers, at most.
const GRANT_PLACES_MAX: usize = 4;

/// Given at construction. The machine never changes it, but for `mode`, `listen` and `enrollment` when it is told of others.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// This peer.
    pub me: PeerId,
    /// The only site whose peers are admitted.
    pub site: SiteId,
    /// Software and version, for people.
    pub agent: String,
    /// How this peer serves at first.
    pub mode: ServeMode,
    /// Names of optional features.
    pub features: Vec<String>,
    /// This peer's Enrollment envelope, or empty.
    pub enrollment: Vec<u8>,
    /// Addresses at which this peer listens (multiaddr text).
    pub listen: Vec<String>,
    /// Addresses that are dialled whatever else is known.
    pub peers: Vec<String>,
    /// Enrolled live devices that must hold each piece and document before the seeder may go (all, if fewer).
    pub holders_min: usize,
    /// Per mille of an artifact that a granting peer may send, repair aside; 1000 is each piece once.
    pub copies_max: u32,
    /// Connections kept; beyond it a newcomer is told of others and let go.
    pub neighbours_max: usize,
    /// Every other bound.
    pub limits: Limits,
}

impl MeshConfig {
    /// The defaults for a peer of a site.
    pub fn new(me: PeerId, site: SiteId, agent: &str, mode: ServeMode) -> Self {
        Self {
            me,
            site,
            agent: agent.into(),
            mode,
            features: Vec::new(),
            enrollment: Vec::new(),
            listen: Vec::new(),
            peers: Vec::new(),
            holders_min: 2,
            copies_max: 1000,
            neighbours_max: 64,
            limits: Limits::default(),
        }
    }

    /// Nobody chooses more neighbours than it may keep; half of the places stay for those that choose it, but two are
    /// chosen at least: where each chooses one, most sites fall into parts that never meet. Where few come, a quarter stays.
    pub(super) fn fit_choice(&mut self) {
        let places = self.places(ServeMode::Pull);
        self.limits.full_mesh_max = self.limits.full_mesh_max.min(places);
        self.limits.chosen_max = self.limits.chosen_max.min((places / 2).max(2)).min(places);
        self.limits.neighbours_min = self.limits.neighbours_min.min((places * 3 / 4).max(1));
    }

    /// Neighbours with which one more of a mode may stay: a few places of a device wait for granting peers, which come
    /// late and bring what all the others want.
    pub(super) fn places(&self, of: ServeMode) -> usize {
        let kept = match (self.mode, of) {
            (ServeMode::Pull, ServeMode::Pull) => (self.neighbours_max / 8).clamp(1, GRANT_PLACES_MAX),
            _ => 0,
        };
        self.neighbours_max.saturating_sub(kept).max(1)
    }
}

/// Counters of one swarm, for people and reports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SwarmStats {
    /// Pieces of the artifact.
    pub pieces: u32,
    /// Pieces verified and readable here.
    pub have: u32,
    /// Verified artifact bytes by the peer that sent them.
    pub received: BTreeMap<PeerId, u64>,
    /// Bytes that arrived and were not needed.
    pub duplicate_bytes: u64,
    /// Artifact bytes handed to the network, repair included.
    pub sent_bytes: u64,
    /// Artifact bytes granted a second time because the first holder vanished or sat on them.
    pub repair_bytes: u64,
    /// Bytes that did not match the content hash.
    pub wrong_bytes: u64,
}

/// What is known of one peer in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwarmPeer {
    /// Who.
    pub peer: PeerId,
    /// Whether it is an enrolled, unrevoked device.
    pub enrolled_device: bool,
    /// Pieces that it says it has.
    pub have: u32,
}
