//! Files that are whole or absent: written beside their place, synced, then renamed.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// How the names of files begin that are not whole yet; what is left of them after a crash may be removed.
pub const UNFINISHED: &str = ".new-";

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// Replaces `path` by `bytes` with these permissions. After a crash the file is the old or the new one.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut file = beside(path)?;
    file.write_all(bytes).map_err(FileError::of("write", path))?;
    place(file, path, mode)
}

/// Creates `path`, or fails with `AlreadyExists`: for what must never be overwritten.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut file = beside(path)?;
    file.write_all(bytes).map_err(FileError::of("write", path))?;
    finish(&file, mode).map_err(FileError::of("write", path))?;
    file.persist_noclobber(path).map_err(|e| FileError::of("create", path)(e.error))?;
    sync_folder(path)
}

/// A temporary file in the folder of `path`; it vanishes when dropped.
pub fn beside(path: &Path) -> Result<NamedTempFile, FileError> {
    tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder(path))
        .map_err(FileError::of("create a file beside", path))
}

/// Gives a temporary file its permissions, syncs it and renames it to `path`.
pub fn place(file: NamedTempFile, path: &Path, mode: u32) -> Result<(), FileError> {
    finish(&file, mode).map_err(FileError::of("write", path))?;
    file.persist(path).map_err(|e| FileError::of("write", path)(e.error))?;
    sync_folder(path)
}

/// The whole file, or an error that names it.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(FileError::of("read", path))
}

fn finish(file: &NamedTempFile, mode: u32) -> io::Result<()> {
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(folder(path)).and_then(|dir| dir.sync_all()).map_err(FileError::of("sync the folder of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_whole_and_nothing_stays_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        replace(&path, b"one", 0o644).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_created_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"one", 0o600).unwrap();
        let error = create(&path, b"two", 0o600).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert!(error.to_string().contains(&path.display().to_string()));
        assert_eq!(read(&path).unwrap(), b"one");
    }
}
