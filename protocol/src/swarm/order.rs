//! Missing pieces in the order of their availability, random among equals; O(1) for most changes.
//!
//! ```text
//!  order    | rare, shuffled | less rare, shuffled | ... | common, shuffled |
//!  ends[a]                   ^0                    ^1                       ^last
//! ```
//! Bucket `a` is `order[ends[a-1]..ends[a]]`. A piece that moves between buckets lands at a random place in the new one.

use crate::geometry::PieceIndex;
use crate::piece_set::PieceSet;
use crate::rng::Prng;

/// A set of pieces, each with an availability, iterated rarest first.
#[derive(Debug, Clone)]
pub struct RarityOrder {
    order: Vec<u32>,
    /// Of the present pieces.
    place: Vec<u32>,
    ends: Vec<u32>,
    present: PieceSet,
}

impl RarityOrder {
    /// An empty order over `pieces`.
    pub fn new(pieces: u32) -> Self {
        let place = vec![0; pieces as usize];
        Self { order: Vec::new(), place, ends: vec![0], present: PieceSet::empty(pieces) }
    }

    /// How many pieces are in it.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether a piece is in it.
    pub fn contains(&self, piece: u32) -> bool {
        self.present.contains(PieceIndex(piece))
    }

    /// Rarest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.order.iter().copied()
    }

    /// The rarest piece that `theirs` has, too.
    pub fn first_in(&self, theirs: &PieceSet) -> Option<u32> {
        // In the order every n-th piece or so is common to both; where few are, they are looked at instead.
        let common = self.present.count_common(theirs) as usize;
        if common * common < self.order.len() {
            let common = self.present.iter_common(theirs).map(|piece| piece.0);
            return common.min_by_key(|piece| self.place[*piece as usize]);
        }
        self.iter().find(|piece| theirs.contains(PieceIndex(*piece)))
    }

    /// Adds an absent piece.
    pub fn insert(&mut self, piece: u32, availability: u16, rng: &mut Prng) {
        self.grow(availability);
        self.present.insert(PieceIndex(piece));
        let mut hole = self.order.len();
        self.order.push(piece);
        for bucket in (usize::from(availability) + 1..self.ends.len()).rev() {
            let first = self.start(bucket);
            if first != hole {
                self.put(hole, self.order[first]);
            }
            hole = first;
            self.ends[bucket] += 1;
        }
        self.ends[usize::from(availability)] += 1;
        self.put(hole, piece);
        self.shuffle_in(hole, usize::from(availability), rng);
    }

    /// Takes a present piece out.
    pub fn remove(&mut self, piece: u32, availability: u16) {
        self.present.remove(PieceIndex(piece));
        let mut hole = self.place[piece as usize] as usize;
        for bucket in usize::from(availability)..self.ends.len() {
            let last = self.ends[bucket] as usize - 1;
            if last != hole {
                self.put(hole, self.order[last]);
            }
            hole = last;
            self.ends[bucket] -= 1;
        }
        self.order.pop();
    }

    /// A present piece of availability `from` now has one holder more.
    pub fn rise(&mut self, piece: u32, from: u16, rng: &mut Prng) {
        self.grow(from + 1);
        let last = self.ends[usize::from(from)] as usize - 1;
        self.swap(self.place[piece as usize] as usize, last);
        self.ends[usize::from(from)] -= 1;
        self.shuffle_in(last, usize::from(from) + 1, rng);
    }

    /// A present piece of availability `from` (at least 1) now has one holder fewer.
    pub fn fall(&mut self, piece: u32, from: u16, rng: &mut Prng) {
        let first = self.start(usize::from(from));
        self.swap(self.place[piece as usize] as usize, first);
        self.ends[usize::from(from) - 1] += 1;
        self.shuffle_in(first, usize::from(from) - 1, rng);
    }

    fn start(&self, bucket: usize) -> usize {
        if bucket == 0 { 0 } else { self.ends[bucket - 1] as usize }
    }

    fn grow(&mut self, availability: u16) {
        while self.ends.len() <= usize::from(availability) {
            self.ends.push(self.order.len() as u32);
        }
    }

    fn shuffle_in(&mut self, at: usize, bucket: usize, rng: &mut Prng) {
        let start = self.start(bucket);
        self.swap(at, start + rng.below(self.ends[bucket] as usize - start));
    }

    fn put(&mut self, at: usize, piece: u32) {
        self.order[at] = piece;
        self.place[piece as usize] = at as u32;
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (x, y) = (self.order[a], self.order[b]);
        self.put(a, y);
        self.put(b, x);
    }
}
