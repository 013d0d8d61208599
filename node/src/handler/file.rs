//! A file: written beside its destination, then renamed over it.

use super::{InstallError, NEW, PREVIOUS, Place, copy};
use crate::mesh::store::Store;
use cap_std::fs::{OpenOptions, Permissions, PermissionsExt as _};
use samara_protocol::document::{Artifact, BlobRef};

const MODE_DEFAULT: u32 = 0o644;

pub(super) async fn install(
    place: &Place,
    artifact: &Artifact,
    data: &BlobRef,
    store: &Store,
) -> Result<(), InstallError> {
    let disk = place.disk();
    let (new, previous) = (place.name_with(NEW), place.name_with(PREVIOUS));
    if place.parent.symlink_metadata(&place.name).is_ok_and(|meta| meta.is_dir()) {
        return Err(InstallError::Way { path: place.shown.clone() });
    }
    place.remove(&new).map_err(&disk)?;
    let mut options = OpenOptions::new();
    let file = place.parent.open_with(&new, options.write(true).create_new(true)).map_err(&disk)?;
    let file = match copy(store, data, 0, data.size, file).await {
        Ok(file) => file,
        Err(error) => {
            let _ = place.remove(&new);
            return Err(error.at(place));
        }
    };
    file.set_permissions(Permissions::from_mode(artifact.mode.unwrap_or(MODE_DEFAULT))).map_err(&disk)?;
    file.sync_all().map_err(&disk)?;
    // A hard link keeps the old file while the name never points to nothing.
    if place.parent.symlink_metadata(&place.name).is_ok() {
        place.remove(&previous).map_err(&disk)?;
        place.parent.hard_link(&place.name, &place.parent, &previous).map_err(&disk)?;
    }
    place.parent.rename(&new, &place.parent, &place.name).map_err(&disk)?;
    place.sync().map_err(&disk)
}
