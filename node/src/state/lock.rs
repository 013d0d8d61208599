//! One process per directory: two would overwrite each other's files.

use super::StateError;
use crate::durable;
use std::fs::{File, TryLockError};
use std::path::Path;

const FILE: &str = "lock";

/// Held while it lives; the kernel frees it with the process.
#[derive(Debug)]
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes a directory, made if missing, or says that another has it.
    pub(super) fn take(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(FILE);
        let failed = |cause| StateError::File { path: path.clone(), cause };
        durable::create_dirs(dir).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse { path: dir.into() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
