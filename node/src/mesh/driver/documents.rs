//! The driver's side of the documents: jobs for their thread, and what its answers mean for the machine.

use super::{Driver, STRANGER_REFUSED, SURPLUS_REFUSED};
use crate::mesh::command::{MeshEvent, PublishError};
use crate::mesh::library::{Job, Outcome};
use samara_protocol::document::Envelope;
use samara_protocol::id::{DocumentId, PeerId};
use samara_protocol::mesh::Input;
use samara_protocol::trust::{Membership, VerifiedDocument};

impl Driver {
    pub(super) fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Held { document, from, replaces } => {
                let members =
                    matches!(*document, VerifiedDocument::Enrollment(_) | VerifiedDocument::TrustRoot(_));
                self.hold(*document, from, replaces);
                if members {
                    self.judge_again();
                }
            }
            Outcome::Refused { peer, id, why, violation } => {
                say_refused(peer, id, &why, violation);
                self.handle(Input::DocumentRefused { peer, id, violation });
            }
            Outcome::Read { peer, envelope } => self.handle(Input::DocumentRead { peer, envelope }),
            Outcome::Member { peer, membership, admitted } => self.on_member(peer, membership, admitted),
        }
    }

    fn on_member(&mut self, peer: PeerId, membership: Membership, admitted: bool) {
        let Some(member) = self.admitted.get_mut(&peer) else { return };
        if !admitted {
            tracing::info!(%peer, ?membership, "not a member of this mesh");
            self.net.disconnect(peer, Some(STRANGER_REFUSED));
            return;
        }
        if !std::mem::replace(&mut member.admitted, true) {
            self.dialer.on_neighbour(peer, member.listen.clone());
            self.outbox.push_back(MeshEvent::Neighbour { peer, connected: true });
        }
        let enrolled_device = membership == Membership::EnrolledDevice;
        self.handle(Input::Admitted { peer, enrolled_device });
    }

    /// Membership may have changed with an enrollment or a trust root: every neighbour is judged anew.
    fn judge_again(&mut self) {
        let shown: Vec<_> =
            self.admitted.iter().map(|(&peer, member)| (peer, member.enrollment.clone())).collect();
        for (peer, enrollment) in shown {
            self.ask(Job::Admit { peer, enrollment });
        }
    }

    /// Hands a job to the documents' thread, or says that it will not be done. A document that finds no room is dropped
    /// without a word: it is wanted still, and asked for again.
    pub(super) fn ask(&mut self, job: Job) {
        let Err(job) = self.jobs.try_send(job) else { return };
        match job {
            Job::Check { peer, id, .. } => tracing::debug!(%peer, %id, "no room to check a document"),
            Job::Read { peer, .. } => self.handle(Input::DocumentRead { peer, envelope: None }),
            Job::Admit { peer, .. } => self.net.disconnect(peer, Some(SURPLUS_REFUSED)),
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

    pub(super) fn check_document(&mut self, peer: PeerId, envelope: Vec<u8>) {
        let id = Envelope::parse(&envelope).map_or(DocumentId([0; 32]), |envelope| envelope.id());
        self.ask(Job::Check { peer, id, envelope });
    }
}

/// What no honest peer passes on is said aloud, once for each peer, since it is sent away; the rest is everyday life
/// (an older copy, a root that has not come yet) and may come as often as a peer likes.
fn say_refused(peer: PeerId, id: DocumentId, why: &str, violation: bool) {
    if violation {
        tracing::warn!(target: "samara", event = "document_refused", %peer, %id, why, "document refused");
    } else {
        tracing::debug!(target: "samara", event = "document_refused", %peer, %id, why, "document refused");
    }
}
