//! The run report as text: one number a line with the bound beside it, then one line for each device.

use super::{DeviceReport, RunReport};
use std::fmt::Write;

/// More devices than this are shown as their slowest ones.
const DEVICE_ROWS_MAX: usize = 40;

pub(super) fn table(report: &RunReport) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: String, note: &str| {
        let line = format!("{name:<17} {value:>14}  {note}");
        let _ = writeln!(out, "{}", line.trim_end());
    };
    row("devices verified", format!("{} of {}", report.verified, report.devices), "");
    row("artifact", size(report.artifact_bytes), "");
    row("lower bound", seconds(report.lower_bound_seconds), "max(F/u_s, F/d_min, N·F/(u_s+Σu_i))");
    row("first device", seconds(report.first_device_seconds), "");
    row("median device", seconds(report.median_device_seconds), "");
    row("p99 device", seconds(report.p99_device_seconds), "");
    row("last device", seconds(report.last_device_seconds), "");
    row("time ratio", number(report.time_ratio), "last device ÷ lower bound");
    row("seeder copies", number(Some(report.seeder_copies)), "artifact bytes it sent ÷ F");
    row("wire copies", number(report.seeder_wire_copies), "all bytes on its link ÷ F");
    row("repair", size(report.repair_bytes), "sent again by the seeder");
    row("total copies", number(Some(report.total_copies)), "received ÷ (N·F)");
    row("duplicates", size(report.duplicate_bytes), "received more than once");
    row("peer share", format!("{:.1} %", report.peer_share * 100.0), "of the bytes came from other devices");
    if let Some(cpu) = report.cpu_seconds_mean() {
        row("cpu per device", format!("{cpu:.2} s"), "mean");
    }
    if let Some(rss) = report.peak_rss_bytes_max() {
        row("peak memory", size(rss), "the largest of the devices");
    }
    out.push('\n');
    devices(&mut out, &report.per_device);
    out
}

fn devices(out: &mut String, devices: &[DeviceReport]) {
    if devices.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "{:<16} {:>10} {:>13} {:>13} {:>8} {:>11}",
        "device", "verified", "from seeder", "from peers", "cpu", "memory"
    );
    let mut slowest: Vec<&DeviceReport> = devices.iter().collect();
    if devices.len() > DEVICE_ROWS_MAX {
        slowest.sort_by(|a, b| time_key(b).total_cmp(&time_key(a)));
    }
    for device in slowest.iter().take(DEVICE_ROWS_MAX) {
        let line = format!(
            "{:<16} {:>10} {:>13} {:>13} {:>8} {:>11}",
            shortened(&device.device),
            seconds(device.seconds),
            size(device.bytes_from_seeder),
            size(device.bytes_from_peers),
            device.cpu_seconds.map_or("-".into(), |cpu| format!("{cpu:.2} s")),
            device.peak_rss_bytes.map_or("-".into(), size),
        );
        let joined = device.joined_seconds.map_or(String::new(), |at| format!("\n  joined at {at:.2} s"));
        let _ = writeln!(out, "{line}{joined}");
    }
    if devices.len() > DEVICE_ROWS_MAX {
        let _ = writeln!(out, "the slowest {DEVICE_ROWS_MAX} of {} devices", devices.len());
    }
}

/// Unfinished devices are the slowest.
fn time_key(device: &DeviceReport) -> f64 {
    device.seconds.unwrap_or(f64::INFINITY)
}

fn shortened(name: &str) -> String {
    name.chars().take(16).collect()
}

fn seconds(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.2} s"))
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.4}"))
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes >= MIB {
        format!("{:.1} MiB", bytes as f64 / MIB as f64)
    } else if bytes >= 1024 {
        format!("{:.1} KiB", bytes as f64 / 1024.0)
    } else {
        format!("{bytes} B")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Run, RunReport};
    use super::*;

    fn report(devices: usize) -> RunReport {
        let devices = (0..devices).map(|i| DeviceReport {
            device: format!("device-{i}"),
            seconds: (i != 3).then_some(i as f64),
            bytes_from_seeder: 1 << 20,
            ..DeviceReport::default()
        });
        RunReport::new(Run { artifact_bytes: 8 << 20, devices: devices.collect(), ..Run::default() })
    }

    #[test]
    fn every_line_fits_eighty_columns() {
        for line in report(60).table().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let table = report(5).table();
        let line_of = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert_eq!(line_of("wire copies").split_whitespace().nth(2), Some("-"), "{table}");
        assert!(line_of("devices verified").ends_with("4 of 5"), "{table}");
    }

    #[test]
    fn a_large_fleet_shows_its_slowest_devices_and_the_unfinished_first() {
        let table = report(60).table();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("device-")).collect();
        assert_eq!(rows.len(), DEVICE_ROWS_MAX);
        assert!(rows[0].starts_with("device-3 ") && rows[1].starts_with("device-59 "), "{table}");
        assert!(table.contains("the slowest 40 of 60 devices"));
    }
}
