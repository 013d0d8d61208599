//! A set of pieces of one artifact, and its compact wire form.
//!
//! Wire form (inside a message): the number of runs `n`, then `n` pairs (gap, length) of alternating absent and
//! present runs as varints when that is shorter, else the bitmap; see `docs/PROTOCOL.md`. A decoded set is always
//! checked against the geometry that the receiver already trusts.

use crate::geometry::PieceIndex;
use serde::{Deserialize, Serialize};

/// Which pieces of `len` are in the set. Invariant: bits at and beyond `len` are zero.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PieceSet {
    len: u32,
    count: u32,
    words: Vec<u64>,
}

/// The wire form; either shape may stand for any set, the encoder takes the shorter one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WirePieceSet {
    /// Alternating run lengths, starting with absent pieces; the rest is absent.
    Runs(Vec<u32>),
    /// Little-endian bitmap, least significant bit first; missing bytes are absent.
    Bitmap(Vec<u8>),
}

/// A wire form that names pieces which the artifact does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a piece set names pieces beyond the artifact's {len}")]
pub struct PieceSetError {
    /// Pieces of the artifact.
    pub len: u32,
}

impl PieceSet {
    /// No piece of `len`.
    pub fn empty(len: u32) -> Self {
        Self { len, count: 0, words: vec![0; (len as usize).div_ceil(64)] }
    }

    /// All pieces of `len`.
    pub fn full(len: u32) -> Self {
        let mut set = Self::empty(len);
        for (i, word) in set.words.iter_mut().enumerate() {
            let bits = (len as usize - i * 64).min(64);
            *word = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        }
        set.count = len;
        set
    }

    /// Pieces of the artifact, in the set or not.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// How many are in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether none is in the set.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether all are in the set (an artifact without pieces is complete).
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether one piece is in the set; false beyond the artifact.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        let (word, bit) = Self::place(piece);
        piece.0 < self.len && self.words[word] & bit != 0
    }

    /// Adds a piece; true if it was absent. Beyond the artifact nothing happens.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        if piece.0 >= self.len || self.contains(piece) {
            return false;
        }
        let (word, bit) = Self::place(piece);
        self.words[word] |= bit;
        self.count += 1;
        true
    }

    /// Takes a piece out; true if it was present.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        if !self.contains(piece) {
            return false;
        }
        let (word, bit) = Self::place(piece);
        self.words[word] &= !bit;
        self.count -= 1;
        true
    }

    /// The pieces in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| pieces_of(i, word))
    }

    /// The pieces that are in both sets, ascending.
    pub fn iter_common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = PieceIndex> + 'a {
        let words = self.words.iter().zip(&other.words);
        words.enumerate().flat_map(|(i, (mine, theirs))| pieces_of(i, mine & theirs))
    }

    /// How many pieces are in both sets.
    pub fn count_common(&self, other: &Self) -> u32 {
        self.words.iter().zip(&other.words).map(|(mine, theirs)| (mine & theirs).count_ones()).sum()
    }

    /// The shorter wire form.
    pub fn to_wire(&self) -> WirePieceSet {
        let mut runs = Vec::new();
        let (mut present, mut run) = (false, 0_u32);
        for piece in (0..self.len).map(PieceIndex) {
            if self.contains(piece) == present {
                run += 1;
            } else {
                runs.push(run);
                (present, run) = (!present, 1);
            }
        }
        if present {
            runs.push(run);
        }
        // A run costs two bytes as a rule (a varint below 2^14), a bitmap one byte for eight pieces.
        if runs.len() * 2 <= self.len as usize / 8 + 8 {
            return WirePieceSet::Runs(runs);
        }
        let bytes =
            self.words.iter().flat_map(|word| word.to_le_bytes()).take((self.len as usize).div_ceil(8));
        WirePieceSet::Bitmap(bytes.collect())
    }

    /// The set that a peer sent, for an artifact of `len` pieces. Memory is bounded by `len`.
    pub fn from_wire(wire: &WirePieceSet, len: u32) -> Result<Self, PieceSetError> {
        let mut set = Self::empty(len);
        let mut add = |index: u64| match u32::try_from(index) {
            Ok(index) if index < len => {
                set.insert(PieceIndex(index));
                Ok(())
            }
            _ => Err(PieceSetError { len }),
        };
        match wire {
            WirePieceSet::Runs(runs) => {
                let mut at = 0_u64;
                for (i, &run) in runs.iter().enumerate() {
                    let end = at + u64::from(run);
                    if i % 2 == 1 {
                        (at..end).try_for_each(&mut add)?;
                    }
                    at = end;
                }
            }
            WirePieceSet::Bitmap(bytes) => {
                for (i, &byte) in bytes.iter().enumerate() {
                    (0..8).filter(|bit| byte >> bit & 1 == 1).try_for_each(|bit| add(i as u64 * 8 + bit))?;
                }
            }
        }
        Ok(set)
    }

    fn place(piece: PieceIndex) -> (usize, u64) {
        (piece.0 as usize / 64, 1 << (piece.0 % 64))
    }
}

/// The pieces of the word at a place.
fn pieces_of(place: usize, word: u64) -> impl Iterator<Item = PieceIndex> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let bit = (rest != 0).then(|| rest.trailing_zeros())?;
        rest &= rest - 1;
        Some(PieceIndex(place as u32 * 64 + bit))
    })
}

impl std::fmt::Debug for PieceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PieceSet({}/{})", self.count, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn full_empty_and_halves_have_a_wire_form_of_a_few_bytes() {
        for len in [0, 1, 63, 64, 65, 1000] {
            for set in [PieceSet::full(len), PieceSet::empty(len)] {
                let wire = set.to_wire();
                assert_eq!(PieceSet::from_wire(&wire, len).unwrap(), set);
                assert!(postcard::to_allocvec(&wire).unwrap().len() <= 5);
            }
        }
    }

    #[test]
    fn a_set_beyond_the_artifact_is_refused() {
        let bad = PieceSetError { len: 10 };
        assert_eq!(PieceSet::from_wire(&WirePieceSet::Runs(vec![0, 11]), 10), Err(bad));
        assert_eq!(PieceSet::from_wire(&WirePieceSet::Runs(vec![u32::MAX, u32::MAX]), 10), Err(bad));
        assert_eq!(PieceSet::from_wire(&WirePieceSet::Bitmap(vec![0, 4]), 10), Err(bad));
    }

    proptest! {
        #[test]
        fn a_piece_set_behaves_like_a_naive_set(len in 0_u32..300, ops in prop::collection::vec((any::<bool>(), 0_u32..320), 0..400)) {
            let mut set = PieceSet::empty(len);
            let mut naive = BTreeSet::new();
            for (insert, index) in ops {
                let piece = PieceIndex(index);
                if insert {
                    prop_assert_eq!(set.insert(piece), index < len && naive.insert(index));
                } else {
                    prop_assert_eq!(set.remove(piece), naive.remove(&index));
                }
            }
            prop_assert_eq!(set.iter().map(|p| p.0).collect::<Vec<_>>(), naive.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.count() as usize, naive.len());
            prop_assert_eq!(PieceSet::from_wire(&set.to_wire(), len).unwrap(), set);
        }
    }
}
