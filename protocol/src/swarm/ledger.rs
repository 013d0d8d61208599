//! The seeder's ledger: which piece was granted to whom, and when one is granted again.
//!
//! ```text
//!  unsent --grant--> watched, unacknowledged --have of the grantee--> watched, unspread --another's have--> spread
//!    piece held by nobody for a moment, grantee silent, or grantee sits on it  -->  repair (granted again)
//! ```
//! Rule 1: each piece is handed out once. Rule 2: again only for the reasons above, or to a device that gets nothing any
//! more from those who seem to hold what it lacks (they may be liars). When most devices starve, no such word counts. Rule 11: help beyond that only on
//! request. Rule 3: a grantee holds at most
//! two unspread pieces, or as many as it spread in the last second. Choosing costs O(devices), a survey O(watched).

mod choosing;

use super::grant::{Acked, Candidate, Grant, Patience};
use super::grantee::Grantee;
use super::holders::Holders;
use crate::geometry::PieceIndex;
use crate::id::PeerId;
use crate::piece_set::PieceSet;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Spread times remembered for the median.
const SPREAD_SAMPLES: usize = 32;

#[derive(Debug, Clone)]
struct Watch {
    to: PeerId,
    at: Timestamp,
    delivered_before: u64,
    acked: Option<Timestamp>,
}

/// The ledger of one artifact on one granting peer.
#[derive(Debug, Clone)]
pub struct Ledger {
    granted: PieceSet,
    cursor: u32,
    watched: BTreeMap<u32, Watch>,
    orphans: BTreeMap<u32, Timestamp>,
    repair: BTreeSet<u32>,
    /// How many devices took a piece and passed it on to nobody: that they hold it proves nothing.
    sat_on: BTreeMap<u32, u16>,
    grantees: BTreeMap<PeerId, Grantee>,
    spread_times: VecDeque<Duration>,
    company_since: Timestamp,
    /// When the last piece was granted for the first time.
    all_granted_at: Option<Timestamp>,
    /// Pieces granted as help.
    helped: u32,
    /// That others seemed to hold pieces before these were granted is not believed any more.
    doubts: bool,
}

impl Ledger {
    /// Continues from the persisted set of pieces that were granted once.
    pub fn new(granted: PieceSet, now: Timestamp) -> Self {
        let orphans = granted.iter().map(|piece| (piece.0, now)).collect();
        Self {
            granted,
            cursor: 0,
            watched: BTreeMap::new(),
            orphans,
            repair: BTreeSet::new(),
            sat_on: BTreeMap::new(),
            grantees: BTreeMap::new(),
            spread_times: VecDeque::new(),
            company_since: now,
            all_granted_at: None,
            helped: 0,
            doubts: false,
        }
    }

    /// Pieces granted at least once.
    pub fn granted(&self) -> &PieceSet {
        &self.granted
    }

    /// When it turned out that every piece was granted once.
    pub fn all_granted_at(&self) -> Option<Timestamp> {
        self.all_granted_at
    }

    /// Grants that are not acknowledged.
    pub fn under_way(&self) -> impl Iterator<Item = (PeerId, PieceIndex)> {
        let unacked = self.watched.iter().filter(|(_, watch)| watch.acked.is_none());
        unacked.map(|(piece, watch)| (watch.to, PieceIndex(*piece)))
    }

    /// Whether anything waits for an event that may never come.
    pub fn is_watching(&self) -> bool {
        !self.watched.is_empty() || !self.orphans.is_empty() || !self.repair.is_empty()
    }

    /// A counted device with a known bitfield joined.
    pub fn join(&mut self, peer: PeerId, now: Timestamp) {
        if self.grantees.len() <= 1 {
            self.company_since = now;
        }
        self.grantees.insert(peer, Grantee::new(now));
    }

    /// A device left: what only it was known to have is watched for as orphaned. Unacknowledged pieces are returned.
    pub fn leave(&mut self, peer: PeerId, now: Timestamp) -> Vec<PieceIndex> {
        self.grantees.remove(&peer);
        let mut lost = Vec::new();
        self.watched.retain(|&piece, watch| {
            if watch.to == peer && watch.acked.is_none() {
                lost.push(PieceIndex(piece));
            }
            watch.to != peer
        });
        for piece in &lost {
            self.orphans.insert(piece.0, now);
        }
        lost
    }

    /// No counted device holds a piece any more.
    pub fn orphaned(&mut self, piece: PieceIndex, now: Timestamp) {
        let under_way = self.watched.get(&piece.0).is_some_and(|watch| watch.acked.is_none());
        if !under_way && (self.granted.contains(piece) || piece.0 < self.cursor) {
            self.orphans.insert(piece.0, now);
        }
    }

    /// `peer` has a piece that now has `count` counted holders.
    pub fn on_have(&mut self, peer: PeerId, piece: PieceIndex, count: u16, now: Timestamp) -> Option<Acked> {
        self.orphans.remove(&piece.0);
        if let Some(grantee) = self.grantees.get_mut(&peer) {
            grantee.last_have = now;
        }
        let alone = self.grantees.len() <= 1;
        let is_spread = self.is_spread(piece.0, count);
        if is_spread {
            self.repair.remove(&piece.0);
        }
        let watch = self.watched.get_mut(&piece.0)?;
        let mut acked = None;
        if watch.to == peer && watch.acked.is_none() {
            watch.acked = Some(now);
            acked = Some(Acked { at: watch.at, delivered_before: watch.delivered_before });
            if let Some(grantee) = self.grantees.get_mut(&peer) {
                grantee.unacked = grantee.unacked.saturating_sub(1);
                grantee.last_progress = now;
            }
        }
        if let Some(acked_at) = watch.acked.filter(|_| is_spread || alone) {
            let to = watch.to;
            self.watched.remove(&piece.0);
            self.sat_on.remove(&piece.0);
            if is_spread {
                self.sample_spread(now.since(acked_at));
            }
            if let Some(grantee) = self.grantees.get_mut(&to) {
                grantee.on_spread(now);
            }
        }
        acked
    }

    /// Whether so many holders show that a piece spreads: one more than took it from here, or all that there are.
    fn is_spread(&self, piece: u32, count: u16) -> bool {
        let sat_on = self.sat_on.get(&piece).copied().unwrap_or(0);
        usize::from(count) >= (usize::from(sat_on) + 2).min(self.grantees.len().max(2))
    }

    /// The next piece to grant and to whom; it counts as granted. `delivered` is the window's mark, `help_max` the
    /// pieces that may be granted as help in all: 0 unless the devices starve.
    pub fn grant(
        &mut self,
        candidates: &[Candidate<'_>],
        holders: &Holders,
        delivered: u64,
        help_max: u32,
        now: Timestamp,
    ) -> Option<Grant> {
        let grant = self
            .grant_again(candidates, now)
            .or_else(|| self.grant_first(candidates, holders, now))
            .or_else(|| self.grant_help(candidates, holders, help_max, now))
            .or_else(|| self.grant_doubted(candidates, holders, now))
            .or_else(|| self.grant_starved(candidates, holders, now))?;
        let watch = Watch { to: grant.peer, at: now, delivered_before: delivered, acked: None };
        self.watched.insert(grant.piece.0, watch);
        if let Some(grantee) = self.grantees.get_mut(&grant.peer) {
            grantee.unacked += 1;
            grantee.unspread += 1;
            grantee.last_grant = now;
        }
        Some(grant)
    }

    /// A part of a grant has left: a grantee whose link others share may take long for a whole piece.
    pub fn on_sent(&mut self, peer: PeerId, now: Timestamp) {
        if let Some(grantee) = self.grantees.get_mut(&peer) {
            grantee.last_progress = now;
        }
    }

    /// A grant could not be sent: grant it again after a moment.
    pub fn not_sent(&mut self, peer: PeerId, piece: PieceIndex, now: Timestamp) -> bool {
        let ours = self.watched.get(&piece.0).is_some_and(|watch| watch.to == peer && watch.acked.is_none());
        if ours {
            self.forget(piece.0);
            self.orphans.insert(piece.0, now);
        }
        ours
    }

    /// Rule 2: finds what must be granted again. Returns the pieces whose bytes no longer count as under way.
    pub fn survey(&mut self, holders: &Holders, patience: Patience, now: Timestamp) -> Vec<PieceIndex> {
        let Some(longest) = self.grantees.values().map(|grantee| now.since(grantee.since)).max() else {
            return Vec::new();
        };
        if longest >= patience.orphan {
            let ripe = |since: Timestamp| now.since(since) >= patience.orphan;
            let ready: Vec<u32> =
                self.orphans.iter().filter(|(_, since)| ripe(**since)).map(|(&p, _)| p).collect();
            for piece in ready {
                self.orphans.remove(&piece);
                if holders.count(PieceIndex(piece)) == 0 {
                    self.repair.insert(piece);
                }
            }
        }
        let spread_timeout = patience.spread_min.max(self.spread_median() * 8);
        let mut unsent = Vec::new();
        let mut again = Vec::new();
        for (&piece, watch) in &self.watched {
            let Some(grantee) = self.grantees.get(&watch.to) else { continue };
            let late = match watch.acked {
                None => now.since(watch.at.max(grantee.last_progress)) > patience.silence,
                Some(acked) => {
                    let progress = acked.max(grantee.last_spread).max(self.company_since);
                    self.grantees.len() > 1 && now.since(progress) > spread_timeout
                }
            };
            if late {
                again.push(piece);
                if watch.acked.is_none() {
                    unsent.push(PieceIndex(piece));
                }
            }
        }
        for piece in again {
            let Some(watch) = self.forget(piece) else { continue };
            if let Some(grantee) = self.grantees.get_mut(&watch.to) {
                grantee.penalise(now);
            }
            if let Some(acked_at) = watch.acked {
                // Of those alone that were in time nobody learns that more time is needed; liars shall not make it much.
                self.sample_spread(now.since(acked_at).min(patience.spread_min / 2));
            }
            if !self.is_spread(piece, holders.count(PieceIndex(piece))) {
                self.repair.insert(piece);
                if watch.acked.is_some() {
                    *self.sat_on.entry(piece).or_default() += 1;
                }
            }
        }
        unsent
    }

    fn forget(&mut self, piece: u32) -> Option<Watch> {
        let watch = self.watched.remove(&piece)?;
        if let Some(grantee) = self.grantees.get_mut(&watch.to) {
            grantee.unspread = grantee.unspread.saturating_sub(1);
            if watch.acked.is_none() {
                grantee.unacked = grantee.unacked.saturating_sub(1);
            }
        }
        Some(watch)
    }

    fn sample_spread(&mut self, time: Duration) {
        self.spread_times.push_back(time);
        if self.spread_times.len() > SPREAD_SAMPLES {
            self.spread_times.pop_front();
        }
    }

    fn spread_median(&self) -> Duration {
        let mut times: Vec<Duration> = self.spread_times.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::grant::Reason;
    use super::*;

    const PATIENCE: Patience = Patience {
        silence: Duration::from_secs(3),
        orphan: Duration::from_secs(3),
        spread_min: Duration::from_secs(2),
    };

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn peer(i: u8) -> PeerId {
        PeerId([i; 32])
    }

    /// Two devices that have nothing, and a ledger of eight pieces.
    fn two_devices() -> (Ledger, Holders, PieceSet) {
        let mut ledger = Ledger::new(PieceSet::empty(8), at(0));
        ledger.join(peer(1), at(0));
        ledger.join(peer(2), at(0));
        (ledger, Holders::new(8, 2), PieceSet::empty(8))
    }

    fn grant(ledger: &mut Ledger, holders: &Holders, have: &PieceSet, ms: u64) -> Option<Grant> {
        let candidates = [1, 2].map(|i| Candidate { peer: peer(i), have, credit: 64 });
        ledger.grant(&candidates, holders, 0, 0, at(ms))
    }

    #[test]
    fn each_piece_is_granted_once_and_nobody_holds_more_than_two_unspread() {
        let (mut ledger, holders, have) = two_devices();
        let granted: Vec<Grant> = std::iter::from_fn(|| grant(&mut ledger, &holders, &have, 0)).collect();
        assert_eq!(granted.iter().map(|g| g.piece.0).collect::<Vec<_>>(), vec![0, 1, 2, 3]);
        assert_eq!(granted.iter().filter(|g| g.peer == peer(1)).count(), 2);
    }

    #[test]
    fn a_spread_piece_frees_its_grantee() {
        let (mut ledger, mut holders, have) = two_devices();
        while grant(&mut ledger, &holders, &have, 0).is_some() {}
        let count = holders.rise(PieceIndex(0));
        assert!(ledger.on_have(peer(1), PieceIndex(0), count, at(10)).is_some());
        assert_eq!(grant(&mut ledger, &holders, &have, 10), None);
        let count = holders.rise(PieceIndex(0));
        assert_eq!(ledger.on_have(peer(2), PieceIndex(0), count, at(20)), None);
        assert_eq!(
            grant(&mut ledger, &holders, &have, 20).map(|g| (g.peer, g.reason)),
            Some((peer(1), Reason::First))
        );
    }

    #[test]
    fn a_piece_of_a_silent_grantee_is_granted_again_as_repair() {
        let (mut ledger, holders, have) = two_devices();
        let first = grant(&mut ledger, &holders, &have, 0).unwrap();
        assert!(ledger.survey(&holders, PATIENCE, at(2900)).is_empty());
        assert_eq!(ledger.survey(&holders, PATIENCE, at(3100)), vec![first.piece]);
        let again = grant(&mut ledger, &holders, &have, 3100).unwrap();
        assert_eq!((again.piece, again.reason), (first.piece, Reason::Repair));
        assert_ne!(again.peer, first.peer);
    }

    #[test]
    fn a_device_that_starves_among_liars_is_granted_what_two_seem_to_hold() {
        let (mut ledger, mut holders) = (Ledger::new(PieceSet::empty(2), at(0)), Holders::new(2, 2));
        (1..=3).for_each(|i| ledger.join(peer(i), at(0)));
        let none = PieceSet::empty(2);
        let next = |ledger: &mut Ledger, holders: &Holders, ms| {
            let starving = [Candidate { peer: peer(3), have: &none, credit: 64 }];
            ledger.grant(&starving, holders, 0, 0, at(ms))
        };
        for (liar, piece) in [(1, 0), (2, 0), (1, 1), (2, 1)] {
            let count = holders.rise(PieceIndex(piece));
            ledger.on_have(peer(liar), PieceIndex(piece), count, at(1000));
        }
        assert_eq!(next(&mut ledger, &holders, 2000), None, "it may still get both from them");
        assert_eq!(next(&mut ledger, &holders, 11_900), None);
        let first = next(&mut ledger, &holders, 12_000).unwrap();
        assert_eq!((first.peer, first.piece.0, first.reason), (peer(3), 0, Reason::Repair));
        assert_eq!(next(&mut ledger, &holders, 12_000), None, "one piece at a time");
        assert_eq!(next(&mut ledger, &holders, 22_000).map(|grant| grant.piece.0), Some(1));
    }

    /// Of slow devices only those were counted that had been in time, so that all others seemed to sit on their pieces for
    /// ever: on equal links of 20 Mbit/s a seeder sent 1.9 copies.
    #[test]
    fn devices_that_pass_pieces_on_more_slowly_than_was_thought_are_waited_for_from_then_on() {
        let (mut ledger, mut holders, have) = two_devices();
        ledger.join(peer(3), at(0));
        let mut grant_and_ack = |ledger: &mut Ledger, ms| {
            let grant = grant(ledger, &holders, &have, ms).unwrap();
            let count = holders.rise(grant.piece);
            ledger.on_have(grant.peer, grant.piece, count, at(ms));
            grant
        };
        grant_and_ack(&mut ledger, 0);
        ledger.survey(&Holders::new(8, 2), PATIENCE, at(2100));
        assert_eq!(ledger.repair.len(), 1);
        let again = grant_and_ack(&mut ledger, 2100);
        assert_eq!(again.reason, Reason::Repair);
        ledger.survey(&Holders::new(8, 2), PATIENCE, at(10_000));
        assert!(ledger.repair.is_empty(), "within eight times what is usual");
        ledger.survey(&Holders::new(8, 2), PATIENCE, at(10_200));
        assert_eq!(ledger.repair.len(), 1, "but not for ever");
    }

    #[test]
    fn a_grantee_whose_piece_leaves_part_by_part_has_not_vanished() {
        let (mut ledger, holders, have) = two_devices();
        let first = grant(&mut ledger, &holders, &have, 0).unwrap();
        for ms in [2500, 5000] {
            ledger.on_sent(first.peer, at(ms));
            assert!(ledger.survey(&holders, PATIENCE, at(ms + 2900)).is_empty());
        }
        assert_eq!(ledger.survey(&holders, PATIENCE, at(8100)), vec![first.piece]);
    }

    // Liars that were granted a piece one after the other counted as two holders once, and the others starved.
    #[test]
    fn a_piece_that_only_those_hold_who_sat_on_it_is_granted_again_until_another_has_it() {
        let (mut ledger, mut holders) = (Ledger::new(PieceSet::empty(1), at(0)), Holders::new(1, 2));
        (1..=4).for_each(|i| ledger.join(peer(i), at(0)));
        let none = PieceSet::empty(1);
        let piece = PieceIndex(0);
        let mut ms = 0;
        let mut repairs = Vec::new();
        for i in 1..=3 {
            let candidate = [Candidate { peer: peer(i), have: &none, credit: 64 }];
            repairs.push(ledger.grant(&candidate, &holders, 0, 0, at(ms)).map(|grant| grant.reason));
            let count = holders.rise(piece);
            ledger.on_have(peer(i), piece, count, at(ms));
            // From the first on it is known that some need longer.
            ms += if i == 1 { 2100 } else { 8100 };
            ledger.survey(&holders, PATIENCE, at(ms));
        }
        assert_eq!(repairs, [Some(Reason::First), Some(Reason::Repair), Some(Reason::Repair)]);
        assert!(ledger.is_watching(), "the third sat on it as well");
        let count = holders.rise(piece);
        ledger.on_have(peer(4), piece, count, at(ms));
        let fifth = [Candidate { peer: peer(4), have: &none, credit: 64 }];
        assert_eq!(ledger.grant(&fifth, &holders, 0, 0, at(ms)), None, "the fourth has it from one of them");
    }

    #[test]
    fn a_restarted_ledger_grants_again_only_what_no_live_peer_holds_after_a_moment() {
        let mut ledger = Ledger::new(PieceSet::full(2), at(0));
        let mut holders = Holders::new(2, 1);
        ledger.join(peer(1), at(0));
        ledger.join(peer(2), at(0));
        let count = holders.rise(PieceIndex(0));
        ledger.on_have(peer(1), PieceIndex(0), count, at(0));
        let have = PieceSet::empty(2);
        assert_eq!(grant(&mut ledger, &holders, &have, 0), None);
        ledger.survey(&holders, PATIENCE, at(3000));
        let again = grant(&mut ledger, &holders, &have, 3000).unwrap();
        assert_eq!((again.piece, again.reason), (PieceIndex(1), Reason::Repair));
        assert_eq!(grant(&mut ledger, &holders, &have, 3000), None);
    }

    #[test]
    fn help_is_given_within_its_budget_rarest_piece_first_and_only_after_the_one_copy() {
        let (mut ledger, mut holders, nothing) = two_devices();
        let mut have = [nothing.clone(), nothing];
        let help = |ledger: &mut Ledger, holders: &Holders, have: &[PieceSet; 2], ms: u64| {
            let candidates =
                [0, 1].map(|i| Candidate { peer: peer(i as u8 + 1), have: &have[i], credit: 64 });
            ledger.grant(&candidates, holders, 0, 2, at(ms))
        };
        for ms in 0..8 {
            let grant = help(&mut ledger, &holders, &have, ms).expect("each piece once");
            assert_eq!(grant.reason, Reason::First);
            for device in [1, 2] {
                // The last piece stays with its grantee.
                if grant.piece.0 < 7 || grant.peer == peer(device) {
                    have[device as usize - 1].insert(grant.piece);
                    let count = holders.rise(grant.piece);
                    ledger.on_have(peer(device), grant.piece, count, at(ms));
                }
            }
        }
        assert_eq!(help(&mut ledger, &holders, &have, 10), None, "the last piece is still watched");
        ledger.survey(&holders, Patience { spread_min: Duration::ZERO, ..PATIENCE }, at(5000));
        ledger.repair.clear();
        let grant = help(&mut ledger, &holders, &have, 20_000).expect("one device lacks the last piece");
        assert_eq!((grant.piece, grant.reason), (PieceIndex(7), Reason::Help));
    }

    #[test]
    fn what_a_liar_claims_to_hold_is_granted_when_most_devices_starve_and_not_before() {
        let (mut ledger, mut holders, none) = two_devices();
        ledger.join(peer(9), at(0));
        for piece in (0..8).map(PieceIndex) {
            holders.rise(piece);
        }
        assert_eq!(grant(&mut ledger, &holders, &none, 0), None, "somebody holds everything");
        assert_eq!(grant(&mut ledger, &holders, &none, 4_000), None);
        // One of them gets something now and then: the other one alone proves nothing, and is helped slowly.
        ledger.on_have(peer(1), PieceIndex(7), 2, at(4_500));
        assert_eq!(grant(&mut ledger, &holders, &none, 9_000), None);
        ledger.on_have(peer(1), PieceIndex(6), 2, at(9_000));
        let first = grant(&mut ledger, &holders, &none, 10_500).unwrap();
        assert_eq!((first.peer, first.reason), (peer(2), Reason::Repair));
        assert_eq!(grant(&mut ledger, &holders, &none, 10_600), None);
        let granted: Vec<Grant> =
            std::iter::from_fn(|| grant(&mut ledger, &holders, &none, 16_000)).collect();
        assert!(granted.len() >= 3 && granted.iter().all(|g| g.reason == Reason::First), "{granted:?}");
    }
}
