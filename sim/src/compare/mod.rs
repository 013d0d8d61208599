//! Prediction against measurement: one plan in virtual time and in the lab, figure by figure.

mod fidelity;

pub use fidelity::{Measured, markdown};

use crate::outcome::{Outcome, largest_gap};
use serde::Serialize;
use std::fmt::Write as _;

/// A figure of both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its key in the reports.
    pub name: &'static str,
    /// By the simulator.
    pub predicted: Option<f64>,
    /// In the lab.
    pub measured: Option<f64>,
}

/// Both runs side by side.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The plan's name.
    pub plan: String,
    /// The figures that both have.
    pub figures: Vec<Figure>,
    /// The largest difference of the two curves of all bytes held, 0 to 1.
    pub largest_gap: f64,
    /// When the last device had everything, in each run in the lab.
    pub lab_last_device_seconds: Vec<Option<f64>>,
    /// The prediction.
    pub simulated: Outcome,
    /// The measurement; of several the one in the middle.
    pub lab: Outcome,
}

impl Comparison {
    /// Sets a prediction beside the middle one of its measurements, by the time of their last device, a run in which not
    /// all finished counting as the slowest. `None` without a measurement.
    pub fn of_runs(simulated: Outcome, mut labs: Vec<Outcome>) -> Option<Self> {
        let last = |lab: &Outcome| lab.report.last_device_seconds;
        let lab_last_device_seconds = labs.iter().map(last).collect();
        labs.sort_by(|a, b| {
            let seconds = [a, b].map(|lab| last(lab).unwrap_or(f64::INFINITY));
            seconds[0].total_cmp(&seconds[1])
        });
        let middle = labs.len().checked_sub(1)? / 2;
        Some(Self { lab_last_device_seconds, ..Self::new(simulated, labs.swap_remove(middle)) })
    }

    /// Sets two runs of one plan side by side.
    pub fn new(simulated: Outcome, lab: Outcome) -> Self {
        let (s, l) = (&simulated.report, &lab.report);
        let figure = |name, predicted, measured| Figure { name, predicted, measured };
        let figures = vec![
            figure("median_device_seconds", s.median_device_seconds, l.median_device_seconds),
            figure("p99_device_seconds", s.p99_device_seconds, l.p99_device_seconds),
            figure("last_device_seconds", s.last_device_seconds, l.last_device_seconds),
            figure("time_ratio", s.time_ratio, l.time_ratio),
            figure("seeder_copies", Some(s.seeder_copies), Some(l.seeder_copies)),
            figure("seeder_wire_copies", s.seeder_wire_copies, l.seeder_wire_copies),
            figure("total_copies", Some(s.total_copies), Some(l.total_copies)),
            figure("peer_share", Some(s.peer_share), Some(l.peer_share)),
            figure("cpu_seconds", s.cpu_seconds_mean(), l.cpu_seconds_mean()),
        ];
        let largest_gap = largest_gap(&simulated.curve, &lab.curve);
        let lab_last_device_seconds = vec![l.last_device_seconds];
        Self { plan: simulated.plan.clone(), figures, largest_gap, lab_last_device_seconds, simulated, lab }
    }

    /// A figure by its key.
    fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// Name, prediction, measurement and difference of each figure, a dash for what is not known.
    pub fn rows(&self) -> Vec<[String; 4]> {
        let shown = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
        let row = |Figure { name, predicted, measured }: &Figure| {
            let difference = predicted.zip(*measured).filter(|(_, measured)| *measured != 0.0);
            let difference = difference.map(|(p, m)| format!("{:+.1} %", (p / m - 1.0) * 100.0));
            let difference = difference.unwrap_or_else(|| "-".into());
            [(*name).to_owned(), shown(*predicted), shown(*measured), difference]
        };
        self.figures.iter().map(row).collect()
    }

    /// As a table for people.
    pub fn table(&self) -> String {
        let mut table =
            format!("{:<24}{:>12}{:>12}{:>14}\n", "figure", "predicted", "measured", "difference");
        for [name, predicted, measured, difference] in self.rows() {
            // Writing to a string can't fail.
            let _ = writeln!(table, "{name:<24}{predicted:>12}{measured:>12}{difference:>14}");
        }
        let points = self.largest_gap * 100.0;
        let _ = writeln!(table, "largest gap of the curves of bytes held: {points:.1} points");
        if let [_, _, ..] = self.lab_last_device_seconds[..] {
            let shown = |last: &Option<f64>| last.map_or("-".into(), |last| format!("{last:.2}"));
            let all: Vec<String> = self.lab_last_device_seconds.iter().map(shown).collect();
            let _ = writeln!(table, "last device in each run in the lab: {}", all.join(", "));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_protocol::measure::{DeviceReport, Run, RunReport};

    fn outcome(seconds: f64) -> Outcome {
        let device = DeviceReport { device: "d0".into(), seconds: Some(seconds), ..DeviceReport::default() };
        let run = Run {
            artifact_bytes: 1,
            lower_bound_seconds: Some(1.0),
            devices: vec![device],
            ..Run::default()
        };
        Outcome::of(RunReport::new(run))
    }

    #[test]
    fn each_figure_stands_beside_its_measurement_with_the_difference() {
        let table = Comparison::new(outcome(1.1), outcome(1.0)).table();
        let row = table.lines().find(|line| line.starts_with("last_device_seconds")).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["last_device_seconds", "1.1000", "1.0000", "+10.0", "%"]
        );
        assert!(table.contains("largest gap of the curves of bytes held: 0.0 points"));
    }

    #[test]
    fn of_several_measurements_the_one_in_the_middle_is_taken() {
        let mut unfinished = outcome(0.1);
        unfinished.report.last_device_seconds = None;
        let labs = vec![outcome(3.0), unfinished, outcome(1.0), outcome(2.0)];
        let comparison = Comparison::of_runs(outcome(2.0), labs).unwrap();
        assert_eq!(comparison.lab.report.last_device_seconds, Some(2.0));
        assert_eq!(comparison.lab_last_device_seconds, [Some(3.0), None, Some(1.0), Some(2.0)]);
        assert!(comparison.table().contains("last device in each run in the lab: 3.00, -, 1.00, 2.00"));
        assert!(Comparison::of_runs(outcome(2.0), Vec::new()).is_none());
    }
}
