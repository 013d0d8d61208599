//! What a run looked like on the way: samples at even distances.

use super::World;
use super::clock::Nanos;
use crate::outcome::Point;

/// Samples over the time that the bound allows; a run that takes longer has more.
const SAMPLES_PER_BOUND: f64 = 200.0;
/// Seconds between two samples of a plan without a bound.
const SPACING_DEFAULT: f64 = 1.0;

/// When to take the next sample, and those that were taken.
#[derive(Debug)]
pub(super) struct Curve {
    spacing: u64,
    pub(super) next_at: Nanos,
    pub(super) points: Vec<Point>,
}

impl Curve {
    pub(super) fn new(begin: Nanos, bound_seconds: Option<f64>) -> Self {
        let spacing = bound_seconds.map_or(SPACING_DEFAULT, |bound| bound / SAMPLES_PER_BOUND);
        Self { spacing: Nanos::from_seconds(spacing).0.max(1_000_000), next_at: begin, points: Vec::new() }
    }
}

impl World {
    pub(super) fn take_sample(&mut self) {
        let (seeder_bytes, _) = self.seeder_sent();
        let point = Point { seconds: self.second(), fraction: self.fraction(), seeder_bytes };
        self.curve.points.push(point);
        self.curve.next_at = self.now.plus(self.curve.spacing);
    }
}
