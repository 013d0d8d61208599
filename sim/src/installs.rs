//! How the installs of a run ended: figures for people and programs.

use crate::outcome::listed;
use samara_protocol::install::State;
use samara_protocol::measure::percentile;
use serde::Serialize;

/// The install of one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceInstall {
    /// Its name.
    pub device: String,
    /// Where the release stands on it in the end; `None`: it never heard of it.
    pub state: Option<State>,
    /// Why, where something was wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When it committed the release, from the seeder's start on.
    pub committed_seconds: Option<f64>,
    /// Installs begun.
    pub installs: u32,
    /// How often its process or power ended in the middle of one.
    pub cuts: u32,
}

/// Devices that ended in the same way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ending {
    /// Where the release stands.
    pub state: State,
    /// Why, where something was wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// How many.
    pub count: usize,
    /// A few of them by name.
    pub devices: String,
}

/// The installs of a run, of the devices that were there and honest in the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstallReport {
    /// How many they are.
    pub devices: usize,
    /// Those that committed the release.
    pub committed: usize,
    /// Those that rolled it back for good, or could not.
    pub rolled_back: usize,
    /// Those that refused it before an install began.
    pub refused: usize,
    /// When half of those that committed it had done so, from the seeder's start on.
    pub median_committed_seconds: Option<f64>,
    /// The same of 99 in a hundred.
    pub p99_committed_seconds: Option<f64>,
    /// The same of all of them.
    pub last_committed_seconds: Option<f64>,
    /// Installs begun beyond one for each device that began any.
    pub installs_repeated: u32,
    /// Ends and reasons, the most frequent first.
    pub endings: Vec<Ending>,
    /// Each device.
    pub per_device: Vec<DeviceInstall>,
}

impl InstallReport {
    /// Counts.
    pub fn new(per_device: Vec<DeviceInstall>) -> Self {
        let mut seconds: Vec<f64> = per_device.iter().filter_map(|device| device.committed_seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let count = |is_in: fn(State) -> bool| {
            per_device.iter().filter(|device| device.state.is_some_and(is_in)).count()
        };
        let repeated = per_device.iter().map(|device| device.installs.saturating_sub(1)).sum();
        Self {
            devices: per_device.len(),
            committed: count(State::is_in_place),
            rolled_back: count(|state| matches!(state, State::RolledBack | State::Inconsistent)),
            refused: count(|state| matches!(state, State::Rejected | State::NotApplicable)),
            median_committed_seconds: percentile(&seconds, 50),
            p99_committed_seconds: percentile(&seconds, 99),
            last_committed_seconds: seconds.last().copied(),
            installs_repeated: repeated,
            endings: endings(&per_device),
            per_device,
        }
    }
}

fn endings(devices: &[DeviceInstall]) -> Vec<Ending> {
    let mut groups: Vec<(State, &str, Vec<&str>)> = Vec::new();
    for device in devices {
        let Some(state) = device.state else { continue };
        match groups.iter_mut().find(|(of, why, _)| (*of, *why) == (state, device.why.as_str())) {
            Some((.., names)) => names.push(&device.device),
            None => groups.push((state, &device.why, vec![&device.device])),
        }
    }
    groups.sort_by_key(|(.., names)| std::cmp::Reverse(names.len()));
    let ending = |(state, why, names): (State, &str, Vec<&str>)| Ending {
        state,
        why: why.to_owned(),
        count: names.len(),
        devices: listed(&names),
    };
    groups.into_iter().map(ending).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_ended_alike_are_counted_together_and_the_median_is_of_those_that_committed() {
        let device = |name: &str, state, why: &str, committed_seconds| DeviceInstall {
            device: name.into(),
            state: Some(state),
            why: why.into(),
            committed_seconds,
            installs: 1,
            cuts: 0,
        };
        let report = InstallReport::new(vec![
            device("d0", State::RolledBack, "sick", None),
            device("d1", State::Committed, "", Some(3.0)),
            device("d2", State::Rejected, "too small", None),
            device("d3", State::AlreadyInstalled, "", Some(2.0)),
            device("d4", State::Committed, "", Some(9.0)),
        ]);
        assert_eq!((report.devices, report.committed, report.rolled_back, report.refused), (5, 3, 1, 1));
        assert_eq!((report.median_committed_seconds, report.last_committed_seconds), (Some(3.0), Some(9.0)));
        assert_eq!((report.endings[0].count, report.endings[0].devices.as_str()), (2, "d1, d4"));
        assert_eq!(report.endings.iter().map(|ending| ending.count).sum::<usize>(), 5);
    }
}
