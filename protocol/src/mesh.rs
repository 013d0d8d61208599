//! One peer's view of the mesh: neighbours, swarms and the catalog behind one state machine.
//!
//! The driver (daemon, seeder or simulator) turns network and store events into [`Input`]s and carries out
//! [`Action`]s. Artifact bytes stay with the driver, under a [`Ticket`].

mod admission;
mod announce;
mod config;
mod counting;
mod documents;
mod grants;
mod machine;
mod parties;
mod reach;
mod requests;
mod transfer;

#[cfg(test)]
mod tests;

pub use config::{MeshConfig, SwarmPeer, SwarmStats};
pub use machine::Mesh;

use crate::geometry::{Geometry, PieceIndex, PieceRange};
use crate::id::{ContentHash, DocumentId, PeerId, SiteId};
use crate::piece_set::PieceSet;
use crate::trust::Verdict;
use crate::wire::{DocumentOffer, Goodbye, Hello, Message, ServeMode};

/// The driver's name for one received data frame whose bytes it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// An encrypted connection with `peer` stands. The machine answers with its hello.
    Connected {
        /// Who.
        peer: PeerId,
    },
    /// The connection ended.
    Disconnected {
        /// Who.
        peer: PeerId,
    },
    /// Something outside the mesh (mDNS) said where a peer may be reached.
    Heard {
        /// Who.
        peer: PeerId,
        /// Where (multiaddr text).
        addresses: Vec<String>,
    },
    /// An [`Action::Dial`] came to nothing.
    DialFailed {
        /// Whom it was to reach.
        peer: PeerId,
    },
    /// A control message arrived.
    Received {
        /// From whom.
        peer: PeerId,
        /// What.
        message: Message,
    },
    /// The driver checked a hello that [`Action::Admit`] named: the peer is a member. Said of one that is a member
    /// already, it tells that its enrollment came, or went.
    Admitted {
        /// Who.
        peer: PeerId,
        /// Whether it is an enrolled, unrevoked device (only those count for `safe_to_leave`).
        enrolled_device: bool,
    },
    /// A data frame arrived; the driver holds its bytes until `Store` or `Discard` names the ticket.
    DataReceived {
        /// From whom.
        peer: PeerId,
        /// The sender's channel and the range.
        header: crate::wire::DataHeader,
        /// The bytes.
        ticket: Ticket,
    },
    /// The bytes were checked against the content hash and are readable.
    Stored {
        /// Which.
        ticket: Ticket,
    },
    /// The bytes were not stored.
    StoreFailed {
        /// Which.
        ticket: Ticket,
        /// Why.
        fault: StoreFault,
    },
    /// The bytes of a [`Action::Serve`] were handed to the kernel.
    Served {
        /// To whom.
        peer: PeerId,
        /// Of what.
        content: ContentHash,
        /// Which.
        range: PieceRange,
    },
    /// The bytes of a [`Action::Serve`] could not be read, or the stream is gone.
    ServeFailed {
        /// To whom.
        peer: PeerId,
        /// Of what.
        content: ContentHash,
        /// Which.
        range: PieceRange,
    },
    /// This peer takes part in a swarm of an artifact that a verified document names.
    SwarmOpened {
        /// Which artifact.
        content: ContentHash,
        /// Its shape, from the manifest.
        geometry: Geometry,
        /// What the store really holds.
        have: PieceSet,
        /// Whether missing pieces are wanted (false: only serve what is there).
        wanted: bool,
        /// Pieces this peer already granted once, from its persisted ledger (empty on devices).
        granted: PieceSet,
    },
    /// This peer no longer takes part.
    SwarmClosed {
        /// Which artifact.
        content: ContentHash,
    },
    /// The store lost pieces (found by re-verification): they are missing again.
    PiecesLost {
        /// Of what.
        content: ContentHash,
        /// Which.
        pieces: Vec<PieceIndex>,
    },
    /// No pieces may be asked for (disk full) or they may again.
    Intake {
        /// Of what.
        content: ContentHash,
        /// Whether bytes are wanted.
        open: bool,
    },
    /// A document was verified, made durable and may be offered; `replaces` is no longer offered.
    DocumentHeld {
        /// The document.
        offer: DocumentOffer,
        /// From whom it came, if from a peer.
        from: Option<PeerId>,
        /// An older document that it makes obsolete.
        replaces: Option<DocumentId>,
    },
    /// A document that was held is believed no longer.
    DocumentDropped(DocumentId),
    /// A document from a peer was refused.
    DocumentRefused {
        /// From whom.
        peer: PeerId,
        /// Which.
        id: DocumentId,
        /// Whether the peer is to blame, and whether another copy may do.
        verdict: Verdict,
    },
    /// The answer to [`Action::ReadDocument`]; `None` when it is gone.
    DocumentRead {
        /// For whom.
        peer: PeerId,
        /// The envelope.
        envelope: Option<Vec<u8>>,
    },
    /// The time that `poll_timeout` named has come.
    Timeout,
    /// This peer, or any where none is named, may have become a member, or may let this one in now.
    MayBeMember {
        /// Who, if it is one.
        peer: Option<PeerId>,
    },
    /// So many unrevoked devices are enrolled at the site, connected here or not.
    DevicesEnrolled(usize),
    /// The operator changed how this peer serves.
    ModeChanged(ServeMode),
    /// Whether neighbours can reach this peer is to be found out; [`Action::Reached`] answers.
    AskReach {
        /// So many are enough.
        at_least: u32,
    },
    /// The answer to [`Action::Probe`].
    Probed {
        /// Who asked.
        peer: PeerId,
        /// Whether it was reached.
        reached: bool,
    },
}

/// Why received bytes were not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// They do not match the content hash; the first wrong chunk group, counted in the artifact.
    WrongBytes {
        /// Index of the 16 KiB group.
        group: u64,
    },
    /// No room on the disk.
    NoSpace,
    /// The disk failed, or the store was busy; not the peer's fault.
    Io,
}

/// What the driver shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a control message. The driver's queue per peer is bounded; when it is full it disconnects the peer.
    Send {
        /// To whom.
        peer: PeerId,
        /// What.
        message: Message,
    },
    /// Check membership of a peer by its hello, then answer `Admitted` or disconnect it.
    Admit {
        /// Who.
        peer: PeerId,
        /// What it said.
        hello: Hello,
    },
    /// A peer of this site says why it ends the connection, which it does.
    GoodbyeHeard {
        /// Who.
        peer: PeerId,
        /// Why.
        goodbye: Goodbye,
    },
    /// A member lets this peer in: it said what it says to members only.
    LetIn {
        /// Who.
        peer: PeerId,
    },
    /// End the connection; what was sent before still goes out where the peer is only not wanted.
    Disconnect {
        /// Whom.
        peer: PeerId,
        /// Why.
        reason: DisconnectReason,
    },
    /// Read bytes, encode them and send them on the data stream; answer `Served` or `ServeFailed`.
    Serve {
        /// To whom.
        peer: PeerId,
        /// Of what.
        content: ContentHash,
        /// What to write before the bytes.
        header: crate::wire::DataHeader,
    },
    /// Forget a `Serve` that has not begun; no answer if forgotten.
    CancelServe {
        /// To whom.
        peer: PeerId,
        /// Of what.
        content: ContentHash,
        /// Which.
        range: PieceRange,
    },
    /// Verify and store the bytes of a ticket; answer `Stored` or `StoreFailed`.
    Store {
        /// Which.
        ticket: Ticket,
        /// Of what.
        content: ContentHash,
        /// Which.
        range: PieceRange,
    },
    /// Drop the bytes of a ticket.
    Discard {
        /// Which.
        ticket: Ticket,
    },
    /// A piece is verified and readable here now.
    PieceStored {
        /// Of what.
        content: ContentHash,
        /// Which.
        piece: PieceIndex,
        /// Who sent (the last part of) it.
        from: PeerId,
    },
    /// A swarm that the driver opened stays closed until others are closed: peers would not take one more of this peer, or
    /// not so many pieces.
    NotOpened {
        /// Of what.
        content: ContentHash,
    },
    /// All pieces are here.
    ContentComplete {
        /// Of what.
        content: ContentHash,
    },
    /// A piece was granted for the first time; the ledger survives a restart (batched by the driver).
    Granted {
        /// Of what.
        content: ContentHash,
        /// Which.
        piece: PieceIndex,
        /// To whom.
        peer: PeerId,
    },
    /// Verify a document from a peer; answer `DocumentHeld` or `DocumentRefused`, or nothing when the peer sends more
    /// than can be checked: it is asked for again.
    CheckDocument {
        /// From whom.
        peer: PeerId,
        /// The envelope.
        envelope: Vec<u8>,
    },
    /// Read a held document; answer `DocumentRead`.
    ReadDocument {
        /// For whom.
        peer: PeerId,
        /// Which.
        id: DocumentId,
    },
    /// Connect to a peer, unless it is connected or being dialled; `Connected` or `DialFailed` may follow.
    Dial {
        /// Whom, where known.
        peer: Option<PeerId>,
        /// Where (multiaddr text).
        addresses: Vec<String>,
    },
    /// Every piece of every open swarm and every document is held by enough enrolled live devices (or no longer).
    SafeToLeave(bool),
    /// Open a new connection to a neighbour beside the one that stands, and close it; answer `Probed`. Only addresses
    /// with the IP of the connection that stands may be dialled: nobody makes us knock at a third party's door.
    Probe {
        /// Whom.
        peer: PeerId,
        /// Where it says that it listens (multiaddr text).
        addresses: Vec<String>,
    },
    /// How many neighbours were asked to reach this peer, and how many did.
    Reached {
        /// Those that were asked.
        asked: u32,
        /// Those that reached it.
        reached: u32,
    },
}

/// Why a connection is ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// The peer broke the protocol: refuse it for a while.
    #[error("protocol violation: {0}")]
    Violation(Violation),
    /// No versions in common.
    #[error("no common protocol version")]
    Version,
    /// Another site.
    #[error("the peer belongs to another site, {0}")]
    OtherSite(SiteId),
    /// It said nothing for too long.
    #[error("silent for too long")]
    Silent,
    /// More neighbours than wanted; it was told of others.
    #[error("too many neighbours")]
    Surplus,
    /// Nothing passed for a while, and another peer shall have its place.
    #[error("idle; another peer takes its place")]
    Idle,
}

/// What no honest peer does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Bytes that do not match the content hash.
    #[error("wrong bytes for chunk group {group} of {content}")]
    WrongBytes {
        /// Of what.
        content: ContentHash,
        /// Which 16 KiB group of the artifact.
        group: u64,
    },
    /// A message out of order, out of bounds, or more of them than any honest peer sends.
    #[error("{0}")]
    Message(&'static str),
    /// A document that no honest peer passes on.
    #[error("passed on a document that does not verify")]
    Document,
}
