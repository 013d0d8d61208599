//! The slowest devices, and what held them: facts of the run and of the plan, no guesses.

use super::View;
use super::number::{percent, seconds};
use super::series::complete_at;
use crate::outcome::{Happening, Mark};
use samara_protocol::measure::DeviceReport;

/// Devices that are shown.
pub(super) const SHOWN_MAX: usize = 10;
/// What took less of a device's time than this held nobody.
const PART_MIN: f64 = 0.01;
/// A link, a disk or an uplink that alone needs this part of a device's time is what the time comes from.
const PART_EXPLAINS: f64 = 0.8;

/// A slow device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slow<'a> {
    pub(super) device: &'a DeviceReport,
    /// From the seeder's start on.
    pub(super) complete_at: Option<f64>,
    /// One fact each, the longest first.
    pub(super) reasons: Vec<String>,
}

/// The slowest devices, those that never finished first.
pub(super) fn slowest(view: View<'_>, shown_max: usize) -> Vec<Slow<'_>> {
    let report = &view.outcome.report;
    let mut devices: Vec<(usize, &DeviceReport)> = report.per_device.iter().enumerate().collect();
    let key = |device: &DeviceReport| device.seconds.unwrap_or(f64::INFINITY);
    devices.sort_by(|a, b| key(b.1).total_cmp(&key(a.1)));
    let slow =
        |(at, device)| Slow { device, complete_at: complete_at(device), reasons: reasons(view, at, device) };
    devices.into_iter().take(shown_max).map(slow).collect()
}

fn reasons(view: View<'_>, at: usize, device: &DeviceReport) -> Vec<String> {
    let end = complete_at(device).unwrap_or_else(|| super::series::end_of(view.outcome));
    let from = device.joined_seconds.unwrap_or(0.0);
    let taken = (end - from).max(f64::MIN_POSITIVE);
    let marks = &view.outcome.marks;
    let away =
        between(marks, &device.device, &[Happening::Killed, Happening::Left], Happening::Restarted, end);
    let cut = between(marks, &device.device, &[Happening::LinkDown], Happening::LinkUp, end);
    let idle = view.outcome.idle_seconds.get(at).copied().unwrap_or(0.0);
    let mut facts: Vec<(f64, String)> = [
        (away, format!("was not running for {}", seconds(away))),
        (cut, format!("its link was down for {}", seconds(cut))),
        (idle, format!("no piece was on its way to it for {} in all", seconds(idle))),
    ]
    .into_iter()
    .filter(|(time, _)| *time >= taken * PART_MIN)
    .collect();
    facts.extend(explanations(view, device).into_iter().filter(|(time, _)| *time >= taken * PART_EXPLAINS));
    facts.sort_by(|a, b| b.0.total_cmp(&a.0));
    let joined = device.joined_seconds.map(|at| format!("joined at {}", seconds(at)));
    let mut reasons: Vec<String> =
        joined.into_iter().chain(facts.into_iter().map(|(_, fact)| fact)).collect();
    if device.seconds.is_none() {
        let held = (device.bytes_from_seeder + device.bytes_from_peers) as f64;
        let part = (held / view.plan.artifact.bytes.0 as f64).min(1.0);
        reasons.push(format!("received {} of the artifact", percent(part)));
    }
    if reasons.is_empty() {
        reasons.push("shared its links with the others, nothing of its own held it".into());
    }
    reasons
}

/// Times that the plan alone brings about for a copy.
fn explanations(view: View<'_>, device: &DeviceReport) -> Vec<(f64, String)> {
    let plan = view.plan;
    let artifact = plan.artifact.bytes.0 as f64;
    let mut known = Vec::new();
    if let Some(number) = number_of(&device.device).filter(|number| *number < plan.devices.count) {
        let down = plan.rates(number).down;
        let time = artifact * 8.0 / down as f64;
        let rate = crate::plan::Rate(down);
        known.push((time, format!("its downlink of {rate} alone needs {}", seconds(time))));
    }
    if let Some(disk) = plan.simulated.as_ref().and_then(|simulated| simulated.disk) {
        let time = artifact / disk.0 as f64;
        known.push((time, format!("its disk of {disk} a second alone needs {}", seconds(time))));
    }
    if device.joined_seconds.is_none() {
        let time = artifact * 8.0 / plan.seeder.up.0 as f64;
        known.push((time, format!("the seeder's uplink needs {} for one copy", seconds(time))));
    }
    known
}

fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix('d')?.parse().ok()
}

/// Seconds from each of `begins` of a device to the next `ends`, up to `until`.
fn between(marks: &[Mark], device: &str, begins: &[Happening], ends: Happening, until: f64) -> f64 {
    let mut since = None;
    let mut total = 0.0;
    for mark in marks.iter().filter(|mark| mark.seconds < until && mark.who.iter().any(|who| who == device)) {
        if begins.contains(&mark.event) {
            since.get_or_insert(mark.seconds);
        } else if mark.event == ends {
            total += since.take().map_or(0.0, |since| mark.seconds - since);
        }
    }
    total + since.map_or(0.0, |since| until - since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(seconds: f64, event: Happening, who: &str) -> Mark {
        Mark { seconds, event, who: vec![who.into()] }
    }

    #[test]
    fn time_away_is_from_each_death_to_the_next_start_and_ends_with_the_device() {
        let marks = [
            mark(1.0, Happening::Killed, "d1"),
            mark(2.0, Happening::Killed, "d2"),
            mark(3.5, Happening::Restarted, "d1"),
            mark(8.0, Happening::Left, "d1"),
        ];
        let away =
            |until| between(&marks, "d1", &[Happening::Killed, Happening::Left], Happening::Restarted, until);
        assert_eq!([0.5, 2.0, 5.0, 9.0].map(away), [0.0, 1.0, 2.5, 3.5]);
    }
}
