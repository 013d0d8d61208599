//! Whose haves are evidence that the site holds a piece: who counts, and what follows when that changes.

use super::Mesh;
use crate::id::{ContentHash, PeerId};
use crate::neighbour::{Neighbour, Phase};
use crate::time::Timestamp;
use crate::wire::ServeMode;

impl Mesh {
    /// Members that stay at the site, as far as one can know: neither an operator's laptop nor, where devices are enrolled,
    /// anybody else.
    pub fn devices_near(&self) -> usize {
        let stays = |(peer, neighbour): &(&PeerId, &Neighbour)| {
            neighbour.mode == ServeMode::Pull && self.counts(**peer)
        };
        self.neighbours.iter().filter(stays).count()
    }

    /// Whether a peer's haves are evidence: an enrolled device's; anybody's where no device is enrolled.
    pub(super) fn counts(&self, peer: PeerId) -> bool {
        self.neighbours.get(&peer).is_some_and(|n| n.is_member() && (n.is_enrolled() || !self.has_enrolled))
    }

    /// Enrolled devices came or went: whoever counts now is counted afresh when the rule changed.
    pub(super) fn refresh_enrolled(&mut self, now: Timestamp) {
        let has_enrolled = self.neighbours.values().any(Neighbour::is_enrolled);
        if has_enrolled == self.has_enrolled {
            return;
        }
        for counts_now in [false, true] {
            if counts_now {
                self.has_enrolled = has_enrolled;
            }
            let contents = self.origins();
            for content in contents {
                let parties: Vec<PeerId> = self
                    .swarms
                    .get(&content)
                    .map(|s| s.parties.keys().copied().collect())
                    .unwrap_or_default();
                for peer in parties.into_iter().filter(|peer| self.counts(*peer)).collect::<Vec<_>>() {
                    if counts_now {
                        self.count_in(peer, content, now);
                    } else {
                        self.count_out(peer, content, now);
                    }
                }
            }
        }
        self.safety_is_stale = true;
    }

    /// A member's enrollment came into force while it was here, or is in force no longer: what it holds is evidence from
    /// now on, or is none.
    pub(super) fn on_enrolled(&mut self, peer: PeerId, enrolled_device: bool, now: Timestamp) {
        let counted = self.counts(peer);
        let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|neighbour| neighbour.is_member()) else {
            return;
        };
        neighbour.phase = Phase::Member { enrolled_device };
        match (counted, self.counts(peer)) {
            (false, true) => self.origins().into_iter().for_each(|c| self.count_in(peer, c, now)),
            (true, false) => self.origins().into_iter().for_each(|c| self.count_out(peer, c, now)),
            _ => {}
        }
        self.safety_is_stale = true;
        self.refresh_enrolled(now);
    }

    /// What this peer spreads.
    fn origins(&self) -> Vec<ContentHash> {
        let origins = self.swarms.iter().filter(|(_, swarm)| swarm.origin.is_some());
        origins.map(|(content, _)| *content).collect()
    }
}
