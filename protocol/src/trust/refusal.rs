//! Why a document is not believed: a name for each attack, with both values; and what follows from each.

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
    /// A signature does not fit (tampered payload or type).
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
    /// A report that the device it speaks of has not signed.
    #[error("a report of the device {device} that it did not sign")]
    ForgedReport {
        /// Of which.
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
    /// Two trust roots of one version, both signed to the threshold: the one accepted first is kept.
    #[error("another trust root of the same version was accepted: {have}, offered {offered}")]
    ForkedTrustRoot {
        /// Accepted.
        have: DocumentId,
        /// The document's.
        offered: DocumentId,
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
    /// Replay of an older Rollout or Enrollment.
    #[error("sequence {offered} is older than {have}")]
    OlderSequence {
        /// The newest accepted.
        have: u64,
        /// The document's.
        offered: u64,
    },
    /// Two documents with one sequence (equivocation): the one with the greater id wins everywhere (T13).
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

/// What an accepted document may turn a refusal into belief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// The next trust root: other keys, another epoch, another schema.
    TrustRoot,
    /// The Enrollment of this device.
    Enrollment(PeerId),
    /// A Rollout that names the Release.
    Rollout,
}

/// What a refusal means for the peer that sent the document, and for asking again (T11, T14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No honest peer passes it on, whatever trust root it knows: the sender is to blame, the document is not.
    Violation,
    /// This copy's signatures do not suffice. Another peer's copy, or the next trust root, may bring what it lacks.
    Copy,
    /// Every copy waits for something that may come.
    Awaits(Awaits),
    /// This device never takes the document.
    Final,
}

impl Verdict {
    /// What to keep the document for.
    pub fn awaits(self) -> Option<Awaits> {
        match self {
            Self::Copy => Some(Awaits::TrustRoot),
            Self::Awaits(awaits) => Some(awaits),
            Self::Violation | Self::Final => None,
        }
    }
}

impl Refusal {
    /// The one place that says what each refusal means. Whom it blames does not hang on what this device knows: trust
    /// roots, enrollments and sequences reach honest peers at different times, and a later version may know more.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Document(
                DocumentError::UnknownType(_) | DocumentError::Critical(_) | DocumentError::Field { .. },
            ) => Verdict::Final,
            Self::Document(
                DocumentError::TooLarge { .. }
                | DocumentError::Json(_)
                | DocumentError::Envelope(_)
                | DocumentError::WrongKind { .. },
            )
            | Self::Unsigned
            | Self::BadSignature { .. }
            | Self::DuplicateKey { .. }
            | Self::ForgedReport { .. }
            // The site is said in the hello: all neighbours have the same.
            | Self::OtherSite { .. } => Verdict::Violation,
            Self::WrongRole { .. }
            | Self::BelowThreshold { .. }
            | Self::RevokedKey { .. }
            | Self::ProductNotAllowed { .. } => Verdict::Copy,
            Self::RevokedDevice { .. } | Self::NewerEpoch { .. } | Self::OlderSchema { .. } => {
                Verdict::Awaits(Awaits::TrustRoot)
            }
            Self::WrongVersionStep { have, offered } if *offered > have + 1 => {
                Verdict::Awaits(Awaits::TrustRoot)
            }
            Self::NotEnrolled { device } => Verdict::Awaits(Awaits::Enrollment(*device)),
            Self::OlderRelease { .. } => Verdict::Awaits(Awaits::Rollout),
            Self::WrongVersionStep { .. }
            | Self::OlderTrustRoot { .. }
            | Self::ForkedTrustRoot { .. }
            | Self::OlderEpoch { .. }
            | Self::OlderSequence { .. }
            | Self::SameSequence { .. }
            | Self::OlderReport { .. } => Verdict::Final,
        }
    }
}
