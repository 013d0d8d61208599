//! The demo's figures, from the devices' own status and the seeder's own counters.

use super::process::{Device, Seeder};
use crate::failure::Failure;
use samara_protocol::id::PeerId;
use samara_protocol::measure::{DeviceReport, Run, RunReport};

/// Only the seeder's uplink has a rate here: loopback is taken as without limit.
pub(super) async fn report(
    uplink_bits: u64,
    devices: &[Device],
    seeder: &Seeder,
) -> Result<RunReport, Failure> {
    let ids: Vec<PeerId> = devices.iter().filter_map(|device| device.id.parse().ok()).collect();
    let mut reports = Vec::new();
    let mut duplicate_bytes = 0;
    for (i, device) in devices.iter().enumerate() {
        let status = device.status().await.ok_or_else(|| device.failure("does not answer"))?;
        let mut report = DeviceReport {
            device: format!("device-{:02}", i + 1),
            seconds: device.verified_after,
            ..DeviceReport::default()
        };
        for release in &status.releases {
            report.duplicate_bytes += release.duplicate_bytes;
            for (peer, bytes) in &release.sources {
                if ids.contains(peer) {
                    report.bytes_from_peers += bytes;
                } else {
                    report.bytes_from_seeder += bytes;
                }
            }
        }
        duplicate_bytes += report.duplicate_bytes;
        reports.push(report);
    }
    let artifact_bytes = seeder.artifact_bytes.unwrap_or_default();
    Ok(RunReport::new(Run {
        artifact_bytes,
        lower_bound_seconds: Some(artifact_bytes as f64 * 8.0 / uplink_bits as f64),
        seeder_bytes: seeder.sent_bytes,
        seeder_wire_bytes: None,
        repair_bytes: seeder.repair_bytes,
        duplicate_bytes,
        devices: reports,
    }))
}
