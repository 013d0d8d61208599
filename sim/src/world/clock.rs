//! Virtual time, fine enough that a thousand frames in a row lose nothing to rounding; and the clocks by which processes see it.

use samara_protocol::rng::Prng;
use samara_protocol::time::Timestamp;

/// Nanoseconds since the world began. The machines see it rounded down to their microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Nanos(pub(super) u64);

impl Nanos {
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

/// The clock of a process: it began to run at any time, so that no machine can use what another one's clock shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    ahead_micros: u64,
}

impl Clock {
    /// The most that a clock shows when the world begins: a day.
    const AHEAD_MAX: usize = 86_400_000_000;

    pub(super) fn drawn(rng: &mut Prng) -> Self {
        Self { ahead_micros: rng.below(Self::AHEAD_MAX) as u64 }
    }

    /// What it shows at a time.
    pub(super) fn read(self, at: Nanos) -> Timestamp {
        Timestamp(at.0 / 1000 + self.ahead_micros)
    }

    /// When it shows that; not before the world's beginning.
    pub(super) fn shows(self, timestamp: Timestamp) -> Nanos {
        Nanos(timestamp.0.saturating_sub(self.ahead_micros).saturating_mul(1000))
    }
}
