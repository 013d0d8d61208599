//! The page of one plan with many seeds: what varies, what does not, and which seed to look at.

use super::chart::{Axis, Layer, Plot};
use super::figures::{self, Figure, Key, ROOM};
use super::number::{counted, ratio, seconds};
use super::palette::Ink;
use super::{frame, headline, series};
use crate::outcome::Outcome;
use crate::plan::Plan;
use samara_protocol::measure::RunReport;

/// Rows of the table, and dots of a plot, at most.
const SHOWN_MAX: usize = 500;
/// Failed runs whose sentences are shown.
const FAILURES_MAX: usize = 20;

/// The page; without a run there is nothing to show.
pub fn page(plan: &Plan, outcomes: &[&Outcome]) -> anyhow::Result<String> {
    let last = |outcome: &&&Outcome| outcome.report.last_device_seconds.unwrap_or(f64::INFINITY);
    let slowest = outcomes.iter().max_by(|a, b| last(a).total_cmp(&last(b)));
    let Some((first, slowest)) = outcomes.first().zip(slowest) else { anyhow::bail!("no run, no report") };
    let rows: Vec<Vec<String>> = outcomes.iter().take(SHOWN_MAX).map(|outcome| row(outcome)).collect();
    let has_installs = first.installs.is_some();
    let heads = ["seed", "complete", "median", "last device", "time ratio", "seeder copies", "total copies"];
    let of_installs = ["committed", "rolled back", "last committed"];
    let heads = [&heads[..], &of_installs[..if has_installs { of_installs.len() } else { 0 }]].concat();
    let left_off = outcomes.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0);
    let body = maud::html! {
        (frame::head(&plan.name, &plan.about, "Simulated runs", outcomes))
        @for sentence in sentences(outcomes) { p.headline { (sentence) } }
        @if let Some(pipeline) = headline::pipeline(&first.oracle) { p.headline { (pipeline) } }
        (frame::failures(outcomes, FAILURES_MAX))
        (frame::figures(&[spread(first, outcomes), times(first, outcomes), sent(outcomes), received(outcomes)])?)
        section {
            h2 { "Each seed" }
            (frame::table(&heads, &rows))
            @if let Some(more) = left_off { p { "and " (more) " more" } }
            p { "The slowest of them in full: " code { (slowest.command) " --report FILE.html" } }
        }
        section { h2 { "How it was run" } p { (first.network) } (frame::plan(&plan.text)) }
    };
    Ok(frame::page(&format!("{}, {} seeds – samara-sim", plan.name, outcomes.len()), &body))
}

fn row(outcome: &Outcome) -> Vec<String> {
    let report = &outcome.report;
    let known = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(|| "–".into(), show);
    let installs = outcome.installs.iter().flat_map(|installs| {
        let last = known(installs.last_committed_seconds, seconds);
        [format!("{} of {}", installs.committed, installs.devices), installs.rolled_back.to_string(), last]
    });
    let figures = [
        outcome.seed.unwrap_or_default().to_string(),
        format!("{} of {}", report.verified, report.devices),
        known(report.median_device_seconds, seconds),
        known(report.last_device_seconds, seconds),
        known(report.time_ratio, ratio),
        ratio(report.seeder_copies),
        ratio(report.total_copies),
    ];
    figures.into_iter().chain(installs).collect()
}

fn sentences(outcomes: &[&Outcome]) -> Vec<String> {
    let lasts: Vec<f64> = outcomes.iter().filter_map(|o| o.report.last_device_seconds).collect();
    let (low, high) = range(&lasts);
    let all = counted(outcomes.len(), "run", "runs");
    let mut sentences = vec![if lasts.len() == outcomes.len() {
        format!("In each of {all} the devices are complete after {} to {}.", seconds(low), seconds(high))
    } else {
        format!("In {} of {all} not every device is complete at the end.", outcomes.len() - lasts.len())
    }];
    let bound =
        outcomes.first().and_then(|outcome| outcome.oracle.lower_bound_seconds.zip(outcome.oracle.limit));
    if let Some((bound, limit)) = bound {
        let why = headline::because(limit);
        sentences.push(format!("No schedule can be faster than {}: {why}.", seconds(bound)));
    }
    sentences
}

fn range(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    (low, values.iter().copied().fold(0.0, f64::max))
}

fn spread(first: &Outcome, outcomes: &[&Outcome]) -> Figure {
    let reports: Vec<&RunReport> = outcomes.iter().map(|outcome| &outcome.report).collect();
    let bound = first.oracle.lower_bound_seconds.unwrap_or(0.0);
    let end = outcomes.iter().map(|outcome| series::end_of(outcome)).fold(bound, f64::max) * ROOM;
    let spread = series::spread(&reports, end);
    let (bounds, bound_legend) = figures::bound(&first.oracle);
    let mut legend = vec![
        (Ink::First, Key::Line, "devices that are complete, the middle of the runs".into()),
        (Ink::First, Key::Area, "from the slowest to the fastest run".into()),
    ];
    legend.extend(bound_legend);
    let band = Layer::Band { edges: spread.edges, ink: Ink::First };
    let median = Layer::Line { dots: spread.median, ink: Ink::First, width: 3 };
    Figure {
        title: "Devices complete over time",
        says: format!("{}, one curve each.", counted(outcomes.len(), "run", "runs")),
        plot: Plot {
            x: figures::time_axis(end),
            y: Axis::of("%", 100.0),
            layers: [vec![band], bounds, vec![median]].concat(),
        },
        legend,
    }
}

/// A dot for each run, and a line to hold it against.
fn dots(outcomes: &[&Outcome], value: fn(&RunReport) -> Option<f64>) -> (Vec<(f64, f64)>, f64) {
    let stride = outcomes.len().div_ceil(SHOWN_MAX).max(1);
    let shown = outcomes.iter().enumerate().step_by(stride);
    let dots: Vec<(f64, f64)> =
        shown.filter_map(|(at, outcome)| Some((at as f64 + 0.5, value(&outcome.report)?))).collect();
    let highest = dots.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    (dots, highest)
}

fn runs_axis(outcomes: &[&Outcome]) -> Axis {
    Axis::counting("runs, in the order of their seeds", outcomes.len() as f64)
}

fn times(first: &Outcome, outcomes: &[&Outcome]) -> Figure {
    let (dots, highest) = dots(outcomes, |report| report.last_device_seconds);
    let bound = first.oracle.lower_bound_seconds;
    let (low, high) = range(&dots.iter().map(|(_, value)| *value).collect::<Vec<f64>>());
    let level = bound.map(|y| Layer::Level { y, ink: Ink::Bound });
    let says = if dots.is_empty() {
        "In no run all devices are complete.".to_owned()
    } else {
        format!("From {} to {}.", seconds(low), seconds(high))
    };
    let mut legend = vec![(Ink::First, Key::Dot, "the last device of a run".to_owned())];
    legend.extend(bound.map(|bound| (Ink::Bound, Key::Dashes, format!("lower bound, {}", seconds(bound)))));
    Figure {
        title: "The last device of each run",
        says,
        plot: Plot {
            x: runs_axis(outcomes),
            y: Axis::of("seconds", highest.max(bound.unwrap_or(0.0)) * 1.15),
            layers: level.into_iter().chain([Layer::Dots { dots, ink: Ink::First }]).collect(),
        },
        legend,
    }
}

fn sent(outcomes: &[&Outcome]) -> Figure {
    let what = "artifact bytes that it sent ÷ artifact";
    copies("What each run cost the seeder", what, outcomes, |report| Some(report.seeder_copies))
}

fn received(outcomes: &[&Outcome]) -> Figure {
    let what = "bytes that a device received ÷ artifact, the mean";
    copies("What the devices received", what, outcomes, |report| Some(report.total_copies))
}

/// Copies of each run, held against one.
fn copies(
    title: &'static str,
    what: &str,
    outcomes: &[&Outcome],
    value: fn(&RunReport) -> Option<f64>,
) -> Figure {
    let (dots, highest) = dots(outcomes, value);
    let (low, high) = range(&dots.iter().map(|(_, value)| *value).collect::<Vec<f64>>());
    Figure {
        title,
        says: format!("From {} to {} copies.", ratio(low), ratio(high)),
        plot: Plot {
            x: runs_axis(outcomes),
            y: Axis::of("copies", highest.max(1.0) * 1.15),
            layers: vec![Layer::Level { y: 1.0, ink: Ink::Bound }, Layer::Dots { dots, ink: Ink::Second }],
        },
        legend: vec![(Ink::Second, Key::Dot, what.into()), (Ink::Bound, Key::Dashes, "one copy".into())],
    }
}
