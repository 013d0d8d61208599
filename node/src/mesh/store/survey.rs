//! What a copy really holds: every group that iroh-blobs claims is read and verified.

use super::StoreError;
use super::encoding::is_good;
use super::held::{group_chunks, piece_chunks};
use bao_tree::ChunkRanges;
use iroh_blobs::Hash;
use iroh_blobs::api::blobs::BlobStatus;
use iroh_blobs::store::fs::FsStore;
use samara_protocol::geometry::{Geometry, PieceIndex};
use std::io::ErrorKind;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// What was found.
pub(super) struct Survey {
    /// The groups that are there as their hashes say.
    pub(super) good: ChunkRanges,
    /// Whether iroh-blobs claims more, which it may not take again.
    pub(super) repair: Repair,
}

/// What must be done beside what iroh-blobs does when more is written to a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    /// Nothing.
    None,
    /// It believes to hold what is wrong: that is written over.
    Overwrite,
    /// Its files are gone: the copy is begun anew.
    Anew,
}

/// Reads everything, until `stop`. An error says that the disk could not be asked just now, and nothing about the bytes.
pub(super) async fn survey(
    blobs: &FsStore,
    path: &Path,
    hash: Hash,
    geometry: &Geometry,
    stop: &CancellationToken,
) -> Result<Survey, StoreError> {
    let status = blobs.blobs().status(hash).await.map_err(StoreError::io(path))?;
    let size = match status {
        BlobStatus::NotFound => return Ok(Survey { good: ChunkRanges::empty(), repair: Repair::None }),
        BlobStatus::Partial { size } => size,
        BlobStatus::Complete { size } => Some(size),
    };
    if let Some(size) = size.filter(|size| *size != geometry.length()) {
        let length = geometry.length();
        return Err(StoreError::Invalid(format!("the content has {size} bytes and not {length}")));
    }
    let Ok(claimed) = blobs.blobs().observe(hash).await else {
        // Its files cannot be opened: gone, or kept from us for a while.
        check_readable(path)?;
        return Ok(Survey { good: ChunkRanges::empty(), repair: Repair::Anew });
    };
    let mut good = ChunkRanges::empty();
    let mut repair = Repair::None;
    for piece in (0..geometry.pieces()).map(PieceIndex) {
        if stop.is_cancelled() {
            return Err(StoreError::Closing);
        }
        let claimed = &claimed.ranges & &piece_chunks(geometry, piece);
        if claimed.is_empty() {
            continue;
        }
        if is_good(blobs, hash, claimed.clone()).await.map_err(StoreError::io(path))? {
            good |= claimed;
            continue;
        }
        repair = Repair::Overwrite;
        for group in group_chunks(geometry, piece).filter(|group| claimed.is_superset(group)) {
            if is_good(blobs, hash, group.clone()).await.map_err(StoreError::io(path))? {
                good |= group;
            }
        }
    }
    Ok(Survey { good, repair })
}

/// Fails when some file below `path` is there and cannot be opened.
fn check_readable(path: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(path).map_err(StoreError::io(path))?.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            check_readable(&path)?;
            continue;
        }
        match std::fs::File::open(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::io(&path)(error)),
            _ => {}
        }
    }
    Ok(())
}
