//! What a site directory offers: the releases that its documents let devices have, and why another one is no longer
//! among them. A pure function of the directory's documents; nothing is remembered from one reading to the next.

use crate::failure::{Failure, Kind};
use crate::site::{SiteDir, read_document};
use samara_protocol::document::{BlobRef, Envelope, Release, RolloutState};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::rollout::SiteDocuments;
use samara_protocol::trust::{Trust, Verdict, Verified};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The releases on offer, the newest of each channel.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) releases: Vec<Verified<Release>>,
    /// Files that hold no document of this site, each with the reason.
    pub(super) refused: BTreeMap<PathBuf, String>,
    documents: SiteDocuments,
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
        // Trust refuses a release that is older than one it knows, and it may be the newest that is left.
        waiting.sort_by_cached_key(|(_, envelope)| release_number(envelope));
        // A chain of trust roots and sequences may come in any file order: go round while something is taken.
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
                    // Older than another one, or its trust root is still to come.
                    Err(_) => later.push((path, envelope)),
                }
            }
            if later.is_empty() || later.len() == before {
                break;
            }
            waiting = later;
        }
        offer.releases = offer.documents.active_releases();
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

/// 0 for what is no release.
fn release_number(envelope: &[u8]) -> u64 {
    let release = Envelope::parse(envelope).and_then(|envelope| envelope.unverified_payload::<Release>());
    release.map_or(0, |release| release.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::SiteDir;

    #[test]
    fn a_file_that_is_no_document_is_named_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("plant");
        let words = ["samara", "site", "init", "--name", "Plant", "--no-passphrase"];
        let arguments = words.iter().map(Into::into).chain([site.clone().into_os_string()]);
        assert_eq!(format!("{:?}", crate::run(arguments)), format!("{:?}", std::process::ExitCode::SUCCESS));
        let site = SiteDir::open(site).unwrap();
        let bad = site.dir().join("documents/bad.json");
        std::fs::write(&bad, "{}").unwrap();
        std::fs::write(site.dir().join("documents/notes.txt"), "not looked at").unwrap();
        let offer = Offer::read(&site).unwrap();
        assert_eq!(offer.refused.keys().collect::<Vec<_>>(), [&bad]);
        assert!(offer.is_bare());
    }
}
