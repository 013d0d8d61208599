//! What a run looked like on the way: samples at even distances.

use super::World;
use super::clock::Nanos;
use crate::outcome::Point;

/// Samples over the time that the bound allows; a run that takes longer has more, up to a limit.
const SAMPLES_PER_BOUND: f64 = 200.0;
/// At so many samples every second one is dropped, and the distance doubles.
const SAMPLES_MAX: usize = 1200;
/// Seconds between the first samples of a plan without a bound.
const SPACING_DEFAULT: f64 = 0.02;

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

    fn push(&mut self, point: Point, now: Nanos) {
        if self.points.len() >= SAMPLES_MAX {
            let mut is_kept = false;
            self.points.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.spacing *= 2;
        }
        self.points.push(point);
        self.next_at = now.plus(self.spacing);
    }
}

impl World {
    pub(super) fn take_sample(&mut self) {
        let (seeder_bytes, _) = self.seeder_sent();
        let devices = &self.peers[..self.plan.devices.count];
        let complete = devices.iter().filter(|device| device.verified.is_some()).count();
        let wire = self.network.carried_until(self.peers[self.seeder() as usize].up, self.now);
        let point = Point {
            seconds: self.second(),
            fraction: self.fraction(),
            complete,
            seeder_bytes,
            seeder_wire_bytes: wire + self.seeder_control_bytes,
            committed: self.installs.as_ref().map(|installs| installs.committed()),
        };
        self.curve.push(point, self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_a_bounded_number_of_samples_from_its_first_to_its_last() {
        let mut curve = Curve::new(Nanos(0), Some(1.0));
        let mut now = Nanos(0);
        for _ in 0..5000 {
            let point = Point { seconds: now.seconds_since(Nanos(0)), ..Point::default() };
            curve.push(point, now);
            now = curve.next_at;
        }
        assert!((SAMPLES_MAX / 2..=SAMPLES_MAX).contains(&curve.points.len()), "{}", curve.points.len());
        assert_eq!(curve.points[0].seconds, 0.0);
        assert!(curve.points.is_sorted_by(|a, b| a.seconds < b.seconds));
    }
}
