//! What a release asks of the machine that installs it, and what the machine asks of the world.

use super::{Fault, Record};
use crate::document::{ArtifactKind, Health, HookStep, Release, Restart, RolloutState};
use crate::rollout::{Decision, Facts, artifacts_for, hooks_for};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One install in numbers: what the machine must know of a release.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Artifacts that this device installs, in order.
    pub artifacts: usize,
    /// Which of them are scripts: bringing those back runs a program of the release.
    pub scripts: BTreeSet<usize>,
    /// Hooks that this device runs, by step.
    pub hooks: BTreeMap<HookStep, usize>,
    /// How it shows that it works; none: what could be activated is healthy.
    pub test: Option<Test>,
    /// Whether what runs it must start again before it can be tested.
    pub restarts: bool,
}

/// How long a release is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// So long a check may fail.
    pub grace: Duration,
    /// From one round to the next.
    pub interval: Duration,
    /// So long all checks must go on to pass.
    pub soak: Duration,
    /// Failed rounds in a row that end it.
    pub attempts: u32,
}

impl Test {
    /// From then on one failed round is enough: one that fails now and then would be tested for ever.
    pub fn longest(&self) -> Duration {
        self.grace + (self.soak + self.interval * self.attempts) * 3
    }

    fn of(health: &Health) -> Self {
        Self {
            grace: Duration::from_secs(health.grace_seconds),
            interval: Duration::from_secs(health.interval_seconds),
            soak: Duration::from_secs(health.soak_seconds),
            attempts: health.attempts,
        }
    }
}

impl Plan {
    /// What a release asks of a device.
    pub fn of(release: &Release, facts: &Facts) -> Self {
        let mut hooks = BTreeMap::new();
        hooks_for(release, facts).for_each(|hook| *hooks.entry(hook.step).or_default() += 1);
        let health = release.health.clone().unwrap_or_default();
        let is_tested = !health.checks.is_empty() || hooks.contains_key(&HookStep::Health);
        let is_agent = |restart: &Restart| *restart == Restart::Agent;
        let restarts = artifacts_for(release, facts).any(|artifact| {
            artifact.kind == ArtifactKind::Binary
                && artifact.binary.as_ref().is_some_and(|options| is_agent(&options.restart))
        });
        let scripts = artifacts_for(release, facts).enumerate();
        let scripts = scripts.filter(|(_, artifact)| artifact.kind == ArtifactKind::Script);
        Self {
            artifacts: artifacts_for(release, facts).count(),
            scripts: scripts.map(|(index, _)| index).collect(),
            hooks,
            // A new agent shows at least that it finds back to its neighbours.
            test: (is_tested || restarts).then(|| Test::of(&health)),
            restarts,
        }
    }

    pub(super) fn hooks(&self, step: HookStep) -> impl Iterator<Item = Step> + use<> {
        (0..self.hooks.get(&step).copied().unwrap_or(0)).map(move |index| Step::Hook { step, index })
    }

    /// In the reverse of the order in which they were activated.
    pub(super) fn undo(&self) -> impl Iterator<Item = Step> + use<> {
        (0..self.artifacts).rev().map(Step::Undo)
    }
}

/// Something that is done to the device, one after the other. Each may be cut anywhere and repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Refuse what cannot be placed; change nothing.
    Check,
    /// Run a hook: the `index`-th of those that this device runs at a step.
    Hook {
        /// When.
        step: HookStep,
        /// Which.
        index: usize,
    },
    /// Write an artifact beside its destination.
    Stage(usize),
    /// Switch to it.
    Activate(usize),
    /// Bring back what was there before, also if it was only staged.
    Undo(usize),
    /// Let go of what is no longer needed for the way back.
    Commit(usize),
    /// One round of all health checks, hooks of that step included.
    Probe,
    /// Start the agent again.
    Restart,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// A hook wants to be asked again later.
    RetryLater,
    /// A content turned out damaged; it is fetched again.
    ContentLost,
    /// It failed. The machine sets the phase.
    Failed(Fault),
}

/// Room on the device's file systems for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Enough.
    Fits,
    /// None: a write failed because of that.
    Full,
    /// Too little now.
    Lacks {
        /// Bytes that must be free.
        needed: u64,
        /// Bytes that are.
        available: u64,
    },
    /// More than the file system has in all.
    Never {
        /// Bytes that must be free.
        needed: u64,
        /// Bytes of the file system.
        capacity: u64,
    },
}

/// What holds a release back although it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What kind of thing.
    pub by: HoldBy,
    /// For people.
    pub why: String,
}

/// What kind of thing holds a release back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldBy {
    /// The wave of its device has not come: not even its bytes are fetched.
    Wave,
    /// The Rollout is paused: bytes come, but no install begins.
    Pause,
    /// It is not the time of day.
    Window,
    /// Somebody must agree.
    Confirmation,
    /// The device is in use.
    Interlock,
}

/// What is found after a start, of a release that was under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Every artifact of it is what is in place.
    New,
    /// Something else is.
    Other,
    /// The agent that it brought was given up, and the one before runs: why.
    GivenUp(String),
}

/// How the agent ended that a release was under way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// By anything else: power failed, or it was killed.
    Cut,
}

/// What is decided of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It shall be installed.
    Wanted {
        /// How often that may be tried.
        attempts_max: u32,
        /// Unless this holds it back.
        hold: Option<Hold>,
    },
    /// It is for such devices, but not as this one is now.
    Rejected(String),
    /// It is not for this device.
    NotApplicable(String),
    /// Its Rollout is over.
    Aborted,
    /// It was taken back.
    Withdrawn(String),
    /// A later one is wanted.
    Superseded,
}

impl From<&Decision> for Verdict {
    fn from(decision: &Decision) -> Self {
        match decision {
            Decision::Install { attempts_max, .. } => {
                Self::Wanted { attempts_max: *attempts_max, hold: None }
            }
            Decision::Prepare { .. } => {
                let hold = Hold { by: HoldBy::Pause, why: "the rollout is paused".to_owned() };
                Self::Wanted { attempts_max: 1, hold: Some(hold) }
            }
            Decision::Held(RolloutState::Aborted) => Self::Aborted,
            // Another release is to be placed first, where this one may stand ready already.
            Decision::Held(_) => Self::Superseded,
            Decision::NotApplicable(why) => Self::NotApplicable(why.clone()),
            Decision::Rejected(why) => Self::Rejected(why.clone()),
            Decision::Bad(mark) => Self::Rejected(mark.why.clone()),
            Decision::Withdrawn { reason, .. } => Self::Withdrawn(reason.clone()),
            Decision::Superseded => Self::Superseded,
        }
    }
}

/// A record's place in its machine's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId(pub u64);

/// What happened to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The documents say this now.
    Decided(Verdict),
    /// How much room there is; also: the disk became full.
    Space(Space),
    /// All contents are verified and durable.
    Complete,
    /// A content turned out damaged; it is fetched again.
    Lost,
    /// A content cannot be kept, for another reason than a full disk.
    Unkept(String),
    /// A record is durable.
    Persisted(RecordId),
    /// A step ended.
    Ran(Step, Outcome),
    /// What was in place is there no more.
    Gone,
    /// Somebody at the device wants the version before.
    ByHand,
    /// Time passed.
    Tick,
}

/// What the machine wants done at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Keep a transition. If its state needs a record, answer with [`Input::Persisted`] once it is durable.
    Record {
        /// Its name in the answer.
        id: RecordId,
        /// What is kept.
        record: Record,
    },
    /// Look how much room there is and answer with [`Input::Space`].
    CheckSpace,
    /// Fetch the contents; answer with [`Input::Complete`], or what stands in the way.
    Fetch,
}
