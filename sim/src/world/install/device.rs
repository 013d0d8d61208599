//! What of an install survives the end of a process: the journal, what stands in place; and what a device is like.

use crate::plan::{Install, InstallFault, InstallFaultKind};
use crate::world::clock::Nanos;
use samara_protocol::document::HookStep;
use samara_protocol::install::{Effect, Fault, FaultCode, Outcome, Record, Space, State, Step};
use samara_protocol::rng::Prng;
use samara_protocol::rollout::BadMark;
use samara_protocol::trust::Trust;
use std::time::Duration;

/// How long things take on one device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    stage: Duration,
    activate: Duration,
    undo: Duration,
    commit: Duration,
    hook: Duration,
    check: Duration,
    pub(super) record: Duration,
    pub(super) restart: Duration,
}

impl Times {
    pub(super) fn drawn(install: &Install, rng: &mut Prng) -> Self {
        Self {
            stage: install.stage.drawn(rng),
            activate: install.activate.drawn(rng),
            undo: install.undo.drawn(rng),
            commit: install.commit.drawn(rng),
            hook: install.hook.drawn(rng),
            check: install.check.drawn(rng),
            record: install.record.drawn(rng),
            restart: install.restart.drawn(rng),
        }
    }

    /// How long a step takes.
    pub(super) fn of(&self, step: Step) -> Duration {
        match step {
            // It changes nothing, and is counted with what it comes before.
            Step::Check | Step::Restart => Duration::ZERO,
            Step::Hook { .. } => self.hook,
            Step::Stage(_) => self.stage,
            Step::Activate(_) => self.activate,
            Step::Undo(_) => self.undo,
            Step::Commit(_) => self.commit,
            Step::Probe => self.check,
        }
    }
}

/// What goes wrong on one device, and how often it still does.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<(InstallFaultKind, Option<HookStep>, u32)>);

impl Faults {
    pub(super) fn push(&mut self, fault: &InstallFault) {
        self.0.push((fault.fault, fault.step, fault.times.unwrap_or(u32::MAX)));
    }

    /// Whether it goes wrong now; one time less is left.
    fn take(&mut self, kind: InstallFaultKind, step: Option<HookStep>) -> bool {
        let is_it = |fault: &&mut (InstallFaultKind, Option<HookStep>, u32)| {
            (fault.0, fault.1) == (kind, step) && fault.2 > 0
        };
        let Some((_, _, left)) = self.0.iter_mut().find(is_it) else { return false };
        *left = left.saturating_sub(u32::from(*left < u32::MAX));
        true
    }

    fn is_for_ever(&self, kind: InstallFaultKind) -> bool {
        self.0.iter().any(|(of, _, left)| *of == kind && *left == u32::MAX)
    }
}

/// What stands at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// What was there before the release.
    Old,
    /// The release.
    New,
}

/// One device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) times: Times,
    pub(super) faults: Faults,
    /// What it believes, with its high-water marks.
    pub(super) trust: Trust,
    /// The last record that had to be durable.
    pub(super) journal: Option<Record>,
    pub(super) bad: Option<BadMark>,
    pub(super) there: There,
    /// The way back is gone.
    is_kept: bool,
    /// By the journal.
    pub(super) is_in_place: bool,
    /// What this install brings does not show that it works.
    is_sick: bool,
    /// The newest sequence of the Rollout when the release went bad here, for the checker.
    pub(super) bad_under: Option<u64>,
    /// Installs begun, cuts survived, for the report.
    pub(super) installs: u32,
    pub(super) cuts: u32,
    /// Where the release stands, and why, as the device would say.
    pub(super) state: Option<State>,
    pub(super) why: String,
    pub(super) committed_at: Option<Nanos>,
}

impl Device {
    pub(super) fn new(trust: Trust, times: Times) -> Self {
        Self {
            times,
            faults: Faults::default(),
            trust,
            journal: None,
            bad: None,
            there: There::Old,
            is_kept: false,
            is_in_place: false,
            is_sick: false,
            bad_under: None,
            installs: 0,
            cuts: 0,
            state: None,
            why: String::new(),
            committed_at: None,
        }
    }

    /// A record is on disk, and what changes with it in one commit.
    pub(super) fn keep(&mut self, record: Record) {
        match record.effect() {
            Effect::None => {}
            Effect::Begin => {
                (self.is_in_place, self.is_kept) = (false, false);
                self.is_sick = self.faults.take(InstallFaultKind::Health, None);
                self.installs += 1;
            }
            Effect::Keep => (self.is_in_place, self.bad) = (true, None),
            Effect::Restore => self.is_in_place = false,
        }
        self.journal = Some(record);
    }

    /// How much room there is.
    pub(super) fn space(&mut self, needed: u64) -> Space {
        let half = needed / 2;
        match self.faults.take(InstallFaultKind::Space, None) {
            true if self.faults.is_for_ever(InstallFaultKind::Space) => {
                Space::Never { needed, capacity: half }
            }
            true => Space::Lacks { needed, available: half },
            false => Space::Fits,
        }
    }

    /// Does a step, and says how it ended.
    pub(super) fn run(&mut self, step: Step) -> Outcome {
        use InstallFaultKind as Kind;
        match step {
            Step::Hook { step, .. } if self.faults.take(Kind::RetryLater, Some(step)) => Outcome::RetryLater,
            Step::Hook { step, .. } if self.faults.take(Kind::Hook, Some(step)) => {
                let code = 1;
                failed(FaultCode::Hook, Some(code), format!("hook {} ended with {code}", step.as_str()))
            }
            Step::Stage(_) if self.faults.take(Kind::Stage, None) => {
                artifact_failed("written beside its place")
            }
            Step::Activate(_) if self.faults.take(Kind::Activate, None) => artifact_failed("switched"),
            Step::Undo(_) if self.faults.take(Kind::Undo, None) => artifact_failed("brought back"),
            Step::Probe if self.is_sick => failed(FaultCode::Health, None, "check works: it fails".into()),
            _ => {
                self.apply(step);
                Outcome::Done
            }
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Activate(_) => self.there = There::New,
            Step::Undo(_) if !self.is_kept => self.there = There::Old,
            Step::Commit(_) => self.is_kept = true,
            _ => {}
        }
    }
}

fn artifact_failed(what: &str) -> Outcome {
    failed(FaultCode::Artifact, None, format!("app cannot be {what}"))
}

fn failed(code: FaultCode, exit: Option<i32>, why: String) -> Outcome {
    // The machine knows in which state.
    Outcome::Failed(Fault { phase: State::Offered, code, exit, why })
}
