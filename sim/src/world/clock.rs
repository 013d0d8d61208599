//! Virtual time, fine enough that a thousand frames in a row lose nothing to rounding.

use samara_protocol::time::Timestamp;

/// Nanoseconds since the world began. The machines see it rounded down to their microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Nanos(pub(super) u64);

impl Nanos {
    pub(super) fn timestamp(self) -> Timestamp {
        Timestamp(self.0 / 1000)
    }

    pub(super) fn of(timestamp: Timestamp) -> Self {
        Self(timestamp.0.saturating_mul(1000))
    }

    /// So many seconds after the beginning.
    pub(super) fn from_seconds(seconds: f64) -> Self {
        Self((seconds.max(0.0) * 1e9) as u64)
    }

    pub(super) fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 as f64 - earlier.0 as f64) / 1e9
    }

    pub(super) fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}
