//! Placing an artifact: staged beside its destination, verified while it is copied, switched atomically.
//!
//! Every path is opened relative to the install root by `cap-std`, which follows no link out of it. What cannot be
//! placed is refused before anything is written. The previous version is kept, one deep.
//!
//! ```text
//! ROOT/DEST                 a file, or a link to the tree's version
//! ROOT/DEST.samara-previous what was there before
//! ROOT/DEST.samara-HASH     a tree's version
//! ROOT/DEST.samara-new      being written; removed at the next try
//! ```

mod file;
mod tree;

use crate::mesh::store::{Store, StoreError};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use samara_protocol::artifact::{FileList, PathFault, safe_path};
use samara_protocol::document::{Artifact, ArtifactKind, BlobRef};
use samara_protocol::id::{ContentHash, DocumentId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Suffix of what is being written.
const NEW: &str = ".samara-new";
/// Suffix of what was there before.
const PREVIOUS: &str = ".samara-previous";

/// What shall be placed.
#[derive(Debug, Clone, Copy)]
pub struct InstallRequest<'a> {
    /// The install root.
    pub root: &'a Path,
    /// The release it belongs to.
    pub release: DocumentId,
    /// The artifact.
    pub artifact: &'a Artifact,
    /// A tree's file list.
    pub list: Option<&'a FileList>,
}

/// What the journal keeps of an install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledRecord {
    /// By which release.
    pub release: DocumentId,
    /// Hash of what is there.
    pub hash: ContentHash,
    /// Bytes of what is there.
    pub size: u64,
}

/// Why an artifact was not placed. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A path that leaves its place.
    #[error("destination {path:?} {fault}")]
    Destination {
        /// Which.
        path: String,
        /// What is wrong.
        fault: PathFault,
    },
    /// A link, or something else that is no directory, on the way to the destination.
    #[error("{path} on the way to the destination is not a directory of the install root")]
    Way {
        /// Which.
        path: PathBuf,
    },
    /// A file list that does not fit.
    #[error("the file list cannot be used: {0}")]
    FileList(String),
    /// Nothing in it that this version can place.
    #[error("the artifact has no plain representation")]
    Representation,
    /// The bytes.
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
    /// The journal.
    #[error("the journal failed: {0}")]
    State(String),
}

/// Where an artifact goes: an open directory below the root, and a name in it.
struct Place {
    parent: Dir,
    name: String,
    shown: PathBuf,
}

impl Place {
    fn open(root: &Path, destination: &str) -> Result<Self, InstallError> {
        safe_path(destination)
            .map_err(|fault| InstallError::Destination { path: destination.into(), fault })?;
        let disk = |path: PathBuf| move |source| InstallError::Disk { path, source };
        std::fs::create_dir_all(root).map_err(disk(root.into()))?;
        let mut parent = Dir::open_ambient_dir(root, ambient_authority()).map_err(disk(root.into()))?;
        let mut shown = root.to_owned();
        let (way, name) = destination.rsplit_once('/').unwrap_or(("", destination));
        for component in way.split('/').filter(|c| !c.is_empty()) {
            shown.push(component);
            match parent.symlink_metadata(component) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Err(InstallError::Way { path: shown }),
                Err(_) => parent.create_dir(component).map_err(disk(shown.clone()))?,
            }
            parent = parent.open_dir(component).map_err(disk(shown.clone()))?;
        }
        shown.push(name);
        Ok(Self { parent, name: name.into(), shown })
    }

    fn disk(&self) -> impl Fn(std::io::Error) -> InstallError + use<> {
        let path = self.shown.clone();
        move |source| InstallError::Disk { path: path.clone(), source }
    }

    fn name_with(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.name)
    }

    /// Removes a leftover, whatever it is.
    fn remove(&self, name: &str) -> std::io::Result<()> {
        match self.parent.symlink_metadata(name) {
            Ok(meta) if meta.is_dir() => self.parent.remove_dir_all(name),
            Ok(_) => self.parent.remove_file(name),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes renames in the directory durable.
    fn sync(&self) -> std::io::Result<()> {
        sync_dir(&self.parent)
    }
}

fn sync_dir(dir: &Dir) -> std::io::Result<()> {
    dir.open(".")?.sync_all()
}

/// Places one artifact. Idempotent: a second time it finds everything in place, or does it again.
pub async fn install(request: InstallRequest<'_>, store: &Store) -> Result<InstalledRecord, InstallError> {
    let artifact = request.artifact;
    let plain = artifact.plain().ok_or(InstallError::Representation)?;
    let place = Place::open(request.root, &artifact.destination)?;
    match (artifact.kind, request.list) {
        (ArtifactKind::File, _) => file::install(&place, artifact, &plain.data, store).await?,
        (ArtifactKind::Tree, Some(list)) => {
            check_list(list, &plain.data)?;
            tree::install(&place, artifact, list, &plain.data, store).await?;
        }
        (ArtifactKind::Tree, None) => return Err(InstallError::FileList("it is missing".into())),
    }
    Ok(InstalledRecord {
        release: request.release,
        hash: artifact.installed.hash,
        size: artifact.installed.size,
    })
}

fn check_list(list: &FileList, data: &BlobRef) -> Result<(), InstallError> {
    if (list.content, list.size) == (data.content, data.size) {
        return Ok(());
    }
    Err(InstallError::FileList(format!(
        "it names the content {}, the release {}",
        list.content, data.content
    )))
}

/// Copies a run of a content into a new file, verified, and makes it durable.
async fn copy(
    store: &Store,
    data: &BlobRef,
    offset: u64,
    len: u64,
    file: cap_std::fs::File,
) -> Result<cap_std::fs::File, CopyError> {
    let mut out = tokio::io::BufWriter::with_capacity(1 << 18, tokio::fs::File::from_std(file.into_std()));
    if len > 0 {
        store.copy_verified(data.content, offset, len, &mut out).await.map_err(CopyError::Store)?;
    }
    tokio::io::AsyncWriteExt::flush(&mut out).await.map_err(CopyError::Disk)?;
    Ok(cap_std::fs::File::from_std(out.into_inner().into_std().await))
}

enum CopyError {
    Store(StoreError),
    Disk(std::io::Error),
}

impl CopyError {
    fn at(self, place: &Place) -> InstallError {
        match self {
            Self::Store(error) => InstallError::Store(error),
            Self::Disk(error) => place.disk()(error),
        }
    }
}
