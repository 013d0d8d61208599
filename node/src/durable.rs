//! Directories and small files that are still there after a power cut: each is made, then its parent is fsynced.

use std::fs::File;
use std::io::{Error, ErrorKind, Write as _};
use std::path::Path;

/// Makes a directory and those above it that are missing.
pub(crate) fn create_dirs(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(_) if path.is_dir() => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_dirs(parent.ok_or(error)?)?;
            std::fs::create_dir(path)?;
        }
        Err(error) => return Err(error),
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Makes what was created, renamed and removed in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)?.sync_all()
}

/// Replaces a file: after a power cut it is the old one or the new one, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_where_they_are_missing_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dirs(&deep).unwrap();
        create_dirs(&deep).unwrap();
        assert!(deep.is_dir());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_dirs(&dir.path().join("file")).is_err());
        assert!(create_dirs(&dir.path().join("file/below")).is_err());
    }
}
