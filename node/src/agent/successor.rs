//! A release that brings the agent itself: what the guard is told of it, and whether it found back to its neighbours.

use super::Agent;
use super::steps::{Job, StepError};
use crate::guard::{Trial, TrialFiles};
use crate::handler::{self, Evidence, InstallError, Site};
use crate::mesh::MeshView;
use samara_protocol::document::{Artifact, ArtifactKind, HookStep, Restart};
use samara_protocol::id::DocumentId;
use samara_protocol::install::{Found, Record, State};
use std::io::Error;
use std::time::Duration;
use tokio::time::Instant;

/// What a trial may take beyond tests and hooks: artifacts are switched once more after a cut.
const SWITCH_TIME: Duration = Duration::from_secs(600);

/// Devices that were neighbours so long ago are still expected.
const EXPECTED_FOR: Duration = Duration::from_secs(3600);

/// Neighbours, now and lately: where a whole hall was without power a device is alone at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Near {
    /// Members of any kind, now.
    members: usize,
    /// Devices that stay, as far as one can know, when there were some last in this run.
    last: Option<(usize, Instant)>,
    /// The same of the runs before.
    before: usize,
}

impl Near {
    /// Before any was seen in this run.
    pub(super) fn new(before: usize) -> Self {
        Self { members: 0, last: None, before }
    }

    /// Looks; true if these are the first devices of this run.
    pub(super) fn see(&mut self, devices: usize, members: usize, now: Instant) -> bool {
        self.members = members;
        let is_first = devices > 0 && self.last.is_none();
        if devices > 0 {
            self.last = Some((devices, now));
        }
        is_first
    }

    /// Devices with which a successor should be connected.
    fn expected(&self, now: Instant) -> usize {
        match self.last {
            Some((devices, at)) if now.duration_since(at) < EXPECTED_FOR => devices,
            Some(_) => 0,
            None => self.before,
        }
    }
}

/// Whether it is samara-node itself.
pub(super) fn is_agent(artifact: &Artifact) -> bool {
    let restart = artifact.binary.as_ref().map(|binary| &binary.restart);
    artifact.kind == ArtifactKind::Binary && restart == Some(&Restart::Agent)
}

impl Job {
    /// Tells the guard, before the switch, what it may have to bring back.
    pub(super) fn begin_trial(&self, site: &Site, artifact: &Artifact) -> Result<(), InstallError> {
        let Some((attempt, longest)) = self.trial.filter(|_| is_agent(artifact)) else { return Ok(()) };
        // After a cut it was switched already, and what was there before is known no longer.
        if handler::evidence(site, artifact) == Evidence::New {
            return Ok(());
        }
        let hooks = self.subject.hooks.iter().filter(|hook| hook.step == HookStep::PostInstall);
        let hooks = hooks.map(|hook| hook.timeout_seconds).sum::<u64>();
        let trial = Trial {
            release: self.subject.id,
            attempt,
            before: self.root.join(&artifact.destination).canonicalize().ok(),
            neighbours: self.near.expected(Instant::now()),
            seconds: (longest + SWITCH_TIME).as_secs().saturating_add(hooks),
        };
        let why = |error: Error| InstallError::Journal(format!("cannot tell the guard: {error}"));
        self.trials.begin(&trial).map_err(why)
    }

    /// Whether the new agent found back to the mesh, if the one before was in it. A device that was alone may be alone.
    pub(super) fn check_rejoined(&self) -> Result<(), StepError> {
        if self.trial.is_none() || self.near.members > 0 {
            return Ok(());
        }
        let trial = self.trials.trial().map_err(|error| StepError::Agent { why: error.to_string() })?;
        match trial.filter(|trial| trial.release == self.subject.id && trial.neighbours > 0) {
            Some(Trial { neighbours, .. }) => {
                let why = format!(
                    "the new samara-node finds no member of the mesh; before it {neighbours} devices were connected"
                );
                Err(StepError::Agent { why })
            }
            None => Ok(()),
        }
    }
}

/// The way back, or on, is certain: from then on the guard has nothing to count.
pub(super) fn end_trial(trials: &TrialFiles, id: DocumentId, record: &Record) {
    if !matches!(record.state, State::Committing | State::RolledBack | State::Failed) {
        return;
    }
    let is_over = trials.trial().is_ok_and(|trial| trial.is_some_and(|trial| trial.release == id));
    if is_over && let Err(error) = trials.end() {
        tracing::error!(%error, "cannot tell the guard that the trial is over; the next start does");
    }
}

impl Agent {
    /// Looks at the neighbours. That there are any is kept, once in each run.
    pub(super) async fn look_near(&mut self, mesh: &MeshView) {
        if !self.near.see(mesh.devices, mesh.neighbours.len(), Instant::now()) {
            return;
        }
        let (state, devices) = (self.parts.state.clone(), mesh.devices);
        let kept = tokio::task::spawn_blocking(move || state.keep_neighbours(devices)).await;
        if let Ok(Err(error)) = kept {
            tracing::error!(%error, "cannot keep how many neighbours there are");
        }
    }

    /// What is found of a release that was under way, artifacts all being in place or not.
    pub(super) fn found(&self, id: DocumentId, is_new: bool) -> Found {
        match &self.parts.given_up {
            Some(given_up) if given_up.release == id => Found::GivenUp(given_up.why.clone()),
            _ if is_new => Found::New,
            _ => Found::Other,
        }
    }

    /// Whether this process is the agent from before the release: the guard gave up its own.
    pub(super) fn is_from_before(&self, id: DocumentId) -> bool {
        self.parts.given_up.as_ref().is_some_and(|given_up| given_up.release == id)
    }

    /// After a start: tells the guard that this agent runs, or that what is on trial has ended.
    pub(super) fn answer_guard(&self) {
        let answered = self.parts.trials.trial().and_then(|trial| {
            let Some(trial) = trial else { return Ok(()) };
            let state = self.rows.get(&trial.release).map(|row| row.record.state);
            match state {
                Some(State::Inconsistent) => Ok(()),
                Some(state) if state.is_under_way() && state != State::Committing => {
                    self.parts.trials.set_ready()
                }
                _ => self.parts.trials.end(),
            }
        });
        if let Err(error) = answered {
            tracing::error!(%error, "cannot answer the guard");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_alone_for_a_moment_expects_the_neighbours_that_it_had() {
        let start = Instant::now();
        let mut near = Near::new(3);
        assert_eq!(near.expected(start), 3, "after a start");
        assert!(!near.see(0, 1, start), "only a laptop");
        assert_eq!(near.expected(start), 3);
        assert!(near.see(2, 3, start));
        assert!(!near.see(0, 0, start));
        assert_eq!(near.expected(start + EXPECTED_FOR / 2), 2);
        assert_eq!(near.expected(start + EXPECTED_FOR), 0, "they are gone for good");
    }
}
