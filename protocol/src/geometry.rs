//! Artifact length ↔ pieces ↔ 16 KiB chunk groups.
//!
//! ```text
//!  artifact  |------------------------- length bytes -------------------------|
//!  pieces    |   0   |   1   |   2   | ...                       |  last, short |
//!  groups    |0|1|2|3|0|1|2|3|            16 KiB each, the last may be short
//! ```
//! A piece is a power-of-two run of chunk groups: the smallest ≥ length/1024 within 128 KiB–2 MiB.
//! An empty artifact has no pieces and is complete from the start.

use serde::{Deserialize, Serialize};

/// Bytes in a chunk group, the unit of verification (bao-tree's block size 2⁴ KiB).
pub const GROUP_BYTES: u64 = 16 * 1024;
/// The smallest piece: below it, haves and hash paths cost more than sharing earlier gains.
pub const PIECE_BYTES_MIN: u32 = 128 * 1024;
/// The largest piece: above it, a weak uplink holds back whole pieces for seconds.
pub const PIECE_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// The most bytes that one request may name; larger pieces are asked for in ranges.
pub const REQUEST_BYTES_MAX: u32 = 256 * 1024;
/// The largest artifact: 1 TiB. Protects bitfields (≤ 2²³ pieces would be 1 MiB) and arithmetic.
pub const ARTIFACT_BYTES_MAX: u64 = 1 << 40;
/// The most pieces of one artifact: bounds a bitfield to 64 KiB on the wire and in memory per neighbour.
pub const PIECES_MAX: u32 = 1 << 19;

/// Index of a piece in its artifact, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PieceIndex(pub u32);

/// A run of whole chunk groups inside one piece: what a request names and a data frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PieceRange {
    /// The piece.
    pub piece: PieceIndex,
    /// First group, counted inside the piece.
    pub first_group: u16,
    /// How many groups; at least 1.
    pub groups: u16,
}

/// Why a length and a piece size make no geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Not a power of two within the bounds.
    #[error("piece size {0} is not a power of two from {PIECE_BYTES_MIN} to {PIECE_BYTES_MAX} bytes")]
    PieceSize(u32),
    /// Too large.
    #[error("an artifact of {0} bytes has too many pieces or is larger than {ARTIFACT_BYTES_MAX} bytes")]
    Length(u64),
}

/// The shape of one artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    length: u64,
    piece_bytes: u32,
    request_bytes: u32,
}

impl Geometry {
    /// The shape that a manifest names.
    pub fn new(length: u64, piece_bytes: u32) -> Result<Self, GeometryError> {
        if !piece_bytes.is_power_of_two() || !(PIECE_BYTES_MIN..=PIECE_BYTES_MAX).contains(&piece_bytes) {
            return Err(GeometryError::PieceSize(piece_bytes));
        }
        if length > ARTIFACT_BYTES_MAX || length.div_ceil(u64::from(piece_bytes)) > u64::from(PIECES_MAX) {
            return Err(GeometryError::Length(length));
        }
        Ok(Self { length, piece_bytes, request_bytes: REQUEST_BYTES_MAX })
    }

    /// The shape that a publisher gives an artifact of `length` bytes.
    pub fn for_length(length: u64) -> Result<Self, GeometryError> {
        let aim = length.div_ceil(1024).clamp(u64::from(PIECE_BYTES_MIN), u64::from(PIECE_BYTES_MAX));
        Self::new(length, aim.next_power_of_two() as u32)
    }

    /// The same shape where a request asks for at most so many bytes, whole chunk groups, instead of
    /// [`REQUEST_BYTES_MAX`]: the peers of a simulation may agree on more, the wire does not carry it.
    pub fn with_requests_of(self, bytes: u32) -> Self {
        Self { request_bytes: bytes, ..self }
    }

    /// Chunk groups of a request at most.
    pub fn request_groups(&self) -> u16 {
        (u64::from(self.request_bytes) / GROUP_BYTES) as u16
    }

    /// Bytes of the artifact.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of every piece but the last.
    pub fn piece_bytes(&self) -> u32 {
        self.piece_bytes
    }

    /// How many pieces.
    pub fn pieces(&self) -> u32 {
        self.length.div_ceil(u64::from(self.piece_bytes)) as u32
    }

    /// Bytes of one piece (0 beyond the last).
    pub fn piece_len(&self, piece: PieceIndex) -> u64 {
        let start = self.piece_start(piece);
        self.length.saturating_sub(start).min(u64::from(self.piece_bytes))
    }

    /// Offset of a piece's first byte.
    pub fn piece_start(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_bytes)
    }

    /// Chunk groups of one piece.
    pub fn groups(&self, piece: PieceIndex) -> u16 {
        self.piece_len(piece).div_ceil(GROUP_BYTES) as u16
    }

    /// Whether a peer's range lies inside the artifact, is not empty and is small enough to ask for.
    pub fn is_valid(&self, range: PieceRange) -> bool {
        let end = u32::from(range.first_group) + u32::from(range.groups);
        range.piece.0 < self.pieces()
            && range.groups > 0
            && end <= u32::from(self.groups(range.piece))
            && range.groups <= self.request_groups()
    }

    /// First byte and number of bytes of a valid range.
    pub fn byte_range(&self, range: PieceRange) -> (u64, u64) {
        let start = self.piece_start(range.piece) + u64::from(range.first_group) * GROUP_BYTES;
        let end = (start + u64::from(range.groups) * GROUP_BYTES).min(self.length);
        (start, end.saturating_sub(start))
    }

    /// The ranges of at most one request that together are one piece, in order.
    pub fn ranges(&self, piece: PieceIndex) -> impl Iterator<Item = PieceRange> + use<> {
        let all = self.groups(piece);
        let step = self.request_groups();
        (0..all.div_ceil(step)).map(move |i| PieceRange {
            piece,
            first_group: i * step,
            groups: step.min(all - i * step),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERESTING_LENGTHS: [u64; 12] =
        [0, 1, 1023, 16_384, 16_385, 131_071, 131_072, 131_073, 64 << 20, (128 << 20) + 1, 5 << 30, 1 << 40];

    #[test]
    fn pieces_and_ranges_tile_every_interesting_length_exactly() {
        for length in INTERESTING_LENGTHS {
            let g = Geometry::for_length(length).unwrap();
            let step = (g.pieces() / 1000).max(1);
            let mut seen = 0;
            for piece in (0..g.pieces()).map(PieceIndex) {
                seen += g.piece_len(piece);
                if piece.0 % step != 0 && piece.0 + 1 != g.pieces() {
                    continue;
                }
                let mut at = g.piece_start(piece);
                for range in g.ranges(piece) {
                    assert!(g.is_valid(range));
                    assert_eq!(g.byte_range(range).0, at);
                    at += g.byte_range(range).1;
                }
                assert_eq!(at, g.piece_start(piece) + g.piece_len(piece));
            }
            assert_eq!(seen, length);
        }
    }

    #[test]
    fn piece_sizes_follow_the_rule() {
        assert_eq!(Geometry::for_length(64 << 20).unwrap().piece_bytes(), 128 * 1024);
        assert_eq!(Geometry::for_length((128 << 20) + 1).unwrap().piece_bytes(), 256 * 1024);
        assert_eq!(Geometry::for_length(100 << 30).unwrap().piece_bytes(), 2 * 1024 * 1024);
        assert_eq!(Geometry::new(1, 96 * 1024), Err(GeometryError::PieceSize(96 * 1024)));
        assert!(Geometry::new(u64::MAX, 128 * 1024).is_err());
        assert!(Geometry::new(1 << 40, 128 * 1024).is_err());
    }

    #[test]
    fn a_range_outside_its_piece_is_not_valid() {
        let g = Geometry::for_length(131_072 + 20_000).unwrap();
        let r = |piece, first_group, groups| PieceRange { piece: PieceIndex(piece), first_group, groups };
        for (range, valid) in [
            (r(0, 0, 8), true),
            (r(0, 7, 2), false),
            (r(0, 0, 0), false),
            (r(1, 0, 2), true),
            (r(1, 1, 2), false),
            (r(2, 0, 1), false),
            (r(0, u16::MAX, u16::MAX), false),
        ] {
            assert_eq!(g.is_valid(range), valid, "{range:?}");
        }
    }
}
