//! The plots of one run, each with its title, a sentence that says what it shows, and what its colours mean.

use super::chart::{Axis, Dot, Layer, Plot};
use super::number::{bytes, counted, percent, seconds};
use super::palette::Ink;
use super::{View, events, installs, series};
use crate::outcome::Oracle;
use crate::plan::Rate;

/// Room to the right of the last event of a plot.
pub(super) const ROOM: f64 = 1.04;
/// With more bars than this there is no room between them.
const GAPS_MAX: usize = 25;
const MIB: f64 = 1024.0 * 1024.0;

/// How something is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Line,
    Dashes,
    /// Pale, with a line around it.
    Area,
    Fill,
    Dot,
}

/// A plot and its words.
pub(super) struct Figure {
    pub(super) title: &'static str,
    /// What is to be seen, for those who do not see it too.
    pub(super) says: String,
    pub(super) plot: Plot,
    pub(super) legend: Vec<(Ink, Key, String)>,
}

/// The figures that this run has data for.
pub(super) fn all(view: View<'_>) -> Vec<Figure> {
    let figures = [Some(over_time(view)), uplink(view), sources(view), copies(view)];
    figures.into_iter().flatten().collect()
}

/// The end of the time axis: the run, and what it is compared with.
fn time_end(view: View<'_>) -> f64 {
    let oracle = &view.outcome.oracle;
    let bounds = [oracle.lower_bound_seconds, oracle.pipeline_seconds];
    bounds.into_iter().flatten().fold(series::end_of(view.outcome), f64::max) * ROOM
}

pub(super) fn time_axis(end: f64) -> Axis {
    Axis::of("seconds from the seeder's start", end)
}

/// The bound as a line upwards, with its legend.
pub(super) fn bound(oracle: &Oracle) -> (Vec<Layer>, Vec<(Ink, Key, String)>) {
    let layer = oracle.lower_bound_seconds.map(|x| Layer::Bound { x, ink: Ink::Bound });
    let said = oracle.lower_bound_seconds.map(|time| {
        let pipeline = oracle
            .pipeline_seconds
            .map_or(String::new(), |time| format!(" (of whole pieces {})", seconds(time)));
        (Ink::Bound, Key::Dashes, format!("no schedule completes before {}{pipeline}", seconds(time)))
    });
    (layer.into_iter().collect(), said.into_iter().collect())
}

fn marks_key(view: View<'_>) -> Option<(Ink, Key, String)> {
    let has_any = !view.outcome.marks.is_empty();
    has_any.then(|| (Ink::Event, Key::Line, "events, listed below".into()))
}

fn over_time(view: View<'_>) -> Figure {
    let end = time_end(view);
    let report = &view.outcome.report;
    let (bound_layers, bound_legend) = bound(&view.outcome.oracle);
    let held = Layer::Area { dots: series::held(&view.outcome.curve), ink: Ink::Second };
    let dots = series::complete(report, series::end_of(view.outcome));
    let complete = Layer::Line { dots, ink: Ink::First, width: 3 };
    let mut legend = vec![
        (Ink::First, Key::Line, "devices that are complete".into()),
        (Ink::Second, Key::Area, "bytes that the devices hold".into()),
    ];
    let installed = view.outcome.installs.as_ref().map(|installs| Layer::Line {
        dots: installs::committed(installs, series::end_of(view.outcome)),
        ink: Ink::Third,
        width: 3,
    });
    if installed.is_some() {
        legend.push((Ink::Third, Key::Line, "devices that have committed the release".into()));
    }
    legend.extend(bound_legend);
    legend.extend(marks_key(view));
    let half = report.median_device_seconds;
    let half = half.map_or(String::new(), |half| format!(" Half of them are after {}.", seconds(half)));
    Figure {
        title: "Devices complete over time",
        says: format!(
            "{} of {} are complete at the end.{half}",
            report.verified,
            counted(report.devices, "device", "devices")
        ),
        plot: Plot {
            x: time_axis(end),
            y: Axis::of("%", 100.0),
            layers: [vec![held], bound_layers, events::layers(&view.outcome.marks).collect(), vec![complete]]
                .into_iter()
                .flatten()
                .chain(installed)
                .collect(),
        },
        legend,
    }
}

fn uplink(view: View<'_>) -> Option<Figure> {
    let dots = series::uplink(&view.outcome.curve);
    let highest = dots.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    if highest <= 0.0 {
        return None;
    }
    let capacity = (view.plan.seeder.up != Rate::UNLIMITED).then(|| view.plan.seeder.up.0 as f64 / 1e6);
    let sent = view.outcome.curve.last().map_or(0, |point| point.seeder_bytes);
    let has_free_bytes =
        view.outcome.seed.is_some() && capacity.is_some_and(|capacity| highest > capacity * 1.01);
    let too_much =
        if has_free_bytes { " Control messages are counted, and take no room in the model." } else { "" };
    let mut legend = vec![(Ink::First, Key::Area, "bytes on its link, headers and hashes too".into())];
    let can_carry = || format!("what it can carry, {}", view.plan.seeder.up);
    legend.extend(capacity.map(|_| (Ink::Bound, Key::Dashes, can_carry())));
    legend.extend(marks_key(view));
    let level = capacity.map(|y| Layer::Level { y, ink: Ink::Bound });
    let layers = [Layer::Area { dots, ink: Ink::First }].into_iter().chain(level);
    Some(Figure {
        title: "The seeder's uplink over time",
        says: format!(
            "It sent {} of the artifact in {}.{too_much}",
            bytes(sent),
            seconds(series::end_of(view.outcome))
        ),
        plot: Plot {
            x: time_axis(time_end(view)),
            y: Axis::of("Mbit/s", highest.max(capacity.unwrap_or(0.0)) * 1.1),
            layers: layers.chain(events::layers(&view.outcome.marks)).collect(),
        },
        legend,
    })
}

fn sources(view: View<'_>) -> Option<Figure> {
    let report = &view.outcome.report;
    let bars = series::sources(report);
    let of_bar = |bar: &series::Sources| bar.from_seeder + bar.from_peers + bar.twice;
    let highest = bars.iter().map(of_bar).fold(0.0, f64::max);
    if highest <= 0.0 {
        return None;
    }
    let stacked = |low: fn(&series::Sources) -> f64, part: fn(&series::Sources) -> f64, ink| {
        let corner = |(at, bar): (usize, &series::Sources)| {
            let width = report.devices as f64 / bars.len() as f64;
            let filled = if bars.len() > GAPS_MAX { 1.0 } else { 0.86 };
            let (left, right) = (at as f64 * width, (at as f64 + filled) * width);
            let below = low(bar) / MIB;
            ((left, below), (right, below + part(bar) / MIB))
        };
        Layer::Bars { corners: bars.iter().enumerate().map(corner).collect(), ink }
    };
    let mut legend = vec![
        (Ink::First, Key::Fill, "from the seeder".into()),
        (Ink::Second, Key::Fill, "from other devices".into()),
    ];
    if report.duplicate_bytes > 0 {
        legend.push((
            Ink::Event,
            Key::Fill,
            format!("received twice, {} in all", bytes(report.duplicate_bytes)),
        ));
    }
    let twice = match report.repair_bytes {
        0 => "the seeder sent nothing twice".to_owned(),
        again => format!("the seeder sent {} a second time", bytes(again)),
    };
    let groups = if bars.len() < report.per_device.len() { " Each bar is the mean of a group." } else { "" };
    Some(Figure {
        title: "Where the bytes came from",
        says: format!("{} of them came from other devices; {twice}.{groups}", percent(report.peer_share)),
        plot: Plot {
            x: Axis::counting("devices, the first to be complete at the left", report.devices as f64),
            y: Axis::of("MiB", highest / MIB * 1.05),
            layers: vec![
                stacked(|_| 0.0, |bar| bar.from_seeder, Ink::First),
                stacked(|bar| bar.from_seeder, |bar| bar.from_peers, Ink::Second),
                stacked(|bar| bar.from_seeder + bar.from_peers, |bar| bar.twice, Ink::Event),
            ],
        },
        legend,
    })
}

fn copies(view: View<'_>) -> Option<Figure> {
    let copies = &view.outcome.piece_copies;
    let most = copies.iter().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let pieces = f64::from(view.outcome.oracle.pieces);
    let width = pieces / copies.len() as f64;
    let step =
        |(at, copies): (usize, &f64)| [(at as f64 * width, *copies), ((at + 1) as f64 * width, *copies)];
    let dots: Vec<Dot> = copies.iter().enumerate().flat_map(step).collect();
    let legend = vec![
        (Ink::First, Key::Area, "copies that the seeder sent".into()),
        (Ink::Bound, Key::Dashes, "one copy: enough, if nobody who holds it vanishes".into()),
    ];
    Some(Figure {
        title: "Copies of each piece",
        says: copies_sentence(copies, width > 1.0),
        plot: Plot {
            x: Axis::counting("pieces, in the order of the artifact", pieces),
            y: Axis::of("copies", most.max(1.0) * 1.2),
            layers: vec![Layer::Area { dots, ink: Ink::First }, Layer::Level { y: 1.0, ink: Ink::Bound }],
        },
        legend,
    })
}

/// How many pieces left the seeder how often.
fn copies_sentence(copies: &[f64], are_stretches: bool) -> String {
    let (one, many) =
        if are_stretches { ("stretch of pieces", "stretches of pieces") } else { ("piece", "pieces") };
    let count = |is_in: fn(f64) -> bool| copies.iter().filter(|copies| is_in(**copies)).count();
    let (less, once, more) = (count(|c| c < 1.0), count(|c| (1.0..=1.0).contains(&c)), count(|c| c > 1.0));
    let mut parts = vec![format!("{} left the seeder once", counted(once, one, many))];
    if more > 0 {
        parts.push(format!("{more} more than once"));
    }
    if less > 0 {
        parts.push(format!("{less} not as a whole"));
    }
    format!("{}.", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_counted_in_a_sentence() {
        assert_eq!(copies_sentence(&[1.0, 1.0], false), "2 pieces left the seeder once.");
        assert_eq!(
            copies_sentence(&[1.0, 1.5, 2.0, 0.25], false),
            "1 piece left the seeder once, 2 more than once, 1 not as a whole."
        );
        assert_eq!(copies_sentence(&[1.0], true), "1 stretch of pieces left the seeder once.");
    }
}
