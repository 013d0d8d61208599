//! The driver's side of the documents: jobs for their thread, and what its answers mean for the machine.

mod turns;

use super::Driver;
use super::parting::SURPLUS_REFUSED;
use crate::mesh::command::{MeshEvent, PublishError};
use crate::mesh::library::{Job, Outcome};
use crate::mesh::net::Refuse;
use samara_protocol::id::{DocumentId, PeerId};
use samara_protocol::mesh::Input;
use samara_protocol::trust::{Verdict, VerifiedDocument};
use tokio::sync::mpsc;
use turns::Turns;

/// What the documents' thread is asked, and what waits until it may be.
pub(super) struct Desk {
    jobs: mpsc::Sender<Job>,
    checks: Turns<Vec<u8>>,
    reads: Turns<DocumentId>,
}

impl Desk {
    pub(super) fn new(jobs: mpsc::Sender<Job>) -> Self {
        Self { jobs, checks: Turns::default(), reads: Turns::default() }
    }

    pub(super) fn on_gone(&mut self, peer: PeerId) {
        self.checks.drop_waiting(peer);
        self.reads.drop_waiting(peer);
    }
}

impl Driver {
    pub(super) fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Held { document, from, is_new: false, .. } => {
                self.handle(Input::DocumentHeld { offer: document.offer(), from, replaces: None });
            }
            Outcome::Held { document, from, replaces, is_new: true } => {
                let membership = match &*document {
                    VerifiedDocument::Enrollment(enrollment) => Some(Some(enrollment.device)),
                    VerifiedDocument::TrustRoot(_) => Some(None),
                    _ => None,
                };
                let envelope = document.envelope().to_vec();
                self.hold(*document, from, replaces);
                if let Some(device) = membership {
                    self.on_membership(device, envelope);
                }
            }
            Outcome::Dropped(id) => {
                self.handle(Input::DocumentDropped(id));
                self.outbox.push_back(MeshEvent::DocumentDropped(id));
            }
            Outcome::DevicesEnrolled(count) => self.handle(Input::DevicesEnrolled(count)),
            Outcome::Refused { peer, id, why, verdict } => {
                say_refused(peer, id, &why, verdict);
                self.handle(Input::DocumentRefused { peer, id, verdict });
            }
            Outcome::Checked { peer } => self.next_check(peer),
            Outcome::Read { peer, envelope } => {
                self.handle(Input::DocumentRead { peer, envelope });
                self.next_read(peer);
            }
            Outcome::Member { peer, membership, admitted } => self.on_member(peer, membership, admitted),
        }
    }

    /// Hands a job to the documents' thread. One that finds the queue full ends at once: what a peer sends or wants is
    /// dropped with all that it has waiting, and comes again when it is asked for again.
    pub(super) fn ask(&mut self, job: Job) {
        let Err(error) = self.desk.jobs.try_send(job) else { return };
        match error.into_inner() {
            Job::Check { peer, .. } => {
                self.desk.checks.drop_waiting(peer);
                self.desk.checks.next(peer);
            }
            Job::Read { peer, .. } => {
                self.desk.reads.drop_waiting(peer);
                self.desk.reads.next(peer);
            }
            Job::Admit { peer, .. } => self.net.disconnect(peer, Some(Refuse::For(SURPLUS_REFUSED))),
            Job::Publish { answer, .. } => {
                let _ = answer.send(Err(PublishError::State("too many documents at once".into())));
            }
        }
    }

    pub(super) fn hold(
        &mut self,
        document: VerifiedDocument,
        from: Option<PeerId>,
        replaces: Option<DocumentId>,
    ) {
        self.handle(Input::DocumentHeld { offer: document.offer(), from, replaces });
        self.outbox.push_back(MeshEvent::Document(Box::new(document)));
    }

    /// Signatures cost far more than the message that brings them: one document of each peer is checked at a time.
    pub(super) fn check_document(&mut self, peer: PeerId, envelope: Vec<u8>) {
        if let Some(envelope) = self.desk.checks.begin(peer, envelope) {
            self.ask(Job::Check { peer, envelope });
        }
    }

    pub(super) fn read_document(&mut self, peer: PeerId, id: DocumentId) {
        if let Some(id) = self.desk.reads.begin(peer, id) {
            self.ask(Job::Read { peer, id });
        }
    }

    fn next_check(&mut self, peer: PeerId) {
        if let Some(envelope) = self.desk.checks.next(peer) {
            self.ask(Job::Check { peer, envelope });
        }
    }

    fn next_read(&mut self, peer: PeerId) {
        if let Some(id) = self.desk.reads.next(peer) {
            self.ask(Job::Read { peer, id });
        }
    }
}

/// What no honest peer passes on is said aloud, once for each peer, since it is sent away; the rest is everyday life
/// (an older copy, a root that has not come yet) and may come as often as a peer likes.
fn say_refused(peer: PeerId, id: DocumentId, why: &str, verdict: Verdict) {
    if verdict == Verdict::Violation {
        tracing::warn!(target: "samara", event = "document_refused", %peer, %id, why, "document refused");
    } else {
        tracing::debug!(target: "samara", event = "document_refused", %peer, %id, why, ?verdict, "document refused");
    }
}
