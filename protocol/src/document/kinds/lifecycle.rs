//! What a Release says of its life on a device beside its artifacts: hooks, health, and how each kind of artifact is
//! handled.

use super::local::{check_loopback, check_url};
use super::{BlobRef, DocumentError, When, check_line, check_name, check_names};
use crate::artifact::safe_destination;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most hooks of one release.
pub const HOOKS_MAX: usize = 32;
/// The most health checks of one release.
pub const HEALTH_CHECKS_MAX: usize = 32;
/// The most words of one command.
pub const WORDS_MAX: usize = 32;
/// The longest time that a release may give anything: a day.
pub const SECONDS_MAX: u64 = 24 * 60 * 60;
/// The largest hook or script.
pub const SCRIPT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// With this exit code a program of a release says: not now, but later.
pub const RETRY_LATER: i32 = 21;
/// Time for a program of which a release says none.
pub const PROGRAM_SECONDS: u64 = 60;

/// When a hook runs. Exit code 0: go on; [`RETRY_LATER`]: not now, later; any other: failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookStep {
    /// Before anything is staged: whether this device can take the release now.
    PreCheck,
    /// Before the first artifact is activated.
    PreInstall,
    /// After the last artifact was activated.
    PostInstall,
    /// As a required health check.
    Health,
    /// Before the first artifact is undone.
    PreRollback,
    /// After the last artifact was undone.
    PostRollback,
}

impl HookStep {
    /// The word, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreCheck => "pre_check",
            Self::PreInstall => "pre_install",
            Self::PostInstall => "post_install",
            Self::Health => "health",
            Self::PreRollback => "pre_rollback",
            Self::PostRollback => "post_rollback",
        }
    }
}

/// A program of the release that the device runs at a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// For people.
    pub name: String,
    /// When.
    pub step: HookStep,
    /// Its bytes: anything that the kernel can execute.
    pub data: BlobRef,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// After so long it is killed with all that it started, and has failed.
    #[serde(default = "program_seconds")]
    pub timeout_seconds: u64,
    /// On which devices.
    #[serde(default)]
    pub when: When,
}

fn program_seconds() -> u64 {
    PROGRAM_SECONDS
}

/// How a device finds out whether a release works, once it is activated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// So long after activation a required check may still fail.
    pub grace_seconds: u64,
    /// From one round of checks to the next.
    pub interval_seconds: u64,
    /// After all required checks passed, they must go on to pass for so long before the release is committed.
    pub soak_seconds: u64,
    /// Failed rounds in a row, after the grace, that make the release fail.
    pub attempts: u32,
    /// What is looked at; none: what could be activated is healthy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<HealthCheck>,
}

impl Default for Health {
    fn default() -> Self {
        Self { grace_seconds: 300, interval_seconds: 5, soak_seconds: 0, attempts: 1, checks: Vec::new() }
    }
}

/// One thing that must be so on a healthy device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// For people.
    pub name: String,
    /// What is looked at.
    #[serde(flatten)]
    pub probe: Probe,
    /// Whether the release is taken back where it fails; else it is only said.
    #[serde(default = "yes")]
    pub required: bool,
    /// After so long without an answer it has failed.
    #[serde(default = "probe_seconds")]
    pub timeout_seconds: u64,
}

fn yes() -> bool {
    true
}

fn probe_seconds() -> u64 {
    10
}

/// What a health check looks at, on the device itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "probe")]
pub enum Probe {
    /// A program of the device ends with 0; the first word is its absolute path, or lies below the install root.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// An address of the device itself answers over HTTP.
    Http {
        /// `http://` and a loopback address.
        url: String,
        /// The status that it must answer with.
        #[serde(default = "http_ok")]
        status: u16,
    },
    /// Something listens.
    Tcp {
        /// Loopback address and port.
        address: String,
    },
    /// A unit of systemd is active.
    Unit {
        /// Which.
        unit: String,
    },
    /// A file is there below the install root, or at an absolute path, and is no older than the activation.
    File {
        /// Where.
        path: String,
    },
    /// So many neighbours open a new connection to this device, so that the next update can reach it.
    Neighbours {
        /// How many.
        #[serde(default = "one")]
        at_least: u32,
    },
}

fn one() -> u32 {
    1
}

fn http_ok() -> u16 {
    200
}

/// A program of the device with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// The program by its absolute path, and its arguments; `{file}` stands for the file that is looked at.
    pub command: Vec<String>,
    /// After so long it is killed, and has failed.
    #[serde(default = "program_seconds")]
    pub timeout_seconds: u64,
}

/// How a configuration gets into its place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigOptions {
    /// Replaced, or merged into what is there.
    #[serde(default)]
    pub merge: Merge,
    /// What must accept the new file before it is activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<CommandLine>,
}

/// How a configuration that comes and one that is there become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The one that comes counts.
    #[default]
    Replace,
    /// TOML: tables are merged key by key, what comes wins; all else of what is there stays.
    Toml,
    /// JSON: merged by RFC 7396.
    Json,
}

/// What happens to the running program when its binary is switched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BinaryOptions {
    /// What is restarted.
    #[serde(default)]
    pub restart: Restart,
}

/// What is restarted after a switch, and after the switch back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Restart {
    /// Nothing.
    #[default]
    None,
    /// A unit of systemd.
    Unit {
        /// Which.
        unit: String,
    },
    /// The process that a file below the install root names by its id gets SIGTERM; whoever supervises it starts it again.
    Process {
        /// The file.
        pid_file: String,
    },
    /// This is `samara-node` itself.
    Agent,
}

/// How a script is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptOptions {
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// After so long it is killed with all that it started, and has failed.
    #[serde(default = "program_seconds")]
    pub timeout_seconds: u64,
    /// A script that takes back what it did; without one a roll back leaves that as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<BlobRef>,
}

impl Default for ScriptOptions {
    fn default() -> Self {
        Self { args: Vec::new(), timeout_seconds: PROGRAM_SECONDS, undo: None }
    }
}

impl Hook {
    fn validate(&self) -> Result<(), DocumentError> {
        check_name("hooks.name", &self.name)?;
        check_words("hooks.args", &self.args)?;
        check_seconds("hooks.timeout_seconds", self.timeout_seconds)?;
        check_names("hooks.when", self.when.hardware.iter().chain(&self.when.architecture))?;
        check_script("hooks.data", &self.data)
    }
}

/// D12: names are distinct, so that each can be told of by its own.
pub(super) fn validate_hooks(hooks: &[Hook]) -> Result<(), DocumentError> {
    if hooks.len() > HOOKS_MAX {
        return Err(DocumentError::field("hooks", format!("more than {HOOKS_MAX}")));
    }
    check_distinct("hooks.name", hooks.iter().map(|hook| hook.name.as_str()))?;
    hooks.iter().try_for_each(Hook::validate)
}

impl Health {
    /// D12.
    pub(super) fn validate(&self) -> Result<(), DocumentError> {
        if self.checks.len() > HEALTH_CHECKS_MAX {
            return Err(DocumentError::field("health.checks", format!("more than {HEALTH_CHECKS_MAX}")));
        }
        if self.grace_seconds > SECONDS_MAX || self.soak_seconds > SECONDS_MAX {
            return Err(DocumentError::field("health", format!("a time is beyond {SECONDS_MAX} s")));
        }
        check_seconds("health.interval_seconds", self.interval_seconds)?;
        if !(1..=100).contains(&self.attempts) {
            return Err(DocumentError::field("health.attempts", "must be 1 to 100"));
        }
        check_distinct("health.checks.name", self.checks.iter().map(|check| check.name.as_str()))?;
        self.checks.iter().try_for_each(HealthCheck::validate)
    }
}

impl HealthCheck {
    fn validate(&self) -> Result<(), DocumentError> {
        check_name("health.checks.name", &self.name)?;
        check_seconds("health.checks.timeout_seconds", self.timeout_seconds)?;
        match &self.probe {
            Probe::Command { command } => check_program("health.checks.command", command),
            Probe::Http { url, .. } => check_url(url),
            Probe::Tcp { address } => check_loopback("health.checks.address", address),
            Probe::Unit { unit } => check_unit("health.checks.unit", unit),
            Probe::File { path } => check_path("health.checks.path", path),
            Probe::Neighbours { at_least } if !(1..=16).contains(at_least) => {
                Err(DocumentError::field("health.checks.at_least", "must be 1 to 16"))
            }
            Probe::Neighbours { .. } => Ok(()),
        }
    }
}

impl ConfigOptions {
    pub(super) fn validate(&self) -> Result<(), DocumentError> {
        let Some(CommandLine { command, timeout_seconds }) = &self.validate else { return Ok(()) };
        check_seconds("artifacts.config.validate.timeout_seconds", *timeout_seconds)?;
        check_program("artifacts.config.validate.command", command)
    }
}

impl BinaryOptions {
    pub(super) fn validate(&self) -> Result<(), DocumentError> {
        match &self.restart {
            Restart::None | Restart::Agent => Ok(()),
            Restart::Unit { unit } => check_unit("artifacts.binary.restart.unit", unit),
            Restart::Process { pid_file } => check_path("artifacts.binary.restart.pid_file", pid_file),
        }
    }
}

impl ScriptOptions {
    pub(super) fn validate(&self) -> Result<(), DocumentError> {
        check_words("artifacts.script.args", &self.args)?;
        check_seconds("artifacts.script.timeout_seconds", self.timeout_seconds)?;
        self.undo.iter().try_for_each(|undo| check_script("artifacts.script.undo", undo))
    }
}

/// What runs is read into memory by nobody, but is no way to fill a disk either.
pub(super) fn check_script(field: &'static str, blob: &BlobRef) -> Result<(), DocumentError> {
    blob.geometry().map_err(|e| DocumentError::field(field, e.to_string()))?;
    if blob.size == 0 || blob.size > SCRIPT_BYTES_MAX {
        return Err(DocumentError::field(field, format!("must have 1 to {SCRIPT_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_distinct<'a>(
    field: &'static str,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), DocumentError> {
    let mut seen = BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(DocumentError::field(field, format!("{name:?} stands there twice"))),
        None => Ok(()),
    }
}

fn check_seconds(field: &'static str, seconds: u64) -> Result<(), DocumentError> {
    match seconds {
        1..=SECONDS_MAX => Ok(()),
        _ => Err(DocumentError::field(field, format!("must be 1 to {SECONDS_MAX}"))),
    }
}

fn check_words(field: &'static str, words: &[String]) -> Result<(), DocumentError> {
    if words.len() > WORDS_MAX {
        return Err(DocumentError::field(field, format!("more than {WORDS_MAX} words")));
    }
    words.iter().try_for_each(|word| check_line(field, word, super::TEXT_MAX))
}

// A name alone would be looked for along a PATH that nobody signed.
fn check_program(field: &'static str, command: &[String]) -> Result<(), DocumentError> {
    let Some(program) = command.first() else { return Err(DocumentError::field(field, "is empty")) };
    check_words(field, command)?;
    check_path(field, program)
}

/// An absolute path, or one that stays below the install root.
fn check_path(field: &'static str, path: &str) -> Result<(), DocumentError> {
    check_name(field, path)?;
    let below = path.strip_prefix('/').unwrap_or(path);
    safe_destination(below).map_err(|fault| DocumentError::field(field, format!("{path:?} {fault}")))
}

fn check_unit(field: &'static str, unit: &str) -> Result<(), DocumentError> {
    check_name(field, unit)?;
    let is_of_unit = |c: char| c.is_ascii_alphanumeric() || "@.:_-\\".contains(c);
    if unit.starts_with('-') || !unit.chars().all(is_of_unit) {
        return Err(DocumentError::field(field, format!("{unit:?} is no name of a unit")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(probe: serde_json::Value) -> Result<(), String> {
        let mut check = json!({"name": "works"});
        check.as_object_mut().unwrap().extend(probe.as_object().unwrap().clone());
        let check: HealthCheck = serde_json::from_value(check).map_err(|e| e.to_string())?;
        check.validate().map_err(|e| e.to_string())
    }

    // D12
    #[test]
    fn a_device_is_asked_about_itself_only() {
        for right in [
            json!({"probe": "tcp", "address": "127.0.0.1:80"}),
            json!({"probe": "tcp", "address": "[::1]:80"}),
            json!({"probe": "http", "url": "http://127.0.0.1:8080/health?deep=1"}),
            json!({"probe": "command", "command": ["/usr/bin/app", "--check"]}),
            json!({"probe": "command", "command": ["app/bin/check"]}),
            json!({"probe": "unit", "unit": "pump@1.service"}),
            json!({"probe": "file", "path": "/run/app/ready"}),
            json!({"probe": "neighbours"}),
            json!({"probe": "neighbours", "at_least": 16}),
        ] {
            assert_eq!(check(right.clone()), Ok(()), "{right}");
        }
        for wrong in [
            json!({"probe": "tcp", "address": "192.168.0.1:80"}),
            json!({"probe": "tcp", "address": "localhost:80"}),
            json!({"probe": "tcp", "address": "127.0.0.1:0"}),
            json!({"probe": "http", "url": "https://127.0.0.1:8080/"}),
            json!({"probe": "http", "url": "http://example.org/"}),
            json!({"probe": "http", "url": "http://user@127.0.0.1:80/"}),
            json!({"probe": "http", "url": "http://127.0.0.1:80/a b\n"}),
            json!({"probe": "command", "command": []}),
            json!({"probe": "command", "command": ["../check"]}),
            json!({"probe": "unit", "unit": "--now"}),
            json!({"probe": "unit", "unit": "a b"}),
            json!({"probe": "file", "path": "/run/../etc"}),
            json!({"probe": "neighbours", "at_least": 0}),
            json!({"probe": "neighbours", "at_least": 17}),
            json!({"probe": "command", "command": ["/bin/true"], "timeout_seconds": 0}),
            json!({"probe": "telepathy"}),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_told_apart_by_its_name_has_one_of_its_own() {
        let data = BlobRef { content: crate::id::ContentHash([1; 32]), size: 10, piece_size: 128 * 1024 };
        let hook = |name: &str, size| Hook {
            name: name.into(),
            step: HookStep::PreCheck,
            data: BlobRef { size, ..data },
            args: vec![],
            timeout_seconds: 60,
            when: When::default(),
        };
        assert_eq!(validate_hooks(&[hook("a", 10), hook("b", 10)]), Ok(()));
        assert!(validate_hooks(&[hook("a", 10), hook("a", 10)]).is_err());
        assert!(validate_hooks(&[hook("a", SCRIPT_BYTES_MAX + 1)]).is_err());
        assert!(validate_hooks(&[hook("a", 0)]).is_err());
    }
}
