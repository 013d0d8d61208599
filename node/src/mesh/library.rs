//! The documents that this process holds: checked by `protocol::trust`, kept in the state file, offered to peers.
//!
//! One thread owns trust and writes; the mesh loop asks by [`Job`] and is answered by [`Outcome`], so that no fsync
//! stands in the way of artifact bytes. Order of a new document: check, write it with its high-water marks in one
//! durable commit, act. A report counts only from a device whose enrollment is held (a sybil cannot fill the disk).

use super::command::PublishError;
use crate::state::State;
use samara_protocol::document::Enrollment;
use samara_protocol::id::{DocumentId, PeerId};
use samara_protocol::trust::{DocumentKey, Membership, Refusal, Trust, Verified, VerifiedDocument};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait for the thread.
pub(super) const JOBS_MAX: usize = 256;

/// What the mesh loop asks.
pub(super) enum Job {
    /// A document from a peer.
    Check { peer: PeerId, id: DocumentId, envelope: Vec<u8> },
    /// A document made here.
    Publish { envelope: Vec<u8>, answer: oneshot::Sender<Result<DocumentId, PublishError>> },
    /// An envelope to send to a peer.
    Read { peer: PeerId, id: DocumentId },
    /// Whether a peer is a member, by the enrollment it showed (may be empty) or one that is held.
    Admit { peer: PeerId, enrollment: Vec<u8> },
}

/// What the thread answers.
pub(super) enum Outcome {
    /// It is held from now on.
    Held { document: Box<VerifiedDocument>, from: Option<PeerId>, replaces: Option<DocumentId> },
    /// It is not taken.
    Refused { peer: PeerId, id: DocumentId, why: String, violation: bool },
    /// The answer to `Read`.
    Read { peer: PeerId, envelope: Option<Vec<u8>> },
    /// The answer to `Admit`.
    Member { peer: PeerId, membership: Membership, admitted: bool },
}

/// Trust, and what is held under it.
pub(super) struct Library {
    trust: Trust,
    state: Arc<State>,
    held: BTreeMap<DocumentKey, DocumentId>,
    keys: BTreeMap<DocumentId, DocumentKey>,
    enrollments: BTreeMap<PeerId, Verified<Enrollment>>,
}

impl Library {
    /// What the state file holds, checked again, and `fresh` documents; one that does not verify is left out.
    pub(super) fn open(
        trust: Trust,
        state: Arc<State>,
        fresh: &[Vec<u8>],
    ) -> Result<(Self, Vec<VerifiedDocument>), String> {
        let envelopes = state.documents().map_err(|e| e.to_string())?;
        let mut library =
            Self { trust, state, held: BTreeMap::new(), keys: BTreeMap::new(), enrollments: BTreeMap::new() };
        let mut documents = Vec::new();
        for envelope in envelopes {
            match library.trust.check(&envelope) {
                Ok(document) => {
                    library.index(&document);
                    documents.push(document);
                }
                Err(refusal) => tracing::warn!(%refusal, "a kept document is no longer accepted"),
            }
        }
        for envelope in fresh {
            match library.take(envelope) {
                Ok((document, _)) => {
                    documents.retain(|held: &VerifiedDocument| held.key() != document.key());
                    documents.push(document);
                }
                Err(error) => tracing::warn!(%error, "a document is not offered"),
            }
        }
        Ok((library, documents))
    }

    /// Serves jobs until the sender is gone. Runs on its own thread.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>, outcomes: &mpsc::Sender<Outcome>) {
        while let Some(job) = jobs.blocking_recv() {
            let outcome = match job {
                Job::Check { peer, id, envelope } => self.check(peer, id, &envelope),
                Job::Publish { envelope, answer } => match self.take(&envelope) {
                    Ok((document, replaces)) => {
                        let _ = answer.send(Ok(document.id()));
                        Outcome::Held { document: Box::new(document), from: None, replaces }
                    }
                    Err(error) => {
                        let _ = answer.send(Err(error));
                        continue;
                    }
                },
                Job::Read { peer, id } => Outcome::Read { peer, envelope: self.read(&id) },
                Job::Admit { peer, enrollment } => self.admit(peer, &enrollment),
            };
            if outcomes.blocking_send(outcome).is_err() {
                return;
            }
        }
    }

    fn check(&mut self, peer: PeerId, id: DocumentId, envelope: &[u8]) -> Outcome {
        match self.take(envelope) {
            Ok((document, replaces)) => {
                Outcome::Held { document: Box::new(document), from: Some(peer), replaces }
            }
            Err(error) => {
                let violation = matches!(&error, PublishError::Refused(refusal) if refusal.is_violation());
                Outcome::Refused { peer, id, why: error.to_string(), violation }
            }
        }
    }

    fn take(&mut self, envelope: &[u8]) -> Result<(VerifiedDocument, Option<DocumentId>), PublishError> {
        let document = self.trust.check(envelope)?;
        if let VerifiedDocument::Report(report) = &document
            && !self.enrollments.contains_key(&report.device)
        {
            return Err(PublishError::Refused(Refusal::NotEnrolled { device: report.device }));
        }
        let replaces = self.held.get(&document.key()).copied().filter(|old| *old != document.id());
        let marks = self.trust.marks_with(&document);
        self.state.put_document(&document, &marks).map_err(|e| PublishError::State(e.to_string()))?;
        self.trust.accept(&document);
        self.index(&document);
        Ok((document, replaces))
    }

    fn index(&mut self, document: &VerifiedDocument) {
        let key = document.key();
        if let Some(old) = self.held.insert(key, document.id()) {
            self.keys.remove(&old);
        }
        self.keys.insert(document.id(), key);
        if let VerifiedDocument::Enrollment(enrollment) = document {
            self.enrollments.insert(enrollment.device, enrollment.clone());
        }
    }

    fn read(&self, id: &DocumentId) -> Option<Vec<u8>> {
        let key = self.keys.get(id)?;
        self.state.document(key).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read a document");
            None
        })
    }

    fn admit(&mut self, peer: PeerId, enrollment: &[u8]) -> Outcome {
        let shown = match self.trust.check(enrollment) {
            Ok(VerifiedDocument::Enrollment(shown)) if shown.device == peer => Some(shown),
            _ => None,
        };
        let membership = self.trust.membership(peer, shown.as_ref().or(self.enrollments.get(&peer)));
        Outcome::Member { peer, membership, admitted: self.trust.admits(membership) }
    }
}
