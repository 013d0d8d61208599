//! What a run of a plan came to, in the lab or in virtual time: the same keys, so that the two can be compared.

use samara_protocol::measure::RunReport;
use serde::Serialize;

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The plan's name.
    pub plan: String,
    /// What the network really was, in words.
    pub network: String,
    /// Of all dice; a run in the lab throws none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The numbers.
    pub report: RunReport,
    /// The run on the way.
    pub curve: Vec<Point>,
    /// One sentence for each expectation that failed and each rule that was broken.
    pub failures: Vec<String>,
}

/// A moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Seconds from the seeder's start.
    pub seconds: f64,
    /// The part of all bytes that the devices which were there from the start hold, 0 to 1.
    pub fraction: f64,
    /// Artifact bytes that the seeder sent so far.
    pub seeder_bytes: u64,
}

impl Outcome {
    /// Whether everything that the plan expects came true.
    pub fn is_met(&self) -> bool {
        self.failures.is_empty()
    }
}

/// The largest difference of two curves' fractions at one time, over the times of both.
pub fn largest_gap(a: &[Point], b: &[Point]) -> f64 {
    let times = a.iter().chain(b).map(|point| point.seconds);
    times.map(|at| (fraction_at(a, at) - fraction_at(b, at)).abs()).fold(0.0, f64::max)
}

/// Straight from point to point; before the first nothing, after the last as the last.
fn fraction_at(curve: &[Point], seconds: f64) -> f64 {
    let after = curve.partition_point(|point| point.seconds <= seconds);
    let before = after.checked_sub(1).and_then(|index| curve.get(index));
    match (before, curve.get(after)) {
        (Some(a), Some(b)) => {
            a.fraction + (b.fraction - a.fraction) * (seconds - a.seconds) / (b.seconds - a.seconds)
        }
        (Some(last), None) => last.fraction,
        (None, _) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> Vec<Point> {
        points.iter().map(|&(seconds, fraction)| Point { seconds, fraction, seeder_bytes: 0 }).collect()
    }

    #[test]
    fn the_gap_of_a_curve_to_itself_is_nothing() {
        let steady = curve(&[(0.0, 0.0), (10.0, 1.0)]);
        assert_eq!(largest_gap(&steady, &steady), 0.0);
        assert_eq!(largest_gap(&steady, &curve(&[(0.0, 0.0), (2.5, 0.25), (10.0, 1.0)])), 0.0);
    }

    #[test]
    fn the_gap_is_taken_where_the_curves_are_farthest_apart() {
        let steady = curve(&[(0.0, 0.0), (10.0, 1.0)]);
        let late = curve(&[(5.0, 0.0), (10.0, 1.0)]);
        assert!((largest_gap(&steady, &late) - 0.5).abs() < 1e-9);
        let stuck = curve(&[(0.0, 0.0), (5.0, 0.5)]);
        assert!((largest_gap(&steady, &stuck) - 0.5).abs() < 1e-9);
    }
}
