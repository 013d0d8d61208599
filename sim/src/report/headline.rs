//! A run in plain words: the sentences that stand first, on the page and in the terminal.

use super::number::{bytes, counted, percent, ratio, seconds};
use super::{View, installs};
use crate::outcome::Oracle;
use samara_protocol::measure::Limit;

/// What came of it, how good that is, and what it cost; a sentence or two each.
pub(super) fn sentences(view: View<'_>) -> Vec<String> {
    let came_of = came_of(view).map(|said| said + &not_counted(view));
    let installed = view.outcome.installs.as_ref().map(installs::sentence);
    [came_of, installed, Some(how_good(view)), pipeline(&view.outcome.oracle), Some(cost(view))]
        .into_iter()
        .flatten()
        .collect()
}

fn came_of(view: View<'_>) -> Option<String> {
    let report = &view.outcome.report;
    let all = counted(report.devices, "device", "devices");
    if report.verified < report.devices {
        let end = seconds(super::series::end_of(view.outcome));
        return Some(format!("{} of {all} are complete when the run ends after {end}.", report.verified));
    }
    let late: Vec<f64> =
        report.per_device.iter().filter(|d| d.joined_seconds.is_some()).filter_map(|d| d.seconds).collect();
    let slowest = late.iter().copied().max_by(f64::total_cmp);
    Some(match (report.last_device_seconds, slowest) {
        (None, None) => return None,
        (Some(last), None) => format!("All {all} are complete after {}.", seconds(last)),
        (last, Some(slowest)) => {
            let first = counted(report.devices - late.len(), "device", "devices");
            let fleet = last.map_or_else(
                || "All are complete, ".into(),
                |last| format!("All {first} there from the start are complete after {}, ", seconds(last)),
            );
            let late = counted(late.len(), "late device", "late devices");
            format!("{fleet}{late} at most {} after joining.", seconds(slowest))
        }
    })
}

/// Devices of the plan that the report leaves out.
fn not_counted(view: View<'_>) -> String {
    let lies = match view.outcome.installs {
        Some(_) => ["it lies, or it does without the release", "they lie, or do without the release"],
        None => ["or it lies", "or they lie"],
    };
    match view.plan.devices.count.saturating_sub(view.outcome.report.devices) {
        0 => String::new(),
        1 => format!(" One more does not count: the plan takes it away for good, {}.", lies[0]),
        more => format!(" {more} more do not count: the plan takes them away for good, {}.", lies[1]),
    }
}

fn how_good(view: View<'_>) -> String {
    let Some(bound) = view.outcome.oracle.lower_bound_seconds else {
        return "No bound is known for these links.".into();
    };
    let why = view.outcome.oracle.limit.map_or(String::new(), |limit| format!(": {}", because(limit)));
    let taken = view.outcome.report.time_ratio;
    let taken =
        taken.map_or(String::new(), |taken| format!(" This run took {} times as long.", ratio(taken)));
    format!("No schedule can be faster than {}{why}.{taken}", seconds(bound))
}

/// What a bound comes from.
pub(super) fn because(limit: Limit) -> &'static str {
    match limit {
        Limit::SeederUplink => "the seeder's uplink needs that long for one copy",
        Limit::SlowestDownlink => "the slowest downlink of a device needs that long for its copy",
        Limit::AllUplinks => "all uplinks together need that long for a copy for each device",
        Limit::SegmentLink => "the slowest link of a segment needs that long for one copy",
    }
}

/// The optimal schedule of whole pieces, where it is known.
pub(super) fn pipeline(oracle: &Oracle) -> Option<String> {
    let doublings = oracle.pipeline_rounds.saturating_sub(oracle.pieces);
    oracle.pipeline_seconds.map(|time| {
        let pieces = counted(oracle.pieces as usize, "piece", "pieces");
        let doublings = counted(doublings as usize, "doubling", "doublings");
        format!("The best schedule of whole pieces takes {}: {pieces}, {doublings}.", seconds(time))
    })
}

fn cost(view: View<'_>) -> String {
    let report = &view.outcome.report;
    let again = match report.repair_bytes {
        0 => String::new(),
        again => format!(" ({} of it again)", bytes(again)),
    };
    format!(
        "The seeder sent {} copies{again}; {} of the bytes came from other devices.",
        ratio(report.seeder_copies),
        percent(report.peer_share)
    )
}
