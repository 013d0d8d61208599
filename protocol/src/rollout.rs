//! From documents to a decision: which release this device shall have, and why.
//!
//! A pure function of verified documents and the device's facts; it knows no network, no clock and no disk. A device
//! needs both a Release (the vendor: this software is ours) and an active Rollout (the site: install it here). Of
//! several, per issuer, product and channel, the highest number counts (T15); the order of arrival never does.

mod facts;
mod paused;
mod suited;
mod surplus;

pub use facts::{BadMark, Facts};
pub use paused::share_a_destination;

use crate::document::{Artifact, BlobRef, Hook, Release, Rollout, RolloutState, TrustRoot, When, Withdrawal};
use crate::id::DocumentId;
use crate::trust::{Verified, VerifiedDocument};
use std::collections::{BTreeMap, BTreeSet};
use suited::{fits, unmet, unsuited};

/// The verified documents that decide, newest of each kind.
#[derive(Debug, Default)]
pub struct SiteDocuments {
    /// By id.
    pub releases: BTreeMap<DocumentId, Verified<Release>>,
    /// By the stable id of the rollout, latest sequence.
    pub rollouts: BTreeMap<String, Verified<Rollout>>,
    /// By id.
    pub withdrawals: BTreeMap<DocumentId, Verified<Withdrawal>>,
    /// The newest that followed the pinned one.
    pub root: Option<Verified<TrustRoot>>,
}

/// What a device does about one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Fetch and install it.
    Install {
        /// The Rollout that says so.
        rollout: DocumentId,
        /// How often that may be tried.
        attempts_max: u32,
    },
    /// It was not made for this device.
    NotApplicable(String),
    /// It was made for such devices, but not for one as this is now.
    Rejected(String),
    /// It went wrong here before.
    Bad(BadMark),
    /// Its Rollout is paused: fetch it and write it beside what is in place, but install nothing. A device that has it
    /// keeps it.
    Prepare {
        /// The Rollout that says so.
        rollout: DocumentId,
    },
    /// The Rollout holds it back: it is paused, or was aborted.
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
                let age = |rollout: &Verified<Rollout>| (rollout.epoch, rollout.sequence, rollout.id());
                let held = self.rollouts.entry(rollout.rollout_id.to_string()).or_insert(rollout.clone());
                if age(&rollout) > age(held) {
                    *held = rollout;
                }
            }
            VerifiedDocument::Withdrawal(withdrawal) => {
                self.withdrawals.insert(withdrawal.id(), withdrawal);
            }
            VerifiedDocument::TrustRoot(root) => {
                if self.root.as_ref().is_none_or(|held| held.version < root.version) {
                    self.root = Some(root);
                }
            }
            VerifiedDocument::Enrollment(_) | VerifiedDocument::Report(_) => {}
        }
    }

    /// Takes a document out that is believed no longer.
    pub fn remove(&mut self, id: DocumentId) {
        self.releases.remove(&id);
        self.withdrawals.remove(&id);
        self.rollouts.retain(|_, rollout| rollout.id() != id);
    }

    /// The releases that devices of some kind shall have now.
    pub fn active_releases(&self) -> Vec<Verified<Release>> {
        self.newest_named(RolloutState::Active)
    }

    /// Of each channel the newest release that Rollouts in a state name.
    fn newest_named(&self, state: RolloutState) -> Vec<Verified<Release>> {
        let named = self.rollouts.values().filter(|rollout| rollout.state == state);
        let named = named.filter_map(|rollout| self.releases.get(&named_by(rollout)));
        let named = named.filter(|release| !self.is_rolled_past(release));
        newest_of(named.filter(|release| self.withdrawals_of(release).next().is_none())).cloned().collect()
    }

    /// One decision for each release that a Rollout of the site names.
    pub fn decide(&self, facts: &Facts) -> BTreeMap<DocumentId, Decision> {
        let mut decisions = BTreeMap::new();
        for rollout in self.rollouts.values() {
            let Some(release) = self.releases.get(&named_by(rollout)) else { continue };
            let decision = self.decide_one(release, rollout, facts);
            // Several Rollouts may name one release: that one of them installs it is enough.
            if decisions.get(&release.id()).is_none_or(|other| rank(&decision) > rank(other)) {
                decisions.insert(release.id(), decision);
            }
        }
        self.settle_channels(&mut decisions, facts);
        self.settle_destinations(&mut decisions, facts);
        self.settle_paused(&mut decisions, facts);
        decisions
    }

    /// T15, T20, T21: of each channel one release is wanted; what is older, or lies on the way back, is superseded.
    fn settle_channels(&self, decisions: &mut BTreeMap<DocumentId, Decision>, facts: &Facts) {
        for rollout in self.rollouts.values().filter(|rollout| rollout.rollback_to.is_some()) {
            if self.releases.contains_key(&rollout.release) && rollout.state == RolloutState::Active {
                decisions.entry(rollout.release).or_insert(Decision::Superseded);
            }
        }
        let may_be_there = |id: &DocumentId, decision: &Decision| match decision {
            Decision::Install { .. } => true,
            // A pause or an end takes nothing away from a device that has the release.
            Decision::Held(_) | Decision::Prepare { .. } => facts.has(id),
            _ => false,
        };
        let contend = decisions.iter().filter(|(id, decision)| may_be_there(id, decision));
        let contend = contend.filter_map(|(id, _)| self.releases.get(id));
        let newest: Vec<_> = newest_of(contend.filter(|release| !self.is_rolled_past(release))).collect();
        for (id, decision) in decisions.iter_mut() {
            let Some(release) = self.releases.get(id) else { continue };
            let is_outrun = match newest.iter().find(|other| other.is_of_channel(release)) {
                Some(newest) => (release.number, release.id()) < (newest.number, newest.id()),
                None => false,
            };
            let is_open = matches!(
                decision,
                Decision::Install { .. }
                    | Decision::Prepare { .. }
                    | Decision::Bad(_)
                    | Decision::Rejected(_)
            );
            if is_open && (is_outrun || self.is_rolled_past(release)) {
                *decision = Decision::Superseded;
            }
        }
    }

    /// T20: whether an active Rollout goes back behind a release: from this one, or a later one, to an earlier one.
    pub fn is_rolled_past(&self, release: &Verified<Release>) -> bool {
        self.rollouts.values().any(|rollout| {
            let numbers =
                rollout.rollback_to.filter(|_| rollout.state == RolloutState::Active).and_then(|to| {
                    let (from, to) = (self.releases.get(&rollout.release)?, self.releases.get(&to)?);
                    (from.is_of_channel(release) && to.is_of_channel(release))
                        .then_some((from.number, to.number))
                });
            numbers.is_some_and(|(from, to)| release.number > to && release.number <= from)
        })
    }

    /// T16: of releases of several channels that claim one destination, the one with the higher number has it, of equal
    /// numbers the one with the greater id; the others are not applicable.
    fn settle_destinations(&self, decisions: &mut BTreeMap<DocumentId, Decision>, facts: &Facts) {
        let installs = decisions.iter().filter(|(_, decision)| matches!(decision, Decision::Install { .. }));
        let mut installs: Vec<_> = installs.filter_map(|(id, _)| self.releases.get(id)).collect();
        installs.sort_by_key(|release| std::cmp::Reverse((release.number, release.id())));
        let mut taken: Vec<(&str, &Verified<Release>)> = Vec::new();
        for release in installs {
            let wanted: Vec<&str> = artifacts_for(release, facts).map(|a| a.destination.as_str()).collect();
            let conflict = wanted.iter().find_map(|destination| {
                let owner = taken.iter().find(|(theirs, _)| crate::document::overlap(theirs, destination))?.1;
                Some(format!("{destination} belongs to {}", name_of(owner)))
            });
            match conflict {
                Some(why) => {
                    decisions.insert(release.id(), Decision::NotApplicable(why));
                }
                None => taken.extend(wanted.into_iter().map(|destination| (destination, release))),
            }
        }
    }

    /// T6: a Withdrawal that names a product takes back releases of that product only.
    fn withdrawals_of(&self, release: &Verified<Release>) -> impl Iterator<Item = &Verified<Withdrawal>> {
        let (id, product) = (release.id(), release.product.clone());
        self.withdrawals.values().filter(move |withdrawal| {
            withdrawal.releases.contains(&id) && withdrawal.product.as_ref().is_none_or(|own| *own == product)
        })
    }

    /// T19: why no release of the site is for a device.
    fn unsuited_site(&self, facts: &Facts) -> Option<String> {
        let (min, own) = (self.root.as_ref()?.min_protocol, facts.protocol);
        (min > own).then(|| format!("the site needs mesh protocol {min} or later; this device speaks {own}"))
    }

    fn decide_one(
        &self,
        release: &Verified<Release>,
        rollout: &Verified<Rollout>,
        facts: &Facts,
    ) -> Decision {
        if let Some(withdrawal) = self.withdrawals_of(release).next() {
            let purge = self.withdrawals_of(release).any(|withdrawal| withdrawal.purge);
            return Decision::Withdrawn { reason: withdrawal.reason.clone(), purge };
        }
        let mark = facts.bad.get(&release.id()).filter(|mark| !mark.is_lifted_by(rollout));
        if rollout.state == RolloutState::Aborted {
            return mark.map_or(Decision::Held(rollout.state), |mark| Decision::Bad(mark.clone()));
        }
        // T18: whoever names it.
        let below_floor = || facts.floors.check(release).err().map(|below| below.to_string());
        let why = self.unsuited_site(facts).or_else(|| unsuited(release, facts));
        if let Some(why) = why.or_else(below_floor).or_else(|| self.obstacle(release, facts)) {
            return Decision::NotApplicable(why);
        }
        if let Some(mark) = mark {
            return Decision::Bad(mark.clone());
        }
        let in_place = || facts.in_place.values().filter_map(|id| self.releases.get(id));
        // A later one of the channel may have left something of an earlier one where it was.
        let is_newest = |one: &&Verified<Release>| !in_place().any(|other| other.is_later_than(one));
        let in_place = in_place().filter(is_newest);
        // What it must find it found before it came: its own coming may have changed that.
        let unmet = if facts.has(&release.id()) { None } else { unmet(release, in_place) };
        match unmet {
            Some(why) => Decision::Rejected(why),
            None if rollout.state == RolloutState::Paused => Decision::Prepare { rollout: rollout.id() },
            None => Decision::Install { rollout: rollout.id(), attempts_max: rollout.attempts_max },
        }
    }

    /// The place in their order of all Rollouts that name a release: what a device has tried when it goes bad there.
    pub fn seen_of(&self, release: DocumentId) -> BTreeMap<String, (u64, u64)> {
        let naming = self.rollouts.iter().filter(|(_, rollout)| named_by(rollout) == release);
        naming.map(|(id, rollout)| (id.clone(), (rollout.epoch, rollout.sequence))).collect()
    }

    /// T16: what is in place is never removed to make room for another destination.
    fn obstacle(&self, release: &Verified<Release>, facts: &Facts) -> Option<String> {
        let is_in_the_way = |destination: &str, place: &str, id: DocumentId| {
            place != destination && id != release.id() && crate::document::overlap(place, destination)
        };
        artifacts_for(release, facts).find_map(|Artifact { destination, .. }| {
            let (place, id) = facts.in_place.iter().find(|(at, id)| is_in_the_way(destination, at, **id))?;
            let owner =
                self.releases.get(id).map_or_else(|| "an earlier release".into(), |owner| name_of(owner));
            Some(format!(
                "{destination} overlaps {place}, where {owner} is in place: withdraw that and remove {place}"
            ))
        })
    }
}

/// The release that a Rollout wants installed: an earlier one where it rolls back (T20).
pub fn named_by(rollout: &Rollout) -> DocumentId {
    rollout.rollback_to.unwrap_or(rollout.release)
}

/// Of what several Rollouts say of one release that with the highest rank counts.
fn rank(decision: &Decision) -> u8 {
    match decision {
        Decision::Install { .. } => 3,
        Decision::Held(RolloutState::Aborted) => 0,
        Decision::Held(_) | Decision::Prepare { .. } => 1,
        _ => 2,
    }
}

/// For people.
fn name_of(release: &Release) -> String {
    format!("{} {} ({})", release.product, release.version, release.channel)
}

/// Within it numbers only rise.
fn channel_of(release: &Release) -> (&str, &str, &str) {
    (&release.issuer, &release.product, &release.channel)
}

/// T15: of each channel the release with the highest number, of equal numbers the one with the greater id.
fn newest_of<'a>(
    releases: impl Iterator<Item = &'a Verified<Release>>,
) -> impl Iterator<Item = &'a Verified<Release>> {
    let mut newest: BTreeMap<(&str, &str, &str), &Verified<Release>> = BTreeMap::new();
    for release in releases {
        let best = newest.entry(channel_of(release)).or_insert(release);
        if (release.number, release.id()) > (best.number, best.id()) {
            *best = release;
        }
    }
    newest.into_values()
}

/// The artifacts of a release that this device installs.
pub fn artifacts_for<'a>(release: &'a Release, facts: &'a Facts) -> impl Iterator<Item = &'a Artifact> {
    release.artifacts.iter().filter(|artifact| is_meant(&artifact.when, facts))
}

/// The hooks of a release that this device runs.
pub fn hooks_for<'a>(release: &'a Release, facts: &'a Facts) -> impl Iterator<Item = &'a Hook> {
    release.hooks.iter().filter(|hook| is_meant(&hook.when, facts))
}

fn is_meant(when: &When, facts: &Facts) -> bool {
    fits(&when.hardware, &facts.hardware) && fits(&when.architecture, &facts.architecture)
}

/// The distinct blobs that this device fetches for a release: hooks, then file lists, then data.
pub fn blobs_for(release: &Release, facts: &Facts) -> Vec<BlobRef> {
    let mut seen = BTreeSet::new();
    let hooks = hooks_for(release, facts).map(|hook| hook.data);
    let lists = artifacts_for(release, facts).filter_map(|artifact| artifact.plain()?.list);
    let all = artifacts_for(release, facts).flat_map(Artifact::blobs);
    hooks.chain(lists).chain(all).filter(|blob| seen.insert(blob.content)).collect()
}

#[cfg(test)]
mod tests;
