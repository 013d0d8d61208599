//! What the ledger knows of one device that it grants to: its debts, and how it has dealt with earlier grants.

use crate::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// A grantee that vanished or sat on pieces gets no further ones for so long, unless it is alone; the next time twice as
/// long, so that a slow device does not hold the last pieces.
const PENALTY: Duration = Duration::from_secs(10);
/// Doublings of the penalty.
const PENALTY_DOUBLINGS_MAX: u32 = 5;
/// A device that stored nothing for so long after all was granted starves; it is granted a piece as often.
const STARVED_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct Grantee {
    pub(super) since: Timestamp,
    pub(super) unacked: usize,
    pub(super) unspread: usize,
    pub(super) spreads: VecDeque<Timestamp>,
    pub(super) last_have: Timestamp,
    pub(super) last_ack: Timestamp,
    pub(super) last_spread: Timestamp,
    pub(super) last_grant: Timestamp,
    pub(super) penalty_until: Timestamp,
    penalties: u32,
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
            last_ack: zero,
            last_spread: zero,
            last_grant: zero,
            penalty_until: zero,
            penalties: 0,
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
    }

    /// Whether it got nothing for long, although everything was granted at `all_granted_at`.
    pub(super) fn starves(&self, all_granted_at: Timestamp, now: Timestamp) -> bool {
        let fed_at = self.last_have.max(self.last_grant).max(self.since);
        now.since(fed_at.max(all_granted_at)) >= STARVED_AFTER
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
