//! High-water marks: the newest numbers accepted, and the security floors of what was installed. They only rise, and
//! are on disk before they are acted upon.

use super::{Refusal, Verified, VerifiedDocument};
use crate::document::{Release, TrustRoot};
use crate::id::DocumentId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest of one Rollout's, Enrollment's or device's documents: (epoch, sequence), (0, sequence) or
/// (boot, counter), and of equal ones the greater id (T13).
type Mark = ((u64, u64), DocumentId);

/// The newest numbers and sequences accepted, by what they count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HighWaterMarks {
    /// Of the trust root.
    pub root_version: u64,
    /// Of the trust root.
    pub epoch: u64,
    /// Release number by issuer, product and channel.
    pub releases: BTreeMap<String, u64>,
    /// Of what this device has installed.
    pub security_floors: SecurityFloors,
    /// (epoch, sequence) and document by rollout.
    pub rollouts: BTreeMap<String, Mark>,
    /// (0, sequence) and document by enrolled device.
    pub enrollments: BTreeMap<String, Mark>,
    /// (boot, counter) and document by reporting device.
    pub reports: BTreeMap<String, Mark>,
}

/// The highest security counter that a device has installed, by issuer and product: it installs nothing below (T18).
///
/// Documents below it are held and passed on all the same: another device may not have come so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecurityFloors(pub BTreeMap<String, u64>);

/// A rollback attack, or an operator who went back too far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its security counter {offered} is below {have}, the floor that an installed release has set")]
pub struct BelowSecurityFloor {
    /// The floor.
    pub have: u64,
    /// The release's.
    pub offered: u64,
}

impl SecurityFloors {
    /// Whether a release may be installed.
    pub fn check(&self, release: &Release) -> Result<(), BelowSecurityFloor> {
        let have = self.0.get(&product_of(release)).copied().unwrap_or(0);
        let offered = release.security_counter;
        if offered < have { Err(BelowSecurityFloor { have, offered }) } else { Ok(()) }
    }

    /// A release is installed: nothing below its counter will be from now on. To be made durable with the record that
    /// it is in place.
    pub fn raise(&mut self, release: &Release) {
        raise(&mut self.0, product_of(release), release.security_counter);
    }
}

// Unit separator: cannot stand in a name, which has no control characters.
const SEPARATOR: &str = "\u{1f}";

fn channel_of(release: &Release) -> String {
    [release.issuer.as_str(), &release.product, &release.channel].join(SEPARATOR)
}

fn product_of(release: &Release) -> String {
    [release.issuer.as_str(), &release.product].join(SEPARATOR)
}

impl HighWaterMarks {
    pub(super) fn raise_root(&mut self, root: &Verified<TrustRoot>) {
        self.root_version = self.root_version.max(root.version);
        self.epoch = self.epoch.max(root.epoch);
    }

    pub(super) fn raise(&mut self, document: &VerifiedDocument) {
        let id = document.id();
        match document {
            VerifiedDocument::TrustRoot(root) => self.raise_root(root),
            VerifiedDocument::Release(release) => {
                raise(&mut self.releases, channel_of(release), release.number);
            }
            VerifiedDocument::Rollout(rollout) => {
                let mark = ((rollout.epoch, rollout.sequence), id);
                raise(&mut self.rollouts, rollout.rollout_id.to_string(), mark);
            }
            VerifiedDocument::Withdrawal(_) => {}
            VerifiedDocument::Enrollment(enrollment) => {
                let mark = ((0, enrollment.sequence), id);
                raise(&mut self.enrollments, enrollment.device.to_string(), mark);
            }
            VerifiedDocument::Report(report) => {
                raise(&mut self.reports, report.device.to_string(), ((report.boot, report.counter), id));
            }
        }
    }

    /// T9, T13: nothing below its mark is accepted; what equals it is.
    pub(super) fn check(&self, document: &VerifiedDocument) -> Result<(), Refusal> {
        let id = document.id();
        match document {
            // Their chain is their mark.
            VerifiedDocument::TrustRoot(_) | VerifiedDocument::Withdrawal(_) => Ok(()),
            VerifiedDocument::Release(release) => {
                let have = self.releases.get(&channel_of(release)).copied().unwrap_or(0);
                if release.number < have {
                    return Err(Refusal::OlderRelease { have, offered: release.number });
                }
                Ok(())
            }
            VerifiedDocument::Rollout(rollout) => {
                let offered = ((rollout.epoch, rollout.sequence), id);
                check(self.rollouts.get(&rollout.rollout_id.to_string()), offered, |have, offered| {
                    if offered.0 < have.0 {
                        Refusal::OlderEpoch { have: have.0, offered: offered.0 }
                    } else {
                        Refusal::OlderSequence { have: have.1, offered: offered.1 }
                    }
                })
            }
            VerifiedDocument::Enrollment(enrollment) => {
                let offered = ((0, enrollment.sequence), id);
                check(self.enrollments.get(&enrollment.device.to_string()), offered, |have, offered| {
                    Refusal::OlderSequence { have: have.1, offered: offered.1 }
                })
            }
            VerifiedDocument::Report(report) => {
                let offered = ((report.boot, report.counter), id);
                check(self.reports.get(&report.device.to_string()), offered, |have, offered| {
                    Refusal::OlderReport { have, offered }
                })
            }
        }
    }

    /// The greater of both, mark by mark.
    pub fn max(&self, other: &Self) -> Self {
        let mut marks = self.clone();
        marks.root_version = marks.root_version.max(other.root_version);
        marks.epoch = marks.epoch.max(other.epoch);
        raise_all(&mut marks.releases, &other.releases);
        raise_all(&mut marks.security_floors.0, &other.security_floors.0);
        raise_all(&mut marks.rollouts, &other.rollouts);
        raise_all(&mut marks.enrollments, &other.enrollments);
        raise_all(&mut marks.reports, &other.reports);
        marks
    }
}

fn check(
    have: Option<&Mark>,
    (offered, id): Mark,
    older: impl Fn((u64, u64), (u64, u64)) -> Refusal,
) -> Result<(), Refusal> {
    match have {
        Some((have, _)) if offered < *have => Err(older(*have, offered)),
        Some((have, held)) if offered == *have && id < *held => {
            Err(Refusal::SameSequence { have: *held, offered: id })
        }
        _ => Ok(()),
    }
}

fn raise<V: Ord + Copy>(marks: &mut BTreeMap<String, V>, key: String, value: V) {
    let mark = marks.entry(key).or_insert(value);
    *mark = (*mark).max(value);
}

fn raise_all<V: Ord + Copy>(marks: &mut BTreeMap<String, V>, other: &BTreeMap<String, V>) {
    other.iter().for_each(|(key, value)| raise(marks, key.clone(), *value));
}
