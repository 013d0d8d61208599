//! Asking for bytes: of whom, how much at once, and again elsewhere when nobody answers.

use super::Mesh;
use crate::geometry::PieceRange;
use crate::id::{ContentHash, PeerId};
use crate::neighbour::Asked;
use crate::time::Timestamp;
use crate::wire::{Message, Request, ServeMode};

impl Mesh {
    /// Asks every neighbour for what it can give, first those that owe least: a link of which nobody wants anything idles
    /// while others have queues.
    pub(super) fn pump_requests(&mut self, now: Timestamp) {
        if !self.swarms.values().any(|swarm| swarm.takes()) {
            return;
        }
        self.inflight_is_full = false;
        let rng = &mut self.rng;
        let owed = self.neighbours.iter().map(|(peer, n)| (n.budget.bytes(), rng.next_u64(), *peer));
        let mut peers: Vec<(u64, u64, PeerId)> = owed.collect();
        peers.sort_unstable();
        for (_, _, peer) in peers {
            if self.inflight_is_full {
                return;
            }
            self.pump_peer(peer, now);
        }
    }

    /// Asks one neighbour for what it can give, as far as the budgets allow.
    pub(super) fn pump_peer(&mut self, peer: PeerId, now: Timestamp) {
        let contents: Vec<ContentHash> = self
            .swarms
            .iter()
            .filter(|(_, s)| {
                s.takes() && now >= s.paused_until && s.parties.get(&peer).is_some_and(|p| p.may_help)
            })
            .map(|(content, _)| *content)
            .collect();
        if contents.is_empty() {
            return;
        }
        let mut inflight = self.inflight_bytes();
        for content in contents {
            while self.may_ask(peer, inflight, now) {
                let Some(swarm) = self.swarms.get_mut(&content) else { break };
                let Some(party) = swarm.parties.get_mut(&peer) else { break };
                let Some(range) = swarm.picker.pick(peer, &party.have, now) else {
                    party.may_help = false;
                    break;
                };
                inflight += self.ask(peer, content, range, now);
            }
        }
    }

    /// Bytes asked of all neighbours.
    fn inflight_bytes(&self) -> u64 {
        self.neighbours.values().map(|neighbour| neighbour.budget.bytes()).sum()
    }

    /// Whether one more range may be asked of a peer, `inflight` bytes being asked of all.
    fn may_ask(&mut self, peer: PeerId, inflight: u64, now: Timestamp) -> bool {
        let limits = &self.config.limits;
        let Some(neighbour) = self.neighbours.get(&peer) else { return false };
        let asks = neighbour.is_member() && neighbour.mode == ServeMode::Pull;
        if !asks || !neighbour.budget.has_room(neighbour.rtt(), limits, now) {
            return false;
        }
        self.inflight_is_full = inflight >= limits.inflight_bytes_min.max(self.received_rate.rate() / 5);
        !self.inflight_is_full
    }

    /// Asks, and says for how many bytes.
    fn ask(&mut self, peer: PeerId, content: ContentHash, range: PieceRange, now: Timestamp) -> u64 {
        let (Some(swarm), Some(neighbour)) = (self.swarms.get(&content), self.neighbours.get_mut(&peer))
        else {
            return 0;
        };
        let bytes = swarm.bytes(range);
        neighbour.budget.ask(content, range, bytes, now);
        let channel = swarm.channel;
        self.send(peer, Message::Request(Request { channel, range }));
        bytes
    }

    /// What a peer was asked for and still owes is wanted from others. The ranges are returned.
    pub(super) fn drop_requests(&mut self, peer: PeerId, content: Option<ContentHash>) -> Vec<Asked> {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        let dropped = neighbour.budget.clear(content);
        neighbour.strays += dropped.len() as u32;
        for asked in &dropped {
            self.release(peer, asked.content, asked.range);
        }
        dropped
    }

    /// The same, and the peer is told.
    pub(super) fn cancel_requests(&mut self, peer: PeerId, content: Option<ContentHash>) {
        for asked in self.drop_requests(peer, content) {
            self.cancel(peer, asked.content, asked.range);
        }
    }

    pub(super) fn release(&mut self, peer: PeerId, content: ContentHash, range: PieceRange) {
        if let Some(swarm) = self.swarms.get_mut(&content) {
            swarm.picker.release(range, peer, &mut self.rng);
            swarm.hope();
        }
    }

    fn cancel(&mut self, peer: PeerId, content: ContentHash, range: PieceRange) {
        if let Some(channel) = self.swarms.get(&content).map(|swarm| swarm.channel) {
            self.send(peer, Message::Cancel(Request { channel, range }));
        }
    }

    pub(super) fn on_decline(&mut self, peer: PeerId, request: Request, now: Timestamp) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let Some(&content) = neighbour.channels.get(&request.channel) else { return };
        if neighbour.budget.drop(content, request.range) {
            neighbour.budget.declined(now);
            self.release(peer, content, request.range);
            self.pump_requests(now);
        }
    }

    /// A second peer asked for the same bytes need not send them.
    pub(super) fn excuse(&mut self, loser: PeerId, content: ContentHash, range: PieceRange) {
        let Some(neighbour) = self.neighbours.get_mut(&loser) else { return };
        if neighbour.budget.drop(content, range) {
            neighbour.strays += 1;
            self.cancel(loser, content, range);
        }
    }

    /// Requests that nobody answers are repeated elsewhere; overdue ones are asked of a second peer that is idle.
    pub(super) fn expire_requests(&mut self, now: Timestamp) {
        let peers: Vec<PeerId> = self.neighbours.keys().copied().collect();
        for &peer in &peers {
            let Some(neighbour) = self.neighbours.get_mut(&peer) else { continue };
            for asked in neighbour.budget.expire(neighbour.rtt(), &self.config.limits, now) {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.strays += 1;
                }
                self.release(peer, asked.content, asked.range);
                self.cancel(peer, asked.content, asked.range);
            }
        }
        // Where everything takes long, late is later: a second copy would only take the place of another piece.
        let before = now - self.config.limits.overdue_min.max(self.answer_time.get() * 4);
        let contents: Vec<ContentHash> =
            self.swarms.iter().filter(|(_, s)| s.takes()).map(|(c, _)| *c).collect();
        let mut inflight = self.inflight_bytes();
        for content in contents {
            for &peer in &peers {
                while self.may_ask(peer, inflight, now) {
                    let Some(swarm) = self.swarms.get_mut(&content) else { break };
                    let Some(party) = swarm.parties.get(&peer).filter(|party| !party.may_help) else { break };
                    let Some(range) = swarm.picker.pick_second(peer, &party.have, before) else { break };
                    inflight += self.ask(peer, content, range, now);
                }
            }
        }
    }
}
