//! How well the simulator predicts: a row for each plan, in bold what is outside the aims.

use super::{Comparison, Figure};
use serde::Serialize;
use std::fmt::Write as _;

/// Times may differ by this part of what was measured.
const TIME_MAX: f64 = 0.10;
/// Copies may differ by so many.
const COPIES_MAX: f64 = 0.03;
/// Curves may differ by this part of all bytes.
const GAP_MAX: f64 = 0.05;

/// What came of one plan.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Measured {
    /// Both runs.
    Done {
        /// Side by side.
        #[serde(flatten)]
        comparison: Box<Comparison>,
        /// The machine's load before the first run in the lab, a mean of one minute.
        load: Option<f64>,
        /// Keys of the figures that are outside the aims.
        outside: Vec<&'static str>,
    },
    /// No run.
    Failed {
        /// The plan's name.
        plan: String,
        /// Why.
        error: String,
    },
}

impl Measured {
    /// With the figures that are outside.
    pub fn new(comparison: Comparison, load: Option<f64>) -> Self {
        let outside = COLUMNS.iter().filter(|column| column.is_outside(&comparison)).map(|column| column.key);
        Self::Done { load, outside: outside.collect(), comparison: Box::new(comparison) }
    }

    /// Whether there are runs, and all expectations of the plan hold in both.
    pub fn is_met(&self) -> bool {
        match self {
            Self::Done { comparison, .. } => comparison.simulated.is_met() && comparison.lab.is_met(),
            Self::Failed { .. } => false,
        }
    }
}

/// A figure of the table.
struct Column {
    key: &'static str,
    head: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Seconds,
    Copies,
    Gap,
}

const GAP: &str = "largest_gap";
const COLUMNS: [Column; 6] = [
    Column { key: "median_device_seconds", head: "median s: predicted, measured", kind: Kind::Seconds },
    Column { key: "p99_device_seconds", head: "p99 s", kind: Kind::Seconds },
    Column { key: "last_device_seconds", head: "last s", kind: Kind::Seconds },
    Column { key: "seeder_copies", head: "seeder copies", kind: Kind::Copies },
    Column { key: "seeder_wire_copies", head: "wire copies", kind: Kind::Copies },
    Column { key: GAP, head: "largest gap of the curves", kind: Kind::Gap },
];

impl Column {
    fn both(&self, comparison: &Comparison) -> (Option<f64>, Option<f64>) {
        let figure = comparison.figure(self.key);
        figure.map_or((None, None), |Figure { predicted, measured, .. }| (*predicted, *measured))
    }

    fn is_outside(&self, comparison: &Comparison) -> bool {
        match (self.kind, self.both(comparison)) {
            (Kind::Gap, _) => comparison.largest_gap > GAP_MAX,
            (_, (None, None)) => false,
            (_, (None, _) | (_, None)) => true,
            (Kind::Seconds, (Some(predicted), Some(measured))) => {
                (predicted - measured).abs() > measured * TIME_MAX
            }
            (Kind::Copies, (Some(predicted), Some(measured))) => (predicted - measured).abs() > COPIES_MAX,
        }
    }

    fn cell(&self, comparison: &Comparison) -> String {
        let (predicted, measured) = self.both(comparison);
        let places = if self.kind == Kind::Copies { 4 } else { 2 };
        let shown = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.places$}"));
        let text = match (self.kind, predicted, measured) {
            (Kind::Gap, ..) => format!("{:.1} points", comparison.largest_gap * 100.0),
            (Kind::Seconds, Some(p), Some(m)) if m > 0.0 => {
                format!("{p:.2}, {m:.2} ({:+.1} %)", (p / m - 1.0) * 100.0)
            }
            _ => format!("{}, {}", shown(predicted), shown(measured)),
        };
        if self.is_outside(comparison) { format!("**{text}**") } else { text }
    }
}

/// The table, in Markdown; ends with a newline.
pub fn markdown(rows: &[Measured]) -> String {
    let heads: Vec<&str> = COLUMNS.iter().map(|column| column.head).collect();
    let mut table = format!("| plan | {} | load |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len() + 2));
    for row in rows {
        // Writing to a string can't fail.
        let _ = match row {
            Measured::Done { comparison, load, .. } => {
                let cells: Vec<String> = COLUMNS.iter().map(|column| column.cell(comparison)).collect();
                let load = load.map_or("-".into(), |load| format!("{load:.1}"));
                writeln!(table, "| `{}` | {} | {load} |", comparison.plan, cells.join(" | "))
            }
            Measured::Failed { plan, error } => {
                let error = error.replace(['|', '\n'], " ");
                writeln!(table, "| `{plan}` | **failed: {error}** |{}", " |".repeat(heads.len()))
            }
        };
    }
    let aims = [TIME_MAX, COPIES_MAX, GAP_MAX];
    let is_outside = |row: &&Measured| !matches!(row, Measured::Done { outside, .. } if outside.is_empty());
    let outside = rows.iter().filter(is_outside).count();
    let _ = writeln!(
        table,
        "\n{outside} of {} plans are outside {:.0} % of a time, {} copies or {:.0} points of the curve: in bold.",
        rows.len(),
        aims[0] * 100.0,
        aims[1],
        aims[2] * 100.0
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use samara_protocol::measure::{DeviceReport, Run, RunReport};

    fn outcome(seconds: f64, seeder_bytes: u64) -> Outcome {
        let device = DeviceReport { device: "d0".into(), seconds: Some(seconds), ..DeviceReport::default() };
        let wire = Some(seeder_bytes + 50);
        Outcome::of(RunReport::new(Run {
            artifact_bytes: 1000,
            seeder_bytes,
            seeder_wire_bytes: wire,
            devices: vec![device],
            ..Run::default()
        }))
    }

    #[test]
    fn a_row_within_the_aims_has_nothing_in_bold() {
        let row = Measured::new(Comparison::new(outcome(1.09, 1000), outcome(1.0, 1029)), Some(0.25));
        let table = markdown(&[row]);
        assert_eq!(
            table.lines().nth(2),
            Some(
                "| `x` | 1.09, 1.00 (+9.0 %) | 1.09, 1.00 (+9.0 %) | 1.09, 1.00 (+9.0 %) | 1.0000, 1.0290 | \
                 1.0500, 1.0790 | 0.0 points | 0.2 |"
            )
        );
        assert!(
            table.ends_with(
                "\n0 of 1 plans are outside 10 % of a time, 0.03 copies or 5 points of the curve: in bold.\n"
            ),
            "{table}"
        );
    }

    #[test]
    fn what_is_outside_the_aims_is_in_bold_and_named() {
        let row = Measured::new(Comparison::new(outcome(1.12, 1000), outcome(1.0, 1031)), None);
        let Measured::Done { outside, .. } = &row else { panic!() };
        assert_eq!(
            outside[..],
            [
                "median_device_seconds",
                "p99_device_seconds",
                "last_device_seconds",
                "seeder_copies",
                "seeder_wire_copies"
            ]
        );
        assert!(markdown(&[row]).contains("| **1.12, 1.00 (+12.0 %)** | **1.0000, 1.0310** |"));
    }

    #[test]
    fn a_device_that_finished_in_one_of_the_two_only_is_outside() {
        let mut lab = outcome(1.0, 1000);
        lab.report.last_device_seconds = None;
        let row = Measured::new(Comparison::new(outcome(1.0, 1000), lab), None);
        assert!(markdown(&[row]).contains("| **1.00, -** |"));
    }

    #[test]
    fn a_plan_that_failed_keeps_its_place() {
        let failed = Measured::Failed { plan: "x".into(), error: "no root | no lab".into() };
        assert!(!failed.is_met());
        let table = markdown(&[failed]);
        let row = table.lines().nth(2).unwrap();
        assert!(row.starts_with("| `x` | **failed: no root   no lab** | |"), "{row}");
        let columns = |line: &str| line.matches('|').count();
        assert_eq!(columns(row), columns(table.lines().next().unwrap()));
    }
}
