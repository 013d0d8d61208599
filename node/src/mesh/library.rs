//! The documents that this process holds: checked by `protocol::trust`, kept in the state file, offered to peers.
//!
//! One thread owns trust and writes; the mesh loop asks by [`Job`] and is answered by [`Outcome`], so that no fsync
//! stands in the way of artifact bytes. Order of a new document: check, write it with its high-water marks in one
//! durable commit, act. One that waits for another is kept in memory and checked again when that one is accepted.

mod pace;

use super::command::PublishError;
use crate::state::State;
use pace::Paces;
use samara_protocol::document::Envelope;
use samara_protocol::id::{DocumentId, PeerId};
use samara_protocol::trust::{DocumentKey, Membership, Refusal, Trust, Verdict, VerifiedDocument, Waiting};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait for the thread.
pub(super) const JOBS_MAX: usize = 256;

/// What the mesh loop asks.
pub(super) enum Job {
    /// A document from a peer.
    Check { peer: PeerId, envelope: Vec<u8> },
    /// A document made here.
    Publish { envelope: Vec<u8>, answer: oneshot::Sender<Result<DocumentId, PublishError>> },
    /// An envelope to send to a peer.
    Read { peer: PeerId, id: DocumentId },
    /// Whether a peer is a member, by the enrollment it showed (may be empty) or one that is held.
    Admit { peer: PeerId, enrollment: Vec<u8> },
}

/// What the thread answers.
pub(super) enum Outcome {
    /// It is held from now on, or `is_new` is false: it was held before, and this is who else holds it.
    Held { document: Box<VerifiedDocument>, from: Option<PeerId>, replaces: Option<DocumentId>, is_new: bool },
    /// It is held no longer: the trust root of now does not carry it.
    Dropped(DocumentId),
    /// So many devices are enrolled from now on.
    DevicesEnrolled(usize),
    /// It is not taken.
    Refused { peer: PeerId, id: DocumentId, why: String, verdict: Verdict },
    /// The end of every `Check`, after what it brought.
    Checked { peer: PeerId },
    /// The answer to `Read`.
    Read { peer: PeerId, envelope: Option<Vec<u8>> },
    /// The answer to `Admit`.
    Member { peer: PeerId, membership: Membership, admitted: bool },
}

/// A document that is durable, and acted upon by trust.
struct Taken {
    document: VerifiedDocument,
    from: Option<PeerId>,
    replaces: Option<DocumentId>,
    is_new: bool,
}

impl From<Taken> for Outcome {
    fn from(taken: Taken) -> Self {
        let Taken { document, from, replaces, is_new } = taken;
        Self::Held { document: Box::new(document), from, replaces, is_new }
    }
}

/// Trust, and what is held under it.
pub(super) struct Library {
    trust: Trust,
    state: Arc<State>,
    held: BTreeMap<DocumentKey, DocumentId>,
    keys: BTreeMap<DocumentId, DocumentKey>,
    waiting: Waiting<Option<PeerId>>,
    /// Enrolled devices, as last told.
    devices_told: usize,
    /// Version of the trust root by which all that is held was judged.
    judged_by: u64,
    reports: Paces,
}

impl Library {
    /// What the state file holds, verified again, and `fresh` documents; one that does not verify is left out.
    pub(super) fn open(
        trust: Trust,
        state: Arc<State>,
        fresh: Vec<Vec<u8>>,
    ) -> Result<(Self, Vec<VerifiedDocument>), String> {
        let envelopes = state.documents().map_err(|e| e.to_string())?;
        let (held, keys) = (BTreeMap::new(), BTreeMap::new());
        let (waiting, reports, judged_by) = (Waiting::default(), Paces::default(), trust.root().version);
        let mut library = Self { trust, state, held, keys, waiting, devices_told: 0, judged_by, reports };
        let mut documents = Vec::new();
        for envelope in envelopes {
            match library.trust.check_kept(&envelope) {
                Ok(document) => {
                    library.trust.accept(&document);
                    library.index(&document);
                    documents.push(document);
                }
                Err(refusal) => tracing::warn!(%refusal, "a kept document is no longer accepted"),
            }
        }
        for envelope in fresh {
            let (taken, refused) = library.settle(None, envelope);
            for Taken { document, .. } in taken {
                documents.retain(|held: &VerifiedDocument| held.key() != document.key());
                documents.push(document);
            }
            if let Some(error) = refused {
                tracing::warn!(%error, "a document is not offered");
            }
        }
        let dropped = library.drop_what_no_longer_holds();
        documents.retain(|held: &VerifiedDocument| !dropped.contains(&held.id()));
        library.devices_told = library.trust.devices_enrolled();
        Ok((library, documents))
    }

    /// Enrolled devices that are not revoked.
    pub(super) fn devices_enrolled(&self) -> usize {
        self.devices_told
    }

    /// Serves jobs until the sender is gone. Runs on its own thread.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>, outcomes: &mpsc::Sender<Outcome>) {
        while let Some(job) = jobs.blocking_recv() {
            let mut answers = self.serve(job);
            let devices = self.trust.devices_enrolled();
            if std::mem::replace(&mut self.devices_told, devices) != devices {
                answers.push(Outcome::DevicesEnrolled(devices));
            }
            for outcome in answers {
                if outcomes.blocking_send(outcome).is_err() {
                    return;
                }
            }
        }
    }

    fn serve(&mut self, job: Job) -> Vec<Outcome> {
        match job {
            Job::Check { peer, envelope } => self.check(peer, envelope),
            Job::Publish { envelope, answer } => {
                let id = Envelope::parse(&envelope).map(|envelope| envelope.id());
                let (taken, refused) = self.settle(None, envelope);
                let result = match (refused, id) {
                    (None, Ok(id)) => Ok(id),
                    (Some(error), _) => Err(error),
                    (None, Err(error)) => Err(PublishError::Refused(error.into())),
                };
                let _ = answer.send(result);
                self.outcomes_of(taken)
            }
            Job::Read { peer, id } => vec![Outcome::Read { peer, envelope: self.read(&id) }],
            Job::Admit { peer, enrollment } => {
                let membership = self.trust.membership(peer, &enrollment);
                vec![Outcome::Member { peer, membership, admitted: self.trust.admits(membership) }]
            }
        }
    }

    fn check(&mut self, peer: PeerId, envelope: Vec<u8>) -> Vec<Outcome> {
        // Bytes that are no envelope name no document; the refusal says so.
        let id = Envelope::parse(&envelope).map_or(DocumentId([0; 32]), |envelope| envelope.id());
        let (taken, refused) = self.settle(Some(peer), envelope);
        let mut outcomes = self.outcomes_of(taken);
        match refused {
            Some(PublishError::Refused(refusal)) => {
                let (why, verdict) = (refusal.to_string(), refusal.verdict());
                outcomes.push(Outcome::Refused { peer, id, why, verdict });
            }
            Some(error @ PublishError::TooOften(_)) => tracing::debug!(%peer, %error, "a report is left out"),
            // Our own disk is at fault, not the document: it is asked for again.
            Some(error) => tracing::error!(%error, "a document is lost"),
            None => {}
        }
        outcomes.push(Outcome::Checked { peer });
        outcomes
    }

    fn outcomes_of(&mut self, taken: Vec<Taken>) -> Vec<Outcome> {
        let dropped = self.drop_what_no_longer_holds();
        taken.into_iter().map(Outcome::from).chain(dropped.into_iter().map(Outcome::Dropped)).collect()
    }

    /// After a new trust root: what it does not carry is held no longer. It stays in the state file, where the next start
    /// leaves it out (T12).
    fn drop_what_no_longer_holds(&mut self) -> Vec<DocumentId> {
        if std::mem::replace(&mut self.judged_by, self.trust.root().version) == self.trust.root().version {
            return Vec::new();
        }
        let ids: Vec<DocumentId> = self.keys.keys().copied().collect();
        let gone =
            ids.into_iter().filter(|id| !self.read(id).is_some_and(|kept| self.trust.still_holds(&kept)));
        let gone: Vec<DocumentId> = gone.collect();
        for id in &gone {
            tracing::warn!(target: "samara", event = "document_dropped", %id, "the trust root does not carry a document any more");
            if let Some(key) = self.keys.remove(id) {
                self.held.remove(&key);
            }
        }
        gone
    }

    /// Takes a document, and those that waited for it; or says why it is not taken.
    fn settle(&mut self, from: Option<PeerId>, envelope: Vec<u8>) -> (Vec<Taken>, Option<PublishError>) {
        let mut taken = Vec::new();
        let first = match self.take(from, &envelope) {
            Ok(document) => document,
            Err(error) => {
                self.keep_waiting(from, envelope, &error);
                return (taken, Some(error));
            }
        };
        let mut ready = VecDeque::from(self.waiting.take_ready(&first.document));
        taken.push(first);
        while let Some((from, envelope)) = ready.pop_front() {
            match self.take(from, &envelope) {
                Ok(document) => {
                    ready.extend(self.waiting.take_ready(&document.document));
                    taken.push(document);
                }
                Err(error) => self.keep_waiting(from, envelope, &error),
            }
        }
        (taken, None)
    }

    fn keep_waiting(&mut self, from: Option<PeerId>, envelope: Vec<u8>, error: &PublishError) {
        let PublishError::Refused(refusal) = error else { return };
        if let Refusal::SameSequence { .. } | Refusal::ForkedTrustRoot { .. } = refusal {
            tracing::warn!(target: "samara", event = "equivocation", %refusal, "two documents contradict each other");
        }
        if let Some(awaits) = refusal.verdict().awaits() {
            self.waiting.keep(from, envelope, awaits);
        }
    }

    fn take(&mut self, from: Option<PeerId>, envelope: &[u8]) -> Result<Taken, PublishError> {
        let document = self.trust.check(envelope)?;
        if self.holds(&document) {
            return Ok(Taken { document, from, replaces: None, is_new: false });
        }
        if let (Some(_), VerifiedDocument::Report(report)) = (from, &document)
            && !self.reports.take(report.device, Instant::now())
        {
            return Err(PublishError::TooOften(report.device));
        }
        let replaces = self.held.get(&document.key()).copied().filter(|old| *old != document.id());
        let marks = self.trust.marks_with(&document);
        self.state.put_document(&document, &marks).map_err(|e| PublishError::State(e.to_string()))?;
        self.trust.accept(&document);
        self.index(&document);
        Ok(Taken { document, from, replaces, is_new: true })
    }

    /// Another copy costs no write and replaces nothing, unless the one that is held is no longer signed well enough.
    fn holds(&self, document: &VerifiedDocument) -> bool {
        self.held.get(&document.key()) == Some(&document.id())
            && self.read(&document.id()).is_some_and(|kept| self.trust.check_kept(&kept).is_ok())
    }

    fn index(&mut self, document: &VerifiedDocument) {
        let key = document.key();
        if let Some(old) = self.held.insert(key, document.id()) {
            self.keys.remove(&old);
        }
        self.keys.insert(document.id(), key);
    }

    fn read(&self, id: &DocumentId) -> Option<Vec<u8>> {
        let key = self.keys.get(id)?;
        self.state.document(key).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read a document");
            None
        })
    }
}

#[cfg(test)]
mod tests;
