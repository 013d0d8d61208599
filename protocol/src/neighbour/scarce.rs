//! The window of a scarce link: few bytes unacknowledged at once, so that each piece is whole early (rule 4).
//!
//! About two bandwidth-delay products, at least two requests; acknowledged by haves, since socket buffers prove
//! nothing. Bandwidth is the highest delivery rate of the last seconds, delay the smallest ping: the window opens by
//! itself until the link is full and no further. Where that leaves the link idle, a [`Probe`] finds what pays.

use super::limits::Limits;
use super::probe::Probe;
use super::rate::{MaxRate, bytes_in, time_for};
use crate::time::Timestamp;
use std::time::Duration;

/// Verifying and storing before the have: part of the delay that no ping sees.
const STORE_DELAY: Duration = Duration::from_millis(20);

/// Shared by all swarms of a granting peer.
#[derive(Debug, Clone, Default)]
pub struct ScarceWindow {
    outstanding: u64,
    delivered: u64,
    rate: MaxRate,
    /// By bandwidth and delay alone, when it was last asked for.
    window: u64,
    probe: Probe,
}

impl ScarceWindow {
    /// Whether another piece may be sent now.
    pub fn has_room(&mut self, piece_bytes: u64, rtt: Duration, limits: &Limits) -> bool {
        let bdp = bytes_in(self.rate.rate(), rtt + STORE_DELAY);
        let floor = limits.scarce_bytes_min.max(piece_bytes * 2);
        let max = limits.scarce_bytes_max.max(floor);
        self.window = (bdp * 2).clamp(floor, max);
        self.outstanding + piece_bytes <= (self.window + self.probe.extra()).min(max)
    }

    /// Bytes acknowledged since ever.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// A piece is sent.
    pub fn on_sent(&mut self, bytes: u64) {
        self.outstanding += bytes;
    }

    /// A piece sent at `sent_at`, when `delivered_before` bytes had been delivered, is acknowledged.
    pub fn on_acked(&mut self, bytes: u64, sent_at: Timestamp, delivered_before: u64, now: Timestamp) {
        self.outstanding = self.outstanding.saturating_sub(bytes);
        self.delivered += bytes;
        self.rate.sample(self.delivered - delivered_before, now.since(sent_at), now);
        self.probe.on_arrival(bytes, self.outstanding, self.window, now);
    }

    /// A piece under way is given up.
    pub fn on_lost(&mut self, bytes: u64) {
        self.outstanding = self.outstanding.saturating_sub(bytes);
    }

    /// How long a grantee may stay silent: its pieces may wait behind everything that is under way.
    pub fn silence(&self, rtt: Duration, min: Duration) -> Duration {
        let queue = time_for(self.outstanding, self.rate.rate()).unwrap_or(Duration::from_secs(5));
        min.max(rtt * 4).max(queue * 4)
    }
}
