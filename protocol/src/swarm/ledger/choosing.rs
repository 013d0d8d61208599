//! Which piece the ledger grants next and to whom: repairs first, then what was never granted, then help.

use super::super::grant::{Candidate, Grant, Reason};
use super::super::holders::Holders;
use super::Ledger;
use crate::geometry::PieceIndex;
use crate::id::PeerId;
use crate::time::Timestamp;

impl Ledger {
    pub(super) fn grant_again(&mut self, candidates: &[Candidate<'_>], now: Timestamp) -> Option<Grant> {
        for &piece in &self.repair {
            let lacks = |c: &&Candidate<'_>| !c.have.contains(PieceIndex(piece));
            if let Some(peer) = self.best(candidates.iter().filter(lacks), now) {
                self.repair.remove(&piece);
                let is_first = self.granted.insert(PieceIndex(piece));
                let reason = if is_first { Reason::First } else { Reason::Repair };
                return Some(Grant { peer, piece: PieceIndex(piece), reason });
            }
        }
        None
    }

    pub(super) fn grant_first(
        &mut self,
        candidates: &[Candidate<'_>],
        holders: &Holders,
        now: Timestamp,
    ) -> Option<Grant> {
        // Who lacks something itself does not claim what nobody has, to keep others from getting it.
        let is_held = |piece: PieceIndex| match self.doubts {
            true => candidates.iter().any(|candidate| candidate.have.contains(piece)),
            false => holders.count(piece) > 0,
        };
        while self.cursor < self.granted.len() {
            let piece = PieceIndex(self.cursor);
            if !self.granted.contains(piece) && !is_held(piece) {
                break;
            }
            self.cursor += 1;
        }
        if self.cursor >= self.granted.len() {
            self.all_granted_at.get_or_insert(now);
            return None;
        }
        let peer = self.best(candidates.iter(), now)?;
        let piece = PieceIndex(self.cursor);
        self.cursor += 1;
        self.granted.insert(piece);
        Some(Grant { peer, piece, reason: Reason::First })
    }

    /// When most of the devices starve, those who say that they hold what was never granted lie, or cannot be
    /// reached: it is granted as if they did not, and their word is no sign that it spreads. Fewer may be liars themselves.
    pub(super) fn grant_doubted(
        &mut self,
        candidates: &[Candidate<'_>],
        holders: &Holders,
        now: Timestamp,
    ) -> Option<Grant> {
        let all_granted_at = self.all_granted_at.filter(|_| !self.doubts && !self.granted.is_full())?;
        let starves = |candidate: &&Candidate<'_>| {
            self.grantees
                .get(&candidate.peer)
                .is_some_and(|grantee| grantee.starves_with_others(all_granted_at, now))
        };
        if candidates.iter().filter(starves).count() * 2 <= self.grantees.len() {
            return None;
        }
        (self.doubts, self.cursor, self.all_granted_at) = (true, 0, None);
        let claimed = (0..self.granted.len()).map(PieceIndex).filter(|piece| !self.granted.contains(*piece));
        self.sat_on.extend(claimed.map(|piece| (piece.0, holders.count(piece))));
        self.grant_first(candidates, holders, now)
    }

    /// To a device that starves the piece that it lacks and the fewest seem to hold.
    pub(super) fn grant_starved(
        &self,
        candidates: &[Candidate<'_>],
        holders: &Holders,
        now: Timestamp,
    ) -> Option<Grant> {
        let all_granted_at = self.all_granted_at?;
        let starves = |candidate: &&Candidate<'_>| {
            let grantee = self.grantees.get(&candidate.peer).filter(|_| candidate.credit > 0);
            grantee.is_some_and(|grantee| grantee.starves(all_granted_at, now))
        };
        candidates.iter().filter(starves).find_map(|candidate| {
            let lacks =
                |piece: &PieceIndex| !candidate.have.contains(*piece) && !self.watched.contains_key(&piece.0);
            let lacking = (0..self.granted.len()).map(PieceIndex).filter(lacks);
            let piece = lacking.min_by_key(|piece| holders.count(*piece))?;
            Some(Grant { peer: candidate.peer, piece, reason: Reason::Repair })
        })
    }

    /// The piece that the fewest devices hold, to one that lacks it; only after everything was granted once.
    pub(super) fn grant_help(
        &mut self,
        candidates: &[Candidate<'_>],
        holders: &Holders,
        help_max: u32,
        now: Timestamp,
    ) -> Option<Grant> {
        if self.helped >= help_max || self.cursor < self.granted.len() {
            return None;
        }
        let lacking = |piece: PieceIndex| candidates.iter().filter(move |c| !c.have.contains(piece));
        let free = (0..self.granted.len()).filter(|piece| !self.watched.contains_key(piece)).map(PieceIndex);
        let piece = free.filter(|p| lacking(*p).next().is_some()).min_by_key(|p| holders.count(*p))?;
        let peer = self.best(lacking(piece), now)?;
        self.helped += 1;
        Some(Grant { peer, piece, reason: Reason::Help })
    }

    /// The device with the least under way, then the least unspread, then the longest wait. Where all are left out for having
    /// sat on pieces, the link does not idle: they may hardly reach each other, and get one at a time.
    fn best<'a>(
        &self,
        candidates: impl Iterator<Item = &'a Candidate<'a>>,
        now: Timestamp,
    ) -> Option<PeerId> {
        let alone = self.grantees.len() <= 1;
        let (mut best, mut least_guilty, mut may_wait) = (None, None, false);
        for candidate in candidates.filter(|candidate| candidate.credit > 0) {
            let Some(grantee) = self.grantees.get(&candidate.peer) else { continue };
            let rank = (grantee.unacked, grantee.unspread, grantee.last_grant, candidate.peer);
            let place = if alone || grantee.unspread < grantee.unspread_max(now) {
                &mut best
            } else if grantee.is_left_out(now) {
                &mut least_guilty
            } else {
                may_wait = true;
                continue;
            };
            if place.is_none_or(|known| rank < known) {
                *place = Some(rank);
            }
        }
        let least_guilty = least_guilty.filter(|(unacked, ..)| !may_wait && *unacked == 0);
        best.or(least_guilty).map(|rank| rank.3)
    }
}
