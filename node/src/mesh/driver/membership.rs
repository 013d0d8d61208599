//! Who is let in: what the documents' thread says of a neighbour, and what follows when an enrollment or a trust root
//! comes into force.
//!
//! ```text
//!  hello --> Asked --a member--> Admitted <--enrolled meanwhile-- Parting
//!                  --no member------------------------------------^   ^--shut out-- Admitted
//! ```

use super::Driver;
use crate::mesh::command::MeshEvent;
use crate::mesh::library::Job;
use samara_protocol::id::PeerId;
use samara_protocol::mesh::Input;
use samara_protocol::trust::Membership;
use samara_protocol::wire::ENROLLMENT_SHOWN_MAX;
use tokio::task::AbortHandle;

/// A neighbour that said hello.
pub(super) struct Member {
    /// What it showed.
    enrollment: Vec<u8>,
    standing: Standing,
}

enum Standing {
    /// The documents' thread is asked.
    Asked,
    Admitted,
    /// It was told that it is no member; the task ends its connection.
    Parting(Option<AbortHandle>),
}

impl Driver {
    /// A peer said hello: the documents' thread is asked whether it is a member.
    pub(super) fn ask_for(&mut self, peer: PeerId, enrollment: Vec<u8>) {
        let member = Member { enrollment: enrollment.clone(), standing: Standing::Asked };
        self.members.insert(peer, member);
        self.ask(Job::Admit { peer, enrollment });
    }

    /// The documents' thread answers.
    pub(super) fn on_member(&mut self, peer: PeerId, membership: Membership, admitted: bool) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        match (&member.standing, admitted) {
            (Standing::Parting(_), false) => {}
            (_, false) => {
                let parting = Standing::Parting(self.refuse_stranger(peer, membership));
                self.set_standing(peer, parting);
            }
            (_, true) => {
                if let Standing::Parting(Some(end)) = &member.standing {
                    end.abort();
                }
                self.set_standing(peer, Standing::Admitted);
                let enrolled_device = membership == Membership::EnrolledDevice;
                self.handle(Input::Admitted { peer, enrolled_device });
            }
        }
    }

    /// A neighbour's connection ended.
    pub(super) fn member_is_gone(&mut self, peer: PeerId) {
        if let Some(Member { standing: Standing::Admitted, .. }) = self.members.remove(&peer) {
            self.outbox.push_back(MeshEvent::Neighbour { peer, connected: false });
        }
    }

    fn set_standing(&mut self, peer: PeerId, standing: Standing) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        let connected = matches!(standing, Standing::Admitted);
        let before = std::mem::replace(&mut member.standing, standing);
        if matches!(before, Standing::Admitted) != connected {
            self.outbox.push_back(MeshEvent::Neighbour { peer, connected });
        }
    }

    /// An enrollment of `device`, or a trust root, came into force.
    pub(super) fn on_membership(&mut self, device: Option<PeerId>, envelope: Vec<u8>) {
        self.judge_again(device);
        if device == Some(self.me) {
            self.watch_enrollment(&envelope);
            self.machine.enrolled(envelope);
            self.alarms.on_let_in();
            // Whoever refused this device may let it in now.
            self.forgive(None);
        } else {
            self.forgive(device);
        }
    }

    /// Says so when hellos cannot show the own enrollment: peers know this device only by their own documents then.
    pub(super) fn watch_enrollment(&self, envelope: &[u8]) {
        let bytes = envelope.len();
        if bytes > ENROLLMENT_SHOWN_MAX {
            tracing::warn!(
                target: "samara", event = "enrollment_not_shown", bytes, bytes_max = ENROLLMENT_SHOWN_MAX,
                "the enrollment is too long to be shown to peers"
            );
        }
    }

    /// Membership may have changed: with an enrollment that of its device, with a trust root that of every neighbour. No
    /// more than that, for the enrollments of a whole site come at once.
    fn judge_again(&mut self, device: Option<PeerId>) {
        let concerned = self.members.iter().filter(|(peer, _)| device.is_none_or(|device| device == **peer));
        let jobs: Vec<_> = concerned
            .map(|(&peer, member)| Job::Admit { peer, enrollment: member.enrollment.clone() })
            .collect();
        jobs.into_iter().for_each(|job| self.ask(job));
    }

    /// This peer, or any where none is named, may have become a member: who was refused as a stranger may come again at
    /// once, and is gone to.
    fn forgive(&mut self, peer: Option<PeerId>) {
        self.net.forgive(peer);
        self.handle(Input::MayBeMember { peer });
    }
}
