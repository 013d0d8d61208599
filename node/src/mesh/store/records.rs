//! Whether iroh-blobs' own records (a redb file) can still be read: asked of redb itself, before they are believed.

use super::StoreError;
use redb::{Database, DatabaseError, StorageError};
use std::io::ErrorKind;
use std::path::Path;

/// The records' file in a content's directory.
pub(super) const FILE: &str = "blobs.db";

/// Checks every page of the records against its checksum; true when they are torn. A lock, a missing permission or
/// a full disk is an error and no tear: it will pass.
pub(super) async fn are_torn(dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(FILE);
    let checked = tokio::task::spawn_blocking(move || match check(&path) {
        Err(error) if !is_tear(&error) => Err(StoreError::io(&path)(error)),
        checked => Ok(checked.is_err()),
    });
    match checked.await {
        Ok(torn) => torn,
        // redb asserts where it reads nonsense.
        Err(error) if error.is_panic() => Ok(true),
        Err(error) => Err(StoreError::io(dir)(error)),
    }
}

fn check(path: &Path) -> Result<(), DatabaseError> {
    if !path.exists() {
        return Ok(());
    }
    // False means that an unclean end was mended.
    Database::open(path)?.check_integrity().map(|_| ())
}

fn is_tear(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::UpgradeRequired(_) | DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}
