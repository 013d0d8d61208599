//! A fresh copy of a content in the place of a damaged one, such that a crash leaves one of the two.
//!
//! ```text
//!  1  build beside      CONTENT  CONTENT.new          fsynced, closed
//!  2  set aside                  CONTENT.new  CONTENT.old
//!  3  move in           CONTENT               CONTENT.old   fsync of the parent
//!  4  remove the old    CONTENT
//! ```
//! At the start ([`recover`]): without CONTENT the old copy goes back, whose damage will be found again; then what
//! else is left over is removed.

use super::StoreError;
use super::encoding::{Received, export};
use super::held::{piece_chunks, span_chunks};
use super::owned;
use bao_tree::ChunkRanges;
use iroh_blobs::Hash;
use iroh_blobs::store::fs::FsStore;
use samara_protocol::geometry::{GROUP_BYTES, Geometry, PieceIndex};
use std::path::{Path, PathBuf};

/// Where a copy is rebuilt.
pub(super) fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Where the copy goes that is replaced.
pub(super) fn aside(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// Step 1: what is `good` in `old`, verified once more on the way, durable in a directory beside it.
pub(super) async fn build_beside(
    path: &Path,
    old: &FsStore,
    hash: Hash,
    geometry: &Geometry,
    good: &ChunkRanges,
) -> Result<(), StoreError> {
    let path = beside(path);
    remove(&path)?;
    let fresh = owned::load(&path).await?;
    for piece in (0..geometry.pieces()).map(PieceIndex) {
        let wanted = good & &piece_chunks(geometry, piece);
        for (offset, len) in spans(&wanted, geometry.length()) {
            // What turned bad meanwhile is left out, and found missing when the copy is surveyed.
            let Ok(encoding) = export(old, hash, span_chunks(offset, len), len).await else { continue };
            let copied = Received::verify(hash, geometry.length(), (offset, len), &encoding);
            copied.import(&fresh, hash, geometry.length()).await.map_err(StoreError::io(&path))?;
        }
    }
    owned::shut(&fresh, &path).await?;
    owned::sync_tree(&path).map_err(StoreError::io(&path))
}

/// Step 2.
pub(super) fn set_aside(path: &Path) -> Result<(), StoreError> {
    remove(&aside(path))?;
    std::fs::rename(path, aside(path)).map_err(StoreError::io(path))
}

/// Step 3.
pub(super) fn move_in(path: &Path) -> Result<(), StoreError> {
    std::fs::rename(beside(path), path).map_err(StoreError::io(path))?;
    owned::sync_parent(path).map_err(StoreError::io(path))
}

/// Step 4.
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
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some("old") if !path.with_extension("").exists() => {
                std::fs::rename(&path, path.with_extension("")).map_err(StoreError::io(&path))?;
            }
            Some("old" | "new") => remove(&path)?,
            _ => {}
        }
    }
    Ok(())
}

/// The runs of whole groups in some chunks, as first byte and length.
fn spans(chunks: &ChunkRanges, length: u64) -> Vec<(u64, u64)> {
    let byte = |chunk: bao_tree::ChunkNum| length.min(chunk.to_bytes());
    let bounded = |bounds: &[bao_tree::ChunkNum]| match bounds {
        [start, end] if start.to_bytes().is_multiple_of(GROUP_BYTES) => {
            Some((byte(*start), byte(*end) - byte(*start)))
        }
        _ => None,
    };
    chunks.boundaries().chunks(2).filter_map(bounded).collect()
}
