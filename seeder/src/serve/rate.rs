//! Bytes per second over the last views.

use std::collections::VecDeque;
use std::time::Instant;

/// Views over which the rate is taken: two and a half seconds.
const SAMPLES_MAX: usize = 10;

/// Totals and when they were seen.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    pub(super) fn add(&mut self, now: Instant, total: u64) {
        self.0.push_back((now, total));
        if self.0.len() > SAMPLES_MAX {
            self.0.pop_front();
        }
    }

    pub(super) fn bytes_per_second(&self) -> f64 {
        match (self.0.front(), self.0.back()) {
            (Some((t0, b0)), Some((t1, b1))) if t1 > t0 => {
                b1.saturating_sub(*b0) as f64 / t1.duration_since(*t0).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}
