//! A program: each version in a directory of its own, the destination is a link to it, and what runs it is restarted.
//!
//! ```text
//! ROOT/DEST                 -> DEST.samara-HASH/NAME
//! ROOT/DEST.samara-HASH/NAME  a version, NAME as in DEST
//! ROOT/DEST.samara-restart    what runs it must be restarted: from before a switch until it is done
//! ```

use super::place::{NEW, PART, Place, RESTART, create_file, sync_dir};
use super::{Handler, InstallError, Site, copy_verified, restart, single, space, switch};
use samara_protocol::document::{Artifact, Restart};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

/// Permissions of a program whose artifact says none.
const PROGRAM_MODE: u32 = 0o755;

pub(super) struct BinaryHandler;

impl Handler for BinaryHandler {
    fn check(&self, _: &Site, artifact: &Artifact) -> Result<(), InstallError> {
        single(artifact).map(drop)
    }

    fn bytes_needed(&self, _: &Site, artifact: &Artifact) -> u64 {
        space::of_file(artifact.installed.size) + space::of_file(0)
    }

    fn is_in_place(&self, _: &Site, place: &Place, artifact: &Artifact) -> bool {
        let (Some(to), Ok(data)) = (place.link_at(place.name()), single(artifact)) else { return false };
        let Some((version, name)) = to.split_once('/') else { return false };
        name == place.name()
            && place.is_version_of(version, data.content)
            && place.is_file_of(&to, artifact.mode.unwrap_or(PROGRAM_MODE), data)
    }

    fn stage(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<u64, InstallError> {
        let (disk, data) = (place.disk(), single(artifact)?);
        let part = place.beside(PART);
        let dir = place.create_dir(&part).map_err(&disk)?;
        let file = create_file(&dir, place.name()).map_err(&disk)?;
        copy_verified(site, data, &file, place.shown())?;
        let mode = Permissions::from_mode(artifact.mode.unwrap_or(PROGRAM_MODE));
        file.set_permissions(mode).and_then(|()| file.sync_all()).map_err(&disk)?;
        drop(file);
        sync_dir(&dir).map_err(&disk)?;
        place.is_synced(&part);
        let version = place.version_unused(data.content);
        place.rename(&part, &version).and_then(|()| place.sync()).map_err(&disk)?;
        let to = format!("{version}/{}", place.name());
        place.symlink(&to, &place.beside(NEW)).and_then(|()| place.sync()).map_err(&disk)?;
        Ok(data.size)
    }

    fn activate(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
        if switch::is_staged(place) {
            mark(artifact, place)?;
        }
        self.switch(site, artifact, place)?;
        restart_marked(site, artifact, place)
    }

    fn undo(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
        if switch::is_switched(place) {
            mark(artifact, place)?;
        }
        switch::undo(place).map_err(place.disk())?;
        restart_marked(site, artifact, place)
    }

    fn take_away(
        &self,
        site: &Site,
        artifact: &Artifact,
        place: &Place,
        is_restored: bool,
    ) -> Result<(), InstallError> {
        mark(artifact, place)?;
        switch::give_way(place, is_restored).map_err(place.disk())?;
        restart_marked(site, artifact, place)
    }

    fn give_way(
        &self,
        site: &Site,
        artifact: &Artifact,
        before: Option<&Artifact>,
        place: &Place,
    ) -> Result<(), InstallError> {
        let runs = before.filter(|before| before.kind == artifact.kind).unwrap_or(artifact);
        if place.exists(place.name()) && !switch::is_given_back(place, site.release) {
            mark(runs, place)?;
        }
        switch::give_back(place, site.release, before.is_some()).map_err(place.disk())?;
        restart_marked(site, runs, place)
    }
}

/// A cut between the switch and the restart must not leave the old version running.
fn mark(artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
    let mark = place.beside(RESTART);
    if matches!(restart_of(artifact), Restart::None | Restart::Agent) || place.exists(&mark) {
        return Ok(());
    }
    place.create_file(&mark).map(drop).and_then(|()| place.sync()).map_err(place.disk())
}

fn restart_marked(site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
    let mark = place.beside(RESTART);
    if !place.exists(&mark) {
        return Ok(());
    }
    restart::restart(site, place, restart_of(artifact))
        .map_err(|why| InstallError::Restart { path: place.shown().into(), why })?;
    place.remove(&mark).and_then(|()| place.sync()).map_err(place.disk())
}

fn restart_of(artifact: &Artifact) -> &Restart {
    artifact.binary.as_ref().map_or(&Restart::None, |binary| &binary.restart)
}
