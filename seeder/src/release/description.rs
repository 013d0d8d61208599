//! What the operator says about a release: `release.toml`, or its equivalent in flags.
//! Its keys, their meaning and defaults are in `docs/PUBLISHING.md`.
//! A key that is not known here is an error, so that a typo does not sign something else.

use super::lifecycle::{HealthDescription, HookDescription, RestartDescription};
use crate::failure::Failure;
use crate::files;
use samara_protocol::artifact::safe_destination;
use samara_protocol::document::{ArtifactKind, Compatibility, Impact, Merge, Severity, When};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A description is written by hand; anything longer is another file, named by mistake.
const DESCRIPTION_BYTES_MAX: u64 = 1024 * 1024;

/// A release before it is hashed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Description {
    /// Who signs.
    pub issuer: Option<String>,
    /// For which product.
    pub product: Option<String>,
    /// On which channel.
    pub channel: Option<String>,
    /// For people.
    pub version: Option<String>,
    /// For machines.
    pub number: Option<u64>,
    /// Anti-rollback floor that devices raise when they commit.
    pub security_counter: u64,
    /// How urgent.
    pub severity: Option<Severity>,
    /// Release notes by language.
    pub notes: BTreeMap<String, String>,
    /// What installing costs.
    pub impact: ImpactDescription,
    /// Which devices it suits.
    pub compatibility: CompatibilityDescription,
    /// The artifacts, at least one.
    #[serde(rename = "artifact")]
    pub artifacts: Vec<ArtifactDescription>,
    /// Programs that run on the way.
    #[serde(rename = "hook")]
    pub hooks: Vec<HookDescription>,
    /// When it counts as working.
    pub health: Option<HealthDescription>,
}

/// What installing costs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImpactDescription {
    reboot: bool,
    downtime_seconds: u64,
}

/// Which devices a release suits; empty suits all.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompatibilityDescription {
    /// Hardware names.
    pub hardware: Vec<String>,
    /// Processor architectures.
    pub architecture: Vec<String>,
    min_agent: Option<String>,
    components: BTreeMap<String, String>,
    free_bytes: u64,
}

/// For which devices an artifact is; empty is for all.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WhenDescription {
    hardware: Vec<String>,
    architecture: Vec<String>,
}

/// One file or tree.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactDescription {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// What it is called.
    pub name: Option<String>,
    /// Where it goes on a device.
    pub destination: Option<String>,
    /// Octal permissions of a file.
    pub mode: Option<String>,
    /// For which devices.
    #[serde(default)]
    pub when: WhenDescription,
    /// How it is handled, if not as a mere file or tree.
    pub kind: Option<ArtifactKind>,
    /// How a configuration gets into what is there.
    pub merge: Option<Merge>,
    /// The command that must accept a configuration.
    pub validate: Option<Vec<String>>,
    /// What is restarted with a program.
    pub restart: Option<RestartDescription>,
    /// Arguments of a script.
    #[serde(default)]
    pub args: Vec<String>,
    /// Time for a script, or for the command that validates.
    pub timeout_seconds: Option<u64>,
    /// A script that takes back what this one did.
    pub undo: Option<PathBuf>,
}

impl Description {
    /// Reads a `release.toml`; paths in it are relative to it.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let wrong =
            |e: &dyn std::fmt::Display| Failure::configuration(format_args!("{}: {e}", path.display()));
        let bytes = files::read_at_most(path, DESCRIPTION_BYTES_MAX).map_err(|e| wrong(&e.source))?;
        let text = std::str::from_utf8(&bytes).map_err(|e| wrong(&e))?;
        let mut description: Self = toml::from_str(text).map_err(|e| wrong(&e))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for artifact in &mut description.artifacts {
            artifact.path = folder.join(&artifact.path);
            artifact.undo = artifact.undo.take().map(|undo| folder.join(undo));
            if let Some(mode) = &artifact.mode {
                parse_mode(mode).map_err(|e| wrong(&e))?;
            }
        }
        for hook in &mut description.hooks {
            hook.path = folder.join(&hook.path);
        }
        Ok(description)
    }
}

impl ArtifactDescription {
    /// A path and defaults for all else.
    pub fn of_path(path: PathBuf) -> Self {
        Self {
            path,
            name: None,
            destination: None,
            mode: None,
            when: WhenDescription::default(),
            kind: None,
            merge: None,
            validate: None,
            restart: None,
            args: Vec::new(),
            timeout_seconds: None,
            undo: None,
        }
    }

    /// Its name: as said, else the last part of its path.
    pub fn name(&self) -> Result<String, Failure> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        // `.` and `..` have no last part until they are resolved.
        let real = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let last = real.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        last.ok_or_else(|| {
            Failure::usage(format_args!("{} has no usable name; give one with --name", self.path.display()))
        })
    }

    /// Where it goes: as said, else its name.
    pub fn destination(&self) -> Result<String, Failure> {
        let destination = self.destination.clone().map_or_else(|| self.name(), Ok)?;
        match safe_destination(&destination) {
            Ok(()) => Ok(destination),
            Err(fault) => Err(Failure::configuration(format_args!(
                "destination {destination:?} of {} {fault}; it is a path below a device's install root",
                self.path.display()
            ))),
        }
    }

    /// Its permissions, if said.
    pub fn mode(&self) -> Result<Option<u32>, Failure> {
        self.mode.as_deref().map(parse_mode).transpose().map_err(Failure::usage)
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(format!("mode {text:?} is not an octal number from 0000 to 0777")),
    }
}

impl From<ImpactDescription> for Impact {
    fn from(d: ImpactDescription) -> Self {
        Self { reboot: d.reboot, downtime_seconds: d.downtime_seconds }
    }
}

impl From<CompatibilityDescription> for Compatibility {
    fn from(d: CompatibilityDescription) -> Self {
        let CompatibilityDescription { hardware, architecture, min_agent, components, free_bytes } = d;
        Self { hardware, architecture, min_agent, components, free_bytes }
    }
}

impl From<WhenDescription> for When {
    fn from(d: WhenDescription) -> Self {
        Self { hardware: d.hardware, architecture: d.architecture }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Description, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("release.toml");
        std::fs::write(&path, text).unwrap();
        let mut description = Description::read(&path)?;
        for artifact in &mut description.artifacts {
            artifact.path = artifact.path.strip_prefix(dir.path()).unwrap().to_owned();
        }
        Ok(description)
    }

    const DOCUMENTATION: &str = include_str!("../../../docs/PUBLISHING.md");

    #[test]
    fn the_example_in_the_documentation_is_understood() {
        let lines = DOCUMENTATION.lines().skip_while(|l| *l != "```toml").skip(1).take_while(|l| *l != "```");
        let example: String = lines.map(|l| format!("{l}\n")).collect();
        let description = read(&example).unwrap();
        assert_eq!(description.number, Some(24));
        assert_eq!(description.severity, Some(Severity::Important));
        assert_eq!(description.artifacts[0].path, Path::new("build/firmware.bin"));
        assert_eq!(description.artifacts[0].mode().unwrap(), Some(0o644));
        assert_eq!(description.artifacts[1].destination().unwrap(), "www");
        assert_eq!(description.compatibility.hardware, ["pump-b"]);
    }

    #[test]
    fn the_documentation_says_every_key() {
        let artifact = |more: &str| format!("[[artifact]]\npath = 'a'\n{more}");
        let check = "[[health.check]]\nname = 'a'\nprobe = 'tcp'\naddress = '127.0.0.1:1'\nx = 1";
        let sections = ["x = 1", "impact = { x = 1 }", "compatibility = { x = 1 }", "[health]\nx = 1", check];
        let hook = "[[hook]]\npath = 'a'\nstep = 'pre_check'\nx = 1";
        let sections = sections.into_iter().chain([hook]).map(str::to_owned);
        for text in sections.chain([artifact("x = 1"), artifact("when = { x = 1 }")]) {
            // The refusal of a key names all that there are.
            let refusal = read(&text).unwrap_err().to_string();
            let (_, expected) = refusal.split_once("expected ").unwrap();
            for key in expected.split('`').skip(1).step_by(2) {
                assert!(DOCUMENTATION.contains(&format!("\n| `{key}` | ")), "{key} of: {refusal}");
            }
        }
    }

    #[test]
    fn a_typo_is_an_error_that_names_file_and_line() {
        for text in ["chanel = 'x'", "[impact]\nreboots = true", "[[artifact]]\npath = 'a'\nwehn = {}"] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains("release.toml") && message.contains("unknown field"), "{message}");
        }
        let message = read("[[artifact]]\npath = 'a'\nmode = '0999'").unwrap_err().to_string();
        assert!(message.contains("octal"), "{message}");
    }
}
