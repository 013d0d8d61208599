//! High-water marks: the newest numbers accepted. They only rise, and are on disk before they are acted upon.

use super::{Refusal, Verified, VerifiedDocument};
use crate::document::{Enrollment, Release, Report, Rollout, TrustRoot};
use crate::id::DocumentId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest numbers and sequences accepted, by what they count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HighWaterMarks {
    /// Of the trust root.
    pub root_version: u64,
    /// Of the trust root.
    pub epoch: u64,
    /// Release number by issuer, product and channel.
    pub releases: BTreeMap<String, u64>,
    /// Security floor by issuer and product; raised when a release is committed.
    pub security_floors: BTreeMap<String, u64>,
    /// (epoch, sequence) and document by rollout.
    pub rollouts: BTreeMap<String, (u64, u64, DocumentId)>,
    /// Sequence by enrolled device.
    pub enrollments: BTreeMap<String, u64>,
    /// (boot, counter) by reporting device.
    pub reports: BTreeMap<String, (u64, u64)>,
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
        match document {
            VerifiedDocument::TrustRoot(root) => self.raise_root(root),
            VerifiedDocument::Release(release) => {
                raise(&mut self.releases, channel_of(release), release.number)
            }
            VerifiedDocument::Rollout(rollout) => {
                let new = (rollout.epoch, rollout.sequence, rollout.id());
                raise(&mut self.rollouts, rollout.rollout_id.to_string(), new);
            }
            VerifiedDocument::Withdrawal(_) => {}
            VerifiedDocument::Enrollment(enrollment) => {
                raise(&mut self.enrollments, enrollment.device.to_string(), enrollment.sequence);
            }
            VerifiedDocument::Report(report) => {
                raise(&mut self.reports, report.device.to_string(), (report.boot, report.counter));
            }
        }
    }

    pub(super) fn raise_security_floor(&mut self, release: &Release) {
        raise(&mut self.security_floors, product_of(release), release.security_counter);
    }

    pub(super) fn check_release(&self, release: &Release) -> Result<(), Refusal> {
        let have = self.releases.get(&channel_of(release)).copied().unwrap_or(0);
        if release.number < have {
            return Err(Refusal::OlderRelease { have, offered: release.number });
        }
        let have = self.security_floors.get(&product_of(release)).copied().unwrap_or(0);
        if release.security_counter < have {
            return Err(Refusal::BelowSecurityFloor { have, offered: release.security_counter });
        }
        Ok(())
    }

    pub(super) fn check_rollout(&self, rollout: &Rollout, offered: DocumentId) -> Result<(), Refusal> {
        let Some(&(epoch, sequence, have)) = self.rollouts.get(&rollout.rollout_id.to_string()) else {
            return Ok(());
        };
        if rollout.epoch < epoch {
            return Err(Refusal::OlderEpoch { have: epoch, offered: rollout.epoch });
        }
        if rollout.epoch == epoch && rollout.sequence < sequence {
            return Err(Refusal::OlderSequence { have: sequence, offered: rollout.sequence });
        }
        if (rollout.epoch, rollout.sequence) == (epoch, sequence) && offered < have {
            return Err(Refusal::SameSequence { have, offered });
        }
        Ok(())
    }

    pub(super) fn check_enrollment(&self, enrollment: &Enrollment) -> Result<(), Refusal> {
        let have = self.enrollments.get(&enrollment.device.to_string()).copied().unwrap_or(0);
        if enrollment.sequence < have {
            return Err(Refusal::OlderSequence { have, offered: enrollment.sequence });
        }
        Ok(())
    }

    pub(super) fn check_report(&self, report: &Report) -> Result<(), Refusal> {
        let have = self.reports.get(&report.device.to_string()).copied().unwrap_or((0, 0));
        let offered = (report.boot, report.counter);
        if offered < have { Err(Refusal::OlderReport { have, offered }) } else { Ok(()) }
    }

    /// The greater of both, mark by mark.
    pub fn max(&self, other: &Self) -> Self {
        let mut marks = self.clone();
        marks.root_version = marks.root_version.max(other.root_version);
        marks.epoch = marks.epoch.max(other.epoch);
        other.releases.iter().for_each(|(key, value)| raise(&mut marks.releases, key.clone(), *value));
        other
            .security_floors
            .iter()
            .for_each(|(key, value)| raise(&mut marks.security_floors, key.clone(), *value));
        other.rollouts.iter().for_each(|(key, value)| raise(&mut marks.rollouts, key.clone(), *value));
        other.enrollments.iter().for_each(|(key, value)| raise(&mut marks.enrollments, key.clone(), *value));
        other.reports.iter().for_each(|(key, value)| raise(&mut marks.reports, key.clone(), *value));
        marks
    }
}

fn raise<V: Ord + Copy>(marks: &mut BTreeMap<String, V>, key: String, value: V) {
    let mark = marks.entry(key).or_insert(value);
    *mark = (*mark).max(value);
}
