//! Placing an artifact: all is checked first, staged beside its destination, hashed while it is copied, switched at
//! once.
//!
//! What cannot be placed is refused before anything is written, and names why. The previous version is kept, one
//! deep. An install may be cut anywhere and repeated: what it finds on disk says what is left to do.
//!
//! ```text
//! ROOT/DEST                 a file, or a link to the tree's version
//! ROOT/DEST.samara-previous what was there before
//! ROOT/DEST.samara-HASH     a tree's version
//! ROOT/DEST.samara-new      being written; removed at the next try
//! ROOT/DEST.samara-kept     what was in place, while it is replaced
//! ```
//! This module knows no network and no store: bytes come from a [`Source`].

mod copy;
mod file;
mod fuse;
mod place;
mod switch;
mod tree;

#[cfg(test)]
mod tests;

pub use copy::Source;

use crate::mesh::store::StoreError;
use place::Place;
use samara_protocol::artifact::{FILE_LIST_BYTES_MAX, FileList, PathFault};
use samara_protocol::document::{Artifact, ArtifactKind, BlobRef, Representation};
use samara_protocol::id::ContentHash;
use samara_protocol::trust::BelowSecurityFloor;
use std::path::{Path, PathBuf};

/// Permissions of a file whose artifact says none.
const FILE_MODE: u32 = 0o644;

/// Why an artifact was not placed. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A path that leaves its place, or cannot be one.
    #[error("destination {path:?} {fault}")]
    Destination {
        /// Which.
        path: String,
        /// What is wrong.
        fault: PathFault,
    },
    /// A symbolic link, or something else that is no directory, on the way to the destination.
    #[error("{path} on the way to the destination is a symbolic link, or no directory")]
    Way {
        /// Which.
        path: PathBuf,
    },
    /// Something that Samara did not place.
    #[error("{path} is {what} that Samara did not place: move it away, or choose another destination")]
    Occupied {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file list that does not fit.
    #[error("the file list cannot be used: {0}")]
    FileList(String),
    /// Nothing in it that this version can place.
    #[error("the artifact has no plain representation")]
    Representation,
    /// The copied bytes are not the content; nothing of them was activated.
    #[error("the bytes that were copied are not those of {content}")]
    WrongBytes {
        /// What they should be.
        content: ContentHash,
    },
    /// The bytes could not be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk.
    #[error("cannot write {path}: {source}")]
    Disk {
        /// What.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// What is installed here has raised the floor meanwhile.
    #[error(transparent)]
    BelowSecurityFloor(#[from] BelowSecurityFloor),
    /// The journal.
    #[error("the journal failed: {0}")]
    Journal(String),
}

/// What is there after staging.
enum Staged {
    /// All that is needed stands as `new`.
    New,
    /// The destination is as it should be.
    InPlace,
}

/// Refuses what [`install`] would refuse, and changes nothing.
pub fn check(root: &Path, artifact: &Artifact, source: &dyn Source) -> Result<(), InstallError> {
    Place::look(root, &artifact.destination)?;
    read_list(artifact, source).map(drop)
}

/// Places one artifact. What is in place already is left alone.
pub fn install(root: &Path, artifact: &Artifact, source: &dyn Source) -> Result<(), InstallError> {
    Place::look(root, &artifact.destination)?;
    let (plain, list) = read_list(artifact, source)?;
    let place = Place::make(root, &artifact.destination)?;
    let disk = place.disk();
    switch::settle(&place).map_err(&disk)?;
    let staged = match &list {
        None => file::stage(&place, artifact.mode.unwrap_or(FILE_MODE), &plain.data, source),
        Some(list) => tree::stage(&place, artifact.installed.hash, list, source),
    };
    let switched = staged.and_then(|staged| match staged {
        Staged::New => switch::switch(&place).map_err(&disk),
        Staged::InPlace => Ok(()),
    });
    if switched.is_err() {
        // The first error counts; what cannot be tidied up now is at the next try.
        let _ = switch::settle(&place).and_then(|()| switch::forget_older(&place));
        return switched;
    }
    switch::forget_older(&place).map_err(&disk)
}

/// The bytes' representation, and of a tree the list that cuts them into files.
fn read_list<'a>(
    artifact: &'a Artifact,
    source: &dyn Source,
) -> Result<(&'a Representation, Option<FileList>), InstallError> {
    let plain = artifact.plain().ok_or(InstallError::Representation)?;
    let blob = match (artifact.kind, &plain.list) {
        (ArtifactKind::Tree, Some(blob)) => blob,
        (ArtifactKind::Tree, None) => return Err(InstallError::FileList("it is missing".into())),
        (_, None) => return Ok((plain, None)),
        (kind, Some(_)) => return Err(InstallError::FileList(format!("a {} has none", kind.as_str()))),
    };
    if blob.size > FILE_LIST_BYTES_MAX as u64 {
        return Err(InstallError::FileList(format!("it has {} bytes", blob.size)));
    }
    let mut copier = copy::Copier::new(source, blob.content);
    let bytes = copier.read(blob.size)?;
    copier.finish()?;
    let list = FileList::decode(&bytes).map_err(|e| InstallError::FileList(e.to_string()))?;
    check_list(&list, &plain.data)?;
    Ok((plain, Some(list)))
}

fn check_list(list: &FileList, data: &BlobRef) -> Result<(), InstallError> {
    if (list.content, list.size) == (data.content, data.size) {
        return Ok(());
    }
    Err(InstallError::FileList(format!(
        "it cuts {} bytes of {}, the release has {} bytes of {}",
        list.size, list.content, data.size, data.content
    )))
}
