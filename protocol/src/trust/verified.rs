//! The proof that a document may be believed, and the six kinds that have it.

use crate::document::{Document, Enrollment, Envelope, Release, Report, Rollout, TrustRoot, Withdrawal};
use crate::id::{DocumentId, PeerId, RolloutId};
use crate::wire::{DocumentKind, DocumentOffer};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A document that passed `Trust`; made nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(Arc<Inner<T>>);

#[derive(Debug, PartialEq, Eq)]
struct Inner<T> {
    id: DocumentId,
    document: T,
    envelope: Vec<u8>,
}

impl<T> Verified<T> {
    pub(super) fn new(document: T, envelope: &Envelope, bytes: &[u8]) -> Self {
        Self(Arc::new(Inner { id: envelope.id(), document, envelope: bytes.to_vec() }))
    }

    /// Its id.
    pub fn id(&self) -> DocumentId {
        self.0.id
    }

    /// The envelope as it came.
    pub fn envelope(&self) -> &[u8] {
        &self.0.envelope
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.document
    }
}

/// A verified document of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum VerifiedDocument {
    TrustRoot(Verified<TrustRoot>),
    Release(Verified<Release>),
    Rollout(Verified<Rollout>),
    Withdrawal(Verified<Withdrawal>),
    Enrollment(Verified<Enrollment>),
    Report(Verified<Report>),
}

/// What a document is about: of two with one key the later replaces the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub enum DocumentKey {
    TrustRoot { version: u64 },
    Release(DocumentId),
    Rollout(RolloutId),
    Withdrawal(DocumentId),
    Enrollment(PeerId),
    Report(PeerId),
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrustRoot { version } => write!(f, "trust-root/{version:020}"),
            Self::Release(id) => write!(f, "release/{id}"),
            Self::Rollout(id) => write!(f, "rollout/{id}"),
            Self::Withdrawal(id) => write!(f, "withdrawal/{id}"),
            Self::Enrollment(device) => write!(f, "enrollment/{device}"),
            Self::Report(device) => write!(f, "report/{device}"),
        }
    }
}

impl VerifiedDocument {
    /// Its id.
    pub fn id(&self) -> DocumentId {
        match self {
            Self::TrustRoot(document) => document.id(),
            Self::Release(document) => document.id(),
            Self::Rollout(document) => document.id(),
            Self::Withdrawal(document) => document.id(),
            Self::Enrollment(document) => document.id(),
            Self::Report(document) => document.id(),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> DocumentKind {
        match self {
            Self::TrustRoot(_) => TrustRoot::KIND,
            Self::Release(_) => Release::KIND,
            Self::Rollout(_) => Rollout::KIND,
            Self::Withdrawal(_) => Withdrawal::KIND,
            Self::Enrollment(_) => Enrollment::KIND,
            Self::Report(_) => Report::KIND,
        }
    }

    /// The envelope as it came.
    pub fn envelope(&self) -> &[u8] {
        match self {
            Self::TrustRoot(document) => document.envelope(),
            Self::Release(document) => document.envelope(),
            Self::Rollout(document) => document.envelope(),
            Self::Withdrawal(document) => document.envelope(),
            Self::Enrollment(document) => document.envelope(),
            Self::Report(document) => document.envelope(),
        }
    }

    /// What it is about. Every version of the trust root is kept: a device that slept long needs the chain.
    pub fn key(&self) -> DocumentKey {
        match self {
            Self::TrustRoot(root) => DocumentKey::TrustRoot { version: root.version },
            Self::Release(document) => DocumentKey::Release(document.id()),
            Self::Rollout(rollout) => DocumentKey::Rollout(rollout.rollout_id),
            Self::Withdrawal(document) => DocumentKey::Withdrawal(document.id()),
            Self::Enrollment(enrollment) => DocumentKey::Enrollment(enrollment.device),
            Self::Report(report) => DocumentKey::Report(report.device),
        }
    }

    /// What peers are told of it.
    pub fn offer(&self) -> DocumentOffer {
        DocumentOffer { id: self.id(), kind: self.kind(), bytes: self.envelope().len() as u32 }
    }
}
