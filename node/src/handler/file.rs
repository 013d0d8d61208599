//! A file: written whole beside its destination.

use super::place::{NEW, PART, Place};
use super::{Handler, InstallError, Site, copy_verified, single, space};
use samara_protocol::document::Artifact;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

/// Permissions of a file whose artifact says none.
const FILE_MODE: u32 = 0o644;

pub(super) struct FileHandler;

impl Handler for FileHandler {
    fn check(&self, _: &Site, artifact: &Artifact) -> Result<(), InstallError> {
        single(artifact).map(drop)
    }

    fn bytes_needed(&self, _: &Site, artifact: &Artifact) -> u64 {
        space::of_file(artifact.installed.size)
    }

    fn is_in_place(&self, _: &Site, place: &Place, artifact: &Artifact) -> bool {
        let mode = artifact.mode.unwrap_or(FILE_MODE);
        single(artifact)
            .is_ok_and(|data| place.file_in_place().is_some() && place.is_file_of(place.name(), mode, data))
    }

    fn stage(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<u64, InstallError> {
        let (disk, data) = (place.disk(), single(artifact)?);
        let (part, new) = (place.beside(PART), place.beside(NEW));
        let file = place.create_file(&part).map_err(&disk)?;
        copy_verified(site, data, &file, place.shown())?;
        file.set_permissions(Permissions::from_mode(artifact.mode.unwrap_or(FILE_MODE))).map_err(&disk)?;
        place.sync_file(&file, &part).map_err(&disk)?;
        place.rename(&part, &new).and_then(|()| place.sync()).map_err(&disk)?;
        Ok(data.size)
    }
}
