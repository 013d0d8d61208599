//! What a site directory offers: the releases that its documents let devices have, and why another one is no longer
//! among them. A pure function of the directory's documents; nothing is remembered from one reading to the next.

use crate::failure::{Failure, Kind};
use crate::mesh::rank;
use crate::site::{SiteDir, read_document};
use samara_protocol::document::{BlobRef, Release, RolloutState, Withdrawal};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::rollout::SiteDocuments;
use samara_protocol::trust::{Awaits, Refusal, Trust, Verdict, Verified};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The releases on offer, the newest of each channel.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) releases: Vec<Verified<Release>>,
    /// Files that hold no document of this site, each with the reason.
    pub(super) refused: BTreeMap<PathBuf, String>,
    /// Files that hold a document which this site does not take, or not yet, each with the reason.
    pub(super) set_aside: BTreeMap<PathBuf, SetAside>,
    documents: SiteDocuments,
}

/// Why a document is not given to devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SetAside {
    /// No document that may come makes up for it; another copy of this one may.
    Refused(String),
    /// It comes into force with another document.
    Waiting(String),
}

impl SetAside {
    pub(super) fn of(refusal: &Refusal) -> Self {
        match refusal.verdict() {
            Verdict::Awaits(awaits) => Self::Waiting(format!("{refusal}; it waits for {}", name_of(awaits))),
            Verdict::Violation | Verdict::Copy | Verdict::Final => Self::Refused(refusal.to_string()),
        }
    }

    /// For people.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Refused(why) | Self::Waiting(why) => why,
        }
    }
}

fn name_of(awaits: Awaits) -> String {
    match awaits {
        Awaits::TrustRoot => "the next trust root".to_owned(),
        Awaits::Enrollment(device) => format!("the enrollment of {}", device.short()),
        Awaits::Rollout => "a rollout that names it".to_owned(),
    }
}

/// Why a release is no longer offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gone {
    /// A Withdrawal took it back, in these words.
    Withdrawn(String),
    /// A newer release of its channel is offered.
    Superseded,
    /// No Rollout of it is active any more.
    Ended,
}

impl Offer {
    /// Reads `documents/` and decides; what cannot be read or is not of this site is named in `refused`.
    pub(super) fn read(site: &SiteDir) -> Result<Self, Failure> {
        let mut trust = Trust::pin(&site.trust_root()?).map_err(|e| Failure::new(Kind::Trust, e))?;
        let mut offer = Self::default();
        let mut waiting = Vec::new();
        for path in site.document_files()? {
            match read_document(&path) {
                Ok(envelope) => waiting.push((path, envelope)),
                Err(error) => {
                    offer.refused.insert(path, error.to_string());
                }
            }
        }
        // Others are judged by the newest trust root. Trust refuses a release that is older than one it knows, and it
        // may be the newest that is left.
        waiting.sort_by_cached_key(|(_, envelope)| rank(envelope));
        // Sequences, and what waits for another, may come in any file order: go round while something is taken.
        loop {
            let before = waiting.len();
            let mut later = Vec::new();
            for (path, envelope) in waiting {
                match trust.check(&envelope) {
                    Ok(document) => {
                        trust.accept(&document);
                        offer.documents.insert(document);
                    }
                    Err(refusal) if refusal.verdict() == Verdict::Violation => {
                        offer.refused.insert(path, refusal.to_string());
                    }
                    Err(refusal) => later.push((path, envelope, refusal)),
                }
            }
            if later.is_empty() || later.len() == before {
                // That a device which is shut out stays enrolled in the directory was meant.
                let is_news =
                    |(_, _, refusal): &(_, _, Refusal)| !matches!(refusal, Refusal::RevokedDevice { .. });
                let later = later.into_iter().filter(is_news);
                offer.set_aside.extend(later.map(|(path, _, refusal)| (path, SetAside::of(&refusal))));
                break;
            }
            waiting = later.into_iter().map(|(path, envelope, _)| (path, envelope)).collect();
        }
        offer.releases = offer.documents.offered_releases();
        Ok(offer)
    }

    /// Whether the directory holds nothing that a device could be told.
    pub(super) fn is_bare(&self) -> bool {
        self.documents.releases.is_empty() && self.documents.withdrawals.is_empty()
    }

    pub(super) fn offers(&self, release: DocumentId) -> bool {
        self.releases.iter().any(|offered| offered.id() == release)
    }

    /// Whether no other known release has its product and version: then a device that names both means this one.
    pub(super) fn is_alone_in_its_version(&self, release: &Verified<Release>) -> bool {
        let same = |r: &&Verified<Release>| r.product == release.product && r.version == release.version;
        self.documents.releases.values().filter(same).count() == 1
    }

    /// The distinct contents of the offered releases.
    pub(super) fn blobs(&self) -> Vec<BlobRef> {
        let mut seen = BTreeSet::new();
        self.releases.iter().flat_map(|r| r.blobs()).filter(|blob| seen.insert(blob.content)).collect()
    }

    pub(super) fn uses(&self, content: ContentHash) -> bool {
        self.releases.iter().flat_map(|r| r.blobs()).any(|blob| blob.content == content)
    }

    /// Why a release that was offered before is not any more.
    pub(super) fn why_gone(&self, release: DocumentId) -> Gone {
        let withdrawal = self.documents.withdrawals.values().find(|w| w.releases.contains(&release));
        let mut rollouts = self.documents.rollouts.values().filter(|rollout| rollout.release == release);
        match withdrawal {
            Some(withdrawal) => Gone::Withdrawn(withdrawal.reason.clone()),
            None if rollouts.any(|rollout| rollout.state == RolloutState::Active) => Gone::Superseded,
            None => Gone::Ended,
        }
    }
}

/// What devices do when a release is withdrawn.
#[derive(Debug)]
pub enum Fallback {
    /// It is not what they are to have now.
    NotOffered,
    /// No active rollout names another release of its channel: they keep what they have.
    Nothing,
    /// They take the newest one of its channel that an active rollout still names (T15).
    To(Box<Verified<Release>>),
    /// That one is below the security counter of the withdrawn one: only devices that have not installed it take it (T18).
    Split {
        /// What those take.
        others: Box<Verified<Release>>,
        /// The newest that is not below it: what devices that have installed it go back to, if there is one.
        back_to: Option<Box<Verified<Release>>>,
        /// The floor of devices that have installed it.
        floor: u64,
    },
}

/// What devices would do when this release were withdrawn.
pub fn fallback(site: &SiteDir, release: DocumentId) -> Result<Fallback, Failure> {
    let mut offer = Offer::read(site)?;
    let mut active = offer.documents.active_releases();
    let Some(at) = active.iter().position(|offered| offered.id() == release) else {
        return Ok(Fallback::NotOffered);
    };
    let withdrawn = active.swap_remove(at);
    offer.documents.remove(release);
    let mut left = std::iter::from_fn(|| {
        let left = offer.documents.active_releases();
        let next = left.into_iter().find(|left| left.is_of_channel(&withdrawn))?;
        offer.documents.remove(next.id());
        Some(next)
    });
    let Some(next) = left.next() else { return Ok(Fallback::Nothing) };
    let floor = withdrawn.security_counter;
    if next.security_counter >= floor {
        return Ok(Fallback::To(Box::new(next)));
    }
    let back_to = left.find(|older| older.security_counter >= floor).map(Box::new);
    Ok(Fallback::Split { others: Box::new(next), back_to, floor })
}

/// The Withdrawal of the directory that took a release back already, with its copies if they are to go.
pub fn withdrawal_of(
    site: &SiteDir,
    release: DocumentId,
    purge: bool,
) -> Result<Option<Verified<Withdrawal>>, Failure> {
    let offer = Offer::read(site)?;
    let mut all = offer.documents.withdrawals.into_values();
    Ok(all.find(|withdrawal| {
        // One that is for a product may turn out to be for another one than the release's.
        withdrawal.releases.contains(&release) && withdrawal.product.is_none() && (withdrawal.purge || !purge)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use samara_protocol::document::Envelope;

    fn site(dir: &tempfile::TempDir) -> SiteDir {
        fixture::site(dir.path(), &[])
    }

    #[test]
    fn a_file_that_is_no_document_is_named_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(&dir);
        let bad = site.dir().join("documents/bad.json");
        std::fs::write(&bad, "{}").unwrap();
        std::fs::write(site.dir().join("documents/notes.txt"), "not looked at").unwrap();
        let offer = Offer::read(&site).unwrap();
        assert_eq!(offer.refused.keys().collect::<Vec<_>>(), [&bad]);
        assert!(offer.is_bare());
    }

    #[test]
    fn a_release_that_lacks_a_signature_is_set_aside_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let site = fixture::site(dir.path(), &["--threshold", "release=2"]);
        fixture::publish(&site);
        let path = fixture::document(&site, "release-");
        let mut envelope = Envelope::parse(&std::fs::read(&path).unwrap()).unwrap();
        envelope.signatures.pop();
        std::fs::write(&path, envelope.to_bytes()).unwrap();
        let offer = Offer::read(&site).unwrap();
        let why = "1 of 2 signatures that the role release needs";
        assert_eq!(offer.set_aside, [(path, SetAside::Refused(why.into()))].into());
        assert!(offer.releases.is_empty() && offer.is_bare());
    }

    #[test]
    fn the_enrollment_of_a_device_that_the_trust_root_shuts_out_is_nothing_to_tell() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(&dir);
        fixture::ok(["enroll".into(), "--site".into(), site.dir().into(), fixture::DEVICE.into()]);
        fixture::next_trust_root(&site, |root| root.revoked_devices = vec![fixture::DEVICE.parse().unwrap()]);
        let offer = Offer::read(&site).unwrap();
        assert!(offer.set_aside.is_empty() && offer.refused.is_empty(), "{offer:?}");
    }

    #[test]
    fn rollouts_of_an_epoch_that_is_over_are_judged_by_the_trust_root_that_ended_it() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(&dir);
        fixture::publish(&site);
        let old = fixture::document(&site, "rollout-");
        assert_eq!(Offer::read(&site).unwrap().releases.len(), 1);
        fixture::next_trust_root(&site, |root| root.epoch = 2);
        let offer = Offer::read(&site).unwrap();
        assert_eq!(offer.set_aside, [(old, SetAside::Refused("epoch 0 is older than 2".into()))].into());
        assert!(offer.releases.is_empty(), "no rollout of this epoch names it");
    }

    #[test]
    fn a_rollout_of_an_epoch_that_is_still_to_come_waits_for_its_trust_root() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let site = site(&dir);
        let root = fixture::next_trust_root(&site, |root| root.epoch = 2);
        fixture::publish(&site);
        let rollout = fixture::document(&site, "rollout-");
        std::fs::rename(root, other.path().join("root.json")).unwrap();
        let why = "epoch 2 is newer than 0; it waits for the next trust root";
        let set_aside = Offer::read(&site).unwrap().set_aside;
        assert_eq!(set_aside, [(rollout, SetAside::Waiting(why.into()))].into());
    }
}
