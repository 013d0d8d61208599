//! What an operator says of a release's life on a device: kinds and their options, hooks, health.

use super::description::{ArtifactDescription, WhenDescription};
use crate::failure::Failure;
use samara_protocol::document::{
    ArtifactKind, BinaryOptions, BlobRef, CommandLine, ConfigOptions, Health, HealthCheck, Hook, HookStep,
    Merge, PROGRAM_SECONDS, Restart, ScriptOptions,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

/// What stands for the new file in the command that validates a configuration.
const FILE: &str = "{file}";

/// What is restarted when a program is switched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartDescription {
    /// A unit of systemd.
    Unit(String),
    /// The process that a file names.
    Process(String),
    /// `samara-node` itself.
    Agent,
}

/// A program that devices run on the way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookDescription {
    /// Where it is on this machine.
    pub path: PathBuf,
    step: HookStep,
    name: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    timeout_seconds: Option<u64>,
    #[serde(default)]
    when: WhenDescription,
}

/// When a release counts as working.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthDescription {
    grace_seconds: Option<u64>,
    interval_seconds: Option<u64>,
    soak_seconds: Option<u64>,
    attempts: Option<u32>,
    #[serde(default, rename = "check", deserialize_with = "known_checks")]
    checks: Vec<HealthCheck>,
}

impl HookDescription {
    /// What will be signed of it.
    pub fn hook(&self, data: BlobRef) -> Result<Hook, Failure> {
        let last = || self.path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = self.name.clone().or_else(last).ok_or_else(|| {
            Failure::configuration(format_args!(
                "hook {} has no usable name; give it one",
                self.path.display()
            ))
        })?;
        Ok(Hook {
            name,
            step: self.step,
            data,
            args: self.args.clone(),
            timeout_seconds: self.timeout_seconds.unwrap_or(PROGRAM_SECONDS),
            when: self.when.clone().into(),
        })
    }
}

impl From<HealthDescription> for Health {
    fn from(d: HealthDescription) -> Self {
        let usual = Self::default();
        Self {
            grace_seconds: d.grace_seconds.unwrap_or(usual.grace_seconds),
            interval_seconds: d.interval_seconds.unwrap_or(usual.interval_seconds),
            soak_seconds: d.soak_seconds.unwrap_or(usual.soak_seconds),
            attempts: d.attempts.unwrap_or(usual.attempts),
            checks: d.checks,
        }
    }
}

/// A check's keys depend on its probe: what a check that was read does not say again, nobody knows.
fn known_checks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HealthCheck>, D::Error> {
    let tables = Vec::<toml::Table>::deserialize(deserializer)?;
    let read = |table: toml::Table| {
        let name = table.get("name").and_then(|name| name.as_str()).unwrap_or("without a name").to_owned();
        let wrong = |e: &dyn std::fmt::Display| D::Error::custom(format!("health.check {name:?}: {e}"));
        let check: HealthCheck =
            table.clone().try_into().map_err(|e: toml::de::Error| wrong(&e.message()))?;
        let known = toml::Table::try_from(&check).map_err(|e| wrong(&e))?;
        match table.keys().find(|key| !known.contains_key(*key)) {
            None => Ok(check),
            Some(key) => {
                let known: Vec<_> = known.keys().map(|key| format!("`{key}`")).collect();
                Err(wrong(&format!("unknown field `{key}`, expected one of {}", known.join(", "))))
            }
        }
    };
    tables.into_iter().map(read).collect()
}

/// How an artifact's kind handles it.
#[derive(Debug, Default)]
pub struct Options {
    /// Of a configuration.
    pub config: Option<ConfigOptions>,
    /// Of a program.
    pub binary: Option<BinaryOptions>,
    /// Of a script, but for what takes it back.
    pub script: Option<ScriptOptions>,
    /// Fields that a device must know, or refuse the release.
    pub crit: Vec<String>,
}

impl ArtifactDescription {
    /// Its kind: as said, else by what is there.
    pub fn kind(&self, is_directory: bool) -> Result<ArtifactKind, Failure> {
        let seen = if is_directory { ArtifactKind::Tree } else { ArtifactKind::File };
        let kind = self.kind.unwrap_or(seen);
        if (kind == ArtifactKind::Tree) == is_directory {
            return Ok(kind);
        }
        let what = if is_directory { "a directory" } else { "a file" };
        let message = format_args!("{} is {what}, and cannot be a {}", self.path.display(), kind.as_str());
        Err(Failure::configuration(message))
    }

    /// What it says for its kind; what it says for another one is an error.
    pub fn options(&self, kind: ArtifactKind) -> Result<Options, Failure> {
        self.refuse_foreign(kind)?;
        let mut options = Options::default();
        match kind {
            ArtifactKind::File | ArtifactKind::Tree => {}
            ArtifactKind::Config => {
                let merge = self.merge.unwrap_or_default();
                let validate = self.validate.clone().map(|command| self.command(command)).transpose()?;
                if merge != Merge::Replace || validate.is_some() {
                    options.config = Some(ConfigOptions { merge, validate });
                    options.crit.push("config".into());
                }
            }
            ArtifactKind::Binary => {
                let restart = match self.restart.clone() {
                    None => return Ok(options),
                    Some(RestartDescription::Unit(unit)) => Restart::Unit { unit },
                    Some(RestartDescription::Process(pid_file)) => Restart::Process { pid_file },
                    Some(RestartDescription::Agent) => Restart::Agent,
                };
                options.binary = Some(BinaryOptions { restart });
                options.crit.push("binary".into());
            }
            ArtifactKind::Script => {
                let timeout_seconds = self.timeout_seconds.unwrap_or(PROGRAM_SECONDS);
                options.script = Some(ScriptOptions { args: self.args.clone(), timeout_seconds, undo: None });
                options.crit.push("script".into());
            }
        }
        Ok(options)
    }

    fn command(&self, command: Vec<String>) -> Result<CommandLine, Failure> {
        if command.iter().any(|word| word.contains(FILE)) {
            let timeout_seconds = self.timeout_seconds.unwrap_or(PROGRAM_SECONDS);
            return Ok(CommandLine { command, timeout_seconds });
        }
        Err(Failure::configuration(format_args!(
            "validate of {} does not name {FILE}: it would look at another file than the new one",
            self.path.display()
        )))
    }

    fn refuse_foreign(&self, kind: ArtifactKind) -> Result<(), Failure> {
        use ArtifactKind::{Config, Script};
        let said: [(&str, bool, &[ArtifactKind]); 6] = [
            ("merge", self.merge.is_some(), &[Config]),
            ("validate", self.validate.is_some(), &[Config]),
            ("restart", self.restart.is_some(), &[ArtifactKind::Binary]),
            ("args", !self.args.is_empty(), &[Script]),
            ("timeout_seconds", self.timeout_seconds.is_some(), &[Config, Script]),
            ("undo", self.undo.is_some(), &[Script]),
        ];
        match said.iter().find(|(_, is_said, kinds)| *is_said && !kinds.contains(&kind)) {
            None => Ok(()),
            Some((key, _, kinds)) => {
                let kinds: Vec<_> = kinds.iter().map(|kind| format!("{:?}", kind.as_str())).collect();
                Err(Failure::configuration(format_args!(
                    "{key} of {} is for kind {}, this is a {}",
                    self.path.display(),
                    kinds.join(" or "),
                    kind.as_str()
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(text: &str) -> Result<Options, String> {
        let described: ArtifactDescription =
            toml::from_str(&format!("path = 'a'\n{text}")).map_err(|e| e.to_string())?;
        let kind = described.kind(false).map_err(|e| e.to_string())?;
        described.options(kind).map_err(|e| e.to_string())
    }

    #[test]
    fn options_come_with_their_kind_and_a_device_that_does_not_know_them_refuses_the_release() {
        let config =
            artifact("kind = 'config'\nmerge = 'toml'\nvalidate = ['/bin/check', '{file}']").unwrap();
        assert_eq!(config.crit, ["config"]);
        assert_eq!(config.config.unwrap().validate.unwrap().timeout_seconds, 60);
        let binary = artifact("kind = 'binary'\nrestart = { unit = 'app.service' }").unwrap();
        assert_eq!(binary.crit, ["binary"]);
        assert_eq!(binary.binary.unwrap().restart, Restart::Unit { unit: "app.service".into() });
        let agent = artifact("kind = 'binary'\nrestart = 'agent'").unwrap();
        assert_eq!(agent.binary.unwrap().restart, Restart::Agent);
        let script = artifact("kind = 'script'\nargs = ['x']\ntimeout_seconds = 5").unwrap();
        assert_eq!((script.crit, script.script.unwrap().timeout_seconds), (vec!["script".to_owned()], 5));
        assert_eq!(artifact("").unwrap().crit, [""; 0]);
    }

    #[test]
    fn an_option_of_another_kind_is_an_error_that_names_the_kind_that_it_is_for() {
        for (text, words) in [
            ("merge = 'toml'", "merge of a is for kind \"config\", this is a file"),
            ("kind = 'script'\nrestart = 'agent'", "is for kind \"binary\", this is a script"),
            ("kind = 'binary'\nundo = 'b'", "is for kind \"script\""),
            ("timeout_seconds = 5", "is for kind \"config\" or \"script\""),
            ("kind = 'config'\nvalidate = ['/bin/check']", "does not name {file}"),
            ("kind = 'tree'", "a is a file, and cannot be a tree"),
            ("kind = 'disk'", "unknown variant `disk`"),
        ] {
            let error = artifact(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_typo_in_a_health_check_is_an_error_that_names_the_check() {
        let health = |text: &str| toml::from_str::<HealthDescription>(text).map_err(|e| e.to_string());
        let read =
            health("grace_seconds = 7\n[[check]]\nname = 'web'\nprobe = 'tcp'\naddress = '127.0.0.1:80'")
                .unwrap();
        let health_signed = Health::from(read);
        assert_eq!((health_signed.grace_seconds, health_signed.interval_seconds), (7, 5));
        assert!(health_signed.checks[0].required);
        let error = health("[[check]]\nname = 'web'\nprobe = 'tcp'\nadress = '127.0.0.1:80'").unwrap_err();
        assert!(error.contains("\"web\"") && error.contains("address"), "{error}");
        let text = "[[check]]\nname = 'web'\nprobe = 'tcp'\naddress = '127.0.0.1:80'\nrequire = true";
        let error = health(text).unwrap_err();
        assert!(error.contains("\"web\"") && error.contains("unknown field `require`"), "{error}");
        assert!(error.contains("`required`"), "{error}");
    }
}
