//! Room on the disk, asked before it is used.

use super::StoreError;
use std::path::Path;

/// What a hash tree and the store's own records cost beside the data: 64 bytes for each 16 KiB, and a little.
const OVERHEAD_DIVISOR: u64 = 128;

/// Whether `missing` bytes of content fit, with `reserved` bytes left alone.
pub(super) fn check(dir: &Path, missing: u64, reserved: u64) -> Result<(), StoreError> {
    if missing == 0 {
        return Ok(());
    }
    let needed = missing + missing / OVERHEAD_DIVISOR;
    let disk = rustix::fs::statvfs(dir).map_err(|e| StoreError::io(dir)(e.into()))?;
    let available = (disk.f_bavail * disk.f_frsize).saturating_sub(reserved);
    if needed <= available { Ok(()) } else { Err(StoreError::NoSpace { needed, available }) }
}

/// Whether an error's words mean a full disk; iroh-blobs passes system errors on as text.
pub(super) fn is_full(words: &str) -> bool {
    ["No space left", "StorageFull", "Quota exceeded", "os error 28"]
        .iter()
        .any(|known| words.contains(known))
}
