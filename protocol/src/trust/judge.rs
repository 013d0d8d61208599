//! Each kind's own rule: who must sign it, and for whom. What was accepted before does not matter here.

use super::signatures::check_role;
use super::{Refusal, Trust, Verified, VerifiedDocument};
use crate::document::{
    Enrollment, Envelope, Release, Report, Role, Rollout, SCHEMA_VERSION, TrustRoot, Withdrawal,
};
use crate::id::{KeyId, PeerId, SiteId};
use crate::wire::DocumentKind;
use std::cmp::Ordering;

impl Trust {
    /// Whether an envelope whose signatures are right is signed by the right keys, for this site.
    pub(super) fn judge(&self, envelope: &Envelope, bytes: &[u8]) -> Result<VerifiedDocument, Refusal> {
        let kind = envelope.kind()?;
        let (min, offered) = (self.root.min_schema, SCHEMA_VERSION);
        // T10
        if kind != DocumentKind::TrustRoot && min > offered {
            return Err(Refusal::OlderSchema { min, offered });
        }
        Ok(match kind {
            DocumentKind::TrustRoot => {
                VerifiedDocument::TrustRoot(Verified::new(self.judge_root(envelope)?, envelope, bytes))
            }
            DocumentKind::Release => {
                VerifiedDocument::Release(Verified::new(self.judge_release(envelope)?, envelope, bytes))
            }
            DocumentKind::Rollout => {
                VerifiedDocument::Rollout(Verified::new(self.judge_rollout(envelope)?, envelope, bytes))
            }
            DocumentKind::Withdrawal => {
                VerifiedDocument::Withdrawal(Verified::new(self.judge_withdrawal(envelope)?, envelope, bytes))
            }
            DocumentKind::Enrollment => {
                VerifiedDocument::Enrollment(Verified::new(self.judge_enrollment(envelope)?, envelope, bytes))
            }
            DocumentKind::Report => {
                VerifiedDocument::Report(Verified::new(self.judge_report(envelope)?, envelope, bytes))
            }
        })
    }

    /// T2: one of the chain again, or the next: one version on, naming its predecessor, signed by both thresholds.
    fn judge_root(&self, envelope: &Envelope) -> Result<TrustRoot, Refusal> {
        let root: TrustRoot = envelope.unverified_payload()?;
        self.judge_site(root.site)?;
        if let Some(at) = self.older.iter().position(|older| older.id() == envelope.id()) {
            let before = at.checked_sub(1).and_then(|before| self.older.get(before));
            judge_succession(before, &root, envelope)?;
            return Ok(root);
        }
        let have = self.root.version;
        match root.version.cmp(&have) {
            Ordering::Less => Err(Refusal::OlderTrustRoot { have, offered: root.version }),
            Ordering::Equal => {
                judge_succession(self.older.last(), &root, envelope)?;
                if envelope.id() == self.root.id() {
                    Ok(root)
                } else {
                    Err(Refusal::ForkedTrustRoot { have: self.root.id(), offered: envelope.id() })
                }
            }
            Ordering::Greater => {
                judge_succession(Some(&self.root), &root, envelope)?;
                Ok(root)
            }
        }
    }

    /// T4: by the release role's threshold, each key for its products only.
    fn judge_release(&self, envelope: &Envelope) -> Result<Release, Refusal> {
        let release: Release = envelope.unverified_payload()?;
        self.judge_release_keys(envelope, Some(&release.product))?;
        Ok(release)
    }

    /// T5: by the rollout role, for this site, in this epoch.
    fn judge_rollout(&self, envelope: &Envelope) -> Result<Rollout, Refusal> {
        self.judge_role(envelope, "rollout", &self.root.roles.rollout)?;
        let rollout: Rollout = envelope.unverified_payload()?;
        self.judge_site(rollout.site)?;
        let (have, offered) = (self.root.epoch, rollout.epoch);
        match offered.cmp(&have) {
            Ordering::Less => Err(Refusal::OlderEpoch { have, offered }),
            Ordering::Equal => Ok(rollout),
            Ordering::Greater => Err(Refusal::NewerEpoch { have, offered }),
        }
    }

    /// T6: by the release role, each key for its products only, or for this site alone by the rollout role.
    fn judge_withdrawal(&self, envelope: &Envelope) -> Result<Withdrawal, Refusal> {
        let withdrawal: Withdrawal = envelope.unverified_payload()?;
        if let Err(refusal) = self.judge_release_keys(envelope, withdrawal.product.as_deref())
            && (withdrawal.site.is_none()
                || self.judge_role(envelope, "rollout", &self.root.roles.rollout).is_err())
        {
            return Err(refusal);
        }
        withdrawal.site.map_or(Ok(()), |site| self.judge_site(site))?;
        Ok(withdrawal)
    }

    /// T7: by the enroll role, for this site, of a device that is not revoked.
    fn judge_enrollment(&self, envelope: &Envelope) -> Result<Enrollment, Refusal> {
        self.judge_role(envelope, "enroll", &self.root.roles.enroll)?;
        let enrollment: Enrollment = envelope.unverified_payload()?;
        self.judge_site(enrollment.site)?;
        self.judge_device(enrollment.device)?;
        Ok(enrollment)
    }

    /// T8: by the device's own key, of an enrolled device of this site.
    fn judge_report(&self, envelope: &Envelope) -> Result<Report, Refusal> {
        let report: Report = envelope.unverified_payload()?;
        let device = report.device;
        if !envelope.signatures.iter().any(|signature| signature.key.0 == device.0) {
            return Err(Refusal::ForgedReport { device });
        }
        self.judge_site(report.site)?;
        self.judge_device(device)?;
        if self.enrollments.contains_key(&device) { Ok(report) } else { Err(Refusal::NotEnrolled { device }) }
    }

    /// T4, T6: a key with an entry in `products` signs what is for one of them, and nothing that names no product. The
    /// product is believed only if one of the keys that may sign for it has signed it.
    fn judge_release_keys(&self, envelope: &Envelope, product: Option<&str>) -> Result<(), Refusal> {
        check_role(envelope, "release", &self.root.roles.release, |key| {
            let allowed = |own: &Vec<String>| product.is_some_and(|product| own.iter().any(|o| o == product));
            if self.root.products.get(&key).is_some_and(|own| !allowed(own)) {
                let product = product.unwrap_or_default().to_owned();
                return Err(Refusal::ProductNotAllowed { key, product });
            }
            unless_revoked(&self.root, key)
        })
    }

    fn judge_role(&self, envelope: &Envelope, name: &'static str, role: &Role) -> Result<(), Refusal> {
        check_role(envelope, name, role, |key| unless_revoked(&self.root, key))
    }

    fn judge_site(&self, site: SiteId) -> Result<(), Refusal> {
        if site == self.root.site {
            Ok(())
        } else {
            Err(Refusal::OtherSite { have: self.root.site, offered: site })
        }
    }

    fn judge_device(&self, device: PeerId) -> Result<(), Refusal> {
        if self.root.revoked_devices.contains(&device) {
            Err(Refusal::RevokedDevice { device })
        } else {
            Ok(())
        }
    }
}

/// T1, T2: `root` follows `before`, or is the first.
pub(super) fn judge_succession(
    before: Option<&Verified<TrustRoot>>,
    root: &TrustRoot,
    envelope: &Envelope,
) -> Result<(), Refusal> {
    let have = before.map_or(0, |before| before.version);
    if root.version != have + 1 || root.previous != before.map(Verified::id) {
        return Err(Refusal::WrongVersionStep { have, offered: root.version });
    }
    if let Some(before) = before {
        if root.epoch < before.epoch {
            return Err(Refusal::OlderEpoch { have: before.epoch, offered: root.epoch });
        }
        check_role(envelope, "root (old)", &before.roles.root, |key| unless_revoked(before, key))?;
    }
    check_role(envelope, "root (new)", &root.roles.root, |key| unless_revoked(root, key))
}

fn unless_revoked(root: &TrustRoot, key: KeyId) -> Result<(), Refusal> {
    if root.revoked_keys.contains(&key) { Err(Refusal::RevokedKey { key }) } else { Ok(()) }
}
