//! Whether neighbours can open a new connection to this peer, so that a later update can reach it: asking, and being asked.
//!
//! ```text
//!  this peer    Probe(nonce)      -> some neighbours that answer probes
//!  each         a new connection  -> where this peer listens, at the address from which it is connected
//!               Probed(nonce, ok) -> this peer
//! ```
//! What a neighbour can make another do is bounded: one probe at a time and one in [`EVERY_MIN`], few for all together, and
//! nobody is dialled but whoever asks. What is beyond is not answered.

use super::{Action, Mesh};
use crate::id::PeerId;
use crate::neighbour::Neighbour;
use crate::time::Timestamp;
use crate::wire::{Message, Probed, ServeMode};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// From one question of this peer to the next; what is asked sooner hears the last answer.
const EVERY: Duration = Duration::from_secs(5);
/// How soon a neighbour may ask again: less than what an honest one waits, whatever its clock and the way.
const EVERY_MIN: Duration = Duration::from_secs(4);
/// How long neighbours may take.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// Neighbours asked beyond those that are needed: one may be busy, or about to leave.
const SPARE: usize = 2;
/// Probes for neighbours that are under way at once.
const PROBES_MAX: usize = 8;
/// Neighbours of which it is known when they asked last; more than can ask within [`EVERY_MIN`].
const ASKERS_MAX: usize = 256;

/// This peer's question.
#[derive(Debug, Clone)]
struct Asking {
    nonce: u64,
    since: Timestamp,
    at_least: u32,
    asked: u32,
    reached: u32,
    waiting: BTreeSet<PeerId>,
}

/// What was asked, of others and by others.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    asking: Option<Asking>,
    /// When this peer asked last, and how many it asked and reached it.
    last: Option<(Timestamp, u32, u32)>,
    /// Nonces of the neighbours that are being dialled.
    probes: BTreeMap<PeerId, u64>,
    /// When neighbours asked last.
    askers: BTreeMap<PeerId, Timestamp>,
}

impl Reach {
    /// When neighbours have had their time.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.asking.as_ref().map(|asking| asking.since + ANSWER_MAX)
    }

    /// A neighbour went: it answers no more, and needs no answer.
    pub(super) fn leave(&mut self, peer: PeerId) {
        self.probes.remove(&peer);
        if let Some(asking) = &mut self.asking {
            asking.waiting.remove(&peer);
        }
    }

    /// Whether a neighbour is dialled because it asks now.
    fn takes(&mut self, peer: PeerId, now: Timestamp) -> bool {
        self.askers.retain(|_, at| now.since(*at) < EVERY_MIN);
        let is_free = self.probes.len() < PROBES_MAX && self.askers.len() < ASKERS_MAX;
        if !is_free || self.probes.contains_key(&peer) || self.askers.contains_key(&peer) {
            return false;
        }
        self.askers.insert(peer, now);
        true
    }
}

impl Mesh {
    /// Somebody wants to know whether neighbours can reach this peer.
    pub(super) fn on_ask_reach(&mut self, at_least: u32, now: Timestamp) {
        if self.reach.asking.is_some() {
            // Its answer is an answer to this as well.
            return;
        }
        if let Some((_, asked, reached)) = self.reach.last.filter(|(at, ..)| now.since(*at) < EVERY) {
            return self.actions.push_back(Action::Reached { asked, reached });
        }
        let answers =
            |(_, n): &(&PeerId, &Neighbour)| n.is_member() && n.can_probe && n.mode == ServeMode::Pull;
        let mut peers: Vec<PeerId> = self.neighbours.iter().filter(answers).map(|(peer, _)| *peer).collect();
        self.rng.shuffle(&mut peers);
        peers.truncate((at_least as usize).saturating_add(SPARE));
        let nonce = self.rng.next_u64();
        for peer in &peers {
            self.send(*peer, Message::Probe(nonce));
        }
        let (asked, waiting) = (peers.len() as u32, peers.into_iter().collect());
        self.reach.asking = Some(Asking { nonce, since: now, at_least, asked, reached: 0, waiting });
    }

    /// A neighbour says whether it reached this peer. What was not asked, or is late, is no news.
    pub(super) fn on_probed(&mut self, peer: PeerId, probed: Probed) {
        if let Some(asking) = &mut self.reach.asking
            && asking.nonce == probed.nonce
            && asking.waiting.remove(&peer)
        {
            asking.reached += u32::from(probed.reached);
        }
    }

    /// Answers once enough is known.
    pub(super) fn watch_reach(&mut self, now: Timestamp) {
        let is_over = |asking: &mut Asking| {
            asking.waiting.is_empty() || asking.reached >= asking.at_least || now >= asking.since + ANSWER_MAX
        };
        if let Some(Asking { since, asked, reached, .. }) = self.reach.asking.take_if(is_over) {
            self.reach.last = Some((since, asked, reached));
            self.actions.push_back(Action::Reached { asked, reached });
        }
    }

    /// A neighbour wants to be reached.
    pub(super) fn on_probe(&mut self, peer: PeerId, nonce: u64, now: Timestamp) {
        if self.reach.takes(peer, now) {
            self.reach.probes.insert(peer, nonce);
            let addresses = self.choice.listen_of(peer);
            self.actions.push_back(Action::Probe { peer, addresses });
        }
    }

    pub(super) fn on_probe_ended(&mut self, peer: PeerId, reached: bool) {
        if let Some(nonce) = self.reach.probes.remove(&peer) {
            self.send(peer, Message::Probed(Probed { nonce, reached }));
        }
    }
}
