//! Requests and data among peers.

use super::machine::Storing;
use super::{Action, DisconnectReason, Mesh, StoreFault, Ticket};
use crate::geometry::{GROUP_BYTES, PieceIndex, PieceRange};
use crate::id::{ContentHash, PeerId};
use crate::neighbour::{Asked, Upload};
use crate::swarm::picker::Arrival;
use crate::time::Timestamp;
use crate::wire::{DataHeader, Message, Request, ServeMode};
use std::time::Duration;

/// Grants taken after which credit is renewed.
const CREDIT_RENEWAL: u16 = 16;
/// Nothing is asked for so long after the disk failed.
const DISK_PAUSE: Duration = Duration::from_secs(1);

impl Mesh {
    /// Asks every neighbour for what it can give, beginning at a random one.
    pub(super) fn pump_requests(&mut self, now: Timestamp) {
        if !self.swarms.values().any(|swarm| swarm.takes()) {
            return;
        }
        self.inflight_is_full = false;
        let peers: Vec<PeerId> = self.neighbours.keys().copied().collect();
        let first = self.rng.below(peers.len());
        for i in 0..peers.len() {
            if self.inflight_is_full {
                return;
            }
            self.pump_peer(peers[(first + i) % peers.len()], now);
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

    fn pump_requests_if_freed(&mut self, now: Timestamp) {
        if self.inflight_is_full {
            self.pump_requests(now);
        }
    }

    fn release(&mut self, peer: PeerId, content: ContentHash, range: PieceRange) {
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

    pub(super) fn decline(&mut self, peer: PeerId, content: ContentHash, range: PieceRange) {
        if let Some(channel) = self.swarms.get(&content).map(|swarm| swarm.channel) {
            self.send(peer, Message::Decline(Request { channel, range }));
        }
    }

    pub(super) fn on_request(&mut self, peer: PeerId, request: Request, now: Timestamp) {
        let content = self.neighbours.get(&peer).and_then(|n| n.channels.get(&request.channel)).copied();
        let Some(content) = content else {
            return self.violation(peer, "names a swarm that it had not opened", now);
        };
        let Some(swarm) = self.swarms.get(&content) else { return };
        if !swarm.geometry.is_valid(request.range) {
            return self.violation(peer, "asks for a range outside the artifact", now);
        }
        let bytes = swarm.bytes(request.range);
        if self.config.mode == ServeMode::Grant || !swarm.picker.have().contains(request.range.piece) {
            return self.decline(peer, content, request.range);
        }
        let upload = Upload { peer, content, range: request.range, bytes };
        if !self.uploads.ask(upload, &self.config.limits) {
            return self.violation(peer, "more requests than a budget allows", now);
        }
        self.pump_uploads(now);
    }

    pub(super) fn on_cancel(&mut self, peer: PeerId, request: Request, now: Timestamp) {
        let content = self.neighbours.get(&peer).and_then(|n| n.channels.get(&request.channel)).copied();
        let Some(content) = content else { return };
        if self.uploads.cancel(peer, content, request.range) {
            self.actions.push_back(Action::CancelServe { peer, content, range: request.range });
            self.pump_uploads(now);
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

    /// Hands ranges to the network as far as permits allow, rarest piece first.
    pub(super) fn pump_uploads(&mut self, now: Timestamp) {
        while self.uploads.is_waiting() {
            let swarms = &self.swarms;
            let rarity = |upload: &Upload| {
                let swarm = swarms.get(&upload.content);
                swarm.map_or(0, |swarm| u32::from(swarm.picker.availability(upload.range.piece)))
            };
            let Some(upload) = self.uploads.next(&self.config.limits, now, rarity) else { return };
            let Some(swarm) = self.swarms.get(&upload.content) else { continue };
            let header = DataHeader { channel: swarm.channel, range: upload.range };
            self.actions.push_back(Action::Serve { peer: upload.peer, content: upload.content, header });
        }
    }

    pub(super) fn on_served(
        &mut self,
        peer: PeerId,
        content: ContentHash,
        range: PieceRange,
        now: Timestamp,
    ) {
        self.uploads.done(peer, content, range, now);
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.give_data(now);
        }
        if let Some(swarm) = self.swarms.get_mut(&content).filter(|swarm| swarm.geometry.is_valid(range)) {
            swarm.counters.sent += swarm.bytes(range);
        }
        self.pump_uploads(now);
    }

    pub(super) fn on_serve_failed(
        &mut self,
        peer: PeerId,
        content: ContentHash,
        range: PieceRange,
        now: Timestamp,
    ) {
        if self.uploads.cancel(peer, content, range) {
            if self.neighbours.contains_key(&peer) {
                self.decline(peer, content, range);
            }
        } else {
            self.grant_failed(peer, content, range.piece, now);
        }
        self.pump_uploads(now);
    }

    pub(super) fn on_data(&mut self, peer: PeerId, header: DataHeader, ticket: Ticket, now: Timestamp) {
        let discard = Action::Discard { ticket };
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return self.actions.push_back(discard) };
        neighbour.hear_data(now);
        let range = header.range;
        let content = neighbour.channels.get(&header.channel).copied().filter(|_| neighbour.is_member());
        let Some((content, swarm)) =
            content.and_then(|content| Some((content, self.swarms.get_mut(&content)?)))
        else {
            return self.actions.push_back(discard);
        };
        if !swarm.geometry.is_valid(range) {
            self.actions.push_back(discard);
            return self.violation(peer, "sent a range outside the artifact", now);
        }
        let bytes = swarm.bytes(range);
        let took = neighbour.budget.arrive(content, range, now);
        took.into_iter().for_each(|took| self.answer_time.sample(took));
        let was_asked = took.is_some();
        let is_grant = !was_asked && neighbour.mode == ServeMode::Grant;
        if !was_asked && !is_grant {
            if neighbour.strays == 0 {
                self.actions.push_back(discard);
                return self.violation(peer, "sent bytes that nobody asked for", now);
            }
            neighbour.strays -= 1;
        }
        self.received_rate.add(bytes, now);
        let full = neighbour.storing_bytes + bytes > self.config.limits.storing_bytes_per_peer_max;
        if full || !swarm.takes() {
            swarm.counters.duplicate += bytes;
            self.actions.push_back(discard);
            return self.release(peer, content, range);
        }
        match swarm.picker.arrive(range, peer) {
            Arrival::Duplicate => {
                swarm.counters.duplicate += bytes;
                self.actions.push_back(discard);
            }
            Arrival::Wanted { losers } => {
                neighbour.storing_bytes += bytes;
                self.tickets.insert(ticket, Storing { content, range, bytes, from: peer });
                self.actions.push_back(Action::Store { ticket, content, range });
                for loser in losers {
                    self.excuse(loser, content, range);
                }
            }
        }
        if is_grant {
            self.count_grant(peer, content);
        }
        self.pump_peer(peer, now);
        self.pump_requests_if_freed(now);
    }

    /// A second peer asked for the same bytes need not send them.
    fn excuse(&mut self, loser: PeerId, content: ContentHash, range: PieceRange) {
        let Some(neighbour) = self.neighbours.get_mut(&loser) else { return };
        if neighbour.budget.drop(content, range) {
            neighbour.strays += 1;
            self.cancel(loser, content, range);
        }
    }

    fn count_grant(&mut self, peer: PeerId, content: ContentHash) {
        let Some(party) = self.swarms.get_mut(&content).and_then(|s| s.parties.get_mut(&peer)) else {
            return;
        };
        party.granted += 1;
        if party.granted >= CREDIT_RENEWAL {
            self.give_credit(peer, content);
        }
    }

    pub(super) fn on_stored(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(Storing { content, range, from, .. }) = self.take_ticket(ticket) else { return };
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        let bytes = swarm.bytes(range);
        *swarm.counters.received.entry(from).or_default() += bytes;
        if !swarm.picker.stored(range) {
            return;
        }
        self.actions.push_back(Action::PieceStored { content, piece: range.piece, from });
        if swarm.picker.have().is_full() {
            self.actions.push_back(Action::ContentComplete { content });
        }
        self.announce(content, range.piece, now);
    }

    pub(super) fn on_store_failed(&mut self, ticket: Ticket, fault: StoreFault, now: Timestamp) {
        let Some(Storing { content, range, from, .. }) = self.take_ticket(ticket) else { return };
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        swarm.picker.not_stored(range, &mut self.rng);
        swarm.hope();
        match fault {
            StoreFault::WrongBytes { group } => {
                swarm.counters.wrong += swarm.bytes(range);
                let last = swarm.geometry.length().div_ceil(GROUP_BYTES).saturating_sub(1);
                let reason = DisconnectReason::Violation(Self::blame_bytes(content, group.min(last)));
                self.disconnect(from, reason, now);
            }
            StoreFault::NoSpace => self.on_intake(content, false, now),
            StoreFault::Io => swarm.paused_until = now + DISK_PAUSE,
        }
        self.pump_requests(now);
    }

    fn take_ticket(&mut self, ticket: Ticket) -> Option<Storing> {
        let storing = self.tickets.remove(&ticket)?;
        if let Some(neighbour) = self.neighbours.get_mut(&storing.from) {
            neighbour.storing_bytes = neighbour.storing_bytes.saturating_sub(storing.bytes);
        }
        Some(storing)
    }

    pub(super) fn on_intake(&mut self, content: ContentHash, open: bool, now: Timestamp) {
        let Some(swarm) = self.swarms.get_mut(&content).filter(|swarm| swarm.has_intake != open) else {
            return;
        };
        swarm.has_intake = open;
        swarm.hope();
        let parties: Vec<PeerId> = swarm.parties.keys().copied().collect();
        for peer in parties {
            self.give_credit(peer, content);
            if !open {
                self.cancel_requests(peer, Some(content));
            }
        }
        self.pump_requests(now);
    }

    pub(super) fn on_pieces_lost(&mut self, content: ContentHash, pieces: &[PieceIndex], now: Timestamp) {
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        for &piece in pieces {
            swarm.picker.lose(piece, &mut self.rng);
        }
        swarm.unannounced.retain(|piece| !pieces.contains(piece));
        swarm.hope();
        if swarm.origin.is_some() {
            swarm.is_wanted = true;
            swarm.origin = None;
            self.safety_is_stale = true;
        }
        self.reopen(content);
        self.pump_requests(now);
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
