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
                tracing::debug!(%peer, %id, why, violation, "document refused");
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

    /// Hands a job to the documents' thread; one that finds the queue full is answered as refused at once.
    pub(super) fn ask(&mut self, job: Job) {
        let Err(error) = self.jobs.try_send(job) else { return };
        match error.into_inner() {
            Job::Check { peer, id, .. } => self.handle(Input::DocumentRefused { peer, id, violation: false }),
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
