//! What the plots show, as numbers: bounded, whatever the size of the run.

use super::chart::Dot;
use crate::outcome::{Outcome, Point, value_at};
use samara_protocol::measure::{DeviceReport, RunReport};

/// Steps of a curve of devices at most.
const STEPS_MAX: usize = 300;
/// Stretches of time in which the seeder's rate is averaged.
const STRETCHES: usize = 72;
/// Places in time at which the curves of many runs are compared.
const PLACES: usize = 150;
/// Bars of a plot at most.
const BARS_MAX: usize = 60;

/// When a device was complete, from the seeder's start on.
pub(super) fn complete_at(device: &DeviceReport) -> Option<f64> {
    Some(device.seconds? + device.joined_seconds.unwrap_or(0.0))
}

/// The times at which devices were complete, ascending.
fn completions(report: &RunReport) -> Vec<f64> {
    let mut times: Vec<f64> = report.per_device.iter().filter_map(complete_at).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// When the run ended, as far as the outcome knows.
pub(super) fn end_of(outcome: &Outcome) -> f64 {
    let last = completions(&outcome.report).last().copied().unwrap_or(0.0);
    let curve = outcome.curve.last().map_or(0.0, |point| point.seconds);
    let installed = outcome.installs.as_ref().and_then(|installs| installs.last_committed_seconds);
    last.max(curve).max(installed.unwrap_or(0.0))
}

/// Percent of the devices that are complete, in steps, until `end`.
pub(super) fn complete(report: &RunReport, end: f64) -> Vec<Dot> {
    steps(&completions(report), report.devices, end)
}

/// Percent of so many devices to which something happened at these times, ascending, in steps, until `end`.
pub(super) fn steps(times: &[f64], devices: usize, end: f64) -> Vec<Dot> {
    let share = |count: usize| count as f64 * 100.0 / devices.max(1) as f64;
    let stride = times.len().div_ceil(STEPS_MAX).max(1);
    let mut dots = vec![(0.0, 0.0)];
    let mut before = 0;
    for (rank, at) in times.iter().enumerate() {
        let count = rank + 1;
        if count % stride == 0 || count == times.len() {
            dots.extend([(*at, share(before)), (*at, share(count))]);
            before = count;
        }
    }
    dots.push((end.max(times.last().copied().unwrap_or(0.0)), share(times.len())));
    dots
}

/// Percent of all bytes that the devices which were there from the start hold.
pub(super) fn held(curve: &[Point]) -> Vec<Dot> {
    let stride = curve.len().div_ceil(STEPS_MAX).max(1);
    let last = curve.len().saturating_sub(1);
    let kept = curve.iter().enumerate().filter(|(at, _)| at % stride == 0 || *at == last);
    let dots = kept.map(|(_, point)| (point.seconds, point.fraction * 100.0));
    let origin = curve.first().filter(|point| point.seconds > 0.0).map(|_| (0.0, 0.0));
    origin.into_iter().chain(dots).collect()
}

/// The rate on the seeder's link in Mbit/s, in steps, averaged over stretches of time.
pub(super) fn uplink(curve: &[Point]) -> Vec<Dot> {
    let Some(end) = curve.last().map(|point| point.seconds).filter(|end| *end > 0.0) else {
        return Vec::new();
    };
    let stretches = STRETCHES.min(curve.len().saturating_sub(1)).max(1);
    let edge = |at: usize| end * at as f64 / stretches as f64;
    let rate = |at: usize| {
        (bytes_at(curve, edge(at + 1)) - bytes_at(curve, edge(at))) * 8e-6 / (edge(at + 1) - edge(at))
    };
    (0..stretches).flat_map(|at| [(edge(at), rate(at)), (edge(at + 1), rate(at))]).collect()
}

/// Before the first point as the first.
fn bytes_at(curve: &[Point], seconds: f64) -> f64 {
    let bytes = |point: &Point| point.seeder_wire_bytes as f64;
    value_at(curve, seconds, bytes).or_else(|| curve.first().map(bytes)).unwrap_or(0.0)
}

/// Where the bytes of a device, or the mean of some, came from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sources {
    pub(super) from_seeder: f64,
    pub(super) from_peers: f64,
    pub(super) twice: f64,
}

/// A bar for each device in the order in which they were complete; of many devices one for each group.
pub(super) fn sources(report: &RunReport) -> Vec<Sources> {
    let mut devices: Vec<&DeviceReport> = report.per_device.iter().collect();
    let key = |device: &DeviceReport| complete_at(device).unwrap_or(f64::INFINITY);
    devices.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let group = devices.len().div_ceil(BARS_MAX).max(1);
    let mean = |group: &[&DeviceReport]| {
        let mean_of = |bytes: fn(&DeviceReport) -> u64| {
            group.iter().map(|device| bytes(device)).sum::<u64>() as f64 / group.len() as f64
        };
        Sources {
            from_seeder: mean_of(|device| device.bytes_from_seeder),
            from_peers: mean_of(|device| device.bytes_from_peers),
            twice: mean_of(|device| device.duplicate_bytes),
        }
    };
    devices.chunks(group).map(mean).collect()
}

/// Of many runs the least, the middle and the most percent of complete devices at each place in time.
pub(super) struct Spread {
    pub(super) edges: Vec<(f64, f64, f64)>,
    pub(super) median: Vec<Dot>,
}

/// The spread of the curves of complete devices, until `end`.
pub(super) fn spread(reports: &[&RunReport], end: f64) -> Spread {
    let runs: Vec<(Vec<f64>, usize)> =
        reports.iter().map(|report| (completions(report), report.devices.max(1))).collect();
    let (mut edges, mut median) = (Vec::new(), Vec::new());
    for place in 0..=PLACES {
        let at = end * place as f64 / PLACES as f64;
        let share = |(times, devices): &(Vec<f64>, usize)| {
            times.partition_point(|time| *time <= at) as f64 * 100.0 / *devices as f64
        };
        let mut shares: Vec<f64> = runs.iter().map(share).collect();
        shares.sort_by(f64::total_cmp);
        if let (Some(low), Some(high)) = (shares.first(), shares.last()) {
            edges.push((at, *low, *high));
            median.push((at, shares[shares.len() / 2]));
        }
    }
    Spread { edges, median }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_protocol::measure::Run;

    fn report(times: &[Option<f64>]) -> RunReport {
        let device = |(at, seconds): (usize, &Option<f64>)| DeviceReport {
            device: format!("d{at}"),
            seconds: *seconds,
            bytes_from_seeder: at as u64,
            bytes_from_peers: 100,
            ..DeviceReport::default()
        };
        let devices = times.iter().enumerate().map(device).collect();
        RunReport::new(Run { artifact_bytes: 100, devices, ..Run::default() })
    }

    fn point(seconds: f64, seeder_wire_bytes: u64) -> Point {
        Point { seconds, fraction: seconds / 10.0, seeder_wire_bytes, ..Point::default() }
    }

    #[test]
    fn the_curve_of_complete_devices_ends_at_the_part_that_the_report_counts() {
        let report = report(&[Some(3.0), Some(1.0), None, Some(1.0)]);
        let dots = complete(&report, 5.0);
        assert_eq!(dots.last(), Some(&(5.0, 75.0)));
        assert_eq!(dots[0], (0.0, 0.0));
        assert!(dots.contains(&(1.0, 50.0)) && dots.contains(&(3.0, 75.0)), "{dots:?}");
    }

    #[test]
    fn a_late_device_is_complete_when_the_clock_of_the_run_says_so() {
        let late = DeviceReport { seconds: Some(2.0), joined_seconds: Some(30.0), ..DeviceReport::default() };
        assert_eq!(complete_at(&late), Some(32.0));
    }

    #[test]
    fn ten_thousand_devices_are_a_few_steps_and_a_few_bars() {
        let times: Vec<Option<f64>> = (0..10_000).map(|at| Some(f64::from(at))).collect();
        let report = report(&times);
        let dots = complete(&report, 10_000.0);
        assert!(dots.len() < 2 * STEPS_MAX + 4, "{}", dots.len());
        assert_eq!(dots.last(), Some(&(10_000.0, 100.0)));
        assert!(sources(&report).len() <= BARS_MAX);
    }

    #[test]
    fn bars_stand_in_the_order_of_completion_and_the_unfinished_last() {
        let bars = sources(&report(&[None, Some(2.0), Some(1.0)]));
        let order: Vec<f64> = bars.iter().map(|bar| bar.from_seeder).collect();
        assert_eq!(order, [2.0, 1.0, 0.0]);
    }

    #[test]
    fn bytes_are_held_from_nothing_to_the_last_sample() {
        assert_eq!(held(&[point(1.0, 0), point(5.0, 0)]), [(0.0, 0.0), (1.0, 10.0), (5.0, 50.0)]);
        assert_eq!(held(&[]), []);
        let long: Vec<Point> = (0..1200).map(|at| point(f64::from(at), 0)).collect();
        let dots = held(&long);
        assert!(dots.len() <= STEPS_MAX + 1 && dots.last() == Some(&(1199.0, 11_990.0)), "{}", dots.len());
    }

    #[test]
    fn the_rate_of_the_seeder_adds_up_to_what_it_sent() {
        let curve = [point(0.0, 0), point(1.0, 500_000), point(3.0, 500_000), point(4.0, 2_000_000)];
        let dots = uplink(&curve);
        let bits: f64 = dots.chunks(2).map(|step| (step[1].0 - step[0].0) * step[0].1).sum();
        assert!((bits - 16.0).abs() < 1e-9, "{bits}");
        assert_eq!(uplink(&[]), []);
        assert_eq!(uplink(&[point(0.0, 0)]), []);
    }

    #[test]
    fn the_spread_of_many_runs_lies_between_the_fastest_and_the_slowest() {
        let (fast, slow) = (report(&[Some(1.0), Some(1.0)]), report(&[Some(4.0), Some(9.0)]));
        let spread = spread(&[&fast, &slow], 10.0);
        let at = |seconds: f64| spread.edges.iter().find(|(x, ..)| (*x - seconds).abs() < 1e-9).unwrap();
        assert_eq!((at(2.0).1, at(2.0).2), (0.0, 100.0));
        assert_eq!((at(6.0).1, at(6.0).2), (50.0, 100.0));
        assert_eq!(spread.edges.last(), Some(&(10.0, 100.0, 100.0)));
    }
}
