//! What may be believed: the trust root chain, roles, thresholds, revocation and high-water marks.
//!
//! The only way to a document's fields is [`Verified`], and only this module makes one. It knows nothing of swarms or
//! rollouts, and no clock: nothing here expires. Rule numbers (T1…) are those of `docs/DOCUMENTS.md`.

mod marks;
mod refusal;
mod verified;

pub use marks::HighWaterMarks;
pub use refusal::Refusal;
pub use verified::{DocumentKey, Verified, VerifiedDocument};

use crate::document::{
    Enrollment, Envelope, MeshAccess, Release, Report, Role, Rollout, SCHEMA_VERSION, TrustRoot, Withdrawal,
};
use crate::id::{KeyId, PeerId, SiteId};
use crate::wire::DocumentKind;
use ed25519_dalek::{Signature, VerifyingKey};
use std::collections::BTreeSet;

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
    root: Verified<TrustRoot>,
    marks: HighWaterMarks,
}

impl Trust {
    /// T1: version 1 is believed because it is pinned; it must be signed by its own root threshold.
    pub fn pin(version1: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(version1)?;
        verify_signatures(&envelope)?;
        let root: TrustRoot = envelope.unverified_payload()?;
        if root.version != 1 {
            return Err(Refusal::WrongVersionStep { have: 0, offered: root.version });
        }
        check_signatures(&envelope, "root", &root.roles.root, &root.revoked_keys)?;
        let root = Verified::new(root, &envelope, version1);
        let mut marks = HighWaterMarks::default();
        marks.raise_root(&root);
        Ok(Self { root, marks })
    }

    /// The pinned version 1, the trust roots accepted after it, and the marks that were kept.
    pub fn restore(version1: &[u8], chain: &[Vec<u8>], marks: HighWaterMarks) -> Result<Self, Refusal> {
        let mut trust = Self::pin(version1)?;
        for envelope in chain {
            let document = trust.check(envelope)?;
            if let VerifiedDocument::TrustRoot(root) = &document
                && root.site == trust.site()
            {
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

    /// Acts upon a checked document: marks rise, a newer trust root takes over.
    pub fn accept(&mut self, document: &VerifiedDocument) {
        self.marks.raise(document);
        if let VerifiedDocument::TrustRoot(root) = document
            && root.version > self.root.version
        {
            self.root = root.clone();
        }
    }

    /// Whether an envelope may be believed; changes nothing. What equals a high-water mark is accepted again.
    pub fn check(&self, bytes: &[u8]) -> Result<VerifiedDocument, Refusal> {
        let envelope = Envelope::parse(bytes)?;
        verify_signatures(&envelope)?;
        let kind = envelope.kind()?;
        let (min, offered) = (self.root.min_schema, SCHEMA_VERSION);
        if kind != DocumentKind::TrustRoot && min > offered {
            return Err(Refusal::OlderSchema { min, offered });
        }
        match kind {
            DocumentKind::TrustRoot => self.check_root(&envelope, bytes).map(VerifiedDocument::TrustRoot),
            DocumentKind::Release => self.check_release(&envelope, bytes).map(VerifiedDocument::Release),
            DocumentKind::Rollout => self.check_rollout(&envelope, bytes).map(VerifiedDocument::Rollout),
            DocumentKind::Withdrawal => {
                self.check_withdrawal(&envelope, bytes).map(VerifiedDocument::Withdrawal)
            }
            DocumentKind::Enrollment => {
                self.check_enrollment(&envelope, bytes).map(VerifiedDocument::Enrollment)
            }
            DocumentKind::Report => self.check_report(&envelope, bytes).map(VerifiedDocument::Report),
        }
    }

    /// T2: the next trust root is exactly one version on, names its predecessor, and both root thresholds sign it.
    fn check_root(&self, envelope: &Envelope, bytes: &[u8]) -> Result<Verified<TrustRoot>, Refusal> {
        let root: TrustRoot = envelope.unverified_payload()?;
        self.check_site(root.site)?;
        if envelope.id() == self.root.id() {
            check_signatures(envelope, "root", &self.root.roles.root, &self.root.revoked_keys)?;
            return Ok(Verified::new(root, envelope, bytes));
        }
        if root.version <= self.root.version {
            return Err(Refusal::OlderTrustRoot { have: self.root.version, offered: root.version });
        }
        if root.version != self.root.version + 1 || root.previous != Some(self.root.id()) {
            return Err(Refusal::WrongVersionStep { have: self.root.version, offered: root.version });
        }
        if root.epoch < self.root.epoch {
            return Err(Refusal::OlderEpoch { have: self.root.epoch, offered: root.epoch });
        }
        check_signatures(envelope, "root (old)", &self.root.roles.root, &self.root.revoked_keys)?;
        check_signatures(envelope, "root (new)", &root.roles.root, &root.revoked_keys)?;
        Ok(Verified::new(root, envelope, bytes))
    }

    /// T4: by the release role's threshold, each key for its products only; the number never falls.
    fn check_release(&self, envelope: &Envelope, bytes: &[u8]) -> Result<Verified<Release>, Refusal> {
        let mut role = self.root.roles.release.clone();
        let product = unverified_product(envelope)?;
        let may_sign = |key: &KeyId| self.root.products.get(key).is_none_or(|own| own.contains(&product));
        let strangers: Vec<_> = role.keys.iter().filter(|key| !may_sign(key)).copied().collect();
        role.keys.retain(|key| !strangers.contains(key));
        if let Some(key) = envelope.signatures.iter().map(|s| s.key).find(|key| strangers.contains(key)) {
            return Err(Refusal::ProductNotAllowed { key, product });
        }
        self.check_role(envelope, "release", &role)?;
        let release: Release = envelope.unverified_payload()?;
        self.marks.check_release(&release)?;
        Ok(Verified::new(release, envelope, bytes))
    }

    /// T5: by the rollout role, for this site, never older than what was accepted.
    fn check_rollout(&self, envelope: &Envelope, bytes: &[u8]) -> Result<Verified<Rollout>, Refusal> {
        self.check_role(envelope, "rollout", &self.root.roles.rollout)?;
        let rollout: Rollout = envelope.unverified_payload()?;
        self.check_site(rollout.site)?;
        if rollout.epoch < self.root.epoch {
            return Err(Refusal::OlderEpoch { have: self.root.epoch, offered: rollout.epoch });
        }
        if rollout.epoch > self.root.epoch {
            return Err(Refusal::NewerEpoch { have: self.root.epoch, offered: rollout.epoch });
        }
        self.marks.check_rollout(&rollout, envelope.id())?;
        Ok(Verified::new(rollout, envelope, bytes))
    }

    /// T6: by the release role, or for this site alone by the rollout role.
    fn check_withdrawal(&self, envelope: &Envelope, bytes: &[u8]) -> Result<Verified<Withdrawal>, Refusal> {
        let withdrawal: Withdrawal = envelope.unverified_payload()?;
        if let Err(refusal) = self.check_role(envelope, "release", &self.root.roles.release)
            && (withdrawal.site.is_none()
                || self.check_role(envelope, "rollout", &self.root.roles.rollout).is_err())
        {
            return Err(refusal);
        }
        withdrawal.site.map_or(Ok(()), |site| self.check_site(site))?;
        Ok(Verified::new(withdrawal, envelope, bytes))
    }

    /// T7: by the enroll role, for this site, never older than what was accepted for the device.
    fn check_enrollment(&self, envelope: &Envelope, bytes: &[u8]) -> Result<Verified<Enrollment>, Refusal> {
        self.check_role(envelope, "enroll", &self.root.roles.enroll)?;
        let enrollment: Enrollment = envelope.unverified_payload()?;
        self.check_site(enrollment.site)?;
        self.check_device(enrollment.device)?;
        self.marks.check_enrollment(&enrollment)?;
        Ok(Verified::new(enrollment, envelope, bytes))
    }

    /// T8: by the device's own key, of an enrolled device of this site, never older than what was accepted of the device.
    fn check_report(&self, envelope: &Envelope, bytes: &[u8]) -> Result<Verified<Report>, Refusal> {
        let report: Report = envelope.unverified_payload()?;
        self.check_site(report.site)?;
        self.check_device(report.device)?;
        let device = Role { keys: vec![KeyId(report.device.0)], threshold: 1 };
        check_signatures(envelope, "device", &device, &[])?;
        if !self.marks.enrollments.contains_key(&report.device.to_string()) {
            return Err(Refusal::NotEnrolled { device: report.device });
        }
        self.marks.check_report(&report)?;
        Ok(Verified::new(report, envelope, bytes))
    }

    /// What `peer` is, by the enrollment that it showed or that is held of it.
    pub fn membership(&self, peer: PeerId, enrollment: Option<&Verified<Enrollment>>) -> Membership {
        if self.root.revoked_devices.contains(&peer) || self.root.revoked_keys.contains(&KeyId(peer.0)) {
            Membership::Revoked
        } else if self.root.roles.operator.keys.contains(&KeyId(peer.0)) {
            Membership::Operator
        } else if enrollment.is_some_and(|held| held.device == peer && self.is_signed_still(held)) {
            Membership::EnrolledDevice
        } else {
            Membership::Stranger
        }
    }

    /// An enrollment verified under an older trust root, whose enroll keys may have been revoked since.
    fn is_signed_still(&self, enrollment: &Verified<Enrollment>) -> bool {
        let envelope = Envelope::parse(enrollment.envelope());
        envelope.is_ok_and(|e| self.check_role(&e, "enroll", &self.root.roles.enroll).is_ok())
    }

    /// A device committed `release`: nothing below its security counter is believed any more. The caller makes the
    /// marks durable.
    pub fn commit(&mut self, release: &Verified<Release>) {
        self.marks.raise_security_floor(release);
    }

    /// Whether such a peer may join.
    pub fn admits(&self, membership: Membership) -> bool {
        match membership {
            Membership::EnrolledDevice | Membership::Operator => true,
            Membership::Stranger => self.root.mesh == MeshAccess::Open,
            Membership::Revoked => false,
        }
    }

    fn check_role(&self, envelope: &Envelope, name: &'static str, role: &Role) -> Result<(), Refusal> {
        check_signatures(envelope, name, role, &self.root.revoked_keys)
    }

    fn check_site(&self, site: SiteId) -> Result<(), Refusal> {
        if site == self.root.site {
            Ok(())
        } else {
            Err(Refusal::OtherSite { have: self.root.site, offered: site })
        }
    }

    fn check_device(&self, device: PeerId) -> Result<(), Refusal> {
        if self.root.revoked_devices.contains(&device) {
            Err(Refusal::RevokedDevice { device })
        } else {
            Ok(())
        }
    }
}

// Which keys may sign hangs on the product; the value is believed only if one of those keys has signed it.
fn unverified_product(envelope: &Envelope) -> Result<String, Refusal> {
    Ok(envelope.unverified_payload::<Release>()?.product)
}

/// T3: no key signs twice and every signature is right, before a field of the payload is read. A key id is the key, so
/// every peer can check all of them, whatever trust root it has, and whoever passes on a wrong one is to blame.
fn verify_signatures(envelope: &Envelope) -> Result<(), Refusal> {
    let mut signers = BTreeSet::new();
    if let Some(twice) = envelope.signatures.iter().find(|s| !signers.insert(s.key)) {
        return Err(Refusal::DuplicateKey { key: twice.key });
    }
    if envelope.signatures.is_empty() {
        return Err(Refusal::Unsigned);
    }
    let pae = envelope.pae();
    for signature in &envelope.signatures {
        let checked = VerifyingKey::from_bytes(&signature.key.0)
            .and_then(|key| key.verify_strict(&pae, &Signature::from_bytes(&signature.signature)));
        checked.map_err(|_| Refusal::BadSignature { key: signature.key })?;
    }
    Ok(())
}

/// T3: at least `threshold` distinct, unrevoked keys of the role have signed, all verified before. Signatures of other
/// keys are no fault: another role may count them.
fn check_signatures(
    envelope: &Envelope,
    name: &'static str,
    role: &Role,
    revoked: &[KeyId],
) -> Result<(), Refusal> {
    let mut valid = 0;
    for signature in envelope.signatures.iter().filter(|s| role.keys.contains(&s.key)) {
        if revoked.contains(&signature.key) {
            return Err(Refusal::RevokedKey { key: signature.key });
        }
        valid += 1;
    }
    if valid == 0 {
        return Err(Refusal::WrongRole { role: name });
    }
    if valid < role.threshold {
        return Err(Refusal::BelowThreshold { role: name, have: valid, wanted: role.threshold });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
