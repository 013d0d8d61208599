//! The scarce link: who is granted what, when again, and when the seeder may leave.

use super::{Action, Mesh};
use crate::geometry::PieceIndex;
use crate::id::{ContentHash, PeerId};
use crate::neighbour::Neighbour;
use crate::swarm::grant::{Acked, Candidate, Grant, Patience, Reason};
use crate::swarm::{Origin, Swarm};
use crate::time::Timestamp;
use crate::wire::{Credit, DataHeader, Message, ServeMode};
use std::time::Duration;

/// A round trip beyond this is no measure of a path.
const RTT_MAX: Duration = Duration::from_secs(1);
/// A grantee that passed on nothing for the time that so many pieces need on this link sits on what it has.
const SPREAD_PIECE_TIMES: u32 = 8;
/// Devices that still lack pieces so long after all were granted starve on each other's uplinks (rule 11).
const STARVING_AFTER: Duration = Duration::from_secs(2);

/// Rule 11: pieces that may be granted beyond one copy; `copies_max` is per mille.
fn help_budget(copies_max: u32, pieces: u32) -> u32 {
    let spare = u64::from(copies_max.saturating_sub(1000)) * u64::from(pieces) / 1000;
    u32::try_from(spare).unwrap_or(u32::MAX)
}

impl Mesh {
    pub(super) fn on_credit(&mut self, peer: PeerId, credit: Credit, now: Timestamp) {
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        let Some(&content) = neighbour.channels.get(&credit.channel) else {
            return self.violation(peer, "names a swarm that it had not opened", now);
        };
        if let Some(party) = self.swarms.get_mut(&content).and_then(|s| s.parties.get_mut(&peer)) {
            party.credit = credit.pieces;
            self.pump_grants(now);
        }
    }

    /// Tells a granting peer how many pieces are taken; nothing before its own word that it opened the swarm has come. Data
    /// travels on other streams, and what overtakes that word means nothing to this peer.
    pub(super) fn give_credit(&mut self, peer: PeerId, content: ContentHash) {
        let grants = self.neighbours.get(&peer).is_some_and(|n| n.is_member() && n.mode == ServeMode::Grant);
        let Some(swarm) = self.swarms.get_mut(&content).filter(|swarm| grants && swarm.is_wanted) else {
            return;
        };
        let pieces = if swarm.takes() { self.config.limits.credit_pieces } else { 0 };
        let Some(party) = swarm.parties.get_mut(&peer) else { return };
        party.granted = 0;
        let channel = swarm.channel;
        self.send(peer, Message::Credit(Credit { channel, pieces }));
    }

    /// Fills the scarce window.
    pub(super) fn pump_grants(&mut self, now: Timestamp) {
        if self.config.mode != ServeMode::Grant {
            return;
        }
        let rtt = self.grant_rtt();
        let contents: Vec<ContentHash> = self
            .swarms
            .iter()
            .filter(|(_, swarm)| swarm.origin.is_some())
            .map(|(content, _)| *content)
            .collect();
        for content in contents {
            while let Some(grant) = self.next_grant(content, rtt, now) {
                self.send_grant(content, grant);
            }
        }
    }

    fn next_grant(&mut self, content: ContentHash, rtt: Duration, now: Timestamp) -> Option<Grant> {
        let swarm = self.swarms.get_mut(&content)?;
        let piece_bytes = u64::from(swarm.geometry.piece_bytes());
        let parties = &swarm.parties;
        let takers = || parties.iter().filter(|(_, party)| party.credit > 0 && !party.have.is_full());
        if !self.scarce.has_room(piece_bytes, takers().count() as u64, rtt, &self.config.limits) {
            return None;
        }
        let origin = swarm.origin.as_mut()?;
        let candidates: Vec<Candidate<'_>> = takers()
            .map(|(peer, party)| Candidate { peer: *peer, have: &party.have, credit: party.credit })
            .collect();
        let starves = origin.ledger.all_granted_at().is_some_and(|at| now.since(at) >= STARVING_AFTER);
        let help_max = if starves { help_budget(self.config.copies_max, swarm.geometry.pieces()) } else { 0 };
        let delivered = self.scarce.delivered();
        let grant = origin.ledger.grant(&candidates, &origin.holders, delivered, help_max, now)?;
        let bytes = swarm.geometry.piece_len(grant.piece);
        self.scarce.on_sent(bytes);
        if grant.reason == Reason::Repair {
            swarm.counters.repair += bytes;
        }
        if let Some(party) = swarm.parties.get_mut(&grant.peer) {
            party.credit -= 1;
        }
        Some(grant)
    }

    fn send_grant(&mut self, content: ContentHash, grant: Grant) {
        let Some(swarm) = self.swarms.get(&content) else { return };
        if grant.reason == Reason::First {
            self.actions.push_back(Action::Granted { content, piece: grant.piece, peer: grant.peer });
        }
        for range in swarm.geometry.ranges(grant.piece) {
            let header = DataHeader { channel: swarm.channel, range };
            self.actions.push_back(Action::Serve { peer: grant.peer, content, header });
        }
    }

    /// The bytes of a grant could not be read or sent.
    pub(super) fn grant_failed(
        &mut self,
        peer: PeerId,
        content: ContentHash,
        piece: PieceIndex,
        now: Timestamp,
    ) {
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        let bytes = swarm.geometry.piece_len(piece);
        if swarm.origin.as_mut().is_some_and(|origin| origin.ledger.not_sent(peer, piece, now)) {
            self.scarce.on_lost(bytes);
        }
    }

    pub(super) fn survey_grants(&mut self, now: Timestamp) {
        if self.config.mode != ServeMode::Grant {
            return;
        }
        let limits = &self.config.limits;
        let silence = self.scarce.silence(self.grant_rtt(), limits.grantee_silence_min);
        for swarm in self.swarms.values_mut() {
            let Some(origin) = &mut swarm.origin else { continue };
            // The device's own link may be as slow as this one.
            let passing_on =
                self.scarce.time_for(u64::from(swarm.geometry.piece_bytes())) * SPREAD_PIECE_TIMES;
            let patience = Patience {
                silence,
                orphan: limits.grantee_silence_min,
                spread_min: limits.spread_timeout_min.max(passing_on),
            };
            for piece in origin.ledger.survey(&origin.holders, patience, now) {
                self.scarce.on_lost(swarm.geometry.piece_len(piece));
            }
        }
        self.pump_grants(now);
    }

    /// Whether time alone may make this peer grant something: also a device that lacks pieces may starve.
    pub(super) fn is_granting(&self, swarm: &Swarm, origin: &Origin) -> bool {
        let is_waited_for = || swarm.parties.values().any(|party| !party.have.is_full());
        self.config.mode == ServeMode::Grant && (origin.ledger.is_watching() || is_waited_for())
    }

    /// A counted peer takes part now.
    pub(super) fn count_in(&mut self, peer: PeerId, content: ContentHash, now: Timestamp) {
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        let (Some(origin), Some(party)) = (&mut swarm.origin, swarm.parties.get(&peer)) else { return };
        origin.ledger.join(peer, now);
        let have: Vec<PieceIndex> = party.have.iter().collect();
        self.count_haves(peer, content, &have, now);
    }

    /// A counted peer takes part no longer.
    pub(super) fn count_out(&mut self, peer: PeerId, content: ContentHash, now: Timestamp) {
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        let (Some(origin), Some(party)) = (&mut swarm.origin, swarm.parties.get(&peer)) else { return };
        for piece in origin.ledger.leave(peer, now) {
            self.scarce.on_lost(swarm.geometry.piece_len(piece));
        }
        let ledger = &mut origin.ledger;
        origin.holders.leave(&party.have, |piece| ledger.orphaned(piece, now));
        self.safety_is_stale = true;
    }

    /// A counted peer has new pieces: grants are acknowledged, and others are seen to spread.
    pub(super) fn count_haves(
        &mut self,
        peer: PeerId,
        content: ContentHash,
        new: &[PieceIndex],
        now: Timestamp,
    ) {
        let Some(swarm) = self.swarms.get_mut(&content) else { return };
        let Some(origin) = &mut swarm.origin else { return };
        for &piece in new {
            let count = origin.holders.rise(piece);
            if let Some(Acked { at, delivered_before }) = origin.ledger.on_have(peer, piece, count, now) {
                self.scarce.on_acked(swarm.geometry.piece_len(piece), at, delivered_before, now);
            }
        }
        self.safety_is_stale = true;
        self.pump_grants(now);
    }

    pub(super) fn on_mode_changed(&mut self, mode: ServeMode, now: Timestamp) {
        self.config.mode = mode;
        for peer in self.neighbours() {
            self.send(peer, Message::Mode(mode));
        }
        if mode == ServeMode::Grant {
            for upload in self.uploads.forget(None, None) {
                self.decline(upload.peer, upload.content, upload.range);
            }
        }
        self.pump_grants(now);
    }

    pub(super) fn on_devices_enrolled(&mut self, count: usize) {
        self.devices_enrolled = count;
        self.safety_is_stale = true;
    }

    /// Devices that must hold everything before the seeder may go: all that are enrolled, if they are fewer than
    /// wanted; a device that is away is one of them. 0 while there is none.
    pub(super) fn holders_wanted(&self) -> u16 {
        let here = self.neighbours.values().filter(|neighbour| neighbour.is_enrolled()).count();
        self.config.holders_min.max(1).min(here.max(self.devices_enrolled)) as u16
    }

    /// Rule 12: looks again whether the seeder may go, when anything it depends on changed.
    pub(super) fn refresh_safety(&mut self) {
        if !std::mem::take(&mut self.safety_is_stale) {
            return;
        }
        let wanted = self.holders_wanted();
        let mut is_safe = wanted > 0;
        let mut origins = 0;
        for origin in self.swarms.values_mut().filter_map(|swarm| swarm.origin.as_mut()) {
            origin.holders.want(wanted);
            is_safe &= origin.holders.short() == 0;
            origins += 1;
        }
        let enrolled = |peer: &PeerId| self.neighbours.get(peer).is_some_and(Neighbour::is_enrolled);
        is_safe = is_safe && origins > 0 && self.catalog.is_held_by(usize::from(wanted), enrolled);
        if is_safe != self.is_safe {
            self.is_safe = is_safe;
            self.actions.push_back(Action::SafeToLeave(is_safe));
        }
    }

    fn grant_rtt(&self) -> Duration {
        let devices = self.neighbours.values().filter(|neighbour| neighbour.is_member());
        devices.map(Neighbour::rtt).max().unwrap_or_default().min(RTT_MAX)
    }
}
