//! How the installs of a run ended: a sentence, the rows of a table, and the steps of a curve.

use super::chart::Dot;
use super::number::{counted, seconds};
use super::series::steps;
use crate::installs::{Ending, InstallReport};
use samara_protocol::install::State;
use std::collections::BTreeMap;

/// The sentence that stands beside those about the bytes.
pub(super) fn sentence(installs: &InstallReport) -> String {
    let all = counted(installs.devices, "device", "devices");
    let when = match (installs.median_committed_seconds, installs.last_committed_seconds) {
        (Some(half), Some(last)) => {
            format!(", half of them after {}, the last after {}", seconds(half), seconds(last))
        }
        _ => String::new(),
    };
    let mut others: BTreeMap<State, usize> = BTreeMap::new();
    for ending in installs.endings.iter().filter(|ending| !ending.state.is_in_place()) {
        *others.entry(ending.state).or_default() += ending.count;
    }
    let others = others.into_iter().map(|(state, count)| format!("{count} {}", words(state)));
    let others: Vec<String> = others.collect();
    let others = if others.is_empty() { String::new() } else { format!("; {}", others.join(", ")) };
    format!("{} of {all} committed the release{when}{others}.", installs.committed)
}

fn words(state: State) -> String {
    state.as_str().replace('_', " ")
}

/// How devices ended, how many of them, which, and why.
pub(super) fn rows(installs: &InstallReport) -> Vec<[String; 4]> {
    let row = |ending: &Ending| {
        [words(ending.state), ending.count.to_string(), ending.devices.clone(), ending.why.clone()]
    };
    installs.endings.iter().map(row).collect()
}

/// Percent of the devices that have committed the release, in steps, until `end`.
pub(super) fn committed(installs: &InstallReport, end: f64) -> Vec<Dot> {
    let mut times: Vec<f64> =
        installs.per_device.iter().filter_map(|device| device.committed_seconds).collect();
    times.sort_by(f64::total_cmp);
    steps(&times, installs.devices, end)
}

/// For a terminal: the figures, then how devices ended, and why.
pub(super) fn text(installs: &InstallReport) -> Vec<String> {
    let figure = |name: &str, value: Option<f64>| {
        let value = value.map_or_else(|| "-".into(), seconds);
        format!("{name:<22}{value:>10}")
    };
    let mut lines = vec![
        "\ninstalls".to_owned(),
        format!("{:<22}{:>10}", "committed", format!("{} of {}", installs.committed, installs.devices)),
        figure("median committed", installs.median_committed_seconds),
        figure("p99 committed", installs.p99_committed_seconds),
        figure("last committed", installs.last_committed_seconds),
    ];
    for [state, count, devices, why] in rows(installs) {
        let why = if why.is_empty() { why } else { format!(" ({why})") };
        lines.push(format!("{count} {state}{why}: {devices}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installs::DeviceInstall;

    fn report() -> InstallReport {
        let device = |number: usize, state, committed_seconds| DeviceInstall {
            device: format!("d{number}"),
            state: Some(state),
            why: String::new(),
            committed_seconds,
            installs: 1,
            cuts: 0,
        };
        InstallReport::new(vec![
            device(0, State::Committed, Some(5.0)),
            device(1, State::Committed, Some(7.0)),
            device(2, State::RolledBack, None),
            device(3, State::Staged, None),
        ])
    }

    #[test]
    fn a_sentence_says_how_many_committed_and_what_became_of_the_others() {
        let expected = "2 of 4 devices committed the release, half of them after 5.00 s, the last after 7.00 s; \
            1 staged, 1 rolled back.";
        assert_eq!(sentence(&report()), expected);
    }

    #[test]
    fn the_curve_of_installs_ends_at_the_part_that_committed() {
        let dots = committed(&report(), 10.0);
        assert!(dots.contains(&(5.0, 25.0)) && dots.last() == Some(&(10.0, 50.0)), "{dots:?}");
    }
}
