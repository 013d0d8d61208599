//! Room on the disk, asked before it is used.

use super::StoreError;
use std::error::Error;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a hash tree and the store's own records cost beside the data: 64 bytes for each 16 KiB, and a little.
const OVERHEAD_DIVISOR: u64 = 128;

/// The unit of `st_blocks`, whatever the file system's own.
const BLOCK_BYTES: u64 = 512;

/// What the records of a fresh copy need.
const RECORDS_BYTES: u64 = 2 << 20;

/// Bytes that may be used on the disk of `dir` when `reserved` bytes are left alone.
pub(super) fn available(dir: &Path, reserved: u64) -> Result<u64, StoreError> {
    let disk = rustix::fs::statvfs(dir).map_err(|e| StoreError::io(dir)(std::io::Error::from(e)))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(reserved))
}

/// Bytes that a content of this size takes, hash tree and all but the store's records.
pub(crate) fn of_content(size: u64) -> u64 {
    size.saturating_add(size / OVERHEAD_DIVISOR)
}

/// Bytes that the files below `dir` take on disk. What vanishes meanwhile takes none.
pub(crate) fn used(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let size = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => used(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |meta| meta.blocks() * BLOCK_BYTES),
        _ => 0,
    };
    entries.map(size).sum()
}

/// Whether two directories, or what of them is there, lie on one file system.
pub(super) fn is_one_disk(one: &Path, other: &Path) -> bool {
    let disk = |path: &Path| path.ancestors().find_map(|there| there.metadata().ok()).map(|meta| meta.dev());
    disk(one).is_some_and(|dev| Some(dev) == disk(other))
}

/// Whether `missing` bytes of content fit.
pub(super) fn check(missing: u64, available: u64) -> Result<(), StoreError> {
    let needed = of_content(missing);
    if missing == 0 || needed <= available { Ok(()) } else { Err(StoreError::NoSpace { needed, available }) }
}

/// The fault of opening a copy that failed, if the disk has no room for its records.
pub(super) fn fault_of_opening(error: StoreError, dir: &Path) -> StoreError {
    match (&error, available(dir, 0)) {
        (StoreError::Io { .. }, Ok(available)) if available < RECORDS_BYTES => {
            StoreError::NoSpace { needed: RECORDS_BYTES, available }
        }
        _ => error,
    }
}

/// The fault of a write of `needed` bytes that failed, if it was for want of room: by the system's error wherever it
/// is kept in the chain, else by asking the disk.
pub(super) fn fault(error: &std::io::Error, dir: &Path, needed: u64) -> Option<StoreError> {
    let available = available(dir, 0).ok();
    let is_full = is_full(error) || available.is_some_and(|available| available < needed);
    is_full.then(|| StoreError::NoSpace { needed, available: available.unwrap_or(0) })
}

fn is_full(error: &(dyn Error + 'static)) -> bool {
    let links = std::iter::successors(Some(error), |&error| {
        // An io::Error hides what it wraps from `source`.
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    });
    links
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error as IoError;

    #[derive(Debug, thiserror::Error)]
    #[error("the records cannot be written")]
    struct StoreFault(#[source] IoError);

    #[test]
    fn a_full_disk_is_known_however_deep_the_system_s_error_lies() {
        let full = || IoError::from(ErrorKind::StorageFull);
        let deep = IoError::other(StoreFault(IoError::other(full())));
        assert!(is_full(&full()));
        assert!(is_full(&IoError::other(full())));
        assert!(is_full(&deep));
        assert!(!is_full(&IoError::other("No space left on device")));
        assert!(!is_full(&IoError::from(ErrorKind::PermissionDenied)));
    }

    #[test]
    fn the_hash_tree_needs_room_as_well() {
        assert!(check(0, 0).is_ok());
        assert!(check(128, 129).is_ok());
        assert!(matches!(check(128, 128), Err(StoreError::NoSpace { needed: 129, available: 128 })));
        assert!(check(u64::MAX, u64::MAX).is_ok());
    }
}
