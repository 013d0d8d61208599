//! The loop around the machines: what they want done at once, and the steps of one of them at a time.

use super::Agent;
use super::steps::{Job, StepError, StepResult};
use super::work::{Subject, Work};
use crate::handler::InstallError;
use crate::mesh::store::StoreError;
use crate::state::Row;
use samara_protocol::document::{RETRY_LATER, Release, one_line};
use samara_protocol::id::DocumentId;
use samara_protocol::install::{
    Action, Fault, FaultCode, Found, Input, Install, Outcome, Space, State, Step, Verdict,
};
use samara_protocol::rollout::artifacts_for;
use samara_protocol::time::Timestamp;
use std::collections::BTreeMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes of what a journal says of a failure: a program of a release chose the words.
const WHY_BYTES_MAX: usize = 500;

impl Agent {
    /// The machines' clock.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When a machine wants to know that time has passed.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        let at = self.work.values().filter_map(|work| work.machine.poll_timeout()).min()?;
        Some(self.started + at.since(Timestamp::ZERO))
    }

    /// Tells a machine what happened; what follows is done by [`Agent::pump`].
    pub(super) fn tell(&mut self, id: DocumentId, input: Input) {
        let now = self.now();
        if let Some(work) = self.work.get_mut(&id) {
            work.machine.handle(now, input);
        }
    }

    /// Whether something of the device may be half-way.
    pub(super) fn is_under_way(&self) -> bool {
        self.running.is_some() || self.work.values().any(|work| work.state().is_under_way())
    }

    /// Waits that are over.
    pub(super) async fn on_tick(&mut self) {
        let ids: Vec<_> = self.work.keys().copied().collect();
        ids.into_iter().for_each(|id| self.tell(id, Input::Tick));
        self.pump().await;
    }

    /// Does all that the machines want, until each of them waits for something.
    pub(super) async fn pump(&mut self) {
        loop {
            while let Some((id, action)) = self.next_action() {
                self.act(id, action).await;
            }
            self.drop_ended().await;
            if !std::mem::take(&mut self.is_stale) || !self.is_restored {
                break;
            }
            self.decide().await;
            if !self.is_under_way() {
                self.look_again();
                self.forget_unwanted().await;
            }
        }
        self.start_step();
        self.report().await;
    }

    fn next_action(&mut self) -> Option<(DocumentId, Action)> {
        self.work.iter_mut().find_map(|(id, work)| Some((*id, work.machine.poll_action()?)))
    }

    async fn act(&mut self, id: DocumentId, action: Action) {
        match action {
            Action::Record { id: record_id, record } => self.keep(id, record_id, record).await,
            Action::CheckSpace => {
                let space = self.make_room(id).await;
                self.tell(id, Input::Space(space));
            }
            Action::Fetch => self.fetch(id).await,
        }
    }

    pub(super) async fn space_for(&self, id: DocumentId) -> Space {
        let Some(job) = self.job(id) else { return Space::Fits };
        tokio::task::spawn_blocking(move || job.space()).await.unwrap_or(Space::Fits)
    }

    /// Ends the work on what was decided against, and on what went wrong for good.
    pub(super) async fn drop_ended(&mut self) {
        // What the device itself rejected stays, with its reason, as long as it is wanted.
        let is_over = |(id, work): &(&DocumentId, &Work)| match work.state() {
            State::Rejected => self.aside.contains_key(id),
            state => work.machine.has_ended() && !state.is_in_place(),
        };
        let over: Vec<_> = self.work.iter().filter(is_over).map(|(id, _)| *id).collect();
        for id in over {
            self.drop_work(id).await;
            // It may be wanted again since.
            self.is_stale |= !self.aside.contains_key(&id);
        }
    }

    /// Gives the next step of the machine whose turn it is to a thread that may wait.
    fn start_step(&mut self) {
        if self.running.is_some() {
            return;
        }
        let wants = |id: &DocumentId| self.work.get(id).is_some_and(|work| work.machine.wants_turn());
        if !self.turn.as_ref().is_some_and(wants) {
            // What gives way goes first: its successor may want the same destination.
            let waiting = self.work.iter().filter(|(_, work)| work.machine.wants_turn());
            let rank = |work: &Work| (!work.machine.is_leaving(), !work.state().is_under_way());
            self.turn = waiting.min_by_key(|(id, work)| (rank(work), **id)).map(|(id, _)| *id);
        }
        let is_ending = self.ending.as_ref().is_some_and(CancellationToken::is_cancelled);
        let Some((id, work)) = self.turn.and_then(|id| Some((id, self.work.get_mut(&id)?))) else { return };
        // What is half-way is better brought to its end than undone at the next start.
        if is_ending && matches!(work.state(), State::Verifying | State::Testing) {
            return;
        }
        let Some(step) = work.machine.poll_step() else { return };
        self.running = Some(id);
        let job = self.job(id);
        let (results, is_restart) = (self.results.clone(), step == Step::Restart);
        if is_restart {
            self.parts.restart.cancel();
        }
        tokio::task::spawn_blocking(move || {
            let outcome = job.map_or(Ok(0), |job| job.run(step));
            // The channel has room for the one step that runs, unless the agent has ended.
            let _ = results.blocking_send(StepResult { release: id, step, outcome });
        });
    }

    fn job(&self, id: DocumentId) -> Option<Job> {
        let work = self.work.get(&id)?;
        let subject = work.subject.clone();
        let previous = self.parts.state.previous().unwrap_or_default();
        let release_in = |places: &BTreeMap<String, DocumentId>| {
            let id = subject.destinations.iter().find_map(|destination| places.get(destination))?;
            self.documents.releases.get(id)
        };
        let before = release_in(&previous);
        // Until its install begins that one is what is in place.
        let there = if work.state().is_under_way() { before } else { release_in(&self.facts.in_place) };
        let version_before = there.map(|release| release.version.clone()).unwrap_or_default();
        let is_by_hand = work.machine.fault().is_some_and(|fault| fault.code == FaultCode::ByHand);
        // One that could not be brought back was never committed: what is beside its destinations says it all.
        let installed = |destination: &String| self.parts.state.installed(destination).ok().flatten();
        let gives_way = is_by_hand && subject.destinations.iter().any(|place| installed(place) == Some(id));
        Some(Job {
            subject,
            rollout: work.rollout,
            root: self.parts.install_root.clone(),
            private: self.parts.private.clone(),
            source: self.source(),
            state: self.parts.state.clone(),
            version_before,
            back_to: before.filter(|_| gives_way).map(|release| {
                let artifacts = artifacts_for(release, &self.facts);
                artifacts.map(|artifact| (artifact.destination.clone(), artifact.clone())).collect()
            }),
            activated_ms: work.activated_ms,
            trial: work.machine.agent_trial(),
            trials: self.parts.trials.clone(),
            near: self.near,
            contents: work.blobs.clone(),
            mesh: self.parts.mesh.clone(),
        })
    }

    /// A step has ended.
    pub(super) async fn on_step(&mut self, result: StepResult) {
        let StepResult { release: id, step, outcome } = result;
        self.running = None;
        let Some(work) = self.work.get_mut(&id) else { return self.pump().await };
        let is_sealed = work.is_sealed();
        let outcome = match outcome {
            Ok(bytes) => {
                work.bytes_written += bytes;
                Outcome::Done
            }
            // The agent ends: what this was is found out at the next start.
            Err(StepError::Install(InstallError::Store(StoreError::Closing))) => return,
            Err(StepError::Later) => Outcome::RetryLater,
            Err(StepError::Install(error)) if !is_sealed && work.state() == State::Verifying => {
                tracing::warn!(%error, release = %id, "install stopped; a content is fetched again");
                Outcome::ContentLost
            }
            Err(error) => {
                tracing::error!(%error, release = %id, ?step, "a step of the install failed");
                Outcome::Failed(error.into_fault())
            }
        };
        if matches!(outcome, Outcome::Failed(_)) {
            // The floor may have risen meanwhile.
            self.look_at_floors();
            self.is_stale = true;
        }
        self.tell(id, Input::Ran(step, outcome));
        self.pump().await;
    }

    /// What is installed may have raised them.
    pub(super) fn look_at_floors(&mut self) {
        match self.parts.state.marks() {
            Ok(marks) => self.facts.floors = marks.security_floors,
            Err(error) => tracing::error!(%error, "cannot read the security floors"),
        }
    }

    /// After a start: what a cut left half-way goes on before anything else, whatever is decided of it now.
    pub(super) async fn resume(&mut self) {
        self.answer_guard();
        let rows: Vec<_> = self.rows.iter().map(|(id, row)| (*id, row.clone())).collect();
        for (id, row) in rows.into_iter().filter(|(_, row)| row.record.state.is_under_way()) {
            let Some(release) = row.release.clone() else { continue };
            // What runs is looked at before the machine goes on.
            self.take_up(id, release.clone(), &row, Found::Other);
            let is_new = match self.job(id) {
                Some(job) => tokio::task::spawn_blocking(move || job.is_all_new()).await.unwrap_or(false),
                None => false,
            };
            let found = self.found(id, is_new);
            tracing::warn!(target: "samara", event = "install_resumed", release = %id, state = %row.record.state, ?found, "an install was cut");
            self.take_up(id, release, &row, found);
            self.fetch(id).await;
        }
    }

    /// The work on a release as its row says that it stands.
    pub(super) fn take_up(&mut self, id: DocumentId, release: Release, row: &Row, found: Found) {
        let subject = Subject::new(id, release, &self.facts, row.surplus.clone());
        let (plan, now, seed) = (subject.plan(&self.facts), self.now(), self.seed_of(id));
        let found = (found, self.ended_before);
        let machine = Install::resume(plan, row.record.clone(), found, Verdict::Superseded, now, seed);
        let work = Work::new(subject, row.rollout, machine, &self.facts);
        self.work.insert(id, Work { activated_ms: row.activated_ms, ..work });
    }

    pub(super) fn seed_of(&self, id: DocumentId) -> u64 {
        let mine = self.parts.device.0.iter().zip(id.0).map(|(a, b)| a ^ b);
        mine.fold(self.parts.state.boot(), |seed, byte| seed.rotate_left(8) ^ u64::from(byte))
    }
}

impl StepError {
    /// What went wrong; the machine knows in which state.
    fn into_fault(self) -> Fault {
        let (code, exit) = match &self {
            Self::Later => (FaultCode::Hook, Some(RETRY_LATER)),
            // The device's own word, as that of a pre-check hook.
            Self::Install(InstallError::Refused { .. }) => (FaultCode::Hook, None),
            Self::Install(_) => (FaultCode::Artifact, None),
            Self::Hook { exit, .. } => (FaultCode::Hook, *exit),
            Self::Health { exit, .. } => (FaultCode::Health, *exit),
            Self::Agent { .. } => (FaultCode::Agent, None),
        };
        let why = one_line(&self.to_string(), WHY_BYTES_MAX);
        Fault { phase: State::Offered, code, exit, why }
    }
}
