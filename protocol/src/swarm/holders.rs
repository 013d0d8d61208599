//! How many counted peers hold each piece, as the seeder believes it: the evidence for grants and for `safe_to_leave`.
//!
//! Who is counted is the caller's decision (enrolled devices; rule 12: one liar must not send the laptop home).

use crate::geometry::PieceIndex;
use crate::piece_set::PieceSet;

/// Holder counts of one artifact, and how many pieces have fewer than a wanted number.
#[derive(Debug, Clone)]
pub struct Holders {
    counts: Vec<u16>,
    wanted: u16,
    short: u32,
}

impl Holders {
    /// Nobody holds anything; `wanted` holders are aimed at.
    pub fn new(pieces: u32, wanted: u16) -> Self {
        let short = if wanted == 0 { 0 } else { pieces };
        Self { counts: vec![0; pieces as usize], wanted, short }
    }

    /// Holders of a piece.
    pub fn count(&self, piece: PieceIndex) -> u16 {
        self.counts.get(piece.0 as usize).copied().unwrap_or(0)
    }

    /// Pieces with fewer holders than wanted.
    pub fn short(&self) -> u32 {
        self.short
    }

    /// Changes the wanted number; recounts only if it differs.
    pub fn want(&mut self, wanted: u16) {
        if wanted != self.wanted {
            self.wanted = wanted;
            self.short = self.counts.iter().filter(|&&count| count < wanted).count() as u32;
        }
    }

    /// One holder more; the new count.
    pub fn rise(&mut self, piece: PieceIndex) -> u16 {
        let count = &mut self.counts[piece.0 as usize];
        *count += 1;
        if *count == self.wanted {
            self.short -= 1;
        }
        *count
    }

    /// A counted peer left; calls `orphaned` for each piece that nobody counted holds now.
    pub fn leave(&mut self, set: &PieceSet, mut orphaned: impl FnMut(PieceIndex)) {
        for piece in set.iter() {
            let count = &mut self.counts[piece.0 as usize];
            if *count == self.wanted && self.wanted > 0 {
                self.short += 1;
            }
            *count = count.saturating_sub(1);
            if *count == 0 {
                orphaned(piece);
            }
        }
    }
}
