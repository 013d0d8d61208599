//! Real documents on their way: checked by each peer's own trust, and signed anew when a plan changes the rollout.

use crate::plan::Verb;
use crate::world::peer::PeerIndex;
use crate::world::{Work, World};
use samara_protocol::id::PeerId;
use samara_protocol::mesh::Input;
use samara_protocol::trust::{Trust, VerifiedDocument};
use samara_protocol::wire::DocumentKind;

impl World {
    fn trust(&mut self, peer: PeerIndex) -> Option<&mut Trust> {
        let installs = self.installs.as_deref_mut()?;
        // The seeder comes after the devices.
        Some(installs.devices.get_mut(peer as usize).map_or(&mut installs.seeder_trust, |d| &mut d.trust))
    }

    /// A signed document came: it is checked, and durable with its high-water marks before it is acted upon.
    pub(in crate::world) fn check_signed(&mut self, peer: PeerIndex, from: PeerId, number: u32) {
        let envelope = self.documents.envelope(number);
        let id = self.documents.offer(number).id;
        let Some(trust) = self.trust(peer) else { return };
        let document = match trust.check(&envelope) {
            Ok(document) => document,
            Err(refusal) => {
                let verdict = refusal.verdict();
                return self.later(peer, Input::DocumentRefused { peer: from, id, verdict });
            }
        };
        trust.accept(&document);
        self.hold(peer, Some(from), number);
        self.learn(peer, document);
    }

    /// A document is on a peer's disk, and what it replaces is not.
    fn hold(&mut self, peer: PeerIndex, from: Option<PeerId>, number: u32) {
        let offer = self.documents.offer(number);
        let is_rollout = |number: u32| self.documents.offer(number).kind == DocumentKind::Rollout;
        let held = &self.peers[peer as usize].disk.documents;
        let replaced =
            held.iter().copied().find(|old| *old != number && is_rollout(number) && is_rollout(*old));
        let replaces = replaced.map(|old| self.documents.offer(old).id);
        let held = &mut self.peers[peer as usize].disk.documents;
        replaced.iter().for_each(|old| {
            held.remove(old);
        });
        held.insert(number);
        self.work(peer, self.costs.document_ns, Work::Input(Input::DocumentHeld { offer, from, replaces }));
    }

    fn learn(&mut self, peer: PeerIndex, document: VerifiedDocument) {
        let Some((_, agent, _)) = self.agent(peer) else { return };
        agent.documents.insert(document);
        agent.is_stale = true;
        self.pump_install(peer);
    }

    /// The operator signs the next sequence of the rollout; a seeder that runs offers it at once.
    pub(in crate::world) fn change_rollout(&mut self, verb: Verb) {
        let Some(installs) = self.installs.as_deref_mut() else { return };
        let envelope = match installs.operator.change(verb) {
            Ok(envelope) => envelope,
            Err(why) => return installs.refused_changes.push(why),
        };
        let number = self.documents.roll_out(&envelope);
        installs.rollouts.push((number, installs.operator.rollout().clone()));
        if let Ok(document) = installs.seeder_trust.check(&envelope.to_bytes()) {
            installs.seeder_trust.accept(&document);
        }
        let (is_offered, seeder) = (installs.is_offered(), self.seeder());
        if self.peers[seeder as usize].process.is_none() {
            return;
        }
        self.hold(seeder, None, number);
        if !is_offered {
            self.close_swarms(seeder);
        }
    }
}
