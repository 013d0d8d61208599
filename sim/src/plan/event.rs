//! What happens to whom, and when: the `[[events]]` of a plan.

use serde::Deserialize;

/// One happening.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When its time begins to run.
    pub moment: Moment,
    /// Seconds from then until it happens.
    pub after: f64,
    /// What happens.
    pub verb: Verb,
    /// To whom, in this order; nobody where it happens to the rollout.
    pub who: Vec<Party>,
}

/// What an event waits for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    /// So many seconds after the seeder's start.
    Seconds(f64),
    /// The devices that were there from the start hold this part (0 to 1) of all bytes.
    Fraction(f64),
    /// Something that happens by itself.
    On(Milestone),
}

/// A moment that the run itself brings about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// The seeder says that it may go.
    SafeToLeave,
    /// The seeder's process has ended because an event told it to leave.
    SeederLeft,
    /// The first device committed the release.
    FirstCommitted,
    /// The first device rolled the release back for good.
    FirstRolledBack,
}

impl Milestone {
    /// Whether it comes only where something is installed.
    fn is_of_install(self) -> bool {
        matches!(self, Self::FirstCommitted | Self::FirstRolledBack)
    }
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// SIGKILL. Its connections are closed by the kernel.
    Kill,
    /// Its power is gone: nobody is told, and what was not on the disk for good may be lost.
    PowerCut,
    /// The same process again, on what it has on its disk.
    Restart,
    /// SIGTERM: it may say good-bye.
    Leave,
    /// Its link carries nothing from now on; nobody is told.
    LinkDown,
    /// Its link carries again.
    LinkUp,
    /// It was away until now, and starts.
    Join,
    /// `samara rollout pause`: devices fetch and stage, and no install begins.
    RolloutPause,
    /// `samara rollout resume`.
    RolloutResume,
    /// `samara rollout abort`: for good; devices that have the release keep it.
    RolloutAbort,
    /// `samara rollout retry`: devices on which it went wrong try again.
    RolloutRetry,
}

impl Verb {
    /// Whether it happens to the rollout, and so to nobody in particular.
    pub fn is_of_rollout(self) -> bool {
        matches!(self, Self::RolloutPause | Self::RolloutResume | Self::RolloutAbort | Self::RolloutRetry)
    }
}

/// One process of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The operator's laptop.
    Seeder,
    /// A device by number.
    Device(usize),
}

/// How devices find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discovery {
    /// By multicast DNS.
    #[default]
    Mdns,
    /// Every address is written into every configuration.
    Static,
}

/// An event as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventText {
    at: Option<f64>,
    at_fraction: Option<f64>,
    on: Option<Milestone>,
    #[serde(default)]
    after: f64,
    #[serde(rename = "do")]
    verb: Verb,
    who: Option<WhoText>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "`who` is \"seeder\", a device's number, or a list of numbers")]
enum WhoText {
    Name(String),
    One(usize),
    Several(Vec<usize>),
}

impl EventText {
    pub(super) fn resolve(self, devices: usize, installs: bool) -> Result<Event, (&'static str, String)> {
        let moment = match (self.at, self.at_fraction, self.on) {
            (Some(at), None, None) if at >= 0.0 && at.is_finite() => Moment::Seconds(at),
            (Some(at), None, None) => return Err(("at", format!("is {at}, expected seconds"))),
            (None, Some(part), None) if (0.0..=1.0).contains(&part) => Moment::Fraction(part),
            (None, Some(part), None) => return Err(("at_fraction", format!("is {part}, expected 0 to 1"))),
            (None, None, Some(milestone)) => Moment::On(milestone),
            _ => return Err(("at", "expected exactly one of at, at_fraction and on".into())),
        };
        if !(self.after >= 0.0 && self.after.is_finite()) {
            return Err(("after", format!("is {}, expected seconds", self.after)));
        }
        let needs_install = "expected a table simulated.install: nothing is installed without";
        if self.verb.is_of_rollout() && !installs {
            return Err(("do", format!("changes the rollout, {needs_install}")));
        }
        if matches!(moment, Moment::On(milestone) if milestone.is_of_install()) && !installs {
            return Err(("on", format!("waits for an install, {needs_install}")));
        }
        let who = self.who.map(WhoText::parties).transpose()?;
        let who = match (self.verb.is_of_rollout(), who) {
            (false, Some(who)) => who,
            (false, None) => return Err(("who", "is missing, expected \"seeder\" or numbers".into())),
            (true, None) => Vec::new(),
            (true, Some(_)) => return Err(("who", "expected none: a rollout is the whole site's".into())),
        };
        if let Some(Party::Device(wrong)) =
            who.iter().find(|p| matches!(p, Party::Device(n) if *n >= devices))
        {
            return Err(("who", format!("names device {wrong}, the last is {}", devices - 1)));
        }
        if self.verb == Verb::Join && who.contains(&Party::Seeder) {
            return Err(("do", "the seeder is there from the start; expected restart".into()));
        }
        Ok(Event { moment, after: self.after, verb: self.verb, who })
    }
}

impl WhoText {
    fn parties(self) -> Result<Vec<Party>, (&'static str, String)> {
        match self {
            Self::Name(name) if name == "seeder" => Ok(vec![Party::Seeder]),
            Self::Name(name) => Err(("who", format!("is {name:?}, expected \"seeder\" or numbers"))),
            Self::One(device) => Ok(vec![Party::Device(device)]),
            Self::Several(several) => Ok(several.into_iter().map(Party::Device).collect()),
        }
    }
}
