//! What a device does with a release once it has the whole of it: how long that takes, and where it goes wrong.

use super::{ArtifactKind, Percent, Plan, Span};
use samara_protocol::document::{self, HealthCheck, HookStep, Probe};
use samara_protocol::rng::Prng;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// No step takes longer: the longest run.
const STEP_MAX: Duration = Duration::from_secs(3600);
/// Hooks of one step.
const HOOKS_PER_STEP_MAX: usize = 4;
/// Keeps the dice that choose devices apart from all others.
const CHOICE_SALT: u64 = 0x6661_756c_7400_0000;

/// The `[simulated.install]` table of a plan.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Install {
    /// To check all artifacts and write them beside their destinations.
    pub stage: Lasting,
    /// To switch to them.
    pub activate: Lasting,
    /// To bring back what was there before.
    pub undo: Lasting,
    /// To let go of what was kept for the way back.
    pub commit: Lasting,
    /// A hook's run.
    pub hook: Lasting,
    /// A round of all health checks.
    pub check: Lasting,
    /// Until a line of the install journal is durable.
    pub record: Lasting,
    /// From the end of a program that restarts itself until it runs again, beside its start.
    pub restart: Lasting,
    /// At which steps the release brings a hook; one that is named twice, two.
    pub hooks: Vec<HookStep>,
    /// How the release shows that it works; without it what could be activated is healthy.
    pub health: Option<Health>,
    /// How often a device tries before it calls the release bad, as in a Rollout.
    pub attempts_max: u32,
    /// Whether the release brings the agent itself, which then has to start again.
    pub restarts_agent: bool,
    /// What goes wrong on which devices.
    pub faults: Vec<InstallFault>,
}

impl Default for Install {
    fn default() -> Self {
        let ms = |ms| Lasting::Always(Span(Duration::from_millis(ms)));
        Self {
            stage: ms(1000),
            activate: ms(100),
            undo: ms(500),
            commit: ms(100),
            hook: ms(200),
            check: ms(200),
            record: ms(5),
            restart: ms(1000),
            hooks: Vec::new(),
            health: None,
            attempts_max: 1,
            restarts_agent: false,
            faults: Vec::new(),
        }
    }
}

/// How long something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a time as \"30ms\", or the least and the most as [\"2s\", \"8s\"]")]
pub enum Lasting {
    /// As long everywhere.
    Always(Span),
    /// Drawn for each device, evenly between the least and the most.
    Between([Span; 2]),
}

impl Lasting {
    /// On one device.
    pub fn drawn(self, rng: &mut Prng) -> Duration {
        match self {
            Self::Always(Span(time)) => time,
            Self::Between([Span(least), Span(most)]) => {
                let micros = most.saturating_sub(least).as_micros() as usize;
                least + Duration::from_micros(rng.below(micros + 1) as u64)
            }
        }
    }

    fn check(self) -> Result<(), String> {
        let [least, most] = match self {
            Self::Always(time) => [time, time],
            Self::Between(both) => both,
        };
        if least.0 > most.0 {
            return Err(format!("is [{least}, {most}], expected the least before the most"));
        }
        if most.0 > STEP_MAX {
            return Err(format!("is {most}, expected at most {}s", STEP_MAX.as_secs()));
        }
        Ok(())
    }
}

/// The keys of a Release's `health`, its checks aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// So long after activation a check may still fail.
    pub grace_seconds: u64,
    /// From one round of checks to the next.
    pub interval_seconds: u64,
    /// So long they must go on to pass.
    pub soak_seconds: u64,
    /// Failed rounds in a row, after the grace, that make the release fail.
    pub attempts: u32,
}

impl Default for Health {
    fn default() -> Self {
        let document::Health { grace_seconds, interval_seconds, soak_seconds, attempts, .. } =
            document::Health::default();
        Self { grace_seconds, interval_seconds, soak_seconds, attempts }
    }
}

impl Health {
    fn check(self) -> Result<(), (&'static str, String)> {
        let longest = STEP_MAX.as_secs();
        for (key, value, least, most) in [
            ("grace_seconds", self.grace_seconds, 0, longest),
            ("interval_seconds", self.interval_seconds, 1, longest),
            ("soak_seconds", self.soak_seconds, 0, longest),
            ("attempts", self.attempts.into(), 1, 100),
        ] {
            if !(least..=most).contains(&value) {
                return Err((key, format!("is {value}, expected {least} to {most}")));
            }
        }
        Ok(())
    }
}

impl From<Health> for document::Health {
    fn from(health: Health) -> Self {
        let Health { grace_seconds, interval_seconds, soak_seconds, attempts } = health;
        let check = HealthCheck {
            name: "works".into(),
            probe: Probe::Unit { unit: "app.service".into() },
            required: true,
            timeout_seconds: 10,
        };
        Self { grace_seconds, interval_seconds, soak_seconds, attempts, checks: vec![check] }
    }
}

/// Devices on which something goes wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallFault {
    /// Their numbers.
    #[serde(default)]
    pub who: Vec<usize>,
    /// In place of their numbers: so many of all, drawn from the seed.
    pub share: Option<Percent>,
    /// What goes wrong.
    pub fault: InstallFaultKind,
    /// Of a hook: at which step.
    pub step: Option<HookStep>,
    /// How often, then it goes well; without it for ever.
    pub times: Option<u32>,
}

/// What goes wrong in an install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallFaultKind {
    /// Too little room; for ever: less than the release needs in all.
    Space,
    /// The artifacts cannot be written beside their destinations.
    Stage,
    /// They cannot be switched.
    Activate,
    /// What was there before cannot be brought back.
    Undo,
    /// A hook fails.
    Hook,
    /// A hook says that it wants to be asked again later.
    RetryLater,
    /// The release does not show that it works: of one install no round of checks passes.
    Health,
}

impl InstallFaultKind {
    /// Whether it is a hook's.
    pub fn is_of_hook(self) -> bool {
        matches!(self, Self::Hook | Self::RetryLater)
    }

    /// Whether an install tries again after it for longer than a run may last.
    fn is_tried_for_hours(self) -> bool {
        matches!(self, Self::Stage | Self::Undo | Self::RetryLater)
    }
}

impl InstallFault {
    /// The devices that it is about; `number`: its place in the plan.
    pub fn devices(&self, number: usize, count: usize, rng_seed: u64) -> BTreeSet<usize> {
        let Some(share) = self.share else { return self.who.iter().copied().collect() };
        let mut devices: Vec<usize> = (0..count).collect();
        Prng::new(rng_seed ^ CHOICE_SALT ^ number as u64).shuffle(&mut devices);
        devices.truncate((share.fraction() * count as f64).round() as usize);
        devices.into_iter().collect()
    }

    fn check(&self, devices: usize, hooks: &[HookStep]) -> Result<(), (&'static str, String)> {
        if let Some(wrong) = self.who.iter().find(|device| **device >= devices) {
            return Err(("who", format!("names device {wrong}, the last is {}", devices - 1)));
        }
        if self.who.is_empty() != self.share.is_some() {
            return Err(("who", "expected exactly one of who and share".into()));
        }
        match self.step {
            Some(step) if !self.fault.is_of_hook() => {
                return Err(("step", format!("is {:?}, expected none: it is for hooks", step.as_str())));
            }
            None if self.fault.is_of_hook() => {
                return Err(("step", "is missing, expected the hook's, as \"pre_check\"".into()));
            }
            Some(step) if !hooks.contains(&step) => {
                let there: Vec<&str> = hooks.iter().map(|step| step.as_str()).collect();
                let problem = format!("is {:?}, expected one of simulated.install.hooks", step.as_str());
                return Err(("step", format!("{problem}: {there:?}")));
            }
            _ => {}
        }
        match self.times {
            Some(0) => Err(("times", "is 0, expected at least 1".into())),
            None if self.fault.is_tried_for_hours() => {
                Err(("times", "is missing: it would be tried again for longer than a run may last".into()))
            }
            _ => Ok(()),
        }
    }
}

impl Install {
    fn times(&self) -> [(&'static str, Lasting); 8] {
        [
            ("stage", self.stage),
            ("activate", self.activate),
            ("undo", self.undo),
            ("commit", self.commit),
            ("hook", self.hook),
            ("check", self.check),
            ("record", self.record),
            ("restart", self.restart),
        ]
    }

    /// The first key that makes no sense, below `simulated.install`.
    fn check(&self, devices: usize) -> Result<(), (String, String)> {
        for (key, time) in self.times() {
            time.check().map_err(|fault| (key.to_owned(), fault))?;
        }
        if let Some(step) = self.hooks.iter().find(|step| self.hooks_at(**step) > HOOKS_PER_STEP_MAX) {
            let problem =
                format!("name {:?} too often, expected at most {HOOKS_PER_STEP_MAX}", step.as_str());
            return Err(("hooks".into(), problem));
        }
        if !(1..=100).contains(&self.attempts_max) {
            return Err(("attempts_max".into(), format!("is {}, expected 1 to 100", self.attempts_max)));
        }
        if let Some(health) = self.health {
            health.check().map_err(|(key, fault)| (format!("health.{key}"), fault))?;
        }
        for (number, fault) in self.faults.iter().enumerate() {
            let at = |(key, fault)| (format!("faults[{number}].{key}"), fault);
            fault.check(devices, &self.hooks).map_err(at)?;
            if fault.fault == InstallFaultKind::Health && self.health.is_none() {
                let problem = "is \"health\", expected a table simulated.install.health beside it";
                return Err(at(("fault", problem.into())));
            }
        }
        Ok(())
    }

    fn hooks_at(&self, step: HookStep) -> usize {
        self.hooks.iter().filter(|other| **other == step).count()
    }
}

impl Plan {
    /// What devices do with the release; `None`: they only fetch it.
    pub fn install(&self) -> Option<&Install> {
        self.simulated.as_ref()?.install.as_ref()
    }

    pub(super) fn check_install(&self) -> Result<(), (String, String)> {
        let Some(install) = self.install() else { return Ok(()) };
        let is_tree = self.artifact.kind == ArtifactKind::Tree;
        let checked = match install.restarts_agent && is_tree {
            true => Err(("restarts_agent".into(), "is true, expected an artifact of kind \"file\"".into())),
            false => install.check(self.devices.count),
        };
        checked.map_err(|(key, fault)| (format!("simulated.install.{key}"), fault))
    }
}
