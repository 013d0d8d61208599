//! What agent and guard tell each other, as files: whole or absent, and there after a power cut.
//!
//! ```text
//! data_dir/guard/trial.json   the agent: a new agent is tried; removed when the trial is over
//! data_dir/guard/ready        the new agent: it runs
//! data_dir/guard/tally.json   the guard: starts so far, and whether it gave the new agent up
//! ```
//! Unknown fields are ignored, so that agents may say more to an older guard.

use crate::durable;
use samara_protocol::id::DocumentId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer files are none of ours.
const BYTES_MAX: u64 = 64 * 1024;

/// A new agent that has to show that it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The release that brings it.
    pub release: DocumentId,
    /// Its number among the installs of that release.
    pub attempt: u32,
    /// The program that was there before; none where nothing was installed.
    pub before: Option<PathBuf>,
    /// Devices that the agent before was connected with.
    pub neighbours: usize,
    /// So long after a start it must be over.
    pub seconds: u64,
}

impl Trial {
    /// So long after a start it must be over.
    pub fn longest(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// How a trial goes so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) release: DocumentId,
    pub(super) attempt: u32,
    /// Starts of the new agent.
    pub(super) starts: u32,
    /// How the last of them ended, for people.
    pub(super) last: String,
    /// Why it is not started again.
    pub(super) given_up: Option<String>,
}

impl Tally {
    pub(super) fn of(trial: &Trial) -> Self {
        let (release, attempt) = (trial.release, trial.attempt);
        Self { release, attempt, starts: 0, last: String::new(), given_up: None }
    }

    pub(super) fn is_of(&self, trial: &Trial) -> bool {
        (self.release, self.attempt) == (trial.release, trial.attempt)
    }
}

/// The directory that agent and guard share.
#[derive(Debug, Clone)]
pub struct TrialFiles {
    dir: PathBuf,
}

impl TrialFiles {
    /// Below an agent's `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self { dir: data_dir.join("guard") }
    }

    fn trial_file(&self) -> PathBuf {
        self.dir.join("trial.json")
    }

    fn tally_file(&self) -> PathBuf {
        self.dir.join("tally.json")
    }

    fn ready_file(&self) -> PathBuf {
        self.dir.join("ready")
    }

    /// The trial that is under way.
    pub fn trial(&self) -> Result<Option<Trial>, Error> {
        read(&self.trial_file())
    }

    /// Begins a trial, durably; what was counted of an earlier one is forgotten first.
    pub fn begin(&self, trial: &Trial) -> Result<(), Error> {
        durable::create_dirs(&self.dir)?;
        self.end()?;
        durable::replace(&self.trial_file(), &serde_json::to_vec(trial)?)
    }

    /// Ends a trial, durably.
    pub fn end(&self) -> Result<(), Error> {
        let files = [self.trial_file(), self.ready_file(), self.tally_file()];
        let removed = files.map(|file| remove(&file)).into_iter().collect::<Result<Vec<_>, _>>()?;
        if removed.contains(&true) { durable::sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Says that the new agent runs, and will end its trial itself.
    pub fn set_ready(&self) -> Result<(), Error> {
        std::fs::write(self.ready_file(), "")
    }

    pub(super) fn unset_ready(&self) -> Result<(), Error> {
        remove(&self.ready_file()).map(drop)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready_file().exists()
    }

    pub(super) fn tally(&self) -> Result<Option<Tally>, Error> {
        read(&self.tally_file())
    }

    pub(super) fn keep_tally(&self, tally: &Tally) -> Result<(), Error> {
        durable::replace(&self.tally_file(), &serde_json::to_vec(tally)?)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    let what = |error| Error::new(ErrorKind::InvalidData, format!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).map(Some).map_err(what)
}

/// Whether it was there.
fn remove(path: &Path) -> Result<bool, Error> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(attempt: u32) -> Trial {
        let before = Some("/srv/agent.samara-1/agent".into());
        Trial { release: DocumentId([1; 32]), attempt, before, neighbours: 3, seconds: 60 }
    }

    #[test]
    fn a_trial_stands_until_it_ends_and_the_next_one_is_counted_anew() {
        let dir = tempfile::tempdir().unwrap();
        let files = TrialFiles::new(dir.path());
        assert_eq!(files.trial().unwrap(), None);
        files.end().unwrap();
        files.begin(&trial(1)).unwrap();
        files.keep_tally(&Tally { starts: 4, ..Tally::of(&trial(1)) }).unwrap();
        files.set_ready().unwrap();
        assert_eq!(files.trial().unwrap(), Some(trial(1)));
        files.begin(&trial(2)).unwrap();
        assert_eq!((files.trial().unwrap(), files.tally().unwrap()), (Some(trial(2)), None));
        assert!(!files.is_ready());
        files.end().unwrap();
        assert_eq!(files.trial().unwrap(), None);
    }

    #[test]
    fn what_a_later_agent_says_besides_is_ignored_and_what_is_no_trial_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let files = TrialFiles::new(dir.path());
        files.begin(&trial(1)).unwrap();
        let mut said = serde_json::to_value(trial(1)).unwrap();
        said["more"] = 1.into();
        std::fs::write(files.trial_file(), said.to_string()).unwrap();
        assert_eq!(files.trial().unwrap(), Some(trial(1)));
        std::fs::write(files.trial_file(), "{").unwrap();
        assert!(files.trial().unwrap_err().to_string().contains("trial.json"));
    }
}
