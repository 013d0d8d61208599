//! Why an artifact is not in its place, in words for who must do something about it.

use crate::hook::Outcome;
use crate::mesh::store::StoreError;
use samara_protocol::artifact::PathFault;
use samara_protocol::id::ContentHash;
use samara_protocol::trust::BelowSecurityFloor;
use std::path::PathBuf;

/// Why an artifact was not placed. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A path that leaves its place, or cannot be one.
    #[error("destination {path:?} {fault}")]
    Destination {
        /// Which.
        path: String,
        /// What is wrong.
        fault: PathFault,
    },
    /// A symbolic link, or something else that is no directory, on the way to the destination.
    #[error("{path} on the way to the destination is a symbolic link, or no directory")]
    Way {
        /// Which.
        path: PathBuf,
    },
    /// Something that Samara did not place.
    #[error("{path} is {what} that Samara did not place: move it away, or choose another destination")]
    Occupied {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file list that does not fit.
    #[error("the file list cannot be used: {0}")]
    FileList(String),
    /// Nothing in it that this version can place.
    #[error("the artifact has no plain representation")]
    Representation,
    /// The copied bytes are not the content; nothing of them was activated.
    #[error("the bytes that were copied are not those of {content}")]
    WrongBytes {
        /// What they should be.
        content: ContentHash,
    },
    /// The bytes could not be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is to be activated, and nothing of it is there.
    #[error("{path} was not staged: what was written beside it is gone")]
    NotStaged {
        /// Where.
        path: PathBuf,
    },
    /// The device's own command does not accept a configuration.
    #[error("the configuration {path} is refused: {why}")]
    Refused {
        /// Where it goes.
        path: PathBuf,
        /// What the command said.
        why: String,
    },
    /// A configuration that does not fit.
    #[error("the configuration {path} cannot be used: {why}")]
    Config {
        /// Where it goes.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What runs a program does not take up its new version.
    #[error("what runs {path} cannot be restarted: {why}")]
    Restart {
        /// The program.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A script of the release did not do its work.
    #[error("{step} {name:?} {outcome}{}", last_words(output))]
    Script {
        /// What it is called.
        name: String,
        /// `script` or `undo`.
        step: &'static str,
        /// How it ended.
        outcome: Outcome,
        /// The last of what it said.
        output: String,
    },
    /// A program of the release does not start.
    #[error("cannot run {name:?} as {path}: {source}")]
    Program {
        /// What it is called.
        name: String,
        /// Where its bytes are.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The disk.
    #[error("cannot write {path}: {source}")]
    Disk {
        /// What.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// What is installed here has raised the floor meanwhile.
    #[error(transparent)]
    BelowSecurityFloor(#[from] BelowSecurityFloor),
    /// The journal.
    #[error("the journal failed: {0}")]
    Journal(String),
}

/// Of an output the last line says most; what comes of it is short enough to stay whole in a report.
pub(super) fn last_words(output: &str) -> String {
    output.lines().last().map(|line| format!(": {line}")).unwrap_or_default()
}
