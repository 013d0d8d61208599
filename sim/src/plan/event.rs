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
    /// To whom, in this order.
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
    who: WhoText,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "`who` is \"seeder\", a device's number, or a list of numbers")]
enum WhoText {
    Name(String),
    One(usize),
    Several(Vec<usize>),
}

impl EventText {
    pub(super) fn resolve(self, devices: usize) -> Result<Event, (&'static str, String)> {
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
        let who = match self.who {
            WhoText::Name(name) if name == "seeder" => vec![Party::Seeder],
            WhoText::Name(name) => {
                return Err(("who", format!("is {name:?}, expected \"seeder\" or numbers")));
            }
            WhoText::One(device) => vec![Party::Device(device)],
            WhoText::Several(several) => several.into_iter().map(Party::Device).collect(),
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
