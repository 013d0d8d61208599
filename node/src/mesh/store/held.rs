//! Which chunk groups of a content are held, and the pieces that they complete.
//!
//! A piece counts when all its groups are verified and on disk. Bytes count once, however often they are written.

use bao_tree::ChunkRanges;
use iroh_blobs::protocol::ChunkRangesExt as _;
use samara_protocol::geometry::{GROUP_BYTES, Geometry, PieceIndex};
use samara_protocol::piece_set::PieceSet;

/// Bytes in one BLAKE3 chunk, which the ranges below count.
const CHUNK_BYTES: u64 = 1024;
/// Chunks in one chunk group.
pub(super) const GROUP_CHUNKS: u64 = GROUP_BYTES / CHUNK_BYTES;

/// What is held of one content.
#[derive(Debug, Clone)]
pub(super) struct Held {
    geometry: Geometry,
    chunks: ChunkRanges,
    pieces: PieceSet,
    bytes: u64,
}

impl Held {
    /// What some verified chunks amount to.
    pub(super) fn new(geometry: Geometry, chunks: ChunkRanges) -> Self {
        let mut pieces = PieceSet::empty(geometry.pieces());
        for piece in (0..geometry.pieces()).map(PieceIndex) {
            if chunks.is_superset(&piece_chunks(&geometry, piece)) {
                pieces.insert(piece);
            }
        }
        let bytes = bytes_in(&chunks, geometry.length());
        Self { geometry, chunks, pieces, bytes }
    }

    pub(super) fn chunks(&self) -> &ChunkRanges {
        &self.chunks
    }

    /// The pieces of which every group is held.
    pub(super) fn pieces(&self) -> &PieceSet {
        &self.pieces
    }

    pub(super) fn bytes_missing(&self) -> u64 {
        self.geometry.length().saturating_sub(self.bytes)
    }

    /// The first group of some bytes that is not held, counted in the artifact.
    pub(super) fn first_missing(&self, offset: u64, len: u64) -> Option<u64> {
        let missing = span_chunks(offset, len) - &self.chunks;
        missing.boundaries().first().map(|chunk| chunk.0 / GROUP_CHUNKS)
    }

    /// Some bytes were verified and written: whole groups, or up to the end of the artifact.
    pub(super) fn add(&mut self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        let end = offset + len;
        let written = span_chunks(offset, len);
        self.bytes += bytes_in(&(&written - &self.chunks), self.geometry.length());
        self.chunks |= written;
        let piece_bytes = u64::from(self.geometry.piece_bytes());
        for piece in (offset / piece_bytes..end.div_ceil(piece_bytes)).map(|piece| PieceIndex(piece as u32)) {
            if self.chunks.is_superset(&piece_chunks(&self.geometry, piece)) {
                self.pieces.insert(piece);
            }
        }
    }

    /// Only `good` of what is held is still there: the pieces that lost a group, whole before or not.
    pub(super) fn keep(&mut self, good: &ChunkRanges) -> Vec<PieceIndex> {
        let lost = &self.chunks - good;
        let concerned = |piece: &PieceIndex| !lost.is_disjoint(&piece_chunks(&self.geometry, *piece));
        let pieces = (0..self.geometry.pieces()).map(PieceIndex).filter(concerned).collect();
        *self = Self::new(self.geometry, &self.chunks - &lost);
        pieces
    }
}

/// The chunks of some bytes of an artifact.
pub(super) fn span_chunks(offset: u64, len: u64) -> ChunkRanges {
    ChunkRanges::bytes(offset..offset.saturating_add(len))
}

/// The whole of one piece.
pub(super) fn piece_chunks(geometry: &Geometry, piece: PieceIndex) -> ChunkRanges {
    span_chunks(geometry.piece_start(piece), geometry.piece_len(piece))
}

/// The chunk groups of one piece, each by itself.
pub(super) fn group_chunks(geometry: &Geometry, piece: PieceIndex) -> impl Iterator<Item = ChunkRanges> {
    let (start, len) = (geometry.piece_start(piece), geometry.piece_len(piece));
    let group = move |at: u64| span_chunks(start + at, GROUP_BYTES.min(len - at));
    (0..len).step_by(GROUP_BYTES as usize).map(group)
}

/// Bytes of an artifact of `length` bytes in closed ranges of chunks; the last chunk may be short.
fn bytes_in(chunks: &ChunkRanges, length: u64) -> u64 {
    let byte = |chunk: bao_tree::ChunkNum| length.min(chunk.0.saturating_mul(CHUNK_BYTES));
    chunks
        .boundaries()
        .chunks(2)
        .map(|bounds| match bounds {
            [start, end] => byte(*end) - byte(*start),
            [start] => length - byte(*start),
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Three pieces of eight groups, the last piece of two groups and a bit.
    fn geometry() -> Geometry {
        Geometry::new(2 * 131_072 + 2 * GROUP_BYTES + 700, 131_072).unwrap()
    }

    const GROUPS: u64 = 19;

    fn span(first: u64, groups: u64) -> (u64, u64) {
        let start = first * GROUP_BYTES;
        (start, (start + groups * GROUP_BYTES).min(geometry().length()) - start)
    }

    fn naive_pieces(groups: &BTreeSet<u64>) -> Vec<u32> {
        let has_all = |piece: &u32| {
            let first = u64::from(*piece) * 8;
            (first..GROUPS.min(first + 8)).all(|group| groups.contains(&group))
        };
        (0..3).filter(has_all).collect()
    }

    proptest! {
        #[test]
        fn held_groups_behave_like_a_naive_set(
            steps in prop::collection::vec((0..GROUPS, 1..9_u64, prop::bool::weighted(0.8)), 0..40),
        ) {
            let mut held = Held::new(geometry(), ChunkRanges::empty());
            let mut naive = BTreeSet::new();
            for (first, groups, is_write) in steps {
                let groups = groups.min(GROUPS - first);
                let (start, len) = span(first, groups);
                if is_write {
                    held.add(start, len);
                    naive.extend(first..first + groups);
                } else {
                    let good = ChunkRanges::all() - ChunkRanges::bytes(start..start + len);
                    let concerned: BTreeSet<u32> =
                        (first..first + groups).filter(|g| naive.remove(g)).map(|g| (g / 8) as u32).collect();
                    let lost: Vec<u32> = held.keep(&good).into_iter().map(|piece| piece.0).collect();
                    prop_assert_eq!(lost, concerned.into_iter().collect::<Vec<_>>());
                }
                let bytes: u64 = naive.iter().map(|&group| span(group, 1).1).sum();
                prop_assert_eq!(held.bytes, bytes);
                prop_assert_eq!(held.bytes_missing(), geometry().length() - bytes);
                let pieces: Vec<u32> = held.pieces().iter().map(|piece| piece.0).collect();
                prop_assert_eq!(pieces, naive_pieces(&naive));
                let missing = (0..GROUPS).find(|group| !naive.contains(group));
                prop_assert_eq!(held.first_missing(0, geometry().length()), missing);
            }
        }
    }
}
