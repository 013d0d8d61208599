//! A tree: written as a versioned directory beside its destination, which is a link that is switched as one.

use super::{InstallError, NEW, PREVIOUS, Place, copy, sync_dir};
use crate::mesh::store::Store;
use cap_std::fs::{Dir, OpenOptions, Permissions, PermissionsExt as _};
use samara_protocol::artifact::{EntryKind, FileList};
use samara_protocol::document::{Artifact, BlobRef};
use std::path::Path;

pub(super) async fn install(
    place: &Place,
    artifact: &Artifact,
    list: &FileList,
    data: &BlobRef,
    store: &Store,
) -> Result<(), InstallError> {
    let disk = place.disk();
    if place.parent.symlink_metadata(&place.name).is_ok_and(|meta| !meta.is_symlink()) {
        return Err(InstallError::Way { path: place.shown.clone() });
    }
    let version = place.name_with(&format!(".samara-{}", artifact.installed.hash.short()));
    let current = place.parent.read_link_contents(&place.name).ok();
    if current.as_deref() != Some(Path::new(&version)) {
        let new = place.name_with(NEW);
        place.remove(&new).map_err(&disk)?;
        place.parent.create_dir(&new).map_err(&disk)?;
        let dir = place.parent.open_dir(&new).map_err(&disk)?;
        if let Err(error) = write(place, &dir, list, data, store).await {
            let _ = place.remove(&new);
            return Err(error);
        }
        place.remove(&version).map_err(&disk)?;
        place.parent.rename(&new, &place.parent, &version).map_err(&disk)?;
        place.sync().map_err(&disk)?;
        switch(place, &version).map_err(&disk)?;
    }
    forget_older(place, &version, current.as_deref()).map_err(&disk)
}

/// Points the destination to a version: a link beside it, renamed over it.
fn switch(place: &Place, version: &str) -> std::io::Result<()> {
    let link = place.name_with(NEW);
    place.remove(&link)?;
    place.parent.symlink(version, &link)?;
    place.parent.rename(&link, &place.parent, &place.name)?;
    place.sync()
}

/// Keeps the version before as the previous one and removes what is older.
fn forget_older(place: &Place, version: &str, before: Option<&Path>) -> std::io::Result<()> {
    let previous = place.name_with(PREVIOUS);
    if let Some(before) = before.filter(|before| *before != Path::new(version)) {
        place.remove(&previous)?;
        place.parent.symlink(before, &previous)?;
    }
    let kept = place.parent.read_link_contents(&previous).ok();
    let prefix = place.name_with(".samara-");
    for entry in place.parent.entries()? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(&prefix)) else { continue };
        let is_link = name == previous;
        if name != version && !is_link && kept.as_deref() != Some(Path::new(name)) {
            place.remove(name)?;
        }
    }
    place.sync()
}

async fn write(
    place: &Place,
    dir: &Dir,
    list: &FileList,
    data: &BlobRef,
    store: &Store,
) -> Result<(), InstallError> {
    let disk = place.disk();
    let parent = |path: &str| path.rsplit_once('/').map(|(parent, _)| parent.to_owned());
    for entry in &list.entries {
        if let Some(parent) = parent(&entry.path) {
            dir.create_dir_all(&parent).map_err(&disk)?;
        }
        match &entry.kind {
            EntryKind::Directory => dir.create_dir_all(&entry.path).map_err(&disk)?,
            EntryKind::Symlink { to } => dir.symlink(to, &entry.path).map_err(&disk)?,
            EntryKind::File { .. } => {}
        }
    }
    for (entry, offset, size) in list.files() {
        let file =
            dir.open_with(&entry.path, OpenOptions::new().write(true).create_new(true)).map_err(&disk)?;
        let file = copy(store, data, offset, size, file).await.map_err(|error| error.at(place))?;
        file.set_permissions(Permissions::from_mode(u32::from(entry.mode))).map_err(&disk)?;
        file.sync_all().map_err(&disk)?;
    }
    // Directories last: a mode without the write bit must not stop us, and their entries must be durable.
    for entry in list.entries.iter().rev().filter(|entry| entry.kind == EntryKind::Directory) {
        let inner = dir.open_dir(&entry.path).map_err(&disk)?;
        sync_dir(&inner).map_err(&disk)?;
        dir.set_permissions(&entry.path, Permissions::from_mode(u32::from(entry.mode))).map_err(&disk)?;
    }
    sync_dir(dir).map_err(&disk)
}
