//! One open content: a device's own copy, or an operator's file.

use super::StoreError;
use super::owned::Owned;
use super::source::Source;
use bytes::Bytes;
use iroh_blobs::Hash;
use iroh_blobs::api::Store as Blobs;
use iroh_blobs::protocol::{ChunkRanges, ChunkRangesExt as _};
use samara_protocol::geometry::{GROUP_BYTES, Geometry, PieceIndex, PieceRange};
use samara_protocol::id::ContentHash;
use samara_protocol::piece_set::PieceSet;

/// Bytes of the length that iroh-blobs puts before an encoding.
pub(super) const LENGTH_PREFIX: usize = 8;

#[derive(Debug)]
pub(super) enum Content {
    Owned(Owned),
    Source(Source),
}

impl Content {
    pub(super) fn have(&self, geometry: &Geometry) -> PieceSet {
        match self {
            Self::Owned(owned) => owned.have(),
            Self::Source(_) => PieceSet::full(geometry.pieces()),
        }
    }

    pub(super) fn bytes_missing(&self) -> u64 {
        match self {
            Self::Owned(owned) => owned.bytes_missing(),
            Self::Source(_) => 0,
        }
    }

    pub(super) async fn write(
        &self,
        geometry: &Geometry,
        range: PieceRange,
        bao: Bytes,
    ) -> Result<(), StoreError> {
        match self {
            Self::Owned(owned) => owned.write(geometry, range, bao).await,
            Self::Source(_) => Err(StoreError::Invalid("an operator's file is not written".into())),
        }
    }

    pub(super) async fn read(&self, geometry: &Geometry, range: PieceRange) -> Result<Bytes, StoreError> {
        match self {
            Self::Owned(owned) => owned.read(geometry, range).await,
            Self::Source(source) => source.read(geometry, range).await,
        }
    }

    /// Verified plain bytes.
    pub(super) async fn plain(&self, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        match self {
            Self::Owned(owned) => owned.plain(offset, len).await,
            Self::Source(source) => source.plain(offset, len).await,
        }
    }

    pub(super) async fn seal(&self) -> Result<(), StoreError> {
        match self {
            Self::Owned(owned) => owned.seal().await,
            Self::Source(_) => Ok(()),
        }
    }

    pub(super) async fn close(&self) {
        if let Self::Owned(owned) = self {
            owned.close().await;
        }
    }
}

pub(super) fn hash_of(content: ContentHash) -> Hash {
    Hash::from_bytes(content.0)
}

/// A range of our geometry in iroh-blobs' 1 KiB chunks.
pub(super) fn chunks(geometry: &Geometry, range: PieceRange) -> ChunkRanges {
    let (start, len) = geometry.byte_range(range);
    ChunkRanges::bytes(start..start + len)
}

/// The whole of one piece.
pub(super) fn piece_chunks(geometry: &Geometry, piece: PieceIndex) -> ChunkRanges {
    let start = geometry.piece_start(piece);
    ChunkRanges::bytes(start..start + geometry.piece_len(piece))
}

/// First chunk group of a range, counted in the artifact.
pub(super) fn first_group(geometry: &Geometry, range: PieceRange) -> u64 {
    geometry.byte_range(range).0 / GROUP_BYTES
}

/// The bao encoding of some chunks with its length prefix, or why it cannot be read.
pub(super) async fn export(blobs: &Blobs, hash: Hash, chunks: ChunkRanges) -> Result<Vec<u8>, String> {
    blobs.blobs().export_bao(hash, chunks).bao_to_vec().await.map_err(|e| format!("{e:#}"))
}

/// Plain bytes of a span, verified group by group.
pub(super) async fn plain(blobs: &Blobs, hash: Hash, offset: u64, len: u64) -> Result<Bytes, String> {
    let start = offset - offset % GROUP_BYTES;
    let chunks = ChunkRanges::bytes(start..(offset + len).next_multiple_of(GROUP_BYTES));
    let bytes = blobs.blobs().export_bao(hash, chunks).data_to_bytes().await.map_err(|e| format!("{e:#}"))?;
    let from = (offset - start) as usize;
    match from.checked_add(len as usize) {
        Some(to) if to <= bytes.len() => Ok(bytes.slice(from..to)),
        _ => Err("the content is shorter than it should be".into()),
    }
}
