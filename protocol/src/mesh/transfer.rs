//! Data among peers: what others ask for is served, what arrives is stored.

use super::machine::Storing;
use super::{Action, DisconnectReason, Mesh, StoreFault, Ticket};
use crate::geometry::{GROUP_BYTES, PieceIndex, PieceRange};
use crate::id::{ContentHash, PeerId};
use crate::neighbour::Upload;
use crate::swarm::picker::Arrival;
use crate::time::Timestamp;
use crate::wire::{DataHeader, Message, Request, ServeMode};
use std::time::Duration;

/// Grants taken after which credit is renewed.
const CREDIT_RENEWAL: u16 = 16;
/// Nothing is asked for so long after the disk failed.
const DISK_PAUSE: Duration = Duration::from_secs(1);

impl Mesh {
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
            if let Some(origin) = &mut swarm.origin {
                origin.ledger.on_sent(peer, now);
            }
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
        let geometry = content.and_then(|content| self.swarms.get(&content)).map(|swarm| swarm.geometry);
        let Some((content, geometry)) = content.zip(geometry) else {
            return self.actions.push_back(discard);
        };
        if !geometry.is_valid(range) {
            self.actions.push_back(discard);
            return self.violation(peer, "sent a range outside the artifact", now);
        }
        let took = self.with_budget(peer, |budget| budget.arrive(content, range, now)).flatten();
        took.into_iter().for_each(|took| self.answer_time.sample(took));
        let (Some(neighbour), Some(swarm)) = (self.neighbours.get_mut(&peer), self.swarms.get_mut(&content))
        else {
            return self.actions.push_back(discard);
        };
        let bytes = swarm.bytes(range);
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
        if self.inflight_is_full {
            self.pump_requests(now);
        } else {
            self.pump_peer(peer, now);
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
            StoreFault::Io => {
                swarm.paused_until = now + DISK_PAUSE;
                self.pause(now + DISK_PAUSE);
            }
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
        self.unopened.lose(content, pieces);
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
}
