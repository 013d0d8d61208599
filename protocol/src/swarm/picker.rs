//! Which piece to ask a peer for: rarest first, random ties; the state of every piece.
//!
//! ```text
//!  Missing --ask--> Requested --all parts arrived--> Storing --all parts stored--> Have
//!     ^                 |                               |
//!     +---- expired ----+---------- not stored ---------+
//! ```
//! A piece is asked for in parts of at most 256 KiB. `Missing` pieces are in the rarity order, `Requested` and
//! `Storing` ones in `active`, `Have` in a set: one place per state, so no two can disagree.

use super::order::RarityOrder;
use crate::geometry::{Geometry, PieceIndex, PieceRange};
use crate::id::PeerId;
use crate::piece_set::PieceSet;
use crate::rng::Prng;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Where a piece is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceState {
    /// Nobody was asked.
    Missing,
    /// Some part is still to arrive.
    Requested,
    /// All parts arrived, some are being verified and stored.
    Storing,
    /// Verified and readable.
    Have,
}

#[derive(Debug, Clone)]
enum Part {
    Open,
    Asked { by: PeerId, second: Option<PeerId>, at: Timestamp },
    Storing,
    Done,
}

/// What became of an arrived part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// Not needed.
    Duplicate,
    /// Store it; these peers were asked for it as well and need not send it.
    Wanted {
        /// Other peers asked.
        losers: Vec<PeerId>,
    },
}

/// The pieces of one artifact, seen from here.
#[derive(Debug, Clone)]
pub struct Picker {
    geometry: Geometry,
    have: PieceSet,
    availability: Vec<u16>,
    order: RarityOrder,
    active: BTreeMap<u32, Vec<Part>>,
    /// Active pieces with an open part.
    open: BTreeSet<u32>,
}

impl Picker {
    /// Starts from what the store holds.
    pub fn new(geometry: Geometry, have: PieceSet, rng: &mut Prng) -> Self {
        let pieces = geometry.pieces();
        let mut order = RarityOrder::new(pieces);
        for piece in (0..pieces).filter(|&piece| !have.contains(PieceIndex(piece))) {
            order.insert(piece, 0, rng);
        }
        let availability = vec![0; pieces as usize];
        Self { geometry, have, availability, order, active: BTreeMap::new(), open: BTreeSet::new() }
    }

    /// Verified pieces.
    pub fn have(&self) -> &PieceSet {
        &self.have
    }

    /// The state of a piece of the artifact.
    pub fn state(&self, piece: PieceIndex) -> PieceState {
        if self.have.contains(piece) {
            return PieceState::Have;
        }
        match self.active.get(&piece.0) {
            None => PieceState::Missing,
            Some(parts) if parts.iter().all(|part| matches!(part, Part::Storing | Part::Done)) => {
                PieceState::Storing
            }
            Some(_) => PieceState::Requested,
        }
    }

    /// How many pulling neighbours have a piece.
    pub fn availability(&self, piece: PieceIndex) -> u16 {
        self.availability.get(piece.0 as usize).copied().unwrap_or(0)
    }

    /// A pulling neighbour has a piece.
    pub fn rise(&mut self, piece: PieceIndex, rng: &mut Prng) {
        let from = self.availability[piece.0 as usize];
        self.availability[piece.0 as usize] = from + 1;
        if self.order.contains(piece.0) {
            self.order.rise(piece.0, from, rng);
        }
    }

    /// A pulling neighbour that had a piece is gone.
    pub fn fall(&mut self, piece: PieceIndex, rng: &mut Prng) {
        let from = self.availability[piece.0 as usize];
        if from == 0 {
            return;
        }
        self.availability[piece.0 as usize] = from - 1;
        if self.order.contains(piece.0) {
            self.order.fall(piece.0, from, rng);
        }
    }

    /// The next range to ask `peer` for; it counts as asked.
    pub fn pick(&mut self, peer: PeerId, theirs: &PieceSet, now: Timestamp) -> Option<PieceRange> {
        if theirs.is_empty() {
            return None;
        }
        let begun = self.open.iter().copied().find(|&piece| theirs.contains(PieceIndex(piece)));
        let piece = match begun {
            Some(piece) => piece,
            None => {
                let piece = self.order.first_in(theirs)?;
                self.activate(piece);
                piece
            }
        };
        let parts = self.active.get_mut(&piece)?;
        let index = parts.iter().position(|part| matches!(part, Part::Open))?;
        parts[index] = Part::Asked { by: peer, second: None, at: now };
        self.note_open(piece);
        Some(self.range_of(piece, index))
    }

    /// Ranges asked of one other peer before `before` that `peer` has: it may be asked as well (endgame, slow peers).
    pub fn pick_second(&mut self, peer: PeerId, theirs: &PieceSet, before: Timestamp) -> Option<PieceRange> {
        let mut found = None;
        for (&piece, parts) in &self.active {
            if !theirs.contains(PieceIndex(piece)) {
                continue;
            }
            let late = |part: &Part| matches!(part, Part::Asked { by, second: None, at } if *by != peer && *at < before);
            if let Some(index) = parts.iter().position(late) {
                found = Some((piece, index));
                break;
            }
        }
        let (piece, index) = found?;
        if let Some(Part::Asked { second, .. }) =
            self.active.get_mut(&piece).and_then(|parts| parts.get_mut(index))
        {
            *second = Some(peer);
        }
        Some(self.range_of(piece, index))
    }

    /// A peer will not send a range after all.
    pub fn release(&mut self, range: PieceRange, peer: PeerId, rng: &mut Prng) {
        let Some(index) = self.index_of(range) else { return };
        let Some(part) = self.active.get_mut(&range.piece.0).and_then(|parts| parts.get_mut(index)) else {
            return;
        };
        if let Part::Asked { by, second, at } = part {
            match *second {
                Some(other) if *by == peer => *part = Part::Asked { by: other, second: None, at: *at },
                Some(other) if other == peer => *second = None,
                None if *by == peer => *part = Part::Open,
                _ => return,
            }
            self.settle(range.piece.0, rng);
        }
    }

    /// Bytes of a range came from `from`, asked for or granted.
    pub fn arrive(&mut self, range: PieceRange, from: PeerId) -> Arrival {
        let Some(index) = self.index_of(range).filter(|_| !self.have.contains(range.piece)) else {
            return Arrival::Duplicate;
        };
        if !self.active.contains_key(&range.piece.0) {
            self.activate(range.piece.0);
        }
        let Some(part) = self.active.get_mut(&range.piece.0).and_then(|parts| parts.get_mut(index)) else {
            return Arrival::Duplicate;
        };
        let losers = match part {
            Part::Storing | Part::Done => return Arrival::Duplicate,
            Part::Open => Vec::new(),
            Part::Asked { by, second, .. } => {
                std::iter::once(*by).chain(*second).filter(|peer| *peer != from).collect()
            }
        };
        *part = Part::Storing;
        self.note_open(range.piece.0);
        Arrival::Wanted { losers }
    }

    /// A range is verified and stored; true if its piece is complete now.
    pub fn stored(&mut self, range: PieceRange) -> bool {
        let Some(index) = self.index_of(range) else { return false };
        let Some(parts) = self.active.get_mut(&range.piece.0) else { return false };
        parts[index] = Part::Done;
        if !parts.iter().all(|part| matches!(part, Part::Done)) {
            return false;
        }
        self.active.remove(&range.piece.0);
        self.open.remove(&range.piece.0);
        self.have.insert(range.piece)
    }

    /// A range was not stored: it is wanted again.
    pub fn not_stored(&mut self, range: PieceRange, rng: &mut Prng) {
        let Some(index) = self.index_of(range) else { return };
        let Some(parts) = self.active.get_mut(&range.piece.0) else { return };
        if matches!(parts[index], Part::Storing) {
            parts[index] = Part::Open;
            self.settle(range.piece.0, rng);
        }
    }

    /// A piece that was there is not; true if it was.
    pub fn lose(&mut self, piece: PieceIndex, rng: &mut Prng) -> bool {
        let lost = self.have.remove(piece);
        if lost {
            self.order.insert(piece.0, self.availability[piece.0 as usize], rng);
        }
        lost
    }

    fn activate(&mut self, piece: u32) {
        self.order.remove(piece, self.availability[piece as usize]);
        let parts = self.geometry.ranges(PieceIndex(piece)).count();
        self.active.insert(piece, vec![Part::Open; parts]);
        self.open.insert(piece);
    }

    /// Back to `Missing` when nothing of it is under way; a part that is stored keeps it active.
    fn settle(&mut self, piece: u32, rng: &mut Prng) {
        let untouched = |parts: &Vec<Part>| parts.iter().all(|part| matches!(part, Part::Open));
        if self.active.get(&piece).is_some_and(untouched) {
            self.active.remove(&piece);
            self.open.remove(&piece);
            self.order.insert(piece, self.availability[piece as usize], rng);
        } else {
            self.note_open(piece);
        }
    }

    fn note_open(&mut self, piece: u32) {
        let open = |parts: &Vec<Part>| parts.iter().any(|part| matches!(part, Part::Open));
        if self.active.get(&piece).is_some_and(open) {
            self.open.insert(piece);
        } else {
            self.open.remove(&piece);
        }
    }

    fn range_of(&self, piece: u32, index: usize) -> PieceRange {
        let first_group = index as u16 * self.geometry.request_groups();
        let groups =
            self.geometry.request_groups().min(self.geometry.groups(PieceIndex(piece)) - first_group);
        PieceRange { piece: PieceIndex(piece), first_group, groups }
    }

    /// The part that a range is; `None` if it is none (only whole parts are asked for and granted).
    fn index_of(&self, range: PieceRange) -> Option<usize> {
        let index = usize::from(range.first_group / self.geometry.request_groups());
        (self.geometry.is_valid(range) && self.range_of(range.piece.0, index) == range).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PIECES: u32 = 24;

    fn set(pieces: &[u32]) -> PieceSet {
        let mut set = PieceSet::empty(PIECES);
        pieces.iter().for_each(|&piece| {
            set.insert(PieceIndex(piece));
        });
        set
    }

    fn picker(rng: &mut Prng) -> Picker {
        let geometry = Geometry::new(u64::from(PIECES) * 131_072, 131_072).unwrap();
        Picker::new(geometry, PieceSet::empty(PIECES), rng)
    }

    #[test]
    fn a_piece_asked_of_two_peers_tells_the_loser_when_it_arrives() {
        let mut rng = Prng::new(1);
        let mut picker = picker(&mut rng);
        let (a, b, now) = (PeerId([1; 32]), PeerId([2; 32]), Timestamp::from_millis(5));
        let range = picker.pick(a, &set(&[3]), Timestamp::ZERO).unwrap();
        assert_eq!(picker.pick(b, &set(&[3]), now), None);
        assert_eq!(picker.pick_second(b, &set(&[3]), now), Some(range));
        assert_eq!(picker.arrive(range, b), Arrival::Wanted { losers: vec![a] });
        assert_eq!(picker.state(range.piece), PieceState::Storing);
        assert_eq!(picker.arrive(range, a), Arrival::Duplicate);
        assert!(picker.stored(range));
        assert_eq!(picker.state(range.piece), PieceState::Have);
    }

    proptest! {
        #[test]
        fn the_picker_takes_one_of_the_rarest_missing_pieces_like_a_naive_model(
            rng_seed in any::<u64>(),
            ops in prop::collection::vec((0_u8..6, 0..PIECES), 0..300),
        ) {
            let mut rng = Prng::new(rng_seed);
            let mut picker = picker(&mut rng);
            let peer = PeerId([1; 32]);
            let (mut availability, mut state) = ([0_u16; PIECES as usize], [PieceState::Missing; PIECES as usize]);
            for (op, piece) in ops {
                let (index, at) = (PieceIndex(piece), piece as usize);
                let range = PieceRange { piece: index, first_group: 0, groups: 8 };
                match op {
                    0 => { picker.rise(index, &mut rng); availability[at] += 1; }
                    1 => { picker.fall(index, &mut rng); availability[at] = availability[at].saturating_sub(1); }
                    2 => {
                        let theirs = set(&(0..PIECES).filter(|i| i % 3 != piece % 3).collect::<Vec<_>>());
                        let open: Vec<u32> = theirs.iter().map(|p| p.0)
                            .filter(|&i| state[i as usize] == PieceState::Missing).collect();
                        let rarest = open.iter().map(|&i| availability[i as usize]).min();
                        let picked = picker.pick(peer, &theirs, Timestamp::ZERO).map(|r| r.piece.0);
                        prop_assert_eq!(picked.map(|i| availability[i as usize]), rarest);
                        if let Some(i) = picked {
                            prop_assert!(open.contains(&i));
                            state[i as usize] = PieceState::Requested;
                        }
                    }
                    3 => {
                        let wanted = matches!(state[at], PieceState::Missing | PieceState::Requested);
                        prop_assert_eq!(picker.arrive(range, peer) != Arrival::Duplicate, wanted);
                        if wanted { state[at] = PieceState::Storing; }
                    }
                    4 => {
                        let storing = state[at] == PieceState::Storing;
                        if storing { prop_assert!(picker.stored(range)); state[at] = PieceState::Have; }
                    }
                    _ => {
                        picker.release(range, peer, &mut rng);
                        if state[at] == PieceState::Requested { state[at] = PieceState::Missing; }
                        if picker.lose(index, &mut rng) {
                            prop_assert_eq!(state[at], PieceState::Have);
                            state[at] = PieceState::Missing;
                        }
                    }
                }
                for i in 0..PIECES {
                    prop_assert_eq!(picker.state(PieceIndex(i)), state[i as usize]);
                    prop_assert_eq!(picker.availability(PieceIndex(i)), availability[i as usize]);
                }
            }
        }
    }
}
