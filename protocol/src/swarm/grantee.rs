//! What the ledger knows of one device that it grants to: its debts, and how it has dealt with earlier grants.

use crate::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// A grantee that vanished or sat on pieces gets no further ones for so long, unless it is alone; the next time twice as
/// long, so that a slow device does not hold the last pieces.
const PENALTY: Duration = Duration::from_secs(10);
/// Unspread grants that any device may hold, before it has shown that it passes pieces on (rule 3).
const UNSPREAD_MIN: usize = 2;
/// One that was found to sit on pieces, until it has passed one on.
const UNSPREAD_ON_PROBATION: usize = 1;
/// What a device spread in this time, it may hold unspread.
const SPREAD_SPAN: Duration = Duration::from_secs(1);
/// Doublings of the penalty.
const PENALTY_DOUBLINGS_MAX: u32 = 5;
/// A device that stored nothing for so long after all was granted starves; it is granted a piece as often.
const STARVED_AFTER: Duration = Duration::from_secs(10);
/// Before a single one is helped, which would feed the others too, it must show whether most of them starve.
const MOST_STARVED_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(super) struct Grantee {
    pub(super) since: Timestamp,
    pub(super) unacked: usize,
    pub(super) unspread: usize,
    spreads: VecDeque<Timestamp>,
    pub(super) last_have: Timestamp,
    /// It has acknowledged a piece, or a part of one was handed over to it.
    pub(super) last_progress: Timestamp,
    pub(super) last_spread: Timestamp,
    pub(super) last_grant: Timestamp,
    penalty_until: Timestamp,
    penalties: u32,
    is_on_probation: bool,
}

impl Grantee {
    pub(super) fn new(now: Timestamp) -> Self {
        let zero = Timestamp::ZERO;
        Self {
            since: now,
            unacked: 0,
            unspread: 0,
            spreads: VecDeque::new(),
            last_have: zero,
            last_progress: zero,
            last_spread: zero,
            last_grant: zero,
            penalty_until: zero,
            penalties: 0,
            is_on_probation: false,
        }
    }

    /// It vanished, or sat on a piece.
    pub(super) fn penalise(&mut self, now: Timestamp) {
        // Several pieces that are found at once are one offence.
        if now < self.penalty_until {
            return;
        }
        self.penalty_until = now + PENALTY * 2_u32.pow(self.penalties.min(PENALTY_DOUBLINGS_MAX));
        self.penalties += 1;
        self.is_on_probation = true;
    }

    /// One of its pieces was seen elsewhere.
    pub(super) fn on_spread(&mut self, now: Timestamp) {
        self.unspread = self.unspread.saturating_sub(1);
        self.last_spread = now;
        self.is_on_probation = false;
        self.spreads.push_back(now);
        while self.spreads.front().is_some_and(|&at| now.since(at) > SPREAD_SPAN) {
            self.spreads.pop_front();
        }
    }

    /// Whether it gets nothing while others are there.
    pub(super) fn is_left_out(&self, now: Timestamp) -> bool {
        now < self.penalty_until
    }

    /// How many unspread pieces it may hold now (rule 3).
    pub(super) fn unspread_max(&self, now: Timestamp) -> usize {
        let recent = self.spreads.iter().rev().take_while(|at| now.since(**at) <= SPREAD_SPAN).count();
        if self.is_left_out(now) {
            0
        } else if self.is_on_probation {
            UNSPREAD_ON_PROBATION
        } else {
            UNSPREAD_MIN.max(recent)
        }
    }

    /// Whether it got nothing for long, although everything was granted at `all_granted_at`.
    pub(super) fn starves(&self, all_granted_at: Timestamp, now: Timestamp) -> bool {
        self.hungry_for(all_granted_at, now) >= STARVED_AFTER
    }

    /// The same, sooner, for one of many.
    pub(super) fn starves_with_others(&self, all_granted_at: Timestamp, now: Timestamp) -> bool {
        self.hungry_for(all_granted_at, now) >= MOST_STARVED_AFTER
    }

    fn hungry_for(&self, all_granted_at: Timestamp, now: Timestamp) -> Duration {
        now.since(self.last_have.max(self.last_grant).max(self.since).max(all_granted_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_sits_on_pieces_again_and_again_is_left_out_longer_each_time() {
        let mut grantee = Grantee::new(Timestamp::ZERO);
        let mut spans = Vec::new();
        let mut now = Timestamp::from_millis(1000);
        for _ in 0..8 {
            grantee.penalise(now);
            // A second piece that is found in the same moment changes nothing.
            grantee.penalise(now);
            spans.push(grantee.penalty_until.since(now).as_secs());
            now = grantee.penalty_until;
        }
        assert_eq!(spans, [10, 20, 40, 80, 160, 320, 320, 320]);
    }
}
