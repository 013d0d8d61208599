//! A tree: written whole as a directory named after its hash; the destination is a link to it.

use super::copy::{Copier, Source};
use super::place::{NEW, Place, create_file};
use super::{InstallError, Staged, fuse};
use cap_std::fs::{Dir, Permissions, PermissionsExt as _};
use samara_protocol::artifact::{EntryKind, FileList};
use samara_protocol::id::ContentHash;
use std::collections::BTreeMap;

/// Of the tree itself, and of directories that the list does not name.
const DIRECTORY_MODE: u16 = 0o755;

/// Writes the tree's version and a link to it, unless that version is in place.
pub(super) fn stage(
    place: &Place,
    hash: ContentHash,
    list: &FileList,
    source: &dyn Source,
) -> Result<Staged, InstallError> {
    let disk = place.disk();
    let (new, version) = (place.beside(NEW), place.version(hash));
    // Only what is whole and durable gets a version's name.
    if place.version_in_place().as_ref() == Some(&version) && place.is_dir(&version) {
        return Ok(Staged::InPlace);
    }
    let dir = place.create_dir(&new).map_err(&disk)?;
    write(place, &dir, list, source)?;
    name_version(place, &new, &version).map_err(&disk)?;
    place.symlink(&version, &new).map_err(&disk)?;
    Ok(Staged::New)
}

/// A version of that name may be the previous one, changed by who used it: a fresh one takes its place at once.
fn name_version(place: &Place, new: &str, version: &str) -> std::io::Result<()> {
    if !place.exists(version) {
        place.rename(new, version)?;
    } else if place.exchange(new, version)? {
        place.remove(new)?;
    } else {
        // For a moment there is no previous version; the one in place is not touched.
        place.remove(version)?;
        place.rename(new, version)?;
    }
    place.sync()
}

fn write(place: &Place, dir: &Dir, list: &FileList, source: &dyn Source) -> Result<(), InstallError> {
    let failed = |path: &str| {
        let path = place.shown().join(path);
        move |source| InstallError::Disk { path, source }
    };
    let directories = directories(list);
    for path in directories.keys() {
        fuse::point().and_then(|()| dir.create_dir(path)).map_err(failed(path))?;
    }
    for entry in &list.entries {
        if let EntryKind::Symlink { to } = &entry.kind {
            dir.symlink(to, &entry.path).map_err(failed(&entry.path))?;
        }
    }
    let mut copier = Copier::new(source, list.content);
    for (entry, _, size) in list.files() {
        let file = create_file(dir, &entry.path).map_err(failed(&entry.path))?;
        copier.write(size, &file, &place.shown().join(&entry.path))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(u32::from(entry.mode));
        file.set_permissions(mode).and_then(|()| file.sync_all()).map_err(failed(&entry.path))?;
    }
    copier.finish()?;
    // Last, and the inner ones first: a directory may forbid to write into it.
    for (path, mode) in directories.iter().rev() {
        close_dir(dir, path, *mode).map_err(failed(path))?;
    }
    close_dir(dir, ".", DIRECTORY_MODE).map_err(failed("."))
}

/// All directories of a tree, those that only the paths of others name as well; outer ones first.
fn directories(list: &FileList) -> BTreeMap<&str, u16> {
    let mut directories = BTreeMap::new();
    for entry in &list.entries {
        for (at, _) in entry.path.match_indices('/') {
            directories.entry(&entry.path[..at]).or_insert(DIRECTORY_MODE);
        }
        if entry.kind == EntryKind::Directory {
            directories.insert(&entry.path, entry.mode);
        }
    }
    directories
}

fn close_dir(dir: &Dir, path: &str, mode: u16) -> std::io::Result<()> {
    // Opened before it may forbid to be read.
    let opened = dir.open(path)?;
    dir.set_permissions(path, Permissions::from_mode(u32::from(mode)))?;
    opened.sync_all()
}
