//! Asking for bytes: of whom, how much at once, and again elsewhere when nobody answers.

use super::Mesh;
use crate::geometry::PieceRange;
use crate::id::{ContentHash, PeerId};
use crate::neighbour::{Asked, Budget};
use crate::swarm::Swarm;
use crate::time::Timestamp;
use crate::wire::{Message, Request, ServeMode};
use std::time::Duration;

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
        let may_help = |swarm: &Swarm| {
            swarm.takes() && now >= swarm.paused_until && swarm.parties.get(&peer).is_some_and(|p| p.may_help)
        };
        let contents = self.swarms.iter().filter(|(_, swarm)| may_help(swarm));
        let contents: Vec<ContentHash> = contents.map(|(content, _)| *content).collect();
        for content in contents {
            while self.may_ask(peer, now) {
                let Some(swarm) = self.swarms.get_mut(&content) else { break };
                let Some(party) = swarm.parties.get_mut(&peer) else { break };
                let Some(range) = swarm.picker.pick(peer, &party.have, now) else {
                    party.may_help = false;
                    break;
                };
                self.ask(peer, content, range, now);
            }
        }
    }

    /// Changes what is asked of a neighbour; the sum over all follows.
    pub(super) fn with_budget<T>(
        &mut self,
        peer: PeerId,
        change: impl FnOnce(&mut Budget) -> T,
    ) -> Option<T> {
        let budget = &mut self.neighbours.get_mut(&peer)?.budget;
        let before = budget.bytes();
        let result = change(budget);
        self.asked_bytes = self.asked_bytes + budget.bytes() - before;
        Some(result)
    }

    /// Whether one more range may be asked of a peer.
    fn may_ask(&mut self, peer: PeerId, now: Timestamp) -> bool {
        let limits = &self.config.limits;
        let Some(neighbour) = self.neighbours.get(&peer) else { return false };
        let asks = neighbour.is_member() && neighbour.mode == ServeMode::Pull;
        if !asks || !neighbour.budget.has_room(neighbour.rtt(), limits, now) {
            return false;
        }
        let bytes_max = limits.inflight_bytes_min.max(self.received_rate.rate() / 5);
        self.inflight_is_full = self.asked_bytes >= bytes_max;
        !self.inflight_is_full
    }

    fn ask(&mut self, peer: PeerId, content: ContentHash, range: PieceRange, now: Timestamp) {
        let Some(swarm) = self.swarms.get(&content) else { return };
        let (bytes, channel) = (swarm.bytes(range), swarm.channel);
        if self.asked_bytes == 0 {
            self.asked_since = now;
        }
        self.with_budget(peer, |budget| budget.ask(content, range, bytes, now));
        self.send(peer, Message::Request(Request { channel, range }));
    }

    /// What a peer was asked for and still owes is wanted from others. The ranges are returned.
    pub(super) fn drop_requests(&mut self, peer: PeerId, content: Option<ContentHash>) -> Vec<Asked> {
        let dropped = self.with_budget(peer, |budget| budget.clear(content)).unwrap_or_default();
        self.expect_strays(peer, dropped.len());
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
        let content = self.neighbours.get(&peer).and_then(|n| n.channels.get(&request.channel)).copied();
        let Some(content) = content else { return };
        let declined = self.with_budget(peer, |budget| budget.decline(content, request.range, now)).flatten();
        if let Some(until) = declined {
            self.pause(until);
            self.release(peer, content, request.range);
            self.pump_requests(now);
        }
    }

    /// A second peer asked for the same bytes need not send them.
    pub(super) fn excuse(&mut self, loser: PeerId, content: ContentHash, range: PieceRange) {
        if self.with_budget(loser, |budget| budget.drop(content, range)) == Some(true) {
            self.expect_strays(loser, 1);
            self.cancel(loser, content, range);
        }
    }

    /// What is no longer asked for may be on its way.
    fn expect_strays(&mut self, peer: PeerId, count: usize) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.strays += count as u32;
        }
    }

    /// When to look for requests that are overdue: nothing is late before.
    pub(super) fn requests_due(&self) -> Option<Timestamp> {
        (self.asked_bytes > 0).then(|| self.asked_since + self.overdue())
    }

    /// Nothing more is asked of a peer, or for a swarm, until then.
    pub(super) fn pause(&mut self, until: Timestamp) {
        self.resume_at = Some(self.resume_at.map_or(until, |at| at.min(until)));
    }

    /// A pause is over.
    pub(super) fn resume_requests(&mut self, now: Timestamp) {
        self.pump_requests(now);
        let budgets = self.neighbours.values().map(|neighbour| neighbour.budget.paused_until());
        let swarms = self.swarms.values().map(|swarm| swarm.paused_until);
        self.resume_at = budgets.chain(swarms).filter(|until| *until > now).min();
    }

    /// Where everything takes long, late is later: a second copy would only take the place of another piece.
    fn overdue(&self) -> Duration {
        self.config.limits.overdue_min.max(self.answer_time.get() * 4)
    }

    /// Requests that nobody answers are repeated elsewhere; overdue ones are asked of a second peer that is idle.
    pub(super) fn expire_requests(&mut self, now: Timestamp) {
        if self.asked_bytes == 0 {
            return;
        }
        let before = now - self.overdue();
        let peers: Vec<(PeerId, Duration)> =
            self.neighbours.iter().map(|(peer, n)| (*peer, n.rtt())).collect();
        let timeout_min = self.config.limits.request_timeout_min;
        let mut is_news = false;
        for &(peer, rtt) in &peers {
            let expired = self.with_budget(peer, |budget| budget.expire(rtt, timeout_min, now));
            let expired = expired.unwrap_or_default();
            self.expect_strays(peer, expired.len());
            is_news |= !expired.is_empty();
            for asked in expired {
                self.release(peer, asked.content, asked.range);
                self.cancel(peer, asked.content, asked.range);
            }
        }
        let contents: Vec<ContentHash> =
            self.swarms.iter().filter(|(_, s)| s.takes()).map(|(c, _)| *c).collect();
        for content in contents {
            for &(peer, _) in &peers {
                while self.may_ask(peer, now) {
                    let Some(swarm) = self.swarms.get_mut(&content) else { break };
                    let Some(party) = swarm.parties.get(&peer).filter(|party| !party.may_help) else { break };
                    let Some(range) = swarm.picker.pick_second(peer, &party.have, before) else { break };
                    self.ask(peer, content, range, now);
                }
            }
        }
        if is_news {
            self.pump_requests(now);
        }
        let oldest = self.neighbours.values().filter_map(|neighbour| neighbour.budget.oldest()).min();
        self.asked_since = oldest.unwrap_or(now);
    }
}
