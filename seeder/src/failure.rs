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
    /// Another process writes to the site directory, or serves it.
    Busy = 8,
    /// No enrolled device takes a release that is offered.
    Unsuited = 9,
}

impl Kind {
    /// What another `samara` meant by its exit code.
    pub fn of_code(code: Option<i32>) -> Self {
        let kinds = [
            Self::Usage,
            Self::Configuration,
            Self::Trust,
            Self::Storage,
            Self::Unreachable,
            Self::Declined,
            Self::Busy,
            Self::Unsuited,
        ];
        kinds.into_iter().find(|kind| code == Some(*kind as i32)).unwrap_or(Self::Failed)
    }
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

/// The whole chain of causes. Many errors say their cause, or begin with their place, in their own words already: what
/// was said is not said again.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            if said.is_empty() || cause.starts_with(&said) {
                said = cause;
            } else if !said.contains(&cause) {
                said = format!("{said}: {cause}");
            }
        }
        f.write_str(&said)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { kind: Kind::Failed, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use std::path::Path;

    fn failure(error: anyhow::Error) -> String {
        Failure::new(Kind::Storage, error).to_string()
    }

    #[test]
    fn a_cause_is_said_once_whether_or_not_the_error_says_it_itself() {
        let file = || anyhow::Error::from(files::read(Path::new("/nowhere")).unwrap_err());
        let once = "cannot read /nowhere: No such file or directory (os error 2)";
        assert_eq!(failure(file()), once);
        assert_eq!(failure(file().context("publish")), format!("publish: {once}"));
        assert_eq!(failure(anyhow::anyhow!("/a: gone").context("/a")), "/a: gone");
        assert_eq!(failure(anyhow::anyhow!("deep").context("middle").context("top")), "top: middle: deep");
    }

    #[test]
    fn the_kind_of_another_process_is_known_by_its_exit_code() {
        for kind in [Kind::Failed, Kind::Configuration, Kind::Storage, Kind::Busy, Kind::Unsuited] {
            assert_eq!(Kind::of_code(Some(kind as i32)), kind);
        }
        assert_eq!(Kind::of_code(Some(101)), Kind::Failed);
        assert_eq!(Kind::of_code(None), Kind::Failed);
    }
}
