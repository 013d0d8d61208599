//! What may be believed: the trust root chain, roles, thresholds, revocation and high-water marks.
//!
//! The only way to a document's fields is [`Verified`], and only this module makes one. It knows nothing of swarms or
//! rollouts, and no clock: nothing here expires. Rule numbers (T1…) are those of `docs/DOCUMENTS.md`.
//!
//! ```text
//! bytes -> envelope, signatures right -> judge: the right keys, this site -> marks: not older than what was accepted
//! ```

mod judge;
mod marks;
mod refusal;
mod signatures;
mod verified;
mod waiting;

pub use marks::{BelowSecurityFloor, HighWaterMarks, SecurityFloors};
pub use refusal::{Awaits, Refusal, Verdict};
pub use verified::{DocumentKey, Verified, VerifiedDocument};
pub use waiting::Waiting;

use crate::document::{Enrollment, Envelope, MeshAccess, Rollout, TrustRoot};
use crate::id::{DocumentId, KeyId, PeerId, RolloutId, SiteId};
use std::collections::BTreeMap;

/// What a peer is to a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// A device with a valid enrollment.
    EnrolledDevice,
    /// An operator's laptop that the trust root names.
    Operator,
    /// Nobody knows it.
    Stranger,
    /// The trust root shuts it out.
    Revoked,
}

/// A site's trust as one device or laptop knows it.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The newest.
    root: Verified<TrustRoot>,
    /// Those before it, from version 1 on, without gaps.
    older: Vec<Verified<TrustRoot>>,
    marks: HighWaterMarks,
    /// The newest of each device; all hold under `root`.
    enrollments: BTreeMap<PeerId, Verified<Enrollment>>,
    /// The newest of each; all hold under `root`.
    rollouts: BTreeMap<RolloutId, Verified<Rollout>>,
}

impl Trust {
    /// T1: version 1 is believed because it is pinned; it must be signed by its own root threshold.
    pub fn pin(version1: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(version1)?;
        signatures::verify_all(&envelope)?;
        let root: TrustRoot = envelope.unverified_payload()?;
        judge::judge_succession(None, &root, &envelope)?;
        let root = Verified::new(root, &envelope, version1);
        let mut marks = HighWaterMarks::default();
        marks.raise_root(&root);
        Ok(Self { root, older: Vec::new(), marks, enrollments: BTreeMap::new(), rollouts: BTreeMap::new() })
    }

    /// The pinned version 1, the trust roots accepted after it, and the marks that were kept. The other documents that
    /// were kept are to follow through [`Trust::check_kept`] and [`Trust::accept`], enrollments before reports.
    pub fn restore(version1: &[u8], chain: &[Vec<u8>], marks: HighWaterMarks) -> Result<Self, Refusal> {
        let mut trust = Self::pin(version1)?;
        for envelope in chain {
            let document = trust.check(envelope)?;
            if matches!(document, VerifiedDocument::TrustRoot(_)) {
                trust.accept(&document);
            }
        }
        if trust.root.version < marks.root_version {
            return Err(Refusal::OlderTrustRoot { have: marks.root_version, offered: trust.root.version });
        }
        trust.marks = marks.max(&trust.marks);
        Ok(trust)
    }

    /// The site.
    pub fn site(&self) -> SiteId {
        self.root.site
    }

    /// The newest trust root.
    pub fn root(&self) -> &Verified<TrustRoot> {
        &self.root
    }

    /// The newest numbers and sequences accepted.
    pub fn marks(&self) -> &HighWaterMarks {
        &self.marks
    }

    /// The marks once `document` is accepted. Persist them before [`Trust::accept`].
    pub fn marks_with(&self, document: &VerifiedDocument) -> HighWaterMarks {
        let mut marks = self.marks.clone();
        marks.raise(document);
        marks
    }

    /// Whether an envelope that is offered may be believed; changes nothing. What equals its high-water mark is
    /// accepted again (T9), and a Release below its mark if a Rollout in force names it (T4).
    pub fn check(&self, bytes: &[u8]) -> Result<VerifiedDocument, Refusal> {
        let document = self.verify(bytes)?;
        match self.marks.check(&document) {
            Err(Refusal::OlderRelease { .. }) if self.is_named(document.id()) => {}
            checked => checked?,
        }
        Ok(document)
    }

    /// Whether an envelope that this device accepted once and kept holds still (T12): all is verified anew, but that
    /// a higher release number was seen since takes no older Release away.
    pub fn check_kept(&self, bytes: &[u8]) -> Result<VerifiedDocument, Refusal> {
        let document = self.verify(bytes)?;
        match self.marks.check(&document) {
            Err(Refusal::OlderRelease { .. }) => {}
            checked => checked?,
        }
        Ok(document)
    }

    /// Whether an envelope that was accepted holds under the trust root of now (T12). Its signatures stay right; the
    /// keys that made them, their role, or the epoch may not.
    pub fn still_holds(&self, bytes: &[u8]) -> bool {
        Envelope::parse(bytes).is_ok_and(|envelope| self.judge(&envelope, bytes).is_ok())
    }

    /// Acts upon a checked document: marks rise, a newer trust root takes over.
    pub fn accept(&mut self, document: &VerifiedDocument) {
        let is_newest = self.marks.check(document).is_ok();
        self.marks.raise(document);
        match document {
            VerifiedDocument::TrustRoot(root) if root.version == self.root.version + 1 => {
                self.older.push(std::mem::replace(&mut self.root, root.clone()));
                self.forget_what_no_longer_holds();
            }
            VerifiedDocument::Enrollment(enrollment) if is_newest => {
                self.enrollments.insert(enrollment.device, enrollment.clone());
            }
            VerifiedDocument::Rollout(rollout) if is_newest => {
                self.rollouts.insert(rollout.rollout_id, rollout.clone());
            }
            _ => {}
        }
    }

    /// Enrolled devices that are not revoked, whether connected or not.
    pub fn devices_enrolled(&self) -> usize {
        let revoked = &self.root.revoked_devices;
        self.enrollments.keys().filter(|device| !revoked.contains(device)).count()
    }

    /// What `peer` is, by the enrollment envelope that it showed (may be empty) or the one that is held of it.
    pub fn membership(&self, peer: PeerId, shown: &[u8]) -> Membership {
        let is_enrolled = |shown| {
            self.enrollments.contains_key(&peer)
                || matches!(self.check(shown), Ok(VerifiedDocument::Enrollment(shown)) if shown.device == peer)
        };
        if self.root.revoked_devices.contains(&peer) || self.root.revoked_keys.contains(&KeyId(peer.0)) {
            Membership::Revoked
        } else if self.root.roles.operator.keys.contains(&KeyId(peer.0)) {
            Membership::Operator
        } else if is_enrolled(shown) {
            Membership::EnrolledDevice
        } else {
            Membership::Stranger
        }
    }

    /// Whether such a peer may join.
    pub fn admits(&self, membership: Membership) -> bool {
        match membership {
            Membership::EnrolledDevice | Membership::Operator => true,
            Membership::Stranger => self.root.mesh == MeshAccess::Open,
            Membership::Revoked => false,
        }
    }

    fn verify(&self, bytes: &[u8]) -> Result<VerifiedDocument, Refusal> {
        let envelope = Envelope::parse(bytes)?;
        signatures::verify_all(&envelope)?;
        self.judge(&envelope, bytes)
    }

    fn is_named(&self, release: DocumentId) -> bool {
        self.rollouts.values().any(|r| r.release == release || r.rollback_to == Some(release))
    }

    // A new trust root may revoke keys and devices, or raise the epoch.
    fn forget_what_no_longer_holds(&mut self) {
        let mut enrollments = std::mem::take(&mut self.enrollments);
        enrollments.retain(|_, held| self.still_holds(held.envelope()));
        let mut rollouts = std::mem::take(&mut self.rollouts);
        rollouts.retain(|_, held| self.still_holds(held.envelope()));
        (self.enrollments, self.rollouts) = (enrollments, rollouts);
    }
}

#[cfg(test)]
pub(crate) mod tests;
