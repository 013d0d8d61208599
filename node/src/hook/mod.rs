//! Programs of a release that run on the way: from verified bytes to an outcome.
//!
//! The bytes are hashed once more while they are written to a file that only this user can read, under a name that
//! nobody can guess, in a directory of the daemon's own. The file is gone when the program has ended. How it runs
//! and what it is told is in docs/HANDLERS.md. Each call blocks its thread.

use crate::handler::{InstallError, Site, copy_verified};
use crate::process::{self, Ending, Program};
use samara_protocol::document::{BlobRef, Hook, RETRY_LATER};
use std::fmt;
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;
use tempfile::TempPath;

/// What a program of a release said to the install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Passed,
    /// Not now.
    RetryLater,
    /// It exited otherwise, or was killed by a signal.
    Failed(Ending),
    /// It was killed after its time.
    TimedOut(Duration),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::RetryLater => write!(f, "asks for a later try (exit code {RETRY_LATER})"),
            Self::Failed(ending) => ending.fmt(f),
            Self::TimedOut(limit) => Ending::TimedOut(*limit).fmt(f),
        }
    }
}

impl From<Ending> for Outcome {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Exited(0) => Self::Passed,
            Ending::Exited(RETRY_LATER) => Self::RetryLater,
            Ending::TimedOut(limit) => Self::TimedOut(limit),
            ending => Self::Failed(ending),
        }
    }
}

/// What became of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookResult {
    /// In a word.
    pub outcome: Outcome,
    /// The last of what it said, without what a terminal would obey.
    pub output_tail: String,
    /// How long it ran.
    pub took: Duration,
}

/// Runs a hook to its end. An error: it could not be started, because its bytes or the disk failed.
pub fn run(site: &Site, hook: &Hook) -> Result<HookResult, InstallError> {
    let call = Call {
        data: &hook.data,
        name: &hook.name,
        step: hook.step.as_str(),
        args: &hook.args,
        timeout: Duration::from_secs(hook.timeout_seconds),
    };
    call.run(site)
}

/// Removes what an earlier daemon that was killed left in its directory for programs.
pub fn clear(private: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(private) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A program of a release, however the release came to name it.
pub(crate) struct Call<'a> {
    pub(crate) data: &'a BlobRef,
    pub(crate) name: &'a str,
    pub(crate) step: &'a str,
    pub(crate) args: &'a [String],
    pub(crate) timeout: Duration,
}

impl Call<'_> {
    pub(crate) fn run(&self, site: &Site) -> Result<HookResult, InstallError> {
        let file = self.write(site)?;
        let variables = variables(site, self.name, self.step);
        let program = Program { path: &file, args: self.args, variables: &variables, timeout: self.timeout };
        let ran = process::run(&program).map_err(|source| InstallError::Program {
            name: self.name.into(),
            path: file.to_path_buf(),
            source,
        })?;
        Ok(HookResult { outcome: ran.ending.into(), output_tail: ran.output, took: ran.took })
    }

    fn write(&self, site: &Site) -> Result<TempPath, InstallError> {
        let disk = |source| InstallError::Disk { path: site.private.into(), source };
        crate::durable::create_dirs(site.private).map_err(disk)?;
        std::fs::set_permissions(site.private, Permissions::from_mode(0o700)).map_err(disk)?;
        let builder = &mut tempfile::Builder::new();
        builder.prefix("program-").permissions(Permissions::from_mode(0o700));
        let (file, path) = builder.tempfile_in(site.private).map_err(disk)?.into_parts();
        copy_verified(site, self.data, &file, &path)?;
        // Closed here: the kernel starts no file that is open for writing.
        drop(file);
        Ok(path)
    }
}

/// What a program of a release is told.
pub(crate) fn variables(site: &Site, name: &str, step: &str) -> Vec<(&'static str, String)> {
    vec![
        ("SAMARA_NAME", name.to_owned()),
        ("SAMARA_STEP", step.to_owned()),
        ("SAMARA_ROOT", site.root.display().to_string()),
        ("SAMARA_RELEASE", site.release.to_string()),
        ("SAMARA_VERSION", site.version.to_owned()),
        ("SAMARA_VERSION_BEFORE", site.version_before.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::fixture::{Fault, Memory, blob, hash, scratch};
    use crate::mesh::store::StoreError;
    use samara_protocol::document::{HookStep, When};
    use samara_protocol::id::DocumentId;

    struct Bench {
        dir: tempfile::TempDir,
        source: Memory,
        hook: Hook,
    }

    impl Bench {
        fn new(script: &str) -> Self {
            let mut source = Memory::default();
            source.contents.insert(hash(script.as_bytes()), script.into());
            let hook = Hook {
                name: "look".into(),
                step: HookStep::PreCheck,
                data: blob(script.as_bytes()),
                args: vec!["a b".into(), "$c".into()],
                timeout_seconds: 60,
                when: When::default(),
            };
            Self { dir: scratch(), source, hook }
        }

        fn run(&self) -> Result<HookResult, InstallError> {
            let private = self.dir.path().join("data/programs");
            let site = Site {
                root: Path::new("/srv"),
                private: &private,
                source: &self.source,
                release: DocumentId([7; 32]),
                version: "1.4.0",
                version_before: "",
            };
            let result = run(&site, &self.hook);
            assert_eq!(std::fs::read_dir(&private).unwrap().count(), 0, "a program is left");
            result
        }
    }

    #[test]
    fn a_hook_runs_with_its_arguments_and_is_told_the_release() {
        let bench = Bench::new("#!/bin/sh\necho \"$1|$2\"; env | grep SAMARA_ | sort; stat -c %a \"$0\"\n");
        let result = bench.run().unwrap();
        let release = DocumentId([7; 32]);
        assert_eq!(result.outcome, Outcome::Passed);
        assert_eq!(
            result.output_tail,
            format!(
                "a b|$c\nSAMARA_NAME=look\nSAMARA_RELEASE={release}\nSAMARA_ROOT=/srv\nSAMARA_STEP=pre_check\n\
                 SAMARA_VERSION=1.4.0\nSAMARA_VERSION_BEFORE=\n700"
            )
        );
    }

    #[test]
    fn exit_codes_say_go_on_later_or_failed() {
        let outcome = |script: &str| Bench::new(script).run().unwrap().outcome;
        assert_eq!(outcome("#!/bin/sh\nexit 0"), Outcome::Passed);
        assert_eq!(outcome("#!/bin/sh\nexit 21"), Outcome::RetryLater);
        assert_eq!(outcome("#!/bin/sh\nexit 1"), Outcome::Failed(Ending::Exited(1)));
        assert_eq!(outcome("#!/bin/sh\nkill -15 $$"), Outcome::Failed(Ending::Killed(15)));
        let mut bench = Bench::new("#!/bin/sh\nsleep 600");
        bench.hook.timeout_seconds = 1;
        assert_eq!(bench.run().unwrap().outcome, Outcome::TimedOut(Duration::from_secs(1)));
    }

    #[test]
    fn bytes_that_are_not_those_of_the_release_are_never_run() {
        for fault in [Fault::FlippedBit, Fault::Damaged, Fault::Short, Fault::Long] {
            let bench = Bench::new("#!/bin/sh\ntouch ran\n");
            *bench.source.fault.borrow_mut() = Some((bench.hook.data.content, fault));
            let error = bench.run().unwrap_err();
            let is_known = matches!(
                error,
                InstallError::WrongBytes { .. }
                    | InstallError::Store(StoreError::Damaged { .. } | StoreError::Io { .. })
            );
            assert!(is_known, "{error}");
        }
    }

    #[test]
    fn what_the_kernel_cannot_execute_is_an_error_that_names_the_program() {
        let error = Bench::new("no program").run().unwrap_err().to_string();
        assert!(error.contains("\"look\"") && error.contains("Exec format"), "{error}");
    }
}
