//! A file: written whole beside its destination.

use super::copy::{Copier, Source};
use super::place::{NEW, Place};
use super::{InstallError, Staged};
use samara_protocol::document::BlobRef;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

/// Writes the file, unless the very same one is in place.
pub(super) fn stage(
    place: &Place,
    mode: u32,
    data: &BlobRef,
    source: &dyn Source,
) -> Result<Staged, InstallError> {
    if is_in_place(place, mode, data) {
        return Ok(Staged::InPlace);
    }
    let disk = place.disk();
    let file = place.create_file(&place.beside(NEW)).map_err(&disk)?;
    let mut copier = Copier::new(source, data.content);
    copier.write(data.size, &file, place.shown())?;
    copier.finish()?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(&disk)?;
    file.sync_all().map_err(&disk)?;
    Ok(Staged::New)
}

/// A file that cannot be read is not the right one.
fn is_in_place(place: &Place, mode: u32, data: &BlobRef) -> bool {
    let Some((mut file, mode_there)) = place.file_in_place() else { return false };
    if mode_there != mode || !file.metadata().is_ok_and(|meta| meta.len() == data.size) {
        return false;
    }
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut file, &mut hasher).is_ok() && hasher.finalize().as_bytes() == &data.content.0
}
