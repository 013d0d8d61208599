//! How much more than two bandwidth-delay products pays on a scarce link: found by trying (rule 4).
//!
//! Where receivers are slower than the link, or losses hold their connections back, pings say nothing of how long a piece
//! takes, and by Little's law neither does the ratio of what is under way to what arrives. So the window is widened for an
//! epoch: kept if more arrives, taken back if not; and narrowed now and then: kept if no less arrives, since few pieces
//! under way are whole early. The first trials come one after the other: a small release is over after a few epochs.
//!
//! ```text
//!  Steady (a few epochs) --> Wider  --more arrives--> Wider again     --no more--> back, Steady
//!                        --> Narrower --as much arrives--> Narrower again --less--> back, Steady
//! ```

use super::rate::per_second;
use crate::time::Timestamp;
use std::time::Duration;

/// An epoch lasts at least so long, ...
const EPOCH_MIN: Duration = Duration::from_millis(250);
/// ... and until so many pieces arrived: one more or less is then no news.
const EPOCH_PIECES: u64 = 16;
/// Epochs between two trials.
const STEADY_EPOCHS: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Steady,
    Wider,
    Narrower,
}

/// Bytes beyond the window that bandwidth and delay alone would give.
#[derive(Debug, Clone, Default)]
pub(super) struct Probe {
    phase: Phase,
    extra: u64,
    /// What a failed trial goes back to.
    extra_before: u64,
    /// Bytes per second that arrive with what is kept.
    usual: u64,
    epochs: u32,
    narrower_next: bool,
    /// A trial did not pay: the window is about right, and from then on trials are rare.
    is_open: bool,
    /// Bytes that were sent before this trial and do not count in it.
    settling: u64,
    since: Option<Timestamp>,
    bytes: u64,
}

impl Probe {
    /// Bytes that may be under way beyond `window`.
    pub(super) fn extra(&self) -> u64 {
        self.extra
    }

    /// So many bytes of one piece arrived while `outstanding` are under way and `window` is the least that may be.
    pub(super) fn on_arrival(&mut self, bytes: u64, outstanding: u64, window: u64, now: Timestamp) {
        if self.settling > 0 {
            self.settling = self.settling.saturating_sub(bytes);
            self.since = Some(now);
            return;
        }
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };
        self.bytes += bytes;
        let over = now.since(since);
        if over >= EPOCH_MIN && self.bytes >= bytes * EPOCH_PIECES {
            let rate = per_second(self.bytes, over);
            (self.since, self.bytes) = (Some(now), 0);
            self.on_epoch(rate, outstanding, window);
        }
    }

    fn on_epoch(&mut self, rate: u64, outstanding: u64, window: u64) {
        match self.phase {
            Phase::Steady => {
                self.usual = if self.usual == 0 { rate } else { (self.usual * 3 + rate) / 4 };
                self.epochs += 1;
                if self.epochs >= STEADY_EPOCHS || !self.is_open {
                    self.epochs = 0;
                    let narrower = self.narrower_next && self.extra > 0;
                    self.narrower_next = !self.narrower_next;
                    self.begin(if narrower { Phase::Narrower } else { Phase::Wider }, outstanding, window);
                }
            }
            Phase::Wider if rate >= self.usual + self.usual / 10 => {
                self.usual = rate;
                self.begin(Phase::Wider, outstanding, window);
            }
            Phase::Narrower if self.extra > 0 && rate >= self.usual - self.usual / 32 => {
                self.begin(Phase::Narrower, outstanding, window);
            }
            Phase::Narrower if rate >= self.usual - self.usual / 32 => self.phase = Phase::Steady,
            Phase::Wider | Phase::Narrower => {
                self.extra = self.extra_before;
                self.is_open = true;
                self.phase = Phase::Steady;
            }
        }
    }

    fn begin(&mut self, phase: Phase, outstanding: u64, window: u64) {
        self.phase = phase;
        self.extra_before = self.extra;
        let step = (window + self.extra) / 2;
        self.extra = match phase {
            Phase::Wider => self.extra + step,
            Phase::Narrower | Phase::Steady => self.extra.saturating_sub(step / 2),
        };
        self.settling = outstanding;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 131_072;
    const FLOOR: u64 = 4 * PIECE;

    /// A link of `rate` pieces a second whose receivers take `delay` for a piece: what arrives is the lesser of the
    /// rate and what is under way over the delay.
    fn settle(rate: u64, delay: Duration, seconds: u64) -> u64 {
        let mut probe = Probe::default();
        let mut now = Timestamp::ZERO;
        while now < Timestamp::from_millis(seconds * 1000) {
            let window = FLOOR + probe.extra();
            let limited = window / PIECE * 1_000_000 / delay.as_micros() as u64;
            now = now + Duration::from_micros(1_000_000 / rate.min(limited));
            probe.on_arrival(PIECE, window, FLOOR, now);
        }
        FLOOR + probe.extra()
    }

    #[test]
    fn where_the_link_is_full_already_the_window_stays_small() {
        let window = settle(20, Duration::from_millis(100), 60);
        assert!(window <= FLOOR * 3 / 2, "{}", window / PIECE);
    }

    #[test]
    fn where_receivers_are_slow_the_window_opens_until_the_link_is_full() {
        let window = settle(100, Duration::from_millis(200), 20);
        assert!((20 * PIECE..=45 * PIECE).contains(&window), "{}", window / PIECE);
    }

    #[test]
    fn a_window_that_is_much_too_small_opens_before_a_small_release_is_over() {
        // Sixteen pieces under way would fill it; a quarter of them does at first.
        let pieces = settle(40, Duration::from_millis(400), 4) / PIECE;
        assert!(pieces > 8, "{pieces}");
    }

    #[test]
    fn a_window_that_is_no_longer_needed_is_given_back() {
        let mut probe = Probe { extra: 60 * PIECE, narrower_next: true, is_open: true, ..Probe::default() };
        let mut now = Timestamp::ZERO;
        for _ in 0..2000 {
            now = now + Duration::from_millis(50);
            probe.on_arrival(PIECE, FLOOR + probe.extra(), FLOOR, now);
        }
        assert!(probe.extra() <= FLOOR, "{}", probe.extra() / PIECE);
    }
}
