//! Who takes part in which swarm, and with what: opens, closes, haves, modes.

use super::{Action, Mesh, Violation};
use crate::geometry::{Geometry, PieceIndex, PieceRange};
use crate::id::{ContentHash, PeerId};
use crate::neighbour::{Neighbour, Phase, Waiting};
use crate::peer_map::PeerMap;
use crate::piece_set::PieceSet;
use crate::swarm::holders::Holders;
use crate::swarm::ledger::Ledger;
use crate::swarm::picker::Picker;
use crate::swarm::unopened::Opening;
use crate::swarm::{Counters, Origin, Party, Swarm};
use crate::time::Timestamp;
use crate::wire::{Channel, Have, Message, Open, ServeMode};

impl Mesh {
    pub(super) fn on_swarm_opened(
        &mut self,
        content: ContentHash,
        geometry: Geometry,
        have: PieceSet,
        wanted: bool,
        granted: PieceSet,
        now: Timestamp,
    ) {
        self.unopened.remove(content);
        self.close_swarm(content, now);
        let geometry = geometry.with_requests_of(self.config.limits.request_bytes);
        let pieces = geometry.pieces();
        if have.len() != pieces {
            return;
        }
        let Some(channel) = self.next_channel(&geometry) else {
            self.unopened.add(content, Opening { geometry, have, wanted, granted });
            return self.actions.push_back(Action::NotOpened { content });
        };
        let granted = if granted.len() == pieces { granted } else { PieceSet::empty(pieces) };
        let origin = (!wanted && have.is_full()).then(|| Origin {
            holders: Holders::new(pieces, self.holders_wanted()),
            ledger: Ledger::new(granted, now),
        });
        let swarm = Swarm {
            geometry,
            channel,
            is_wanted: wanted,
            has_intake: true,
            paused_until: Timestamp::ZERO,
            picker: Picker::new(geometry, have, &mut self.rng),
            parties: PeerMap::default(),
            origin,
            unannounced: Vec::new(),
            counters: Counters::default(),
        };
        if wanted && swarm.picker.have().is_full() {
            self.actions.push_back(Action::ContentComplete { content });
        }
        self.swarms.insert(content, swarm);
        self.safety_is_stale = true;
        for peer in self.neighbours() {
            self.open_with(peer, content);
            let waiting =
                self.neighbours.get_mut(&peer).and_then(|neighbour| neighbour.waiting.remove(&content));
            if let Some(Waiting { geometry: theirs, have }) = waiting {
                if theirs == geometry {
                    self.join(peer, content, have, now);
                } else {
                    self.violation(peer, "another geometry than the manifest's", now);
                }
            }
        }
        self.pump_grants(now);
    }

    /// Whether others would take one more such swarm of this peer.
    fn has_room_for(&self, geometry: &Geometry) -> bool {
        let limits = &self.config.limits;
        let pieces: u64 = self.swarms.values().map(|swarm| u64::from(swarm.geometry.pieces())).sum();
        self.swarms.len() < limits.channels_per_peer_max
            && pieces + u64::from(geometry.pieces()) <= limits.pieces_per_peer_max
    }

    /// A number that was not used for long; `None` when there is no room for one more such swarm.
    fn next_channel(&mut self, geometry: &Geometry) -> Option<Channel> {
        if !self.has_room_for(geometry) {
            return None;
        }
        let is_free = |channel: &Channel| self.swarms.values().all(|swarm| swarm.channel != *channel);
        let after = self.channel_last.saturating_add(1);
        let channel = (after..Channel::MAX).chain(1..after).find(is_free)?;
        self.channel_last = channel;
        Some(channel)
    }

    /// What found no room before may find it now.
    pub(super) fn on_swarm_closed(&mut self, content: ContentHash, now: Timestamp) {
        self.unopened.remove(content);
        self.close_swarm(content, now);
        while let Some((content, opening)) = self.next_unopened() {
            let Opening { geometry, have, wanted, granted } = opening;
            self.on_swarm_opened(content, geometry, have, wanted, granted, now);
        }
    }

    fn next_unopened(&mut self) -> Option<(ContentHash, Opening)> {
        let content = self.unopened.first(|opening| self.has_room_for(&opening.geometry))?;
        Some((content, self.unopened.remove(content)?))
    }

    fn close_swarm(&mut self, content: ContentHash, now: Timestamp) {
        let Some(channel) = self.swarms.get(&content).map(|swarm| swarm.channel) else { return };
        self.cancel_serves(content);
        let parties: Vec<PeerId> = self
            .swarms
            .get(&content)
            .map(|swarm| swarm.parties.keys().copied().collect())
            .unwrap_or_default();
        for peer in parties {
            self.cancel_requests(peer, Some(content));
            let geometry = self.swarms.get(&content).map(|swarm| swarm.geometry);
            let party = self.part(peer, content, now);
            if let (Some(geometry), Some(party), Some(n)) = (geometry, party, self.neighbours.get_mut(&peer))
            {
                n.waiting.insert(content, Waiting { geometry, have: party.have });
            }
        }
        self.uploads.forget(None, Some(content));
        self.swarms.remove(&content);
        self.safety_is_stale = true;
        for peer in self.neighbours() {
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.told.remove(&content);
            }
            self.send(peer, Message::Close(channel));
        }
    }

    /// What was to be sent of a swarm that closes is not sent: its bytes mean nothing any more.
    fn cancel_serves(&mut self, content: ContentHash) {
        let Some(swarm) = self.swarms.get(&content) else { return };
        let asked = self.uploads.active(content).map(|upload| (upload.peer, upload.range));
        let granted = swarm.origin.iter().flat_map(|origin| origin.ledger.under_way());
        let granted = granted.flat_map(|(peer, piece)| swarm.geometry.ranges(piece).map(move |r| (peer, r)));
        let serves: Vec<(PeerId, PieceRange)> = asked.chain(granted).collect();
        let cancels = serves.into_iter().map(|(peer, range)| Action::CancelServe { peer, content, range });
        self.actions.extend(cancels);
    }

    /// Pieces are gone: parties must no longer ask for them, and tell which of them they have. They never said so while
    /// this peer had them too, and do when a swarm is opened.
    pub(super) fn reopen(&mut self, content: ContentHash) {
        let Some(swarm) = self.swarms.get(&content) else { return };
        let (channel, parties) = (swarm.channel, swarm.parties.keys().copied().collect::<Vec<_>>());
        self.uploads.forget(None, Some(content));
        for peer in parties {
            self.drop_requests(peer, Some(content));
            self.send(peer, Message::Close(channel));
            self.open_with(peer, content);
        }
    }

    /// A connection ended: everything that hung on it is released.
    pub(super) fn forget(&mut self, peer: PeerId, now: Timestamp) {
        if !self.neighbours.contains_key(&peer) {
            return;
        }
        self.drop_requests(peer, None);
        let contents: Vec<ContentHash> =
            self.swarms.iter().filter(|(_, s)| s.parties.contains_key(&peer)).map(|(c, _)| *c).collect();
        for content in contents {
            self.part(peer, content, now);
        }
        self.uploads.forget(Some(peer), None);
        self.reach.leave(peer);
        self.catalog.leave(peer);
        match self.neighbours.remove(&peer) {
            Some(Neighbour { phase: Phase::Checking { listen, .. }, .. }) => {
                self.choice.turn_away(peer, &listen);
            }
            Some(Neighbour { lets_us_in: false, .. }) => {
                self.choice.turned_away_by(peer, now, &mut self.rng);
            }
            _ => self.choice.leave(peer, now, &mut self.rng),
        }
        self.safety_is_stale = true;
        self.refresh_enrolled(now);
        self.pump_uploads(now);
        self.pump_requests(now);
        self.pump_grants(now);
    }

    pub(super) fn open_all_with(&mut self, peer: PeerId) {
        let contents: Vec<ContentHash> = self.swarms.keys().copied().collect();
        for content in contents {
            self.open_with(peer, content);
        }
    }

    fn open_with(&mut self, peer: PeerId, content: ContentHash) {
        let Some(swarm) = self.swarms.get(&content) else { return };
        let open = Open {
            channel: swarm.channel,
            content,
            length: swarm.geometry.length(),
            piece_bytes: swarm.geometry.piece_bytes(),
            have: swarm.picker.have().to_wire(),
        };
        let told = swarm.picker.have().count();
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.told.insert(content, told);
        }
        self.send(peer, Message::Open(open));
        self.give_credit(peer, content);
    }

    pub(super) fn on_open(&mut self, peer: PeerId, open: Open, now: Timestamp) {
        let limits = &self.config.limits;
        let (max, pieces_max) = (limits.channels_per_peer_max, limits.pieces_per_peer_max);
        let pieces = self.pieces_of(peer);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        if neighbour.channels.contains_key(&open.channel)
            || neighbour.channels.values().any(|c| *c == open.content)
        {
            return self.violation(peer, "opened a swarm twice", now);
        }
        if neighbour.channels.len() >= max {
            return self.violation(peer, "takes part in too many swarms", now);
        }
        let Ok(geometry) = Geometry::new(open.length, open.piece_bytes) else {
            return self.violation(peer, "an impossible geometry", now);
        };
        let geometry = geometry.with_requests_of(limits.request_bytes);
        if pieces + u64::from(geometry.pieces()) > pieces_max {
            return self.violation(peer, "takes part in too large swarms", now);
        }
        let Ok(have) = PieceSet::from_wire(&open.have, geometry.pieces()) else {
            return self.violation(peer, "has pieces beyond the artifact", now);
        };
        neighbour.channels.insert(open.channel, open.content);
        match self.swarms.get(&open.content).map(|swarm| swarm.geometry) {
            None => {
                neighbour.waiting.insert(open.content, Waiting { geometry, have });
            }
            Some(ours) if ours == geometry => {
                self.join(peer, open.content, have, now);
                self.catch_up(peer, open.content);
                self.pump_grants(now);
            }
            Some(_) => self.violation(peer, "another geometry than the manifest's", now),
        }
    }

    /// Pieces of all swarms in which a peer takes part.
    fn pieces_of(&self, peer: PeerId) -> u64 {
        let Some(neighbour) = self.neighbours.get(&peer) else { return 0 };
        let pieces = neighbour.channels.values().map(|content| {
            let waiting = neighbour.waiting.get(content).map(|waiting| waiting.geometry);
            let geometry = waiting.or_else(|| self.swarms.get(content).map(|swarm| swarm.geometry));
            geometry.map_or(0, |geometry| u64::from(geometry.pieces()))
        });
        pieces.sum()
    }

    pub(super) fn on_close(&mut self, peer: PeerId, channel: Channel, now: Timestamp) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let Some(content) = neighbour.channels.remove(&channel) else {
            return self.violation(peer, "closed a swarm that it had not opened", now);
        };
        neighbour.waiting.remove(&content);
        self.drop_requests(peer, Some(content));
        self.uploads.forget(Some(peer), Some(content));
        self.part(peer, content, now);
        self.pump_requests(now);
        self.pump_grants(now);
    }

    /// A peer takes part in a swarm that both have opened.
    fn join(&mut self, peer: PeerId, content: ContentHash, have: PieceSet, now: Timestamp) {
        let Some(pulls) = self.neighbours.get(&peer).map(|n| n.mode == ServeMode::Pull) else { return };
        let counts = self.counts(peer);
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        if pulls {
            have.iter().for_each(|piece| swarm.picker.rise(piece, &mut self.rng));
        }
        let joined_full = have.is_full();
        let party = Party { have, credit: 0, joined_full, may_help: true, granted: 0 };
        swarm.parties.insert(peer, party);
        if counts {
            self.count_in(peer, content, now);
        }
        self.safety_is_stale = true;
        self.give_credit(peer, content);
        self.pump_peer(peer, now);
    }

    fn part(&mut self, peer: PeerId, content: ContentHash, now: Timestamp) -> Option<Party> {
        if self.counts(peer) {
            self.count_out(peer, content, now);
        }
        let pulls = self.neighbours.get(&peer).is_some_and(|n| n.mode == ServeMode::Pull);
        let swarm = self.swarms.get_mut(&content)?;
        let party = swarm.parties.remove(&peer)?;
        if pulls {
            party.have.iter().for_each(|piece| swarm.picker.fall(piece, &mut self.rng));
        }
        self.safety_is_stale = true;
        Some(party)
    }

    pub(super) fn on_have(&mut self, peer: PeerId, have: Have, now: Timestamp) {
        let counts = self.counts(peer);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let pulls = neighbour.mode == ServeMode::Pull;
        let Some(&content) = neighbour.channels.get(&have.channel) else {
            return self.violation(peer, "names a swarm that it had not opened", now);
        };
        if let Some(waiting) = neighbour.waiting.get_mut(&content) {
            have.pieces.iter().for_each(|piece| {
                waiting.have.insert(*piece);
            });
            return;
        }
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        if have.pieces.iter().any(|piece| piece.0 >= swarm.geometry.pieces()) {
            return self.violation(peer, "has pieces beyond the artifact", now);
        }
        let Some(party) = swarm.parties.get_mut(&peer) else { return };
        let new: Vec<PieceIndex> =
            have.pieces.into_iter().filter(|piece| party.have.insert(*piece)).collect();
        if new.is_empty() {
            return;
        }
        party.may_help = true;
        for &piece in new.iter().filter(|_| pulls) {
            swarm.picker.rise(piece, &mut self.rng);
        }
        if counts {
            self.count_haves(peer, content, &new, now);
        }
        self.pump_peer(peer, now);
    }

    /// A neighbour changed how it serves: a granting one is no longer asked.
    pub(super) fn on_peer_mode(&mut self, peer: PeerId, mode: ServeMode, now: Timestamp) {
        let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|neighbour| neighbour.mode != mode)
        else {
            return;
        };
        neighbour.mode = mode;
        for swarm in self.swarms.values_mut() {
            let Some(party) = swarm.parties.get_mut(&peer) else { continue };
            party.may_help = true;
            for piece in party.have.iter() {
                match mode {
                    ServeMode::Pull => swarm.picker.rise(piece, &mut self.rng),
                    ServeMode::Grant => swarm.picker.fall(piece, &mut self.rng),
                }
            }
        }
        if mode == ServeMode::Grant {
            self.cancel_requests(peer, None);
            let contents: Vec<ContentHash> = self.swarms.keys().copied().collect();
            contents.into_iter().for_each(|content| self.give_credit(peer, content));
        }
        self.pump_requests(now);
    }

    pub(super) fn blame_bytes(content: ContentHash, group: u64) -> Violation {
        Violation::WrongBytes { content, group }
    }
}
