//! A script: runs once for each release, when it is activated. What is in place afterwards is a record of that.
//!
//! ```text
//! ROOT/DEST             release, script and outcome of the last run that was activated, and the end of its output
//! ROOT/DEST.samara-new  the same of one that waits or runs, without an outcome
//! ```
//! A script that power cuts off runs again from its beginning; so does the one that takes it back. The previous
//! version is the record of the release before.

use super::place::{NEW, PART, Place};
use super::{Handler, InstallError, Site, single, space, switch};
use crate::hook::{self, HookResult, Outcome};
use samara_protocol::document::{Artifact, BlobRef, ScriptOptions};
use std::io::Write as _;
use std::time::Duration;

/// A record is short: a few lines, and the end of an output.
const RECORD_BYTES_MAX: u64 = 16 << 10;

pub(super) struct ScriptHandler;

impl Handler for ScriptHandler {
    fn check(&self, _: &Site, artifact: &Artifact) -> Result<(), InstallError> {
        single(artifact).map(drop)
    }

    fn bytes_needed(&self, _: &Site, _: &Artifact) -> u64 {
        space::of_file(RECORD_BYTES_MAX)
    }

    /// It ran for this release, and passed.
    fn is_in_place(&self, site: &Site, place: &Place, artifact: &Artifact) -> bool {
        let record = place.read(place.name(), RECORD_BYTES_MAX);
        record.is_ok_and(|text| text.starts_with(passed(site, artifact).as_bytes()))
    }

    fn stage(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<u64, InstallError> {
        write_record(place, &head(site, artifact))
    }

    fn activate(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
        let new = place.beside(NEW);
        let has_run = |text: Vec<u8>| text.starts_with(passed(site, artifact).as_bytes());
        if switch::is_staged(place) && !place.read(&new, RECORD_BYTES_MAX).is_ok_and(has_run) {
            // From here on it may have done something: undo takes it back.
            switch::keep(place).map_err(place.disk())?;
            let result = call(site, artifact, single(artifact)?, "script")?;
            let record = format!("{}\n{}\n", passed(site, artifact), result.output_tail);
            write_record(place, &record)?;
        }
        self.switch(site, artifact, place)
    }

    fn undo(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
        if switch::is_kept(place) && is_of_release(site, place) {
            call_undo(site, artifact)?;
        }
        switch::undo(place).map_err(place.disk())
    }

    fn take_away(
        &self,
        site: &Site,
        artifact: &Artifact,
        place: &Place,
        is_restored: bool,
    ) -> Result<(), InstallError> {
        // From here on what the script did may be gone: it runs again if it must stay.
        switch::keep(place).map_err(place.disk())?;
        call_undo(site, artifact)?;
        switch::give_way(place, is_restored).map_err(place.disk())
    }

    fn put_back(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
        if switch::is_kept(place) && artifact.undo().is_some() {
            call(site, artifact, single(artifact)?, "script")?;
        }
        switch::undo(place).map_err(place.disk())
    }

    /// The record of the release before comes back without its script, which ran long ago.
    fn give_way(
        &self,
        site: &Site,
        artifact: &Artifact,
        before: Option<&Artifact>,
        place: &Place,
    ) -> Result<(), InstallError> {
        if self.is_in_place(site, place, artifact) {
            call_undo(site, artifact)?;
        }
        switch::give_back(place, site.release, before.is_some()).map_err(place.disk())
    }
}

/// Whether the run that was begun and not committed is of this release, not of one that could not be brought back.
fn is_of_release(site: &Site, place: &Place) -> bool {
    let release = format!("release {}\n", site.release);
    let is_own = |name: &str| {
        place.read(name, RECORD_BYTES_MAX).is_ok_and(|record| record.starts_with(release.as_bytes()))
    };
    if switch::is_staged(place) { is_own(&place.beside(NEW)) } else { is_own(place.name()) }
}

/// Takes back what the script did, or says that this stays.
fn call_undo(site: &Site, artifact: &Artifact) -> Result<(), InstallError> {
    match artifact.undo() {
        Some(data) => call(site, artifact, &data, "undo").map(drop),
        None => {
            tracing::warn!(artifact = artifact.name, "the script has no undo: what it did stays");
            Ok(())
        }
    }
}

/// Runs one of the artifact's scripts; any outcome but success is an error.
fn call(
    site: &Site,
    artifact: &Artifact,
    data: &BlobRef,
    step: &'static str,
) -> Result<HookResult, InstallError> {
    let options = artifact.script.clone().unwrap_or_default();
    let ScriptOptions { args, timeout_seconds, .. } = options;
    let timeout = Duration::from_secs(timeout_seconds);
    let call = hook::Call { data, name: &artifact.name, step, args: &args, timeout };
    let result = call.run(site)?;
    match result.outcome {
        Outcome::Passed => Ok(result),
        outcome => {
            let (name, output) = (artifact.name.clone(), result.output_tail);
            Err(InstallError::Script { name, step, outcome, output })
        }
    }
}

/// Which script, of which release. A release may have two that differ in their arguments only.
fn head(site: &Site, artifact: &Artifact) -> String {
    format!("release {}\nversion {}\nscript {}\n", site.release, site.version, artifact.installed.hash)
}

fn passed(site: &Site, artifact: &Artifact) -> String {
    format!("{}outcome passed\n", head(site, artifact))
}

fn write_record(place: &Place, text: &str) -> Result<u64, InstallError> {
    let write = || {
        let part = place.beside(PART);
        place.remove(&part)?;
        let mut file = place.create_file(&part)?;
        file.write_all(text.as_bytes())?;
        place.sync_file(&file, &part)?;
        place.rename(&part, &place.beside(NEW))?;
        place.sync()
    };
    write().map(|()| text.len() as u64).map_err(place.disk())
}
