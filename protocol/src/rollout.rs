//! From documents to a decision: which release this device shall have, and why.
//!
//! A pure function of verified documents and the device's facts; it knows no network, no clock and no disk. A device
//! needs both a Release (the vendor: this software is ours) and an active Rollout (the site: install it here). Of
//! several, per issuer, product and channel, the highest number counts.

use crate::document::{Artifact, BlobRef, Release, Rollout, RolloutState, Withdrawal};
use crate::id::DocumentId;
use crate::trust::{Verified, VerifiedDocument};
use std::collections::{BTreeMap, BTreeSet};

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Hardware revision, matched against a release's list.
    pub hardware: String,
    /// Processor architecture, as the operating system names it.
    pub architecture: String,
    /// The product by the device's enrollment; empty: any.
    pub product: String,
}

/// The verified documents that decide, newest of each kind.
#[derive(Debug, Default)]
pub struct SiteDocuments {
    /// By id.
    pub releases: BTreeMap<DocumentId, Verified<Release>>,
    /// By the stable id of the rollout, latest sequence.
    pub rollouts: BTreeMap<String, Verified<Rollout>>,
    /// By id.
    pub withdrawals: BTreeMap<DocumentId, Verified<Withdrawal>>,
}

/// What a device does about one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Fetch and install it.
    Install {
        /// The Rollout that says so.
        rollout: DocumentId,
    },
    /// It was not made for this device.
    NotApplicable(String),
    /// The Rollout holds it back.
    Held(RolloutState),
    /// It was taken back.
    Withdrawn {
        /// The Withdrawal's words.
        reason: String,
        /// Whether copies shall go, too.
        purge: bool,
    },
    /// A later release of the same channel is wanted.
    Superseded,
}

impl SiteDocuments {
    /// Takes a document that decides; others change nothing.
    pub fn insert(&mut self, document: VerifiedDocument) {
        match document {
            VerifiedDocument::Release(release) => {
                self.releases.insert(release.id(), release);
            }
            VerifiedDocument::Rollout(rollout) => {
                self.rollouts.insert(rollout.rollout_id.to_string(), rollout);
            }
            VerifiedDocument::Withdrawal(withdrawal) => {
                self.withdrawals.insert(withdrawal.id(), withdrawal);
            }
            VerifiedDocument::TrustRoot(_)
            | VerifiedDocument::Enrollment(_)
            | VerifiedDocument::Report(_) => {}
        }
    }

    /// The releases that devices of some kind shall have now: what a seeder offers.
    pub fn active_releases(&self) -> Vec<Verified<Release>> {
        let mut newest: BTreeMap<(&str, &str, &str), &Verified<Release>> = BTreeMap::new();
        let active = self.rollouts.values().filter(|rollout| rollout.state == RolloutState::Active);
        for release in active.filter_map(|rollout| self.releases.get(&rollout.release)) {
            if self.withdrawals.values().any(|w| w.releases.contains(&release.id())) {
                continue;
            }
            let best = newest.entry(channel_of(release)).or_insert(release);
            if release.number > best.number {
                *best = release;
            }
        }
        newest.into_values().cloned().collect()
    }

    /// One decision for each release that a Rollout of the site names.
    pub fn decide(&self, facts: &Facts) -> BTreeMap<DocumentId, Decision> {
        let mut decisions = BTreeMap::new();
        let mut newest: BTreeMap<(&str, &str, &str), (u64, DocumentId)> = BTreeMap::new();
        for rollout in self.rollouts.values() {
            let Some(release) = self.releases.get(&rollout.release) else { continue };
            let decision = self.decide_one(release, rollout, facts);
            if matches!(decision, Decision::Install { .. }) {
                let best = newest.entry(channel_of(release)).or_insert((release.number, release.id()));
                let (older, newer) = if release.number > best.0 {
                    (std::mem::replace(best, (release.number, release.id())).1, release.id())
                } else {
                    (release.id(), best.1)
                };
                if older != newer {
                    decisions.insert(older, Decision::Superseded);
                }
                if newer != release.id() {
                    continue;
                }
            }
            // Several Rollouts may name one release: that one of them installs it is enough.
            if !matches!(decisions.get(&release.id()), Some(Decision::Install { .. })) {
                decisions.insert(release.id(), decision);
            }
        }
        decisions
    }

    fn decide_one(
        &self,
        release: &Verified<Release>,
        rollout: &Verified<Rollout>,
        facts: &Facts,
    ) -> Decision {
        if let Some(withdrawal) = self.withdrawals.values().find(|w| w.releases.contains(&release.id())) {
            return Decision::Withdrawn { reason: withdrawal.reason.clone(), purge: withdrawal.purge };
        }
        if rollout.state != RolloutState::Active {
            return Decision::Held(rollout.state);
        }
        let fits = |allowed: &[String], fact: &str| allowed.is_empty() || allowed.iter().any(|a| a == fact);
        if !facts.product.is_empty() && facts.product != release.product {
            return Decision::NotApplicable(format!(
                "it is for {}, this device is a {}",
                release.product, facts.product
            ));
        }
        if !fits(&release.compatibility.hardware, &facts.hardware) {
            return Decision::NotApplicable(format!("it is not for hardware {}", facts.hardware));
        }
        if !fits(&release.compatibility.architecture, &facts.architecture) {
            return Decision::NotApplicable(format!("it is not for architecture {}", facts.architecture));
        }
        if artifacts_for(release, facts).next().is_none() {
            return Decision::NotApplicable("none of its artifacts is for this device".into());
        }
        Decision::Install { rollout: rollout.id() }
    }
}

/// Within it numbers only rise.
fn channel_of(release: &Release) -> (&str, &str, &str) {
    (&release.issuer, &release.product, &release.channel)
}

/// The artifacts of a release that this device installs.
pub fn artifacts_for<'a>(release: &'a Release, facts: &'a Facts) -> impl Iterator<Item = &'a Artifact> {
    release.artifacts.iter().filter(|artifact| {
        let fits = |allowed: &[String], fact: &String| allowed.is_empty() || allowed.contains(fact);
        fits(&artifact.when.hardware, &facts.hardware)
            && fits(&artifact.when.architecture, &facts.architecture)
    })
}

/// The distinct blobs that this device fetches for a release: file lists before data.
pub fn blobs_for(release: &Release, facts: &Facts) -> Vec<BlobRef> {
    let mut seen = BTreeSet::new();
    let mut lists = Vec::new();
    let mut data = Vec::new();
    for artifact in artifacts_for(release, facts) {
        let Some(plain) = artifact.plain() else { continue };
        lists.extend(plain.list.iter().copied());
        data.push(plain.data);
    }
    lists.into_iter().chain(data).filter(|blob| seen.insert(blob.content)).collect()
}
