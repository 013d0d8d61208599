//! The loop around the machines: what they want done at once, and their steps, each of which takes its time.

use super::agent::{Agent, Making};
use super::{Ended, Installs};
use crate::plan::Milestone;
use crate::world::clock::Nanos;
use crate::world::peer::PeerIndex;
use crate::world::{Event, World};
use samara_protocol::install::{Action, Effect, Input, Record, Space, State, Step};
use samara_protocol::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl World {
    /// The agent of a running device that installs, what all of them share, and what its clock shows.
    pub(super) fn agent(&mut self, peer: PeerIndex) -> Option<(&mut Installs, &mut Agent, Timestamp)> {
        let installs = self.installs.as_deref_mut()?;
        let process = self.peers[peer as usize].process.as_deref_mut()?;
        let now = process.clock.read(self.now);
        Some((installs, process.agent.as_deref_mut()?, now))
    }

    /// A process of a device has started: its agent goes on from what is on the disk.
    pub(in crate::world) fn begin_agent(&mut self, peer: PeerIndex) {
        let this = &mut self.peers[peer as usize];
        let (Some(installs), Some(process)) = (&mut self.installs, &mut this.process) else { return };
        if this.is_seeder {
            return;
        }
        let held = this.disk.documents.iter().filter_map(|number| self.documents.signed(*number));
        let (now, rng_seed) = (process.clock.read(self.now), installs.rng.next_u64());
        let making = Making { release: installs.release, facts: &installs.facts, now, rng_seed };
        let device = &installs.devices[peer as usize];
        let documents = held.filter_map(|envelope| device.trust.check_kept(envelope).ok()).collect();
        let agent = Agent::new(device, documents, &making);
        let is_under_way = agent.machine.is_some();
        process.agent = Some(Box::new(agent));
        if is_under_way {
            self.fetch(peer);
        }
        self.pump_install(peer);
    }

    /// Something that took its time on a device has ended.
    pub(in crate::world) fn on_install(&mut self, peer: PeerIndex, life: u32, ended: Ended) {
        if self.peers[peer as usize].life != life {
            return;
        }
        match ended {
            Ended::Step => self.on_step(peer),
            Ended::Write => self.on_written_down(peer),
            Ended::Wait => {
                let Some((_, agent, now)) = self.agent(peer) else { return };
                agent.waits_until = None;
                agent.tell(now, Input::Tick);
            }
        }
        self.pump_install(peer);
    }

    fn on_step(&mut self, peer: PeerIndex) {
        let Some((installs, agent, now)) = self.agent(peer) else { return };
        let Some(step) = agent.running.take() else { return };
        let outcome = installs.devices[peer as usize].run(step);
        agent.tell(now, Input::Ran(step, outcome));
    }

    fn on_written_down(&mut self, peer: PeerIndex) {
        let Some((installs, agent, now)) = self.agent(peer) else { return };
        let Some((id, record)) = agent.writing.pop_front() else { return };
        let restarts = agent.machine.as_ref().is_some_and(|machine| machine.restarts());
        // The agent that was there before is in place again, and another one runs.
        let is_outdated = restarts && record.effect() == Effect::Restore && agent.is_from_release;
        let seen = agent.documents.seen_of(installs.release);
        self.keep_record(peer, record, seen);
        let Some((_, agent, _)) = self.agent(peer) else { return };
        agent.is_stale = true;
        agent.tell(now, Input::Persisted(id));
        if is_outdated {
            self.restart_agent(peer);
        }
    }

    /// A record is durable.
    fn keep_record(&mut self, peer: PeerIndex, record: Record, seen: BTreeMap<String, (u64, u64)>) {
        let Some(installs) = self.installs.as_deref_mut() else { return };
        let device = &mut installs.devices[peer as usize];
        if record.is_bad() {
            device.bad = Some(record.mark(seen));
        }
        device.keep(record.clone());
        self.show(peer, &record);
        self.check_whole(peer, &record);
        match record.state {
            State::Committed => self.on_first(peer, Milestone::FirstCommitted),
            State::RolledBack => self.on_first(peer, Milestone::FirstRolledBack),
            _ => {}
        }
    }

    fn on_first(&mut self, peer: PeerIndex, milestone: Milestone) {
        let (now, newest) = (self.now, self.newest_rollout_held(peer));
        let Some(installs) = self.installs.as_deref_mut() else { return };
        let device = &mut installs.devices[peer as usize];
        if milestone == Milestone::FirstCommitted {
            device.committed_at.get_or_insert(now);
        } else {
            device.bad_under = newest.map(|rollout| rollout.sequence);
        }
        self.on_milestone(milestone);
    }

    /// Where the release stands on a device, for all who look.
    fn show(&mut self, peer: PeerIndex, record: &Record) {
        let Some(installs) = self.installs.as_deref_mut() else { return };
        let device = &mut installs.devices[peer as usize];
        let fault = record.fault.as_ref().filter(|_| record.state != State::Committed);
        let why = fault.map(|fault| fault.why.clone()).unwrap_or_default();
        (device.state, device.why) = (Some(record.state), why.clone());
        self.trace.install(self.now, peer, record.state, why);
    }

    /// Does all that a machine wants, until it waits for something.
    pub(in crate::world) fn pump_install(&mut self, peer: PeerIndex) {
        loop {
            while let Some(action) = self.next_action(peer) {
                self.act(peer, action);
            }
            let Some((_, agent, _)) = self.agent(peer) else { return };
            let mut is_over = agent.drop_ended();
            let is_stale = agent.is_stale;
            is_over |= is_stale && self.decide(peer);
            if is_over {
                self.close_swarms(peer);
            }
            if !is_stale {
                break;
            }
        }
        self.start_step(peer);
        self.wait(peer);
    }

    fn next_action(&mut self, peer: PeerIndex) -> Option<Action> {
        self.agent(peer)?.1.machine.as_mut()?.poll_action()
    }

    fn act(&mut self, peer: PeerIndex, action: Action) {
        match action {
            Action::Record { id, record } if record.state.needs_record() => {
                self.check_begin(peer, &record);
                let Some((installs, agent, _)) = self.agent(peer) else { return };
                agent.writing.push_back((id, record));
                let took = installs.devices[peer as usize].times.record;
                self.after(peer, took, Ended::Write);
            }
            Action::Record { record, .. } => self.show(peer, &record),
            Action::CheckSpace => {
                let Some((installs, agent, now)) = self.agent(peer) else { return };
                let space = installs.devices[peer as usize].space(installs.needed);
                agent.tell(now, Input::Space(space));
            }
            Action::Fetch => self.fetch(peer),
        }
    }

    fn after(&mut self, peer: PeerIndex, time: Duration, ended: Ended) {
        let life = self.peers[peer as usize].life;
        self.agenda.push(self.now.plus(nanos(time)), Event::Install { peer, life, ended });
    }

    /// True if the release is to be shared no longer.
    fn decide(&mut self, peer: PeerIndex) -> bool {
        let Some((installs, agent, now)) = self.agent(peer) else { return false };
        let rng_seed = installs.rng.next_u64();
        let making = Making { release: installs.release, facts: &installs.facts, now, rng_seed };
        let device = &mut installs.devices[peer as usize];
        let is_over = agent.decide(device, &making);
        let is_in_place = agent.state().is_some_and(|state| state.is_in_place());
        let standing =
            agent.standing().filter(|(state, _)| !device.is_in_place && device.state != Some(*state));
        if let Some((state, why)) = standing {
            (device.state, device.why) = (Some(state), why.clone());
            self.trace.install(self.now, peer, state, why);
        }
        if is_in_place {
            // Its copies are there for others.
            self.open_swarms(peer);
        }
        is_over
    }

    fn fetch(&mut self, peer: PeerIndex) {
        let Some((_, agent, _)) = self.agent(peer) else { return };
        match agent.is_sealed {
            true => self.tell_complete(peer),
            false => self.open_swarms(peer),
        }
    }

    /// All contents of a device are whole, verified and durable.
    pub(in crate::world) fn on_all_sealed(&mut self, peer: PeerIndex) {
        let is_open = self.peers[peer as usize].process.as_ref().is_some_and(|process| process.is_open);
        let Some((_, agent, _)) = self.agent(peer).filter(|_| is_open) else { return };
        agent.is_sealed = true;
        self.tell_complete(peer);
        self.pump_install(peer);
    }

    fn tell_complete(&mut self, peer: PeerIndex) {
        let Some((_, agent, now)) = self.agent(peer) else { return };
        if agent.state() == Some(State::WaitingForSpace) {
            // Its bytes are there.
            agent.tell(now, Input::Space(Space::Fits));
        }
        agent.tell(now, Input::Complete);
    }

    fn start_step(&mut self, peer: PeerIndex) {
        let Some((installs, agent, _)) = self.agent(peer) else { return };
        if agent.running.is_some() {
            return;
        }
        let Some(step) = agent.machine.as_mut().and_then(|machine| machine.poll_step()) else { return };
        let takes = installs.devices[peer as usize].times.of(step);
        self.check_step(peer, step);
        if step == Step::Restart {
            return self.restart_agent(peer);
        }
        if let Some((_, agent, _)) = self.agent(peer) {
            agent.running = Some(step);
        }
        self.after(peer, takes, Ended::Step);
    }

    fn wait(&mut self, peer: PeerIndex) {
        let Some((_, agent, _)) = self.agent(peer) else { return };
        let until = agent.machine.as_ref().and_then(|machine| machine.poll_timeout());
        let Some(until) = until.filter(|until| agent.waits_until != Some(*until)) else { return };
        agent.waits_until = Some(until);
        let Some(process) = &self.peers[peer as usize].process else { return };
        let at: Nanos = process.clock.shows(until).max(self.now);
        let life = self.peers[peer as usize].life;
        self.agenda.push(at, Event::Install { peer, life, ended: Ended::Wait });
    }

    /// The program ends, and its successor starts.
    fn restart_agent(&mut self, peer: PeerIndex) {
        let Some((installs, ..)) = self.agent(peer) else { return };
        let takes = installs.devices[peer as usize].times.restart;
        self.end(peer, true);
        self.start(peer, self.now.plus(nanos(takes)));
    }

    /// A process ends: what it was doing to the device is done or not, and so is what it was writing down. One that ends in
    /// order finishes both.
    pub(in crate::world) fn cut_install(&mut self, peer: PeerIndex, in_order: bool) {
        let process = self.peers[peer as usize].process.as_deref_mut();
        let agent = process.and_then(|process| process.agent.take());
        let (Some(installs), Some(agent)) = (self.installs.as_deref_mut(), agent) else { return };
        let is_done = |installs: &mut Installs| in_order || installs.rng.below(2) == 0;
        if let Some(step) = agent.running.filter(|_| is_done(installs)) {
            let _ = installs.devices[peer as usize].run(step);
        }
        let is_cut = !in_order && agent.state().is_some_and(|state| state.is_under_way());
        installs.devices[peer as usize].cuts += u32::from(is_cut);
        let seen = agent.documents.seen_of(installs.release);
        let written = agent.writing.into_iter().take_while(|_| is_done(installs));
        let written: Vec<Record> = written.map(|(_, record)| record).collect();
        written.into_iter().for_each(|record| self.keep_record(peer, record, seen.clone()));
    }
}
