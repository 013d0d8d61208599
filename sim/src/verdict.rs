//! Whether a run met its plan: one sentence for each expectation that failed.

use crate::installs::InstallReport;
use crate::outcome::listed;
use crate::plan::Plan;
use samara_protocol::measure::RunReport;

const MIB: f64 = 1024.0 * 1024.0;

/// The expectations of `plan` that `report` fails.
pub fn failures(plan: &Plan, report: &RunReport) -> Vec<String> {
    let mut failures = Vec::new();
    let expect = &plan.expect;
    if expect.all_living_verified == Some(true) && report.verified < report.devices {
        let missing: Vec<&str> = report
            .per_device
            .iter()
            .filter(|device| device.seconds.is_none())
            .map(|device| device.device.as_str())
            .collect();
        failures.push(format!(
            "{} of {} living devices verified the artifact within {} s; missing: {}",
            report.verified,
            report.devices,
            plan.timeout,
            listed(&missing)
        ));
    }
    if report.devices == 0 {
        failures.push("no device was living at the end".into());
    }
    let mut limit = |name: &str, max: Option<f64>, value: Option<f64>| match (max, value) {
        (Some(max), Some(value)) if value > max => {
            failures.push(format!("{name} is {value:.4}, expected at most {max}"));
        }
        (Some(max), None) => failures.push(format!("{name} is not known, expected at most {max}")),
        _ => {}
    };
    limit("the time ratio", expect.max_time_ratio, report.time_ratio);
    limit("wire copies", expect.max_wire_copies, report.seeder_wire_copies);
    limit("seeder copies", expect.max_seeder_copies, Some(report.seeder_copies));
    let rss = report.peak_rss_bytes_max().map(|bytes| bytes as f64 / MIB);
    limit("the peak memory of a device in MiB", expect.max_rss_mib, rss);
    limit("the join ratio", expect.max_join_ratio, join_ratio(plan, report));
    failures
}

/// The expectations of `plan` that its installs fail.
pub fn install_failures(plan: &Plan, installs: &InstallReport) -> Vec<String> {
    let mut failures = Vec::new();
    if let Some(min) = plan.expect.min_committed.filter(|min| installs.committed < *min) {
        failures
            .push(format!("{} devices committed the release, expected at least {min}", installs.committed));
    }
    if let Some(max) = plan.expect.max_rolled_back.filter(|max| installs.rolled_back > *max) {
        let rolled_back = installs.rolled_back;
        failures.push(format!("{rolled_back} devices rolled the release back, expected at most {max}"));
    }
    failures
}

/// The slowest late device's time ÷ (artifact ÷ its downlink); `None` unless all late devices finished.
fn join_ratio(plan: &Plan, report: &RunReport) -> Option<f64> {
    let late = (0..plan.devices.count).filter(|device| plan.joins_late(*device));
    let ratios: Option<Vec<f64>> = late
        .map(|device| {
            let name = crate::plan::device_name(device);
            let seconds = report.per_device.iter().find(|entry| entry.device == name)?.seconds?;
            Some(seconds * plan.rates(device).down as f64 / (plan.artifact.bytes.0 as f64 * 8.0))
        })
        .collect();
    ratios?.into_iter().max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_protocol::measure::{DeviceReport, Run};
    use std::path::Path;

    fn plan(expect: &str) -> Plan {
        let text = format!(
            "timeout = 9\n[devices]\ncount = 2\nup = \"8mbit\"\ndown = \"8mbit\"\n[seeder]\nup = \"8mbit\"\n\
             [artifact]\nkind = \"file\"\nbytes = \"1000000B\"\n[[events]]\nat = 1\ndo = \"join\"\nwho = 1\n\
             [expect]\n{expect}"
        );
        Plan::parse(Path::new("x.toml"), &text).unwrap()
    }

    fn report(last: Option<f64>) -> RunReport {
        let device = |name: &str, seconds, joined_seconds| DeviceReport {
            device: name.into(),
            seconds,
            joined_seconds,
            peak_rss_bytes: Some(50 << 20),
            ..DeviceReport::default()
        };
        RunReport::new(Run {
            artifact_bytes: 1_000_000,
            lower_bound_seconds: Some(1.0),
            seeder_bytes: 1_010_000,
            devices: vec![device("d0", Some(1.2), None), device("d1", last, Some(1.0))],
            ..Run::default()
        })
    }

    #[test]
    fn a_run_within_its_limits_has_no_failure() {
        let plan =
            plan("max_time_ratio = 1.2\nmax_seeder_copies = 1.01\nmax_rss_mib = 50\nmax_join_ratio = 1.3");
        assert_eq!(failures(&plan, &report(Some(1.3))), Vec::<String>::new());
    }

    #[test]
    fn each_broken_limit_is_a_sentence_with_both_numbers() {
        let plan = plan("max_time_ratio = 1.1\nmax_rss_mib = 40\nmax_join_ratio = 1.2");
        assert_eq!(
            failures(&plan, &report(Some(1.3))),
            [
                "the time ratio is 1.2000, expected at most 1.1",
                "the peak memory of a device in MiB is 50.0000, expected at most 40",
                "the join ratio is 1.3000, expected at most 1.2",
            ]
        );
    }

    #[test]
    fn a_living_device_that_never_finished_is_named() {
        assert_eq!(
            failures(&plan(""), &report(None)),
            ["1 of 2 living devices verified the artifact within 9 s; missing: d1"]
        );
        assert_eq!(failures(&plan("all_living_verified = false"), &report(None)), Vec::<String>::new());
    }

    #[test]
    fn a_number_that_cannot_be_known_fails_its_limit() {
        assert_eq!(
            failures(&plan("max_wire_copies = 1.1"), &report(Some(1.0))),
            ["wire copies is not known, expected at most 1.1"]
        );
    }
}
