//! What must hold in every install, whatever the plan does to its device: looked at from outside, with what is on the
//! disk, and not by the machine's own account.

use super::device::There;
use crate::world::World;
use crate::world::checker::Fault;
use crate::world::peer::PeerIndex;
use samara_protocol::document::{Rollout, RolloutState};
use samara_protocol::install::{Record, State, Step};

impl World {
    /// The newest Rollout on a device's disk.
    pub(super) fn newest_rollout_held(&self, peer: PeerIndex) -> Option<Rollout> {
        let installs = self.installs.as_ref()?;
        let held = &self.peers[peer as usize].disk.documents;
        let newest = installs.rollouts.iter().rev().find(|(number, _)| held.contains(number));
        newest.map(|(_, rollout)| rollout.clone())
    }

    fn report_install(&mut self, rule: &'static str, peer: PeerIndex, what: String) {
        self.checker.report(Fault::Install { rule, peer, what });
    }

    /// A device is about to write down that it begins an install.
    pub(super) fn check_begin(&mut self, peer: PeerIndex, record: &Record) {
        let Some(installs) = self.installs.as_ref().filter(|_| record.state == State::Installing) else {
            return;
        };
        let documents = &self.peers[peer as usize].disk.documents;
        let has_release = self.documents.number_of(installs.release).is_some_and(|n| documents.contains(&n));
        let bad_under = installs.devices[peer as usize].bad_under;
        let is_bad = installs.devices[peer as usize].bad.is_some();
        let rollout = self.newest_rollout_held(peer);
        let is_active = rollout.as_ref().is_some_and(|rollout| rollout.state == RolloutState::Active);
        if !has_release || !is_active {
            let what = "begins an install that no Rollout which it holds tells it to".into();
            self.report_install("installs-what-is-signed", peer, what);
        }
        let asks_again = |rollout: Rollout| rollout.retry && Some(rollout.sequence) > bad_under;
        if is_bad && !rollout.is_some_and(asks_again) {
            let what = "tries a bad release again, and no later Rollout says so".into();
            self.report_install("bad-stays-bad", peer, what);
        }
    }

    /// A device is about to do a step.
    pub(super) fn check_step(&mut self, peer: PeerIndex, step: Step) {
        let this = &self.peers[peer as usize];
        let is_whole = this.disk.have.iter().all(|have| have.is_full()) && this.verified.is_some();
        if matches!(step, Step::Stage(_) | Step::Activate(_)) && !is_whole {
            self.report_install("installs-what-is-whole", peer, format!("does {step:?} and lacks pieces"));
        }
        let Some((installs, agent, _)) = self.agent(peer) else { return };
        let recorded = installs.devices[peer as usize].journal.as_ref().map(|record| record.state);
        let under_way = agent.state().filter(|state| state.is_under_way());
        let needs_record = matches!(step, Step::Activate(_) | Step::Commit(_) | Step::Restart);
        if needs_record && under_way.is_none() || under_way.is_some_and(|state| recorded != Some(state)) {
            let what = format!("does {step:?} in {under_way:?}, the journal says {recorded:?}");
            self.report_install("records-before-it-acts", peer, what);
        }
    }

    /// A device stands somewhere, by its record.
    pub(super) fn check_whole(&mut self, peer: PeerIndex, record: &Record) {
        let Some(installs) = &self.installs else { return };
        let there = installs.devices[peer as usize].there;
        let expected = match record.state {
            State::Committed => There::New,
            State::Installing | State::RolledBack | State::Failed | State::Rejected | State::Aborted => {
                There::Old
            }
            _ => return,
        };
        if there != expected {
            let what = format!("is {}, and what is in place is {there:?}", record.state);
            self.report_install("never-half", peer, what);
        }
    }
}
