//! The words in which a mesh machine and its ledger speak of grants.

use crate::geometry::PieceIndex;
use crate::id::PeerId;
use crate::piece_set::PieceSet;
use crate::time::Timestamp;
use std::time::Duration;

/// A device that may be granted to.
pub struct Candidate<'a> {
    /// Who.
    pub peer: PeerId,
    /// What it has.
    pub have: &'a PieceSet,
    /// How many pieces it still takes.
    pub credit: u16,
}

/// A piece to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub peer: PeerId,
    /// Which.
    pub piece: PieceIndex,
    /// Why.
    pub reason: Reason,
}

/// Why a piece is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was never granted before (rule 1).
    First,
    /// Its grantee vanished or sat on it (rule 2).
    Repair,
    /// The devices starve on their own weak uplinks, and the operator allows more than one copy (rule 11).
    Help,
}

/// A grant that its grantee acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// When it was granted.
    pub at: Timestamp,
    /// What the window had delivered by then.
    pub delivered_before: u64,
}

/// When grants count as lost.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A grantee without acknowledged progress for so long vanished.
    pub silence: Duration,
    /// A piece without a live holder for so long is granted again.
    pub orphan: Duration,
    /// A grantee that passed on nothing for so long sits on its pieces (or 8 median spread times, if longer). Where none is
    /// in time the median comes to be half of this.
    pub spread_min: Duration,
}
