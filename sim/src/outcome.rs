//! What a run of a plan came to, in the lab or in virtual time: the same keys, so that the two can be compared.

use crate::installs::InstallReport;
use crate::plan::{Event, Party, Plan, Verb, device_name};
use samara_protocol::geometry::Geometry;
use samara_protocol::measure::{Limit, RunReport, lower_bound_rounds};
use serde::Serialize;
use std::collections::BTreeMap;

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The plan's name.
    pub plan: String,
    /// What the network really was, in words.
    pub network: String,
    /// The command that repeats the run.
    pub command: String,
    /// Of all dice; a run in the lab throws none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Options that are not in the plan, by name.
    pub options: BTreeMap<&'static str, String>,
    /// The best that any schedule could do.
    pub oracle: Oracle,
    /// The numbers.
    pub report: RunReport,
    /// The run on the way.
    pub curve: Vec<Point>,
    /// What happened on the way, in the order of time.
    pub marks: Vec<Mark>,
    /// For each piece the copies that left the seeder, in the order of the artifact; of an artifact with more than
    /// [`PIECES_SHOWN_MAX`] pieces, the most of each stretch. Empty in the lab, which cannot see it.
    pub piece_copies: Vec<f64>,
    /// Seconds in which nothing was on its way to a device although it was there and wanted something, in the order of
    /// `report.per_device`. Empty in the lab, which cannot see it.
    pub idle_seconds: Vec<f64>,
    /// How the installs ended, where something is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installs: Option<InstallReport>,
    /// One sentence for each expectation that failed and each rule that was broken.
    pub failures: Vec<String>,
}

/// Entries of [`Outcome::piece_copies`] at most.
pub const PIECES_SHOWN_MAX: usize = 1024;

/// The best that any schedule could do with the links of a plan: bounds beside the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Oracle {
    /// No schedule is faster.
    pub lower_bound_seconds: Option<f64>,
    /// Why not.
    pub limit: Option<Limit>,
    /// Pieces of the artifact.
    pub pieces: u32,
    /// Rounds of one piece that the optimal schedule takes where all links are equal: pieces and doublings.
    pub pipeline_rounds: u32,
    /// Time of the optimal schedule of whole pieces; `None` where none is known for such links.
    pub pipeline_seconds: Option<f64>,
}

impl Oracle {
    /// For the devices of a plan that are there from the start.
    pub fn new(plan: &Plan) -> Self {
        let bound = plan.lower_bound();
        let devices = plan.present().count() as u32;
        let geometry = Geometry::for_length(plan.artifact.bytes.0).ok();
        let pieces = geometry.map_or(0, |geometry| geometry.pieces());
        Self {
            lower_bound_seconds: bound.map(|bound| bound.seconds),
            limit: bound.map(|bound| bound.limit),
            pieces,
            pipeline_rounds: lower_bound_rounds(pieces, devices),
            pipeline_seconds: geometry.and_then(|geometry| plan.pipeline_seconds(geometry.piece_bytes())),
        }
    }
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// SIGKILL.
    Killed,
    /// Started again on what was on its disk.
    Restarted,
    /// SIGTERM.
    Left,
    /// Its power was gone.
    PowerCut,
    /// Its link carries nothing any more.
    LinkDown,
    /// Its link carries again.
    LinkUp,
    /// A device that was away came.
    Joined,
    /// The rollout was paused.
    RolloutPaused,
    /// The rollout goes on.
    RolloutResumed,
    /// The rollout was ended.
    RolloutAborted,
    /// Devices are told to try again what went wrong.
    RolloutRetried,
    /// The seeder said for the first time that it may go.
    SafeToLeave,
}

impl From<Verb> for Happening {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Kill => Self::Killed,
            Verb::PowerCut => Self::PowerCut,
            Verb::Restart => Self::Restarted,
            Verb::Leave => Self::Left,
            Verb::LinkDown => Self::LinkDown,
            Verb::LinkUp => Self::LinkUp,
            Verb::Join => Self::Joined,
            Verb::RolloutPause => Self::RolloutPaused,
            Verb::RolloutResume => Self::RolloutResumed,
            Verb::RolloutAbort => Self::RolloutAborted,
            Verb::RolloutRetry => Self::RolloutRetried,
        }
    }
}

/// A happening, when it was, and who it was about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// Seconds from the seeder's start.
    pub seconds: f64,
    /// What happened.
    pub event: Happening,
    /// Names of devices, `seeder`, or `rollout`.
    pub who: Vec<String>,
}

impl Mark {
    /// An event of the plan.
    pub fn of(event: &Event, seconds: f64) -> Self {
        let name = |party: &Party| match party {
            Party::Seeder => SEEDER.to_owned(),
            Party::Device(device) => device_name(*device),
        };
        let rollout = event.verb.is_of_rollout().then(|| ROLLOUT.to_owned());
        let who = event.who.iter().map(name).chain(rollout).collect();
        Self { seconds, event: event.verb.into(), who }
    }

    /// The seeder may go.
    pub fn safe(seconds: f64) -> Self {
        Self { seconds, event: Happening::SafeToLeave, who: vec![SEEDER.to_owned()] }
    }
}

/// Names that a sentence says before it counts.
const NAMES_MAX: usize = 8;

/// A list of names for a sentence: a few of them, and how many more there are.
pub fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What the seeder is called beside the devices.
pub const SEEDER: &str = "seeder";
/// What the rollout is called beside them.
pub const ROLLOUT: &str = "rollout";

/// A moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Point {
    /// Seconds from the seeder's start.
    pub seconds: f64,
    /// The part of all bytes that the devices which were there from the start hold, 0 to 1.
    pub fraction: f64,
    /// Devices that have the whole verified artifact.
    pub complete: usize,
    /// Artifact bytes that the seeder sent so far.
    pub seeder_bytes: u64,
    /// All bytes on its link so far.
    pub seeder_wire_bytes: u64,
    /// Devices that have committed the release; only where something is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed: Option<usize>,
}

impl Outcome {
    /// Whether everything that the plan expects came true.
    pub fn is_met(&self) -> bool {
        self.failures.is_empty()
    }
}

#[cfg(test)]
impl Outcome {
    /// Nothing but the numbers.
    pub(crate) fn of(report: RunReport) -> Self {
        Self {
            plan: "x".into(),
            network: String::new(),
            command: String::new(),
            seed: None,
            options: BTreeMap::new(),
            oracle: Oracle {
                lower_bound_seconds: report.lower_bound_seconds,
                limit: None,
                pieces: 1,
                pipeline_rounds: 1,
                pipeline_seconds: None,
            },
            report,
            curve: Vec::new(),
            marks: Vec::new(),
            piece_copies: Vec::new(),
            idle_seconds: Vec::new(),
            installs: None,
            failures: Vec::new(),
        }
    }
}

/// The largest difference of two curves' fractions at one time, over the times of both.
pub fn largest_gap(a: &[Point], b: &[Point]) -> f64 {
    let times = a.iter().chain(b).map(|point| point.seconds);
    times.map(|at| (fraction_at(a, at) - fraction_at(b, at)).abs()).fold(0.0, f64::max)
}

/// Before the first point nothing.
fn fraction_at(curve: &[Point], seconds: f64) -> f64 {
    value_at(curve, seconds, |point| point.fraction).unwrap_or(0.0)
}

/// A value of a curve at a time, straight from point to point, after the last as the last; `None` before the first.
pub fn value_at(curve: &[Point], seconds: f64, value: impl Fn(&Point) -> f64) -> Option<f64> {
    let after = curve.partition_point(|point| point.seconds <= seconds);
    let before = curve.get(after.checked_sub(1)?)?;
    Some(curve.get(after).map_or(value(before), |next| {
        let part = (seconds - before.seconds) / (next.seconds - before.seconds);
        value(before) + (value(next) - value(before)) * part
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> Vec<Point> {
        points.iter().map(|&(seconds, fraction)| Point { seconds, fraction, ..Point::default() }).collect()
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
