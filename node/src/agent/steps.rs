//! One step of an install, on a thread that may wait: handlers, hooks and health checks, from contents that are sealed.

use super::source::StoreSource;
use super::successor::Near;
use super::work::Subject;
use crate::guard::TrialFiles;
use crate::handler::{self, Evidence, InstallError, Site};
use crate::health::{self, Device};
use crate::hook::{self, Outcome};
use crate::mesh::MeshHandle;
use crate::mesh::store::of_content;
use crate::process::Ending;
use crate::state::{State, Surplus};
use samara_protocol::document::{Artifact, BlobRef, Hook, HookStep, RETRY_LATER};
use samara_protocol::id::DocumentId;
use samara_protocol::install::{CUTS_MAX, Space, Step};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The clock of files ticks more coarsely than the one that is read: a file may seem to be older by so much than it is.
const FILE_CLOCK_LAG_MS: u64 = 20;

/// How a step of a release ended: bytes written to the install root, or what went wrong.
#[derive(Debug)]
pub struct StepResult {
    pub(super) release: DocumentId,
    pub(super) step: Step,
    pub(super) outcome: Result<u64, StepError>,
}

/// Why a step is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// A hook wants to be asked again later.
    #[error("it asks for a later try")]
    Later,
    /// An artifact, or the bytes of a program, could not be handled.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A hook failed.
    #[error("{why}")]
    Hook { exit: Option<i32>, why: String },
    /// It does not show that it works.
    #[error("{why}")]
    Health { exit: Option<i32>, why: String },
    /// The new agent is not what the one before was.
    #[error("{why}")]
    Agent { why: String },
}

/// All that a step needs.
pub(super) struct Job {
    pub(super) subject: Arc<Subject>,
    /// The Rollout that names it.
    pub(super) rollout: DocumentId,
    pub(super) root: PathBuf,
    pub(super) private: PathBuf,
    pub(super) source: StoreSource,
    pub(super) state: Arc<State>,
    pub(super) version_before: String,
    pub(super) activated_ms: u64,
    /// Of a release that brings the agent: the number of this install, and how long it may be tested.
    pub(super) trial: Option<(u32, Duration)>,
    /// Where the guard is told of it.
    pub(super) trials: TrialFiles,
    /// Neighbours now.
    pub(super) near: Near,
    /// Who can tell whether this device can be reached.
    pub(super) mesh: MeshHandle,
    /// Contents that it needs.
    pub(super) contents: Vec<BlobRef>,
    /// Of a release that is committed and shall go all the same: what was in place before it, by destination.
    pub(super) back_to: Option<BTreeMap<String, Artifact>>,
}

impl Job {
    fn site(&self) -> Site<'_> {
        Site {
            root: &self.root,
            private: &self.private,
            source: &self.source,
            release: self.subject.id,
            version: &self.subject.release.version,
            version_before: &self.version_before,
        }
    }

    /// Does it.
    pub(super) fn run(&self, step: Step) -> Result<u64, StepError> {
        let (site, artifacts) = (self.site(), &self.subject.artifacts);
        match step {
            Step::Check => self.check(&site)?,
            Step::Stage(index) | Step::Activate(index) | Step::Undo(index) | Step::Commit(index)
                if index >= artifacts.len() =>
            {
                self.run_surplus(step, &self.subject.surplus[index - artifacts.len()])?;
            }
            Step::Stage(index) => return self.stage(&site, &artifacts[index]),
            Step::Activate(index) => {
                self.begin_trial(&site, &artifacts[index])?;
                handler::activate(&site, &artifacts[index])?;
            }
            Step::Undo(index) => self.undo(&site, &artifacts[index])?,
            Step::Commit(index) => handler::commit(&site, &artifacts[index])?,
            Step::Hook { step, index } => self.run_hook(&site, step, index)?,
            Step::Probe => self.probe(&site)?,
            // The agent itself ends.
            Step::Restart => {}
        }
        Ok(0)
    }

    /// A commit that was given up on ([`Step::Commit`]) is done first: what was kept for the way back of a release that
    /// is long installed must not be taken for that of an activation, which staging would undo. What the release itself
    /// has in place stays: switched once more it would be its own predecessor.
    fn stage(&self, site: &Site, artifact: &Artifact) -> Result<u64, StepError> {
        let installed = self.state.installed(&artifact.destination);
        let installed = installed.map_err(|error| InstallError::Journal(error.to_string()))?;
        if installed.is_some() {
            handler::commit(site, artifact)?;
        }
        let is_own = installed == Some(self.subject.id);
        let stage = if is_own { handler::stage } else { handler::stage_over };
        let is_validated = artifact.config.as_ref().is_some_and(|config| config.validate.is_some());
        let staged = self.counted(is_validated, || stage(site, artifact))?;
        Ok(staged?.bytes_written)
    }

    /// A step about an artifact that is not of the release, and goes.
    fn run_surplus(&self, step: Step, gone: &Surplus) -> Result<(), InstallError> {
        let site = self.site_of(gone);
        match step {
            Step::Activate(_) => handler::take_away(&site, &gone.artifact, gone.is_restored),
            Step::Commit(_) => handler::forget(&site, &gone.artifact),
            // Nothing is staged; what was left of another try is taken back.
            _ => handler::put_back(&site, &gone.artifact),
        }
    }

    fn site_of<'a>(&'a self, gone: &'a Surplus) -> Site<'a> {
        let version_before = &self.subject.release.version;
        Site { release: gone.release, version: &gone.version, version_before, ..self.site() }
    }

    /// What is not committed goes back by itself; what is committed gives way to what was there before.
    fn undo(&self, site: &Site, artifact: &Artifact) -> Result<(), StepError> {
        let undone = match &self.back_to {
            None => handler::undo(site, artifact),
            Some(before) => handler::give_back(site, artifact, before.get(&artifact.destination)),
        };
        undone.map_err(StepError::from)
    }

    /// T18 once more, at the last moment, from what is on disk.
    fn check(&self, site: &Site) -> Result<(), StepError> {
        let marks = self.state.marks().map_err(|error| InstallError::Journal(error.to_string()))?;
        marks.security_floors.check(&self.subject.release).map_err(InstallError::from)?;
        self.subject.artifacts.iter().try_for_each(|artifact| handler::check(site, artifact))?;
        Ok(())
    }

    fn hooks(&self, step: HookStep) -> impl Iterator<Item = &Hook> {
        self.subject.hooks.iter().filter(move |hook| hook.step == step)
    }

    fn run_hook(&self, site: &Site, step: HookStep, index: usize) -> Result<(), StepError> {
        let Some(hook) = self.hooks(step).nth(index) else { return Ok(()) };
        let result = self.counted(step == HookStep::PreCheck, || hook::run(site, hook))??;
        let tail = result.output_tail.lines().last().unwrap_or_default();
        tracing::info!(
            target: "samara", event = "hook", hook = hook.name, step = step.as_str(), outcome = %result.outcome,
            took_ms = result.took.as_millis(), output = tail, "hook ran"
        );
        let exit = match result.outcome {
            Outcome::Passed => return Ok(()),
            Outcome::RetryLater => return Err(StepError::Later),
            Outcome::Failed(Ending::Exited(code)) => Some(code),
            Outcome::Failed(Ending::Killed(signal)) => Some(-signal),
            Outcome::Failed(Ending::TimedOut(_)) | Outcome::TimedOut(_) => None,
        };
        let said = if tail.is_empty() { String::new() } else { format!(": {tail}") };
        Err(StepError::Hook { exit, why: format!("hook {} {}{said}", hook.name, result.outcome) })
    }

    /// Runs a program before an install. It may be what ends the power, and nothing else tells after a start that it began.
    fn counted<T>(&self, is_counted: bool, run: impl FnOnce() -> T) -> Result<T, StepError> {
        if !is_counted {
            return Ok(run());
        }
        let cuts = self.state.pre_checks_cut(self.subject.id, self.rollout);
        let cuts = cuts.map_err(|error| InstallError::Journal(error.to_string()))?;
        if cuts > CUTS_MAX {
            let why =
                format!("power failed, or the agent ended, each time that it was checked ({cuts} times)");
            return Err(StepError::Hook { exit: None, why });
        }
        self.keep_pre_checks_cut(cuts + 1)?;
        let done = run();
        self.keep_pre_checks_cut(0).map(|()| done)
    }

    fn keep_pre_checks_cut(&self, cuts: u32) -> Result<(), StepError> {
        let kept = self.state.keep_pre_checks_cut(self.subject.id, self.rollout, cuts);
        Ok(kept.map_err(|error| InstallError::Journal(error.to_string()))?)
    }

    /// One round. What is only advised is said; the first thing required that fails ends the round.
    fn probe(&self, site: &Site) -> Result<(), StepError> {
        self.check_rejoined()?;
        for index in 0..self.hooks(HookStep::Health).count() {
            match self.run_hook(site, HookStep::Health, index) {
                Ok(()) => {}
                Err(StepError::Later) => {
                    let why = "a health hook asks for a later try".to_owned();
                    return Err(StepError::Health { exit: Some(RETRY_LATER), why });
                }
                Err(StepError::Hook { exit, why }) => return Err(StepError::Health { exit, why }),
                Err(error) => return Err(error),
            }
        }
        let device = Device {
            root: self.root.clone(),
            variables: hook::variables(site, "", HookStep::Health.as_str()),
            activated_at: SystemTime::UNIX_EPOCH
                + Duration::from_millis(self.activated_ms.saturating_sub(FILE_CLOCK_LAG_MS)),
            mesh: self.mesh.clone(),
        };
        let checks = self.subject.release.health.iter().flat_map(|health| &health.checks);
        for check in checks {
            let Err(why) = self.source.runtime.block_on(health::check(check, &device)) else { continue };
            let is_required = check.required;
            tracing::warn!(target: "samara", event = "health", check = check.name, is_required, why, "a health check failed");
            if is_required {
                return Err(StepError::Health { exit: None, why: format!("check {}: {why}", check.name) });
            }
        }
        Ok(())
    }

    /// Whether every artifact of the release is what is in place, and nothing else of its channel.
    pub(super) fn is_all_new(&self) -> bool {
        let site = self.site();
        let is_gone = |gone: &Surplus| handler::is_taken_away(&self.site_of(gone), &gone.artifact);
        self.subject.artifacts.iter().all(|artifact| handler::evidence(&site, artifact) == Evidence::New)
            && self.subject.surplus.iter().all(is_gone)
    }

    /// Room at the install root, and on the same disk for contents as well: what is staged from them stands beside their
    /// copies. On a disk of its own room for contents is the store's concern when it opens them.
    pub(super) fn space(&self) -> Space {
        let site = self.site();
        let staged: u64 =
            self.subject.artifacts.iter().map(|artifact| handler::bytes_needed(&site, artifact)).sum();
        let needed = staged.saturating_add(self.subject.release.compatibility.free_bytes);
        let contents: u64 = self.contents.iter().map(|blob| of_content(blob.size)).sum();
        if let Some(capacity) = self.source.store.quota_bytes().filter(|quota| contents > *quota) {
            return Space::Never { needed: contents, capacity };
        }
        let store = &self.source.store;
        let (all, to_come) = match store.shares_disk_with(&self.root) {
            true => (contents, self.contents.iter().map(|blob| store.bytes_to_come(blob)).sum()),
            false => (0, 0),
        };
        let with = |contents: u64| needed.saturating_add(contents);
        match room(&self.root) {
            Ok((_, capacity)) if with(all) > capacity => Space::Never { needed: with(all), capacity },
            Ok((available, _)) if with(to_come) > available => {
                Space::Lacks { needed: with(to_come), available }
            }
            Ok(_) => Space::Fits,
            Err(error) => {
                // Staging finds out.
                tracing::warn!(%error, "cannot find out how much room there is");
                Space::Fits
            }
        }
    }
}

/// Bytes that may still be written below a directory, or where it would be made, and bytes of its file system.
fn room(root: &Path) -> std::io::Result<(u64, u64)> {
    let there = root.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(there)?;
    let bytes = |units: u64| units.saturating_mul(disk.f_frsize);
    Ok((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}
