//! Why a document is not believed: a name for each attack, with both values.

use crate::document::DocumentError;
use crate::id::{DocumentId, KeyId, PeerId, SiteId};

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not well-formed, too large, or of an unknown type (endless data, tampered type).
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// No signature at all (arbitrary software).
    #[error("unsigned")]
    Unsigned,
    /// A signature of a key of the role does not fit (tampered payload or type).
    #[error("the signature of key {key} does not fit the document")]
    BadSignature {
        /// Whose.
        key: KeyId,
    },
    /// Signed, but by no key of the role that must sign.
    #[error("not signed by the role {role}")]
    WrongRole {
        /// Which must.
        role: &'static str,
    },
    /// Too few distinct keys signed.
    #[error("{have} of {wanted} signatures that the role {role} needs")]
    BelowThreshold {
        /// Which role.
        role: &'static str,
        /// Distinct valid signatures.
        have: u32,
        /// Its threshold.
        wanted: u32,
    },
    /// One key signs twice, to be counted twice.
    #[error("the key {key} signs twice")]
    DuplicateKey {
        /// Which.
        key: KeyId,
    },
    /// Key compromise.
    #[error("the key {key} is revoked")]
    RevokedKey {
        /// Which.
        key: KeyId,
    },
    /// A stolen or retired device.
    #[error("the device {device} is revoked")]
    RevokedDevice {
        /// Which.
        device: PeerId,
    },
    /// A report of a device that nobody enrolled (sybil).
    #[error("the device {device} is not enrolled")]
    NotEnrolled {
        /// Which.
        device: PeerId,
    },
    /// The key may not sign for this product (unqualified author).
    #[error("the key {key} may not sign for the product {product:?}")]
    ProductNotAllowed {
        /// Which.
        key: KeyId,
        /// What it signed.
        product: String,
    },
    /// Replay from another site.
    #[error("for site {offered}, this is {have}")]
    OtherSite {
        /// This one.
        have: SiteId,
        /// The document's.
        offered: SiteId,
    },
    /// A trust root that skips a version or does not name its predecessor.
    #[error("trust root version {offered} does not follow version {have}")]
    WrongVersionStep {
        /// The newest accepted.
        have: u64,
        /// The document's.
        offered: u64,
    },
    /// Rollback of the trust root.
    #[error("trust root version {offered} is older than {have}")]
    OlderTrustRoot {
        /// The newest accepted.
        have: u64,
        /// The document's.
        offered: u64,
    },
    /// From before a compromise.
    #[error("epoch {offered} is older than {have}")]
    OlderEpoch {
        /// The newest accepted.
        have: u64,
        /// The document's.
        offered: u64,
    },
    /// Fast-forward: an epoch that no trust root has declared yet.
    #[error("epoch {offered} is newer than {have}")]
    NewerEpoch {
        /// The trust root's.
        have: u64,
        /// The document's.
        offered: u64,
    },
    /// A format that the trust root has retired.
    #[error("documents of schema {offered} are refused, {min} is the oldest allowed")]
    OlderSchema {
        /// The trust root's.
        min: u16,
        /// The document's.
        offered: u16,
    },
    /// Rollback attack.
    #[error("release number {offered} is older than {have}")]
    OlderRelease {
        /// The newest accepted.
        have: u64,
        /// The document's.
        offered: u64,
    },
    /// Below the floor that a security fix raised.
    #[error("security counter {offered} is below the floor {have}")]
    BelowSecurityFloor {
        /// The floor.
        have: u64,
        /// The document's.
        offered: u64,
    },
    /// Replay of an older Rollout or Enrollment.
    #[error("sequence {offered} is older than {have}")]
    OlderSequence {
        /// The newest accepted.
        have: u64,
        /// The document's.
        offered: u64,
    },
    /// Two documents with one sequence: the one with the greater id wins everywhere.
    #[error("another document with the same sequence takes precedence: {have} over {offered}")]
    SameSequence {
        /// Accepted.
        have: DocumentId,
        /// The document's.
        offered: DocumentId,
    },
    /// Replay of an older report.
    #[error("report {offered:?} is older than {have:?}")]
    OlderReport {
        /// Boot and counter of the newest accepted.
        have: (u64, u64),
        /// The document's.
        offered: (u64, u64),
    },
}

impl Refusal {
    /// T11: whether no honest peer passes such a document on: it was not valid for anybody at any time.
    pub fn is_violation(&self) -> bool {
        match self {
            // A later version may know more, and roots and revocations reach peers at different times.
            Self::Document(
                DocumentError::UnknownType(_) | DocumentError::Critical(_) | DocumentError::Field { .. },
            ) => false,
            Self::Document(_) | Self::Unsigned | Self::BadSignature { .. } | Self::DuplicateKey { .. } => {
                true
            }
            Self::WrongRole { .. }
            | Self::BelowThreshold { .. }
            | Self::RevokedKey { .. }
            | Self::RevokedDevice { .. }
            | Self::NotEnrolled { .. }
            | Self::ProductNotAllowed { .. }
            | Self::OtherSite { .. }
            | Self::WrongVersionStep { .. }
            | Self::OlderTrustRoot { .. }
            | Self::OlderEpoch { .. }
            | Self::NewerEpoch { .. }
            | Self::OlderSchema { .. }
            | Self::OlderRelease { .. }
            | Self::BelowSecurityFloor { .. }
            | Self::OlderSequence { .. }
            | Self::SameSequence { .. }
            | Self::OlderReport { .. } => false,
        }
    }
}
