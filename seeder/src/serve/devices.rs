//! What is known of each device: by its enrollment, its own signed reports, and what it holds of what is offered.

use super::fate::Wanted;
use samara_protocol::document::{Enrollment, ReleaseState, Report};
use samara_protocol::id::{DocumentId, PeerId};
use std::collections::BTreeMap;

/// Releases on which a device's word is kept; for one that speaks of more it begins anew.
const WORDS_MAX: usize = 64;

/// What a device said of a release.
#[derive(Debug)]
enum Word {
    /// It comes, or failed, or waits.
    Takes,
    Installed,
    /// It is not applicable, or rejected, for this reason.
    Unsuited(String),
}

impl Word {
    fn why_unsuited(&self) -> Option<&str> {
        match self {
            Self::Unsuited(reason) => Some(reason),
            _ => None,
        }
    }
}

/// One device.
#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) enrolled: bool,
    pub(super) connected: bool,
    pub(super) have_bytes: u64,
    pub(super) state: String,
    pub(super) reason: String,
    words: BTreeMap<DocumentId, Word>,
    /// Of its latest report: what is installed, by product.
    versions: BTreeMap<String, String>,
}

impl Device {
    /// Whether it said that a release is in place.
    pub(super) fn has(&self, release: &Wanted) -> bool {
        match self.words.get(&release.id) {
            Some(Word::Installed) => true,
            Some(Word::Unsuited(_)) => false,
            // Of several releases the word on one may not have come here: the latest report says what is there.
            Some(Word::Takes) | None => release
                .version
                .as_ref()
                .is_some_and(|(product, version)| self.versions.get(product) == Some(version)),
        }
    }

    /// Why a release is not for it, if it said so.
    pub(super) fn why_unsuited(&self, release: &Wanted) -> Option<&str> {
        self.words.get(&release.id).and_then(Word::why_unsuited)
    }

    fn hear(&mut self, release: DocumentId, state: &str, reason: &str) {
        if self.words.len() >= WORDS_MAX {
            self.words.clear();
        }
        let word = match ReleaseState::of(state) {
            Some(ReleaseState::NotApplicable | ReleaseState::Rejected) => Word::Unsuited(reason.to_owned()),
            Some(ReleaseState::Installed) => Word::Installed,
            _ => Word::Takes,
        };
        self.words.insert(release, word);
    }

    /// Whether it has a release, or wants it.
    pub(super) fn takes(&self, release: &Wanted) -> bool {
        self.has(release) || matches!(self.words.get(&release.id), Some(Word::Takes))
    }
}

/// The devices of the site, and whoever else is connected.
#[derive(Debug, Default)]
pub(super) struct Devices {
    all: BTreeMap<PeerId, Device>,
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

    /// These belong to the site no longer, whatever was said of them.
    pub(super) fn on_revoked(&mut self, revoked: &[PeerId]) {
        for peer in revoked {
            if let Some(device) = self.all.get_mut(peer) {
                device.enrolled = false;
            }
        }
        self.all.retain(|_, device| device.enrolled || device.connected);
    }

    pub(super) fn on_report(&mut self, report: &Report) {
        let device = self.all.entry(report.device).or_default();
        device.state.clone_from(&report.state);
        device.reason.clone_from(&report.reason);
        device.versions.clone_from(&report.versions);
        for (release, word) in &report.others {
            // Where there was no room, why may have been heard before.
            let before =
                device.words.get(release).and_then(Word::why_unsuited).unwrap_or_default().to_owned();
            let reason = if word.reason.is_empty() { before } else { word.reason.clone() };
            device.hear(*release, &word.state, &reason);
        }
        if let Some(release) = report.release {
            device.hear(release, &report.state, &report.reason);
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

    pub(super) fn enrolled(&self) -> impl Iterator<Item = &Device> {
        self.all.values().filter(|device| device.enrolled)
    }

    /// Whether anybody is here: what is known of the others may be out of date.
    pub(super) fn is_any_met(&self) -> bool {
        self.all.values().any(|device| device.connected)
    }
}

#[cfg(test)]
pub(super) mod tests {
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

    pub(in crate::serve) fn report(device: u8, state: &str, release: u8) -> Report {
        Report {
            state: state.into(),
            reason: "it is for valve".into(),
            release: Some(DocumentId([release; 32])),
            ..Report::empty(SITE, PeerId([device; 32]))
        }
    }

    /// Enrolled devices that are here.
    pub(in crate::serve) fn devices(ids: &[u8]) -> Devices {
        let mut devices = Devices::default();
        for id in ids {
            devices.on_enrollment(&enrollment(*id));
            devices.on_neighbour(PeerId([*id; 32]), true);
        }
        devices
    }

    #[test]
    fn a_device_that_is_shut_out_counts_no_longer_and_is_forgotten_when_it_goes() {
        let mut devices = devices(&[7, 8]);
        devices.on_neighbour(PeerId([8; 32]), false);
        devices.on_revoked(&[PeerId([7; 32]), PeerId([8; 32])]);
        assert_eq!(devices.enrolled().count(), 0);
        assert_eq!(devices.members().map(|(peer, _)| *peer).collect::<Vec<_>>(), [PeerId([7; 32])]);
        devices.on_neighbour(PeerId([7; 32]), false);
        assert_eq!(devices.members().count(), 0);
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
