//! Files that are whole or absent: written beside their place, synced, then renamed.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// How the names of files begin that are not whole yet; what is left of them after a crash may be removed.
pub const UNFINISHED: &str = ".new-";

/// Longer files are none of ours. Protects memory from a file that was named by mistake.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024;

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

/// The whole file, or an error that names it. A file of ours is never as long as [`BYTES_MAX`].
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    read_at_most(path, BYTES_MAX)
}

/// The whole file unless it has more than `bytes_max` bytes; what has no end (a device, a pipe) is read no further.
pub fn read_at_most(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let mut read = || File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
    read().map_err(FileError::of("read", path))?;
    if bytes.len() as u64 > bytes_max {
        let too_large =
            io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes"));
        return Err(FileError::of("read", path)(too_large));
    }
    Ok(bytes)
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
    fn a_file_is_read_up_to_its_limit_and_one_without_end_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, [7; 9]).unwrap();
        assert_eq!(read_at_most(&path, 9).unwrap(), [7; 9]);
        for (path, bytes_max) in [(path.as_path(), 8), (Path::new("/dev/zero"), 4096)] {
            let error = read_at_most(path, bytes_max).unwrap_err();
            assert_eq!(error.source.kind(), ErrorKind::FileTooLarge);
            assert!(error.to_string().contains(&format!("more than {bytes_max} bytes")), "{error}");
        }
    }

    #[test]
    fn a_created_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"one", 0o600).unwrap();
        let error = create(&path, b"two", 0o600).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains(&path.display().to_string()));
        assert_eq!(read(&path).unwrap(), b"one");
    }
}
