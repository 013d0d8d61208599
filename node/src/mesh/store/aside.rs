//! A copy that cannot be mended makes room for a fresh one, such that a crash leaves one of the two.
//!
//! ```text
//!  1  set aside                  CONTENT.old
//!  2  begin anew       CONTENT   CONTENT.old
//!  3  remove the old   CONTENT
//! ```
//! At the start ([`recover`]): without CONTENT the old copy goes back, whose damage will be found again; else it is
//! removed.

use super::StoreError;
use std::path::{Path, PathBuf};

/// Where the copy goes that is replaced.
pub(super) fn aside(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// Step 1.
pub(super) fn set_aside(path: &Path) -> Result<(), StoreError> {
    remove(&aside(path))?;
    std::fs::rename(path, aside(path)).map_err(StoreError::io(path))
}

/// Step 3.
pub(super) fn remove_old(path: &Path) -> Result<(), StoreError> {
    remove(&aside(path))
}

/// Removes a directory that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(path)(error)),
        _ => Ok(()),
    }
}

/// Puts in order what a crash left of these steps in a store's directory.
pub(super) fn recover(dir: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(dir).map_err(StoreError::io(dir))?.filter_map(Result::ok) {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "old") {
            continue;
        }
        if path.with_extension("").exists() {
            remove(&path)?;
        } else {
            std::fs::rename(&path, path.with_extension("")).map_err(StoreError::io(&path))?;
        }
    }
    Ok(())
}
