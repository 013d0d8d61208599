//! What the operator sees while a release spreads: bars on a terminal, lines in a pipe, JSON events for programs.

use crate::ui::{Look, Mode, Output, bytes};
use indicatif::ProgressBar;
use samara_node::mesh::MeshView;
use samara_protocol::document::{BlobRef, Enrollment, Release, ReleaseState, Report};
use samara_protocol::geometry::PieceIndex;
use samara_protocol::id::PeerId;
use samara_protocol::trust::Verified;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often a pipe gets a line of progress.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Reasons told of releases that are not applicable: devices word them, so there may be any number.
const REASONS_MAX: usize = 64;

/// What is known of one device.
#[derive(Debug, Default)]
struct Device {
    name: String,
    enrolled: bool,
    connected: bool,
    have_bytes: u64,
    state: String,
    reason: String,
}

/// The live view of one `serve`.
pub(super) struct Live {
    output: Output,
    started: Instant,
    artifact_bytes: u64,
    blobs: Vec<BlobRef>,
    devices: BTreeMap<PeerId, Device>,
    /// Reasons for which a release was not applicable somewhere.
    unsuited: BTreeSet<String>,
    sent_bytes: u64,
    repair_bytes: u64,
    safe: bool,
    bar: ProgressBar,
    line_at: Option<Instant>,
    rate: Rate,
}

/// Bytes per second over the last few views.
#[derive(Debug, Default)]
struct Rate {
    samples: std::collections::VecDeque<(Instant, u64)>,
}

/// Views over which the rate is taken: five seconds.
const RATE_SAMPLES_MAX: usize = 10;

impl Rate {
    fn add(&mut self, now: Instant, total: u64) {
        self.samples.push_back((now, total));
        if self.samples.len() > RATE_SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    fn bytes_per_second(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some((t0, b0)), Some((t1, b1))) if t1 > t0 => {
                b1.saturating_sub(*b0) as f64 / t1.duration_since(*t0).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

impl Live {
    pub(super) fn new(
        output: Output,
        site: String,
        releases: &[Verified<Release>],
        blobs: &[BlobRef],
    ) -> Self {
        let artifact_bytes = blobs.iter().map(|b| b.size).sum();
        for release in releases {
            output.line(format_args!(
                "{} {} {} (number {}) for {site}",
                output.paint(Look::Strong, "seeding"),
                release.product,
                release.version,
                release.number
            ));
        }
        Self {
            output,
            started: Instant::now(),
            artifact_bytes,
            blobs: blobs.to_vec(),
            devices: BTreeMap::new(),
            unsuited: BTreeSet::new(),
            sent_bytes: 0,
            repair_bytes: 0,
            safe: false,
            bar: output.progress("devices", 0),
            line_at: None,
            rate: Rate::default(),
        }
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(super) fn on_listening(&mut self, address: &str) {
        self.output.event(&json!({"event": "listening", "address": address}));
        self.say(format_args!("listening on {address}"));
    }

    pub(super) fn on_neighbour(&mut self, peer: PeerId, connected: bool) {
        self.output.event(&json!({"event": "neighbour", "peer": peer, "connected": connected}));
        self.devices.entry(peer).or_default().connected = connected;
    }

    pub(super) fn on_enrollment(&mut self, enrollment: &Enrollment) {
        let device = self.devices.entry(enrollment.device).or_default();
        device.name.clone_from(&enrollment.name);
        device.enrolled = true;
    }

    pub(super) fn on_report(&mut self, report: &Report) {
        self.output.event(&json!({
            "event": "report", "t": self.seconds(), "device": report.device, "state": report.state,
            "reason": report.reason, "release": report.release,
        }));
        let device = self.devices.entry(report.device).or_default();
        device.state.clone_from(&report.state);
        device.reason.clone_from(&report.reason);
        if self.is_worth_a_line(report) {
            let text = format!("{}: {} {}", report.device.short(), report.state, report.reason);
            self.say(self.output.paint(Look::Bad, text));
        }
    }

    /// What people must do something about. That a release is not for them may be true of a thousand devices: once for each
    /// reason.
    fn is_worth_a_line(&mut self, report: &Report) -> bool {
        match ReleaseState::of(&report.state) {
            Some(ReleaseState::NotApplicable) => {
                self.unsuited.len() < REASONS_MAX && self.unsuited.insert(report.reason.clone())
            }
            state => state.is_some_and(ReleaseState::needs_people),
        }
    }

    pub(super) fn is_safe(&self) -> bool {
        self.safe
    }

    pub(super) fn on_safe(&mut self, safe: bool) {
        self.safe = safe;
        if safe {
            self.output.event(&json!({"event": "safe_to_leave", "t": self.seconds()}));
            self.say(self.output.paint(Look::Good, "safe to leave: the site holds everything"));
        } else {
            self.output.event(&json!({"event": "not_safe", "t": self.seconds()}));
            self.say(self.output.paint(Look::Warning, "not safe to leave"));
        }
    }

    pub(super) fn on_view(&mut self, view: &MeshView) {
        (self.sent_bytes, self.repair_bytes) = (0, 0);
        let mut have: BTreeMap<PeerId, u64> = BTreeMap::new();
        for blob in &self.blobs {
            let Some((stats, peers)) = view.swarms.get(&blob.content) else { continue };
            self.sent_bytes += stats.sent_bytes;
            self.repair_bytes += stats.repair_bytes;
            let Ok(geometry) = blob.geometry() else { continue };
            for peer in peers {
                let whole = peer.have == geometry.pieces();
                let piece = geometry.piece_len(PieceIndex(0));
                *have.entry(peer.peer).or_default() +=
                    if whole { blob.size } else { u64::from(peer.have) * piece };
            }
        }
        for (peer, bytes) in have {
            self.devices.entry(peer).or_default().have_bytes = bytes;
        }
        self.rate.add(Instant::now(), self.sent_bytes);
        self.show();
    }

    /// The last words.
    pub(super) fn leave(&mut self) {
        self.bar.finish_and_clear();
        self.output.event(&json!({
            "event": "left", "t": self.seconds(), "sent_bytes": self.sent_bytes, "repair_bytes": self.repair_bytes,
            "artifact_bytes": self.artifact_bytes, "copies": self.copies(), "safe": self.safe,
        }));
        self.output.line(format_args!(
            "left after {:.1} s: {} sent for an artifact of {} ({:.3} copies, {} of it repair), {}",
            self.seconds(),
            bytes(self.sent_bytes),
            bytes(self.artifact_bytes),
            self.copies(),
            bytes(self.repair_bytes),
            if self.safe { "safe to leave" } else { "the site does not hold everything yet" }
        ));
    }

    fn copies(&self) -> f64 {
        if self.artifact_bytes == 0 { 0.0 } else { self.sent_bytes as f64 / self.artifact_bytes as f64 }
    }

    fn show(&mut self) {
        let members = || self.devices.iter().filter(|(_, d)| d.enrolled || d.connected);
        let devices: Vec<_> = members()
            .map(|(id, d)| {
                json!({"device": id, "name": d.name, "have_bytes": d.have_bytes, "total_bytes": self.artifact_bytes,
                       "connected": d.connected, "state": d.state, "reason": d.reason})
            })
            .collect();
        self.output.event(&json!({
            "event": "progress", "t": self.seconds(), "sent_bytes": self.sent_bytes,
            "repair_bytes": self.repair_bytes, "copies": self.copies(), "devices": devices, "safe": self.safe,
        }));
        let total = self.artifact_bytes * members().count() as u64;
        let have: u64 = members().map(|(_, d)| d.have_bytes).sum();
        let complete = members().filter(|(_, d)| d.have_bytes >= self.artifact_bytes).count();
        let text = self.summary(complete, members().count());
        self.bar.set_length(total);
        self.bar.set_position(have);
        self.bar.set_message(text.clone());
        if self.output.mode() == Mode::Plain && self.line_at.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.line_at = Some(Instant::now());
            self.output.line(format_args!("{:7.1} s  {text}", self.seconds()));
        }
    }

    fn summary(&self, complete: usize, devices: usize) -> String {
        let rate = self.rate.bytes_per_second();
        let rest = self.artifact_bytes.saturating_sub(self.sent_bytes) as f64;
        let eta = match rate {
            _ if rest == 0.0 => "uplink done".to_owned(),
            rate if rate > 0.0 => format!("uplink done in {:.0} s", rest / rate),
            _ => "waiting for devices".to_owned(),
        };
        let safe = if self.safe { "safe to leave" } else { "do not leave yet" };
        format!(
            "{complete} of {devices} devices complete, {:.3} copies sent, {}/s, {eta}, {safe}",
            self.copies(),
            bytes(rate as u64)
        )
    }

    fn say(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| self.output.line(text));
    }
}
