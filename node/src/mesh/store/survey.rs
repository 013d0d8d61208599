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

/// What was found.
pub(super) struct Survey {
    /// The groups that are there as their hashes say.
    pub(super) good: ChunkRanges,
    /// Whether iroh-blobs claims more. What it believes to hold it will not take again once the content is complete,
    /// so such a copy is rebuilt before more is written.
    pub(super) is_stuck: bool,
}

/// Reads everything. An error says that the disk could not be asked just now, and nothing about the bytes.
pub(super) async fn survey(
    blobs: &FsStore,
    path: &Path,
    hash: Hash,
    geometry: &Geometry,
) -> Result<Survey, StoreError> {
    let status = blobs.blobs().status(hash).await.map_err(StoreError::io(path))?;
    let size = match status {
        BlobStatus::NotFound => return Ok(Survey { good: ChunkRanges::empty(), is_stuck: false }),
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
        return Ok(Survey { good: ChunkRanges::empty(), is_stuck: true });
    };
    let mut good = ChunkRanges::empty();
    let mut is_damaged = false;
    for piece in (0..geometry.pieces()).map(PieceIndex) {
        let claimed = &claimed.ranges & &piece_chunks(geometry, piece);
        if claimed.is_empty() {
            continue;
        }
        if is_good(blobs, hash, claimed.clone()).await.map_err(StoreError::io(path))? {
            good |= claimed;
            continue;
        }
        is_damaged = true;
        for group in group_chunks(geometry, piece).filter(|group| claimed.is_superset(group)) {
            if is_good(blobs, hash, group.clone()).await.map_err(StoreError::io(path))? {
                good |= group;
            }
        }
    }
    Ok(Survey { good, is_stuck: is_damaged })
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
