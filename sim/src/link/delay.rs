//! How long a link holds a frame: a base, and a part that wanders around it.
//!
//! The wandering part is drawn anew, evenly within the jitter, for every knot of a grid of time, and lies on a straight
//! line between two knots. A line falls by less than time passes, so that no frame overtakes another: an LTE bearer
//! delivers in order (3GPP TS 36.322, acknowledged mode), and a jitter drawn for each frame alone would, kept in order,
//! raise the mean to the largest draw.

use samara_protocol::rng::Prng;
use std::time::Duration;

/// Nanoseconds between two knots, at least: about the scheduling of a radio cell.
const GRID_NANOS_MIN: u64 = 20_000_000;
/// Knots are so many times the jitter apart: a line between two draws falls by half the time that passes at most.
const GRID_JITTERS: u64 = 4;

/// The delay of one direction of a link; the same seed gives the same delay at the same time.
#[derive(Debug, Clone)]
pub struct Delay {
    base: u64,
    jitter: u64,
    grid: u64,
    rng_seed: u64,
}

impl Delay {
    /// A delay of `base` ± `jitter`; `jitter` is at most `base`.
    pub fn new(base: Duration, jitter: Duration, rng_seed: u64) -> Self {
        let (base, jitter) = (nanos(base), nanos(jitter.min(base)));
        Self { base, jitter, grid: (jitter * GRID_JITTERS).max(GRID_NANOS_MIN), rng_seed }
    }

    /// Nanoseconds for what enters the link at `now`, in nanoseconds since any beginning.
    pub fn at(&self, now: u64) -> u64 {
        if self.jitter == 0 {
            return self.base;
        }
        let (knot, into) = (now / self.grid, now % self.grid);
        let (left, right) = (self.drawn(knot), self.drawn(knot + 1));
        let mixed = u128::from(left) * u128::from(self.grid - into) + u128::from(right) * u128::from(into);
        self.base - self.jitter + (mixed / u128::from(self.grid)) as u64
    }

    /// The draw of a knot: 0 to twice the jitter.
    fn drawn(&self, knot: u64) -> u64 {
        Prng::new(self.rng_seed.wrapping_add(knot)).below(2 * self.jitter as usize + 1) as u64
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn without_jitter_every_frame_is_held_equally_long() {
        let delay = Delay::new(Duration::from_millis(30), Duration::ZERO, 1);
        assert!([0, 1, 77 * MS, u64::MAX / 2].iter().all(|now| delay.at(*now) == 30 * MS));
    }

    #[test]
    fn with_jitter_the_mean_is_the_base_and_nothing_overtakes() {
        let delay = Delay::new(Duration::from_millis(30), Duration::from_millis(10), 7);
        let (mut sum, mut last, mut least, mut most) = (0, 0, u64::MAX, 0);
        for step in 0..200_000 {
            let now = step * MS / 2;
            let held = delay.at(now);
            assert!(now + held > last, "overtakes at {now}");
            last = now + held;
            (sum, least, most) = (sum + held, least.min(held), most.max(held));
        }
        let mean = sum / 200_000;
        assert!((29 * MS + MS / 2..30 * MS + MS / 2).contains(&mean), "{mean}");
        assert!((20 * MS..21 * MS).contains(&least) && (39 * MS..=40 * MS).contains(&most), "{least} {most}");
    }
}
