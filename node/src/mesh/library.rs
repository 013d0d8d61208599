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
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait for the thread: the documents of a large site, which come at once.
pub(super) const JOBS_MAX: usize = 1024;
/// Bytes of documents from one peer that may wait to be checked; one that sends more is asked again later.
const CHECKING_PER_PEER_MAX: usize = 1 << 20;
/// Bytes of documents from all peers that may wait.
const CHECKING_MAX: usize = 4 << 20;

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

/// The queue of jobs, bounded in number and, for documents of peers, in bytes.
pub(super) struct Jobs {
    queue: mpsc::Sender<Job>,
    checking: Checking,
}

/// Bytes that wait to be checked, by the peer that sent them.
type Checking = Arc<Mutex<BTreeMap<PeerId, usize>>>;

/// The thread's end of the queue.
pub(super) struct JobsWaiting {
    queue: mpsc::Receiver<Job>,
    checking: Checking,
}

/// An empty queue.
pub(super) fn jobs() -> (Jobs, JobsWaiting) {
    let (sender, receiver) = mpsc::channel(JOBS_MAX);
    let checking = Checking::default();
    (Jobs { queue: sender, checking: checking.clone() }, JobsWaiting { queue: receiver, checking })
}

impl Jobs {
    /// Queues a job, or gives it back.
    pub(super) fn try_send(&self, job: Job) -> Result<(), Job> {
        let Job::Check { peer, envelope, .. } = &job else {
            return self.queue.try_send(job).map_err(mpsc::error::TrySendError::into_inner);
        };
        let (peer, bytes) = (*peer, envelope.len());
        let mut checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = checking.get(&peer).copied().unwrap_or_default();
        let is_full = of_peer + bytes > CHECKING_PER_PEER_MAX
            || checking.values().sum::<usize>() + bytes > CHECKING_MAX;
        if is_full {
            return Err(job);
        }
        self.queue.try_send(job).map_err(mpsc::error::TrySendError::into_inner)?;
        checking.insert(peer, of_peer + bytes);
        Ok(())
    }
}

impl JobsWaiting {
    fn next(&mut self) -> Option<Job> {
        let job = self.queue.blocking_recv()?;
        if let Job::Check { peer, envelope, .. } = &job {
            let mut checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
            let rest = checking.remove(peer).unwrap_or_default().saturating_sub(envelope.len());
            if rest > 0 {
                checking.insert(*peer, rest);
            }
        }
        Some(job)
    }
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
    pub(super) fn run(mut self, mut jobs: JobsWaiting, outcomes: &mpsc::Sender<Outcome>) {
        while let Some(job) = jobs.next() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: u8, bytes: usize) -> Job {
        Job::Check { peer: PeerId([peer; 32]), id: DocumentId([0; 32]), envelope: vec![0; bytes] }
    }

    #[test]
    fn documents_that_wait_are_bounded_in_bytes_for_each_peer_and_for_all() {
        let (jobs, mut waiting) = jobs();
        let half = CHECKING_PER_PEER_MAX / 2;
        let send = |peer| jobs.try_send(check(peer, half)).is_ok();
        assert_eq!([1, 1, 1].map(send), [true, true, false]);
        assert!(waiting.next().is_some());
        assert_eq!([1, 1].map(send), [true, false]);
        let accepted = (2..100).filter(|peer| send(*peer)).count();
        assert_eq!(accepted, (CHECKING_MAX - CHECKING_PER_PEER_MAX) / half);
        let other = Job::Read { peer: PeerId([1; 32]), id: DocumentId([0; 32]) };
        assert!(jobs.try_send(other).is_ok(), "they keep nobody else's jobs away");
    }
}
