//! A tree: written whole as a directory named after its hash; the destination is a link to it.

use super::copy::{Copier, Source};
use super::place::{NEW, PART, Place, create_file};
use super::{Handler, InstallError, Site, fuse, read_verified, space};
use cap_std::fs::{Dir, Permissions, PermissionsExt as _};
use samara_protocol::artifact::{EntryKind, FILE_LIST_BYTES_MAX, FileList};
use samara_protocol::document::Artifact;
use std::collections::BTreeMap;

/// Of the tree itself, and of directories that the list does not name.
const DIRECTORY_MODE: u16 = 0o755;

pub(super) struct TreeHandler;

impl Handler for TreeHandler {
    fn check(&self, site: &Site, artifact: &Artifact) -> Result<(), InstallError> {
        read_list(site, artifact).map(drop)
    }

    fn bytes_needed(&self, site: &Site, artifact: &Artifact) -> u64 {
        let Ok(list) = read_list(site, artifact) else { return space::of_file(artifact.installed.size) };
        let files: u64 = list.files().map(|(_, _, size)| space::of_file(size)).sum();
        files + space::of_file(0) * (1 + directories(&list).len() as u64)
    }

    /// Only what is whole and durable gets a version's name.
    fn is_in_place(&self, _: &Site, place: &Place, artifact: &Artifact) -> bool {
        let version = place.link_at(place.name());
        version.is_some_and(|name| place.is_version_of(&name, artifact.installed.hash) && place.is_dir(&name))
    }

    fn stage(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<u64, InstallError> {
        let disk = place.disk();
        let list = read_list(site, artifact)?;
        let part = place.beside(PART);
        let dir = place.create_dir(&part).map_err(&disk)?;
        write(place, &dir, &list, site.source)?;
        place.is_synced(&part);
        let version = place.version_unused(artifact.installed.hash);
        place.rename(&part, &version).and_then(|()| place.sync()).map_err(&disk)?;
        place.symlink(&version, &place.beside(NEW)).and_then(|()| place.sync()).map_err(&disk)?;
        Ok(list.size)
    }
}

/// The list that cuts the artifact's one content into files.
fn read_list(site: &Site, artifact: &Artifact) -> Result<FileList, InstallError> {
    let plain = artifact.plain().ok_or(InstallError::Representation)?;
    let blob = plain.list.ok_or_else(|| InstallError::FileList("it is missing".into()))?;
    if blob.size > FILE_LIST_BYTES_MAX as u64 {
        return Err(InstallError::FileList(format!("it has {} bytes", blob.size)));
    }
    let list =
        FileList::decode(&read_verified(site, &blob)?).map_err(|e| InstallError::FileList(e.to_string()))?;
    if (list.content, list.size) == (plain.data.content, plain.data.size) {
        return Ok(list);
    }
    Err(InstallError::FileList(format!(
        "it cuts {} bytes of {}, the release has {} bytes of {}",
        list.size, list.content, plain.data.size, plain.data.content
    )))
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
    let mut written = Unsynced::default();
    for (entry, _, size) in list.files() {
        let file = create_file(dir, &entry.path).map_err(failed(&entry.path))?;
        copier.write(size, &file, &place.shown().join(&entry.path))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(u32::from(entry.mode));
        file.set_permissions(mode).and_then(|()| written.add(file)).map_err(failed(&entry.path))?;
    }
    copier.finish()?;
    // Last, and the inner ones first: a directory may forbid to write into it.
    for (path, mode) in directories.iter().rev().chain([(&".", &DIRECTORY_MODE)]) {
        close_dir(dir, path, *mode, &mut written).map_err(failed(path))?;
    }
    written.sync().map_err(failed("."))
}

/// What is written and not durable yet. Several files are synced at once: a file system's journal makes those durable
/// together that wait for it together, so that a tree of a thousand files does not wait for the disk a thousand times.
#[derive(Default)]
struct Unsynced(Vec<std::fs::File>);

impl Unsynced {
    /// Bounded by the descriptors that a process may have.
    const MAX: usize = 64;
    /// Threads that wait for the disk; more gain little.
    const SYNCERS: usize = 4;

    fn add(&mut self, file: std::fs::File) -> std::io::Result<()> {
        self.0.push(file);
        if self.0.len() < Self::MAX { Ok(()) } else { self.sync() }
    }

    fn sync(&mut self) -> std::io::Result<()> {
        fuse::point()?;
        let files = std::mem::take(&mut self.0);
        let sync_all = |files: &[std::fs::File]| files.iter().try_for_each(std::fs::File::sync_all);
        std::thread::scope(|scope| {
            let shares = files.chunks(files.len().div_ceil(Self::SYNCERS).max(1));
            let syncers: Vec<_> = shares
                .map(|share| {
                    let thread = std::thread::Builder::new().spawn_scoped(scope, move || sync_all(share));
                    thread.map_err(|_| sync_all(share))
                })
                .collect();
            syncers.into_iter().try_for_each(|syncer| match syncer {
                Ok(thread) => {
                    thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a sync ended early")))
                }
                // No more threads: it was done here.
                Err(synced) => synced,
            })
        })
    }
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

fn close_dir(dir: &Dir, path: &str, mode: u16, written: &mut Unsynced) -> std::io::Result<()> {
    // Opened before it may forbid to be read.
    let opened = dir.open(path)?;
    dir.set_permissions(path, Permissions::from_mode(u32::from(mode)))?;
    written.add(opened.into_std())
}
