//! What a machine wants done, done in the world.

use super::checker::Fault;
use super::documents::Documents;
use super::peer::{PeerIndex, index_of};
use super::{Work, World};
use crate::plan::{Lie, Milestone};
use samara_protocol::geometry::PieceIndex;
use samara_protocol::id::{ContentHash, PeerId};
use samara_protocol::mesh::{Action, DisconnectReason, Input};
use samara_protocol::trust::Verdict;
use samara_protocol::wire::Message;

impl World {
    pub(super) fn carry_out(&mut self, peer: PeerIndex, action: Action) {
        self.trace.action(self.now, peer, &action);
        let Some(action) = self.twisted(peer, action) else { return };
        match action {
            Action::Send { peer: to, message } => {
                self.check_message(peer, &message);
                self.send_control(peer, index_of(to), message);
            }
            Action::Admit { peer: who, .. } => {
                let enrolled_device = index_of(who) != self.seeder();
                let admitted = Input::Admitted { peer: who, enrolled_device };
                self.work(peer, self.costs.document_ns, Work::Input(admitted));
            }
            Action::Disconnect { peer: from, reason } => {
                if matches!(reason, DisconnectReason::Violation(_)) {
                    self.refuse(peer, index_of(from));
                }
                if let Some(id) = self.connection_of(peer, index_of(from)) {
                    self.close(id, self.connections[id as usize].side_of(peer));
                }
            }
            Action::Serve { peer: to, content, header } => self.serve(peer, to, content, header),
            Action::CancelServe { peer: to, content, range } => self.cancel_serve(peer, to, content, range),
            Action::Store { ticket, .. } => self.store(peer, ticket),
            Action::Discard { ticket } => self.discard(peer, ticket),
            Action::PieceStored { content, piece, .. } => self.check_piece(peer, content, piece),
            Action::ContentComplete { content } => self.on_complete(peer, content),
            Action::Granted { content, piece, .. } => self.on_granted(peer, content, piece),
            Action::CheckDocument { peer: from, envelope } => self.check_document(peer, from, &envelope),
            Action::ReadDocument { peer: to, id } => {
                self.read_document(peer, to, self.documents.number_of(id))
            }
            Action::Dial { peer: to, addresses } => self.dial(peer, to, &addresses),
            Action::SafeToLeave(is_safe) => self.on_safe(peer, is_safe),
            // Only people want to know.
            Action::GoodbyeHeard { .. } | Action::LetIn { .. } | Action::NotOpened { .. } => {}
            // Nobody names the feature, or asks.
            Action::Probe { .. } | Action::Reached { .. } => {}
        }
    }

    fn check_message(&mut self, peer: PeerIndex, message: &Message) {
        let number = match message {
            Message::Open(open) => self.content_number(open.content),
            _ => None,
        };
        let this = &mut self.peers[peer as usize];
        let Some(process) = &mut this.process else { return };
        match (message, number) {
            (Message::Open(open), Some(number)) => {
                process.channels.insert(open.channel, number);
            }
            (Message::Have(have), _) => {
                let held = process.channels.get(&have.channel).map(|number| &this.disk.have[*number]);
                let lacks = |piece: &&PieceIndex| !held.is_some_and(|held| held.contains(**piece));
                if let Some(piece) = have.pieces.iter().find(lacks) {
                    self.checker.report(Fault::AnnouncesWhatItLacks { peer, piece: *piece });
                }
            }
            _ => {}
        }
    }

    fn check_piece(&mut self, peer: PeerIndex, content: ContentHash, piece: PieceIndex) {
        let Some(number) = self.content_number(content) else { return };
        if !self.peers[peer as usize].disk.have[number].contains(piece) {
            self.checker.report(Fault::CountsWhatItLacks { peer, piece });
        }
    }

    fn on_granted(&mut self, peer: PeerIndex, content: ContentHash, piece: PieceIndex) {
        let Some(number) = self.content_number(content) else { return };
        if let Some(process) = &mut self.peers[peer as usize].process {
            process.unwritten.push((number, piece));
        }
    }

    fn check_document(&mut self, peer: PeerIndex, from: PeerId, envelope: &[u8]) {
        let Some(number) = self.documents.number_in(envelope) else {
            let id = samara_protocol::id::DocumentId([0; 32]);
            let refused = Input::DocumentRefused { peer: from, id, verdict: Verdict::Violation };
            return self.later(peer, refused);
        };
        if self.documents.signed(number).is_some() {
            return self.check_signed(peer, from, number);
        }
        self.peers[peer as usize].disk.documents.insert(number);
        let held =
            Input::DocumentHeld { offer: self.documents.offer(number), from: Some(from), replaces: None };
        self.work(peer, self.costs.document_ns, Work::Input(held));
        self.open_when_rolled_out(peer);
    }

    fn read_document(&mut self, peer: PeerIndex, to: PeerId, number: Option<u32>) {
        let held = &self.peers[peer as usize].disk.documents;
        let number = number.filter(|number| held.contains(number));
        let envelope = number.map(|number| self.documents.envelope(number));
        self.later(peer, Input::DocumentRead { peer: to, envelope });
    }

    /// The release and its rollout are known: the peer takes part in the swarms. Of a device that installs its machine says
    /// when.
    pub(super) fn open_when_rolled_out(&mut self, peer: PeerIndex) {
        let this = &self.peers[peer as usize];
        let is_offered = match &self.installs {
            None => Documents::is_rolled_out(&this.disk.documents),
            Some(installs) => this.is_seeder && installs.is_offered(),
        };
        if is_offered {
            self.open_swarms(peer);
        }
    }

    pub(super) fn open_swarms(&mut self, peer: PeerIndex) {
        let this = &mut self.peers[peer as usize];
        let Some(process) = &mut this.process else { return };
        if process.is_open {
            return;
        }
        process.is_open = true;
        let wanted = !this.is_seeder;
        let (have, granted) = (this.disk.have.clone(), this.disk.granted.clone());
        for ((content, have), granted) in self.contents.clone().into_iter().zip(have).zip(granted) {
            let opened = Input::SwarmOpened {
                content: content.hash,
                geometry: content.geometry,
                have,
                wanted,
                granted,
            };
            self.work(peer, self.costs.document_ns, Work::Input(opened));
        }
        if wanted {
            self.seal_when_complete(peer);
        }
    }

    /// The peer takes part in the swarms no longer.
    pub(super) fn close_swarms(&mut self, peer: PeerIndex) {
        let Some(process) = &mut self.peers[peer as usize].process else { return };
        if std::mem::take(&mut process.is_open) {
            self.work(peer, self.costs.document_ns, Work::Closed);
        }
    }

    pub(super) fn on_closed(&mut self, peer: PeerIndex) {
        self.peers[peer as usize].keep_stats(&self.contents);
        let hashes: Vec<ContentHash> = self.contents.iter().map(|content| content.hash).collect();
        hashes.into_iter().for_each(|content| self.input(peer, Input::SwarmClosed { content }));
    }

    fn on_complete(&mut self, peer: PeerIndex, content: ContentHash) {
        let number = self.content_number(content);
        if !number.is_some_and(|number| self.peers[peer as usize].disk.have[number].is_full()) {
            self.checker.report(Fault::CompletesWithout { peer });
        }
        self.seal_when_complete(peer);
    }

    fn seal_when_complete(&mut self, peer: PeerIndex) {
        if self.peers[peer as usize].disk.have.iter().all(|have| have.is_full()) {
            self.work(peer, self.costs.seal_ns, Work::Sealed);
        }
    }

    pub(super) fn on_sealed(&mut self, peer: PeerIndex) {
        let now = self.now;
        let this = &mut self.peers[peer as usize];
        if this.verified.is_none() {
            this.verified = Some(now);
            self.record.on_not_wanting(peer, now);
            self.trace.complete(now, peer);
            // It is on the disk for good before it is installed.
            self.peers[peer as usize].disk.unsynced.clear();
        }
        self.on_all_sealed(peer);
    }

    fn on_safe(&mut self, peer: PeerIndex, is_safe: bool) {
        if is_safe && peer == self.seeder() {
            self.check_safety();
            self.record.on_safe(self.second());
            self.on_milestone(Milestone::SafeToLeave);
        }
    }

    /// Every piece is on the disks of two devices, or of all if there are fewer; of so many less as say falsely that they
    /// have it, or lost power of late: their neighbours find out by silence. Whether they are alive the seeder can't know
    /// in the very moment: a link may have fallen silent, the news of a death may be on its way.
    fn check_safety(&mut self) {
        let devices = &self.peers[..self.plan.devices.count];
        let false_holders = devices.iter().filter(|device| device.lie == Some(Lie::FalseHaves)).count();
        let in_the_dark = devices.iter().filter(|device| device.is_unknown(self.now)).count();
        let wanted = devices.len().min(2).saturating_sub(false_holders + in_the_dark);
        for (number, content) in self.contents.iter().enumerate() {
            for piece in (0..content.geometry.pieces()).map(PieceIndex) {
                let holders =
                    devices.iter().filter(|device| device.disk.have[number].contains(piece)).count();
                if holders < wanted {
                    self.checker.report(Fault::NotSafe { piece, holders });
                }
            }
        }
    }
}
