//! One artifact's swarm seen from here: what is missing and whom to ask, what was granted and who holds what.
//!
//! Bytes and signatures are absent; the geometry is already trusted.
//! [`order`] and [`picker`] are the receiver's side, [`holders`] and [`ledger`] the sender's on a scarce link; [`unopened`]
//! keeps swarms that wait for room.

pub mod grant;
mod grantee;
pub mod holders;
pub mod ledger;
pub mod order;
pub mod picker;
pub mod unopened;

use crate::geometry::{Geometry, PieceIndex, PieceRange};
use crate::id::PeerId;
use crate::peer_map::PeerMap;
use crate::piece_set::PieceSet;
use crate::time::Timestamp;
use crate::wire::Channel;
use holders::Holders;
use ledger::Ledger;
use picker::Picker;
use std::collections::BTreeMap;

/// A neighbour that takes part.
#[derive(Debug, Clone)]
pub struct Party {
    /// What it has.
    pub have: PieceSet,
    /// Pieces that it is ready to be granted.
    pub credit: u16,
    /// Whether it had everything when it joined: it may be a seeder, which wants every have.
    pub joined_full: bool,
    /// False when it certainly has nothing to ask for.
    pub may_help: bool,
    /// Pieces it granted since it was last sent credit.
    pub granted: u16,
}

/// What a complete peer that wants nothing keeps, to grant pieces and to know when it may go.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Who holds what.
    pub holders: Holders,
    /// What was granted.
    pub ledger: Ledger,
}

/// Bytes counted for people.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Verified bytes by source.
    pub received: BTreeMap<PeerId, u64>,
    /// Arrived and not needed.
    pub duplicate: u64,
    /// Handed to the network.
    pub sent: u64,
    /// Granted again.
    pub repair: u64,
    /// Did not match the content hash.
    pub wrong: u64,
}

/// The swarm of one artifact.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// Its shape.
    pub geometry: Geometry,
    /// Our number for it on every connection.
    pub channel: Channel,
    /// Whether missing pieces are wanted.
    pub is_wanted: bool,
    /// Whether there is room for them.
    pub has_intake: bool,
    /// After a failed disk operation nothing is asked for until then.
    pub paused_until: Timestamp,
    /// The pieces.
    pub picker: Picker,
    /// The neighbours that take part.
    pub parties: PeerMap<Party>,
    /// Present at a complete peer that wants nothing.
    pub origin: Option<Origin>,
    /// Stored and not yet announced to everybody.
    pub unannounced: Vec<PieceIndex>,
    /// Counters.
    pub counters: Counters,
}

impl Swarm {
    /// Whether pieces may be asked for and taken.
    pub fn takes(&self) -> bool {
        self.is_wanted && self.has_intake && !self.picker.have().is_full()
    }

    /// Artifact bytes of a valid range.
    pub fn bytes(&self, range: PieceRange) -> u64 {
        self.geometry.byte_range(range).1
    }

    /// Pieces became missing again: everybody may help.
    pub fn hope(&mut self) {
        self.parties.values_mut().for_each(|party| party.may_help = true);
    }
}
