//! What the operator sees while a release spreads: bars on a terminal, lines in a pipe, JSON events for programs.

use super::devices::{Device, Devices};
use super::fate::{Fate, Fates, Wanted, no_taker};
use super::offer::{Gone, SetAside};
use super::panel::{Panel, Row};
use super::rate::Rate;
use super::shelf::{News, Shelf};
use crate::outrun::few;
use crate::show::safe;
use crate::ui::{Bars, Look, Mode, Output, bytes};
use samara_node::mesh::{Alarm, MeshView};
use samara_protocol::document::{BlobRef, Enrollment, Release, ReleaseState, Report, TrustRoot};
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

/// The live view of one `serve`.
pub(super) struct Live {
    output: Output,
    site: String,
    started: Instant,
    artifact_bytes: u64,
    blobs: Vec<BlobRef>,
    devices: Devices,
    /// Reasons for which a release was not applicable somewhere.
    reasons: BTreeSet<String>,
    fates: Fates,
    sent_bytes: u64,
    repair_bytes: u64,
    safe: bool,
    /// Before that there is no progress to speak of.
    has_offered: bool,
    bars: Bars,
    panel: Panel,
    line_at: Option<Instant>,
    rate: Rate,
}

impl Live {
    pub(super) fn new(output: Output, bars: Bars, site: String) -> Self {
        Self {
            output,
            site,
            started: Instant::now(),
            artifact_bytes: 0,
            blobs: Vec::new(),
            devices: Devices::default(),
            reasons: BTreeSet::new(),
            fates: Fates::default(),
            sent_bytes: 0,
            repair_bytes: 0,
            safe: false,
            has_offered: false,
            panel: Panel::new(bars.clone()),
            bars,
            line_at: None,
            rate: Rate::default(),
        }
    }

    /// What is offered has changed, or could not.
    pub(super) fn on_news(&mut self, news: News, shelf: &Shelf) {
        let t = self.seconds();
        match news {
            News::Offered(release) => {
                self.has_offered = true;
                self.tell_release(&release, "offered", "");
                self.say(format_args!(
                    "{} {} for {}",
                    self.output.paint(Look::Strong, "seeding"),
                    described(&release),
                    self.site
                ));
            }
            News::Gone(release, gone) => {
                let (state, reason) = match &gone {
                    Gone::Withdrawn(reason) => ("withdrawn", reason.as_str()),
                    Gone::Superseded => ("superseded", "a newer release of its channel is offered"),
                    Gone::Ended => ("ended", "no rollout of it is active"),
                };
                self.tell_release(&release, state, reason);
                let text =
                    format!("{} is {state}, and no longer served: {}", described(&release), safe(reason));
                self.say(self.output.paint(Look::Warning, text));
                if shelf.is_empty() {
                    self.say_nothing_offered();
                }
            }
            News::Unavailable(release, failure) => {
                self.tell_release(&release, "unavailable", &failure.to_string());
                let text = format!("{} cannot be served: {failure}", described(&release));
                self.say(self.output.paint(Look::Bad, text));
            }
            News::NoRoom(release) => {
                let reason = "the releases on offer have more contents, or pieces of them, than a peer takes part in at \
                              once (512, 8 Mi): pack directories instead of single files, or withdraw what is not needed";
                self.tell_release(&release, "unavailable", reason);
                let text = format!("{} is not served yet: {reason}", described(&release));
                self.say(self.output.paint(Look::Bad, text));
            }
            News::SetAside(file, why) => {
                let (event, word) = match &why {
                    SetAside::Refused(_) => ("refused", "is not given to devices"),
                    SetAside::Waiting(_) => ("waiting", "is not in force yet"),
                };
                self.output.event(&json!({"event": event, "t": t, "file": file, "reason": why.why()}));
                let text = format!("{} {word}: {}", file.display(), why.why());
                self.say(self.output.paint(Look::Bad, text));
            }
            News::Unreadable(failure) => {
                let reason = failure.to_string();
                self.output.event(&json!({"event": "unreadable", "t": t, "reason": reason}));
                self.say(self.output.paint(Look::Bad, format_args!("cannot look for changes: {reason}")));
            }
            News::Outrun(outrun) => {
                let mut event = outrun.event();
                event["t"] = t.into();
                self.output.event(&event);
                self.say(self.output.paint(Look::Bad, outrun.text()));
            }
        }
        self.blobs = shelf.blobs();
        self.artifact_bytes = self.blobs.iter().map(|b| b.size).sum();
        // They counted what was offered before.
        self.devices.forget_have();
    }

    pub(super) fn say_nothing_offered(&self) {
        self.say("no release is offered; the site's documents spread");
    }

    fn tell_release(&self, release: &Verified<Release>, state: &str, reason: &str) {
        self.output.event(&json!({
            "event": "release", "t": self.seconds(), "release": release.id(), "product": release.product,
            "channel": release.channel, "version": release.version, "number": release.number,
            "state": state, "reason": reason,
        }));
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
        self.devices.on_neighbour(peer, connected);
    }

    /// A later trust root than the pinned one is in force.
    pub(super) fn on_trust_root(&mut self, root: &TrustRoot) {
        let TrustRoot { version, revoked_devices, .. } = root;
        self.devices.on_revoked(revoked_devices);
        self.output.event(&json!({
            "event": "trust_root", "t": self.seconds(), "version": version, "revoked_devices": revoked_devices,
        }));
        let mut text = format!("trust root version {version} is in force");
        if !revoked_devices.is_empty() {
            text = format!("{text}; it shuts out {}", few(revoked_devices.iter().map(PeerId::short)));
        }
        self.say(self.output.paint(Look::Strong, text));
    }

    /// Peers turn this laptop away, or it has a double.
    pub(super) fn on_alarm(&mut self, alarm: &Alarm) {
        let Alarm { name, detail, .. } = alarm;
        self.output.event(&json!({"event": "alarm", "t": self.seconds(), "name": name, "detail": detail}));
        self.say(self.output.paint(Look::Bad, detail));
    }

    pub(super) fn on_enrollment(&mut self, enrollment: &Enrollment) {
        self.devices.on_enrollment(enrollment);
    }

    pub(super) fn on_report(&mut self, report: &Report) {
        self.output.event(&json!({
            "event": "report", "t": self.seconds(), "device": report.device, "state": report.state,
            "reason": report.reason, "release": report.release, "phase": report.phase,
            "fault": report.fault, "result_code": report.result_code,
        }));
        self.devices.on_report(report);
        let look = match ReleaseState::of(&report.state) {
            Some(ReleaseState::Failed | ReleaseState::WaitingForSpace) => Look::Bad,
            Some(ReleaseState::RolledBack | ReleaseState::Inconsistent) => Look::Bad,
            Some(ReleaseState::NotApplicable | ReleaseState::Rejected) if self.is_new(&report.reason) => {
                Look::Warning
            }
            Some(ReleaseState::Withdrawn) => Look::Warning,
            _ => return,
        };
        let text = format!("{}: {} {}", report.device.short(), report.state, safe(&report.reason));
        self.say(self.output.paint(look, text));
    }

    /// That a release is not for them may be true of a thousand devices: it is told once for each reason.
    fn is_new(&mut self, reason: &str) -> bool {
        self.reasons.len() < REASONS_MAX && self.reasons.insert(reason.to_owned())
    }

    pub(super) fn is_safe(&self) -> bool {
        self.safe
    }

    /// Whether there is nothing left to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.fates.is_over()
    }

    /// Why a release that is offered suits no device.
    pub(super) fn unsuited(&self) -> Option<String> {
        let texts: Vec<_> =
            self.fates.unsuited().filter_map(|(wanted, fate)| why_unsuited(wanted, fate)).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Judges what becomes of the releases that the directory names, and says which suit no device.
    fn judge(&mut self, wanted: Vec<Wanted>, is_held: bool) {
        for (wanted, fate) in self.fates.judge(wanted, &self.devices, is_held, Instant::now()) {
            let (Fate::Unsuited { devices, reason }, Some(text)) = (&fate, why_unsuited(&wanted, &fate))
            else {
                continue;
            };
            self.output.event(&json!({
                "event": "unsuited", "t": self.seconds(), "release": wanted.id, "devices": devices,
                "reason": reason,
            }));
            self.say(self.output.paint(Look::Warning, text));
        }
    }

    fn set_safe(&mut self, safe: bool) {
        if std::mem::replace(&mut self.safe, safe) == safe {
            return;
        }
        if safe {
            self.output.event(&json!({"event": "safe_to_leave", "t": self.seconds()}));
            self.say(self.output.paint(Look::Good, "safe to leave: the site holds everything"));
        } else {
            self.output.event(&json!({"event": "not_safe", "t": self.seconds()}));
            self.say(self.output.paint(Look::Warning, "not safe to leave"));
        }
    }

    /// The view of what is on the shelf. Before all that the directory names is offered nobody may leave.
    pub(super) fn on_view(&mut self, view: &MeshView, shelf: &Shelf) {
        self.judge(shelf.wanted(), view.safe_to_leave);
        self.set_safe(self.fates.is_safe() && shelf.is_settled());
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
        self.devices.set_have(have);
        self.rate.add(Instant::now(), self.sent_bytes);
        if self.has_offered {
            self.show();
        }
    }

    /// The last words.
    pub(super) fn leave(&mut self) {
        self.panel.clear();
        if !self.has_offered {
            return;
        }
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
        let members = self.devices.members();
        let devices: Vec<_> = members
            .clone()
            .map(|(id, d)| {
                json!({"device": id, "name": d.name, "have_bytes": d.have_bytes, "total_bytes": self.artifact_bytes,
                       "complete": self.is_complete(d), "connected": d.connected, "state": d.state, "reason": d.reason})
            })
            .collect();
        self.output.event(&json!({
            "event": "progress", "t": self.seconds(), "sent_bytes": self.sent_bytes,
            "repair_bytes": self.repair_bytes, "copies": self.copies(), "devices": devices, "safe": self.safe,
        }));
        let complete = members.clone().filter(|(_, device)| self.is_complete(device)).count();
        let count = members.clone().count();
        let (copies, done) = (self.copies(), self.until_done());
        let rate = bytes(self.rate.bytes_per_second() as u64);
        let may_leave = if self.safe { "safe to leave" } else { "do not leave yet" };
        // What matters most comes first: a narrow terminal cuts the rest.
        let status =
            format!("{may_leave}: {complete}/{count} complete, {copies:.3} copies, {rate}/s, {done}");
        let rows = members.map(|(id, device)| self.row(id, device)).collect();
        self.panel.show(status, rows, self.artifact_bytes);
        if self.output.mode() == Mode::Plain && self.line_at.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.line_at = Some(Instant::now());
            self.output.line(format_args!(
                "{:7.1} s  {complete} of {count} devices complete, {copies:.3} copies sent, {rate}/s, {done}, {may_leave}",
                self.seconds()
            ));
        }
    }

    /// Whether a device holds all bytes, or has no use for what it lacks.
    fn is_complete(&self, device: &Device) -> bool {
        let has_all = !self.blobs.is_empty() && device.have_bytes >= self.artifact_bytes;
        has_all || self.fates.is_complete(device)
    }

    fn row(&self, id: &PeerId, device: &Device) -> Row {
        let name = if device.name.is_empty() { id.short() } else { safe(&device.name) };
        let state = match device.connected {
            true => safe(&device.state),
            // It may well go on by way of others.
            false => format!("{} (not here)", safe(&device.state)).trim_start().to_owned(),
        };
        let have_bytes = if self.is_complete(device) { self.artifact_bytes } else { device.have_bytes };
        Row { name, have_bytes, state }
    }

    fn until_done(&self) -> String {
        let rate = self.rate.bytes_per_second();
        let rest = self.artifact_bytes.saturating_sub(self.sent_bytes) as f64;
        match rate {
            _ if self.blobs.is_empty() => "no release is offered".to_owned(),
            _ if rest == 0.0 => "uplink done".to_owned(),
            rate if rate > 0.0 => format!("uplink done in {:.0} s", rest / rate),
            _ => "waiting for devices".to_owned(),
        }
    }

    fn say(&self, text: impl std::fmt::Display) {
        self.bars.suspend(|| self.output.line(text));
    }
}

/// A release in a line for people.
pub fn described(release: &Release) -> String {
    format!("{} {} (number {})", safe(&release.product), safe(&release.version), release.number)
}

fn why_unsuited(wanted: &Wanted, fate: &Fate) -> Option<String> {
    let Fate::Unsuited { devices, reason } = fate else { return None };
    Some(no_taker(wanted, *devices, &safe(reason)))
}
