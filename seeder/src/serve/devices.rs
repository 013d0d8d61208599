//! What is known of each device: by its enrollment, its own signed reports, and what it holds of what is offered.

use samara_protocol::document::{Enrollment, ReleaseState, Report};
use samara_protocol::id::{DocumentId, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Reports of an earlier run may be out of date, and a device that knows better says so soon after it is met: so long
/// must it be true that nothing suits anybody before it is believed.
const UNSUITED_AFTER: Duration = Duration::from_secs(5);
/// Releases kept for each device that do not suit it; a device that names more begins anew.
const UNSUITED_MAX: usize = 64;

/// One device.
#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) enrolled: bool,
    pub(super) connected: bool,
    pub(super) have_bytes: u64,
    pub(super) state: String,
    pub(super) reason: String,
    /// Releases of which it said that they are not applicable.
    unsuited: BTreeSet<DocumentId>,
}

/// The devices of the site, and whoever else is connected.
#[derive(Debug, Default)]
pub(super) struct Devices {
    all: BTreeMap<PeerId, Device>,
    unsuited_since: Option<Instant>,
}

impl Devices {
    pub(super) fn on_neighbour(&mut self, peer: PeerId, connected: bool) {
        let device = self.all.entry(peer).or_default();
        device.connected = connected;
        if !connected && !device.enrolled {
            self.all.remove(&peer);
        }
    }

    pub(super) fn on_enrollment(&mut self, enrollment: &Enrollment) {
        let device = self.all.entry(enrollment.device).or_default();
        device.name.clone_from(&enrollment.name);
        device.enrolled = true;
    }

    pub(super) fn on_report(&mut self, report: &Report) {
        let device = self.all.entry(report.device).or_default();
        device.state.clone_from(&report.state);
        device.reason.clone_from(&report.reason);
        let Some(release) = report.release else { return };
        if device.unsuited.len() >= UNSUITED_MAX {
            device.unsuited.clear();
        }
        if ReleaseState::of(&report.state) == Some(ReleaseState::NotApplicable) {
            device.unsuited.insert(release);
        } else {
            device.unsuited.remove(&release);
        }
    }

    /// Bytes of what is offered that each device holds; others keep what was last known of them.
    pub(super) fn set_have(&mut self, have: BTreeMap<PeerId, u64>) {
        for (peer, bytes) in have {
            self.all.entry(peer).or_default().have_bytes = bytes;
        }
    }

    /// Something else is offered: what was held counts for nothing.
    pub(super) fn forget_have(&mut self) {
        self.all.values_mut().for_each(|device| device.have_bytes = 0);
    }

    /// Those that count: enrolled, or connected.
    pub(super) fn members(&self) -> impl Iterator<Item = (&PeerId, &Device)> + Clone {
        self.all.iter().filter(|(_, device)| device.enrolled || device.connected)
    }

    /// How many devices are enrolled and what one of them said, when for some time each has said of each of `releases`
    /// that it is not applicable.
    pub(super) fn suits_nobody(&mut self, releases: &[DocumentId], now: Instant) -> Option<(usize, String)> {
        let enrolled = || self.all.values().filter(|device| device.enrolled);
        let takes_none = |device: &Device| releases.iter().all(|id| device.unsuited.contains(id));
        let is_met = self.all.values().any(|device| device.connected);
        if releases.is_empty() || !is_met || enrolled().next().is_none() || !enrolled().all(takes_none) {
            self.unsuited_since = None;
            return None;
        }
        let reason = enrolled().map(|device| device.reason.clone()).next().unwrap_or_default();
        let count = enrolled().count();
        let since = *self.unsuited_since.get_or_insert(now);
        (now.duration_since(since) >= UNSUITED_AFTER).then_some((count, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_protocol::document::Criticality;
    use samara_protocol::id::SiteId;

    const SITE: SiteId = SiteId([1; 16]);

    fn enrollment(device: u8) -> Enrollment {
        Enrollment {
            site: SITE,
            device: PeerId([device; 32]),
            sequence: 1,
            name: String::new(),
            product: "pump".into(),
            hardware: "generic".into(),
            tags: Vec::new(),
            area: String::new(),
            criticality: Criticality::Normal,
            crit: Vec::new(),
        }
    }

    fn report(device: u8, state: &str, release: u8) -> Report {
        Report {
            state: state.into(),
            reason: "it is for valve".into(),
            release: Some(DocumentId([release; 32])),
            ..Report::empty(SITE, PeerId([device; 32]))
        }
    }

    #[test]
    fn nothing_suits_anybody_when_every_device_has_said_so_of_every_release_for_some_time() {
        let (one, two) = (DocumentId([1; 32]), DocumentId([2; 32]));
        let mut devices = Devices::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        devices.on_enrollment(&enrollment(7));
        devices.on_enrollment(&enrollment(8));
        devices.on_neighbour(PeerId([7; 32]), true);
        devices.on_report(&report(7, "not_applicable", 1));
        devices.on_report(&report(7, "not_applicable", 2));
        devices.on_report(&report(8, "not_applicable", 1));
        assert_eq!(devices.suits_nobody(&[one, two], at(0)), None, "device 8 said nothing of release 2");
        devices.on_report(&report(8, "not_applicable", 2));
        assert_eq!(devices.suits_nobody(&[one, two], at(1)), None, "it may be out of date");
        assert_eq!(devices.suits_nobody(&[one, two], at(6)), Some((2, "it is for valve".into())));
        devices.on_report(&report(8, "downloading", 2));
        assert_eq!(devices.suits_nobody(&[one, two], at(7)), None);
        assert_eq!(devices.suits_nobody(&[], at(99)), None, "nothing is offered");
    }

    #[test]
    fn a_stranger_that_goes_is_forgotten_and_a_device_is_not() {
        let mut devices = Devices::default();
        devices.on_enrollment(&enrollment(7));
        for peer in [7, 9] {
            devices.on_neighbour(PeerId([peer; 32]), true);
            devices.on_neighbour(PeerId([peer; 32]), false);
        }
        assert_eq!(devices.members().map(|(peer, _)| *peer).collect::<Vec<_>>(), [PeerId([7; 32])]);
    }
}
