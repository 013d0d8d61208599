//! Room on the disk of the install root.

use super::InstallError;
use std::path::Path;

/// What file systems commonly give out at a time.
const UNIT: u64 = 4096;

/// Bytes that the daemon may still write below `root`, or where it would be made.
pub fn bytes_free(root: &Path) -> Result<u64, InstallError> {
    let there = root.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(there)
        .map_err(|error| InstallError::Disk { path: there.into(), source: error.into() })?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// What a file of so many bytes takes; the name of an empty one costs something, too.
pub(super) fn of_file(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(UNIT).saturating_mul(UNIT)
}
