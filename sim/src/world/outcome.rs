//! The end of a run, and its report.

use super::World;
use crate::installs::InstallReport;
use crate::outcome::{Mark, Point};
use crate::plan::device_name;
use samara_protocol::measure::{DeviceReport, Run, RunReport};
use samara_protocol::mesh::SwarmStats;

/// What came out of a world.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// The numbers, as the lab reports them.
    pub report: RunReport,
    /// The run on the way.
    pub curve: Vec<Point>,
    /// What happened on the way.
    pub marks: Vec<Mark>,
    /// Copies of each piece that left the seeder, of a large artifact the most of each stretch.
    pub piece_copies: Vec<f64>,
    /// Seconds in which a device waited and nothing was on its way to it, in the order of the report.
    pub idle_seconds: Vec<f64>,
    /// How the installs ended, where something is installed.
    pub installs: Option<InstallReport>,
    /// One sentence for each rule that was broken, and each event of the plan that never came.
    pub faults: Vec<String>,
    /// Equal for equal runs: a digest over everything that happened.
    pub digest: u64,
    /// Inputs that machines handled.
    pub inputs: u64,
}

impl World {
    pub(super) fn is_finished(&self) -> bool {
        self.now > self.begin
            && self.expected().all(|device| self.peers[device].verified.is_some())
            && self.schedule.pending().next().is_none()
            && self.have_installs_settled(self.honest())
    }

    /// The devices that must finish: those that want the artifact.
    fn expected(&self) -> impl Iterator<Item = usize> {
        self.honest().filter(|device| !self.does_without(*device))
    }

    /// Those that live and do no harm.
    fn honest(&self) -> impl Iterator<Item = usize> + Clone {
        let is_honest = |device: &usize| self.peers[*device].is_living() && self.peers[*device].lie.is_none();
        (0..self.plan.devices.count).filter(is_honest)
    }

    /// Artifact bytes that the seeder sent in all its lives, and those of them that were repair.
    pub(super) fn seeder_sent(&self) -> (u64, u64) {
        let seeder = &self.peers[self.seeder() as usize];
        let stats = self.stats_of(seeder);
        let sent = |stats: &SwarmStats| (stats.sent_bytes, stats.repair_bytes);
        stats.iter().map(sent).fold((seeder.sent_before, seeder.repaired_before), |all, (sent, repaired)| {
            (all.0 + sent, all.1 + repaired)
        })
    }

    fn stats_of(&self, peer: &super::Peer) -> Vec<SwarmStats> {
        let Some(process) = &peer.process else { return Vec::new() };
        self.contents.iter().filter_map(|content| process.mesh.swarm_stats(&content.hash)).collect()
    }

    pub(super) fn outcome(mut self) -> Simulated {
        self.take_sample();
        let mut faults = self.checker.sentences();
        let pending = self.schedule.pending();
        faults.extend(
            pending.map(|e| format!("an event of the plan never came: {:?} ({:?})", e.verb, e.moment)),
        );
        let (expected, honest): (Vec<usize>, Vec<usize>) =
            (self.expected().collect(), self.honest().collect());
        faults.extend(self.install_faults(&honest));
        let installs = self.install_report(&honest);
        let idle_seconds =
            expected.iter().map(|device| self.record.idle_seconds(*device, self.now)).collect();
        let duplicate_bytes = expected.iter().map(|device| self.duplicate_bytes(*device)).sum();
        let (seeder_bytes, repair_bytes) = self.seeder_sent();
        let seeder_link = self.peers[self.seeder() as usize].up;
        let report = RunReport::new(Run {
            artifact_bytes: self.plan.artifact.bytes.0,
            lower_bound_seconds: self.plan.lower_bound_seconds(),
            seeder_bytes,
            seeder_wire_bytes: Some(self.network.carried(seeder_link) + self.seeder_control_bytes),
            repair_bytes,
            duplicate_bytes,
            devices: expected.into_iter().map(|device| self.device_report(device)).collect(),
        });
        Simulated {
            report,
            installs,
            faults,
            digest: self.trace.digest(),
            inputs: self.trace.inputs(),
            curve: self.curve.points,
            piece_copies: self
                .contents
                .last()
                .map_or_else(Vec::new, |content| self.record.piece_copies(&content.geometry)),
            idle_seconds,
            marks: self.record.marks,
        }
    }

    fn duplicate_bytes(&self, device: usize) -> u64 {
        let peer = &self.peers[device];
        let now: u64 = self.stats_of(peer).iter().map(|stats| stats.duplicate_bytes).sum();
        peer.received.duplicate + now
    }

    fn device_report(&self, device: usize) -> DeviceReport {
        let peer = &self.peers[device];
        let from = peer.joined.unwrap_or(self.begin);
        DeviceReport {
            device: device_name(device),
            seconds: peer.verified.map(|at| at.seconds_since(from)),
            bytes_from_seeder: peer.received.from_seeder,
            bytes_from_peers: peer.received.from_peers,
            duplicate_bytes: self.duplicate_bytes(device),
            cpu_seconds: Some(self.processors.used_seconds(device as u32)),
            peak_rss_bytes: None,
            joined_seconds: peer.joined.map(|at| at.seconds_since(self.begin)),
        }
    }
}
