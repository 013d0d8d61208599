//! What a run is: devices, links, an artifact, what happens to whom, and which numbers must come out.
//!
//! A plan is TOML, knows nothing of how it is run, and is refused as a whole when a key is unknown or a value
//! makes no sense: the error names the line, the key, and what was expected. Devices are numbered from 0.

mod bounds;
mod event;
mod install;
mod lie;
mod link;
mod network;
mod place;
mod schedule;
mod segment;
mod simulated;
mod unit;

pub use event::{Discovery, Event, Milestone, Moment, Party, Verb};
pub use install::{Install, InstallFault, InstallFaultKind, Lasting};
pub use lie::{Liars, Lie};
pub use link::Link;
pub use network::Network;
pub use schedule::Schedule;
pub use segment::Segment;
pub use simulated::{Sharing, Simulated};
pub use unit::{Percent, Queue, Rate, Size, Span};

use samara_protocol::measure::LinkRates;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// More devices than this do not fit the lab's address plan, nor a machine.
pub const LAB_DEVICES_MAX: usize = 250;
/// More devices than this do not fit the memory of a simulation.
pub const DEVICES_MAX: usize = 20_000;

/// A well-formed plan.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The file's name without its ending.
    #[serde(skip)]
    pub name: String,
    /// Where it was read, as it was given.
    #[serde(skip)]
    pub path: PathBuf,
    /// What was read.
    #[serde(skip)]
    pub text: String,
    /// One sentence about what the plan shows.
    #[serde(default)]
    pub about: String,
    /// Seconds after the seeder's start at which the run ends, whatever happened.
    #[serde(default = "timeout_default")]
    pub timeout: f64,
    /// Seconds between the last device's start and the seeder's.
    #[serde(default = "settle_default")]
    pub settle: f64,
    /// The devices and their links.
    pub devices: Devices,
    /// The seeder's link.
    pub seeder: Seeder,
    /// Parts of the site behind links of their own.
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// What is spread.
    pub artifact: Artifact,
    /// How the links behave.
    #[serde(default)]
    pub network: Network,
    /// What only virtual time can do; the lab refuses a plan that has it.
    #[serde(default)]
    pub simulated: Option<Simulated>,
    #[serde(default)]
    events: Vec<Spanned<event::EventText>>,
    /// What happens when, in the order of the file.
    #[serde(skip)]
    pub happenings: Vec<Event>,
    /// Which numbers must come out.
    #[serde(default)]
    pub expect: Expect,
}

/// A number of devices with equal links, and the exceptions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    /// How many.
    pub count: usize,
    /// From a device into the network.
    pub up: Rate,
    /// From the network to a device.
    pub down: Rate,
    /// Delay, loss and queue of each device's link.
    #[serde(default)]
    pub link: Link,
    /// Devices with other links.
    #[serde(default)]
    pub overrides: Vec<Override>,
}

/// One device's own link.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The device's number.
    pub who: usize,
    /// Its uplink, if not as all.
    pub up: Option<Rate>,
    /// Its downlink, if not as all.
    pub down: Option<Rate>,
    /// Delay, loss and queue of its link, all of them, if not as all.
    pub link: Option<Link>,
}

/// The operator's laptop.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeder {
    /// Its uplink. Its downlink has no limit.
    pub up: Rate,
    /// Delay, loss and queue of its link.
    #[serde(default)]
    pub link: Link,
}

/// What is spread; its bytes are random, and the same in every run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// One file, or a tree of many.
    pub kind: ArtifactKind,
    /// All of it.
    pub bytes: Size,
    /// Files of a tree; the bytes are divided among them unequally.
    #[serde(default = "files_default")]
    pub files: usize,
}

/// The shape of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// One file.
    File,
    /// A directory with many files.
    Tree,
}

/// Limits that a run must keep; what is not named is not judged.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Last device ÷ lower bound.
    pub max_time_ratio: Option<f64>,
    /// All bytes on the seeder's link ÷ artifact.
    pub max_wire_copies: Option<f64>,
    /// Artifact bytes the seeder sent ÷ artifact.
    pub max_seeder_copies: Option<f64>,
    /// Peak memory of the largest device, MiB.
    pub max_rss_mib: Option<f64>,
    /// A late device's time ÷ (artifact ÷ its downlink).
    pub max_join_ratio: Option<f64>,
    /// Devices that committed the release, at least.
    pub min_committed: Option<usize>,
    /// Devices that rolled it back, at most.
    pub max_rolled_back: Option<usize>,
    /// Whether every device that was not taken away for good must finish.
    #[serde(default = "yes")]
    pub all_living_verified: Option<bool>,
}

impl Expect {
    fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, limit) in [
            ("expect.max_time_ratio", self.max_time_ratio),
            ("expect.max_wire_copies", self.max_wire_copies),
            ("expect.max_seeder_copies", self.max_seeder_copies),
            ("expect.max_rss_mib", self.max_rss_mib),
            ("expect.max_join_ratio", self.max_join_ratio),
        ] {
            if let Some(limit) = limit
                && !(limit.is_finite() && limit > 0.0)
            {
                return Err((key, format!("is {limit}, expected a number above 0")));
            }
        }
        Ok(())
    }
}

/// Why a plan was refused.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("cannot read the plan {}: {cause}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The text is not a plan.
    #[error("{}: {cause}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, key, and what was expected.
        cause: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("{}: {}`{key}` {fault}", path.display(), line.map_or(String::new(), |line| format!("line {line}: ")))]
    Value {
        /// Which file.
        path: PathBuf,
        /// Where, if known.
        line: Option<usize>,
        /// Which key.
        key: String,
        /// What it is and what was expected.
        fault: String,
    },
}

impl Plan {
    /// Reads a plan from a file.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| PlanError::Read { path: path.to_path_buf(), cause })?;
        Self::parse(path, &text)
    }

    /// Reads a plan from its text; `path` names it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, PlanError> {
        let mut plan: Self = toml::from_str(text)
            .map_err(|cause| PlanError::Syntax { path: path.to_path_buf(), cause: Box::new(cause) })?;
        plan.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        (plan.path, plan.text) = (path.to_path_buf(), text.to_owned());
        let at = |line, key: &str, fault: String| PlanError::Value {
            path: path.to_path_buf(),
            line,
            key: key.into(),
            fault,
        };
        plan.check().map_err(|(key, fault)| at(place::line_of(text, key), key, fault))?;
        let checked = plan.check_links().and_then(|()| plan.check_install());
        checked.map_err(|(key, fault)| at(place::line_of(text, &key), &key, fault))?;
        for (index, text_of) in std::mem::take(&mut plan.events).into_iter().enumerate() {
            let line = text[..text_of.span().start.min(text.len())].matches('\n').count() + 1;
            let event = text_of
                .into_inner()
                .resolve(plan.devices.count, plan.install().is_some())
                .map_err(|(key, fault)| at(Some(line), &format!("events[{index}].{key}"), fault))?;
            plan.happenings.push(event);
        }
        Ok(plan)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let count = self.devices.count;
        if !(1..=DEVICES_MAX).contains(&count) {
            return Err(("devices.count", format!("is {count}, expected 1 to {DEVICES_MAX}")));
        }
        if let Some(wrong) = self.devices.overrides.iter().find(|o| o.who >= count) {
            return Err((
                "devices.overrides",
                format!("names device {}, the last is {}", wrong.who, count - 1),
            ));
        }
        if !(self.timeout > 0.0 && self.timeout <= 3600.0) {
            return Err(("timeout", format!("is {}, expected seconds up to 3600", self.timeout)));
        }
        if !(self.settle >= 0.0 && self.settle <= 60.0) {
            return Err(("settle", format!("is {}, expected seconds up to 60", self.settle)));
        }
        if self.artifact.files == 0 || self.artifact.bytes.0 < self.artifact.files as u64 {
            return Err((
                "artifact.files",
                format!("is {}, expected at least a byte a file", self.artifact.files),
            ));
        }
        if self.artifact.kind == ArtifactKind::File && self.artifact.files > 1 {
            return Err(("artifact.files", "is for kind = \"tree\"".into()));
        }
        self.network.check()?;
        self.check_segments()?;
        self.simulated.iter().try_for_each(|simulated| simulated.check(count))?;
        let of_installs = [
            ("expect.min_committed", self.expect.min_committed),
            ("expect.max_rolled_back", self.expect.max_rolled_back),
        ];
        if let Some((key, _)) =
            of_installs.iter().find(|(_, limit)| limit.is_some() && self.install().is_none())
        {
            return Err((
                key,
                "is there, expected a table simulated.install: nothing is installed without".into(),
            ));
        }
        self.expect.check()
    }

    fn check_links(&self) -> Result<(), (String, String)> {
        let own = self.devices.overrides.iter().enumerate();
        let own = own.filter_map(|(n, o)| Some((format!("devices.overrides[{n}].link"), o.link.as_ref()?)));
        let both = [("seeder.link", &self.seeder.link), ("devices.link", &self.devices.link)];
        let between = self.segments.iter().enumerate();
        let between = between.map(|(n, segment)| (format!("segments[{n}].link"), &segment.link));
        let mut links = both.into_iter().map(|(key, link)| (key.to_owned(), link)).chain(own).chain(between);
        links.try_for_each(|(table, link)| {
            link.check().map_err(|(key, fault)| (format!("{table}.{key}"), fault))
        })
    }

    /// Delay, loss and queue of a party's link.
    pub fn link_of(&self, party: Party) -> Link {
        let Party::Device(device) = party else { return self.seeder.link };
        let mut own = self.devices.overrides.iter().rev().filter(|o| o.who == device);
        own.find_map(|o| o.link).unwrap_or(self.devices.link)
    }

    /// The rates of one device's link.
    pub fn rates(&self, device: usize) -> LinkRates {
        let own = self.devices.overrides.iter().rev();
        let mut own = own.filter(|o| o.who == device);
        let up = own.clone().find_map(|o| o.up).unwrap_or(self.devices.up);
        let down = own.find_map(|o| o.down).unwrap_or(self.devices.down);
        LinkRates { up: up.0, down: down.0 }
    }

    /// How a device lies; `None` for an honest one: all are in the lab.
    pub fn lie(&self, device: usize) -> Option<Lie> {
        self.simulated.as_ref()?.lie(device)
    }

    /// Whether somebody loses power.
    pub fn has_power_cuts(&self) -> bool {
        self.happenings.iter().any(|event| event.verb == Verb::PowerCut)
    }

    /// The same plan without expectations that a simulation can't judge: it has no memory to measure.
    pub fn as_simulated(&self) -> Self {
        let expect = Expect { max_rss_mib: None, ..self.expect.clone() };
        Self { expect, ..self.clone() }
    }

    /// Whether a device is away until an event brings it.
    pub fn joins_late(&self, device: usize) -> bool {
        self.happenings.iter().any(|e| e.verb == Verb::Join && e.who.contains(&Party::Device(device)))
    }
}

/// What a device is called in reports, files and its enrollment.
pub fn device_name(device: usize) -> String {
    format!("d{device}")
}

fn timeout_default() -> f64 {
    300.0
}

fn settle_default() -> f64 {
    3.0
}

fn files_default() -> usize {
    1
}

fn yes() -> Option<bool> {
    Some(true)
}

#[cfg(test)]
mod tests;
