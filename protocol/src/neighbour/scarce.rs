//! The window of a scarce link: few bytes unacknowledged at once, so that each piece is whole early (rule 4).
//!
//! About two bandwidth-delay products; acknowledged by haves, since socket buffers prove nothing. Bandwidth is the
//! highest delivery rate of the last seconds, delay the smallest ping. But a piece takes its time where other senders
//! share the receiver's link, or losses hold its connection back: so at least two pieces for each device that takes any, up
//! to bounds that keep each piece early. Where even that leaves the link idle, a [`Probe`] finds what pays.

use super::limits::Limits;
use super::probe::Probe;
use super::rate::{MaxRate, bytes_in, time_for};
use crate::time::Timestamp;
use std::time::Duration;

/// Verifying and storing before the have: part of the delay that no ping sees.
const STORE_DELAY: Duration = Duration::from_millis(20);
/// What the devices could take is under way for no longer than so: a vanished grantee shall not lose much.
const SPREAD_TIME: Duration = Duration::from_secs(2);

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
    /// Whether another piece may be sent now, when so many devices take some.
    pub fn has_room(&mut self, piece_bytes: u64, takers: u64, rtt: Duration, limits: &Limits) -> bool {
        let bdp = bytes_in(self.rate.rate(), rtt + STORE_DELAY);
        let spread = (takers * 2).min(limits.scarce_spread_max) * piece_bytes;
        let spread = spread.min(bytes_in(self.rate.rate(), SPREAD_TIME));
        let floor = limits.scarce_bytes_min.max(piece_bytes * 2).max(spread);
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

    /// How long so many bytes take on this link; nothing while its rate is not known.
    pub fn time_for(&self, bytes: u64) -> Duration {
        time_for(bytes, self.rate.rate()).unwrap_or_default()
    }

    /// How long a grantee may stay silent: its pieces may wait behind everything that is under way.
    pub fn silence(&self, rtt: Duration, min: Duration) -> Duration {
        let queue = time_for(self.outstanding, self.rate.rate()).unwrap_or(Duration::from_secs(5));
        min.max(rtt * 4).max(queue * 4)
    }
}
