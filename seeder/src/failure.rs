//! Why a verb failed, sorted into the exit codes that scripts rely on.

use std::fmt;
use std::process::ExitCode;

/// What a caller can act on; its number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something failed that has no better name.
    Failed = 1,
    /// The command line asks for something impossible.
    Usage = 2,
    /// The site directory or a description (`release.toml`) is wrong or missing.
    Configuration = 3,
    /// A key, passphrase or signature is missing, wrong or not allowed.
    Trust = 4,
    /// A file could not be read or written, or changed while it was read.
    Storage = 5,
    /// Nobody answered.
    Unreachable = 6,
    /// The operator said no.
    Declined = 7,
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        Self::from(kind as u8)
    }
}

/// The end of a verb that did not succeed: one sentence for people and an exit code for scripts.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    error: anyhow::Error,
}

impl Failure {
    /// A failure of this kind with the reason.
    pub fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Self { kind, error: error.into() }
    }

    /// The command line asks for something impossible.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Usage, error: anyhow::anyhow!("{message}") }
    }

    /// The site directory or a description is wrong.
    pub fn configuration(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Configuration, error: anyhow::anyhow!("{message}") }
    }

    /// A signature, key or document is not acceptable.
    pub fn trust(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Trust, error: anyhow::anyhow!("{message}") }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { kind: Kind::Failed, error }
    }
}
