//! Flags of `samara publish` that say how devices handle its one artifact: what `release.toml` says of each of several.

use crate::release::{ArtifactDescription, RestartDescription};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use samara_protocol::document::{ArtifactKind, Merge};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as WrongWord, StrDeserializer};
use std::path::PathBuf;

/// How the artifact is handled; each as the key of the same name in a description.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "How devices handle it; only with one artifact")]
pub struct KindArgs {
    /// What it is [default: tree for a directory, else file].
    #[arg(long, value_parser = kind_parser(), conflicts_with = "from")]
    kind: Option<ArtifactKind>,
    /// Octal permissions of a file [default: the file's own].
    #[arg(long, conflicts_with = "from")]
    mode: Option<String>,
    /// Of a config: how it gets into the one that is there [default: replace].
    #[arg(long, value_parser = merge_parser(), conflicts_with = "from")]
    merge: Option<Merge>,
    /// Of a config: a command of the device, split at spaces, that must accept the file that {file} stands for.
    #[arg(long, value_name = "COMMAND", conflicts_with = "from")]
    validate: Option<String>,
    /// Of a binary: what is restarted with it, unit=NAME, process=PID_FILE, or agent for samara-node itself.
    #[arg(long, value_name = "WHAT", value_parser = restart, conflicts_with = "from")]
    restart: Option<RestartDescription>,
    /// Of a script: one of its arguments; may be given several times.
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true, conflicts_with = "from")]
    args: Vec<String>,
    /// Of a script: another one that takes back what it did.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    undo: Option<PathBuf>,
    /// Of a script, and of --validate: after so long it is killed [default: 60].
    #[arg(long, value_name = "SECONDS", conflicts_with = "from")]
    timeout_seconds: Option<u64>,
}

impl KindArgs {
    /// The first flag that is given, if one is.
    pub fn first(&self) -> Option<&'static str> {
        let given = [
            ("--kind", self.kind.is_some()),
            ("--mode", self.mode.is_some()),
            ("--merge", self.merge.is_some()),
            ("--validate", self.validate.is_some()),
            ("--restart", self.restart.is_some()),
            ("--arg", !self.args.is_empty()),
            ("--undo", self.undo.is_some()),
            ("--timeout-seconds", self.timeout_seconds.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }

    /// Says it of an artifact of which nothing is said yet.
    pub fn describe(&self, artifact: &mut ArtifactDescription) {
        let Self { kind, mode, merge, validate, restart, args, undo, timeout_seconds } = self.clone();
        let words = |command: String| command.split_whitespace().map(str::to_owned).collect();
        (artifact.kind, artifact.mode, artifact.merge) = (kind, mode, merge);
        (artifact.validate, artifact.restart) = (validate.map(words), restart);
        (artifact.args, artifact.undo, artifact.timeout_seconds) = (args, undo, timeout_seconds);
    }
}

fn kind_parser() -> impl clap::builder::TypedValueParser<Value = ArtifactKind> {
    let words = PossibleValuesParser::new(["file", "tree", "config", "binary", "script"]);
    words.try_map(|word| ArtifactKind::deserialize(of_word(&word)))
}

fn merge_parser() -> impl clap::builder::TypedValueParser<Value = Merge> {
    PossibleValuesParser::new(["replace", "toml", "json"]).try_map(|word| Merge::deserialize(of_word(&word)))
}

fn of_word(word: &str) -> StrDeserializer<'_, WrongWord> {
    word.into_deserializer()
}

fn restart(text: &str) -> Result<RestartDescription, String> {
    match text.split_once('=') {
        Some(("unit", unit)) => Ok(RestartDescription::Unit(unit.to_owned())),
        Some(("process", file)) => Ok(RestartDescription::Process(file.to_owned())),
        None if text == "agent" => Ok(RestartDescription::Agent),
        _ => Err("expected unit=NAME, process=PID_FILE or agent".to_owned()),
    }
}
