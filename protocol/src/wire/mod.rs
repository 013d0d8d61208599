//! Messages between peers on the control stream, and the header of a data frame.
//!
//! Frames, limits and versions are in `docs/PROTOCOL.md`; encoding and decoding in [`codec`].
//! Every message is a struct whose later versions may only append fields; an unknown message type is skipped.

pub mod codec;
pub mod fuzz;
#[cfg(test)]
mod tests;

use crate::geometry::{PieceIndex, PieceRange};
use crate::id::{ContentHash, DocumentId, SiteId};
use crate::piece_set::WirePieceSet;
use serde::{Deserialize, Serialize};

/// The newest protocol version that this code speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest protocol version that this code still speaks.
pub const PROTOCOL_VERSION_MIN: u16 = 1;

/// One side's name for a swarm on one connection; what `Open` bound it to.
pub type Channel = u16;

/// Everything that peers say to each other beside artifact bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// First on every connection, from both sides; nothing else is read before it was admitted.
    Hello(Hello),
    /// Answer it with a `Pong` of the same nonce: liveness and round-trip time.
    Ping(u32),
    /// The answer.
    Pong(u32),
    /// Where other members may be reached (at most [`ADDRESSES_MAX`]).
    Addresses(Vec<PeerAddress>),
    /// Documents that the sender holds and the receiver may not.
    Offer(Vec<DocumentOffer>),
    /// Documents that the sender wants.
    Want(Vec<DocumentId>),
    /// One envelope, as it was signed.
    Document(Vec<u8>),
    /// A digest of all documents that the sender holds; on a difference the receiver answers with its offers.
    Digest(CatalogDigest),
    /// The sender takes part in a swarm.
    Open(Open),
    /// The sender leaves a swarm; its channel number may be used again.
    Close(Channel),
    /// Pieces that the sender can serve now.
    Have(Have),
    /// How many more granted pieces the sender is ready to take from a granting peer.
    Credit(Credit),
    /// Asks for bytes.
    Request(Request),
    /// The asked-for bytes are no longer wanted.
    Cancel(Request),
    /// The asked-for bytes will not come.
    Decline(Request),
    /// How the sender serves from now on.
    Mode(ServeMode),
    /// Why the sender ends the connection now.
    Goodbye(Goodbye),
    /// Asks whether the sender can be reached where it listens: answer with a `Probed` of the same nonce. Only to a peer
    /// that names the feature [`FEATURE_PROBE`].
    Probe(u64),
    /// The answer.
    Probed(Probed),
    /// A message of a type that this version does not know; never sent.
    Unknown(u8),
}

impl Message {
    /// Whether it is said only to a peer that was let in.
    pub fn is_for_members(&self) -> bool {
        !matches!(self, Self::Hello(_) | Self::Goodbye(_) | Self::Unknown(_))
    }

    /// About the memory that it takes; on the wire a list of small numbers is a quarter of that.
    pub fn memory_bytes(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|text| size_of_val(text) + text.len()).sum::<usize>();
        let beside = match self {
            Self::Hello(hello) => {
                hello.enrollment.len() + hello.agent.len() + texts(&hello.features) + texts(&hello.listen)
            }
            Self::Addresses(peers) => peers.iter().map(|p| size_of_val(p) + texts(&p.addresses)).sum(),
            Self::Offer(offers) => size_of_val(&offers[..]),
            Self::Want(ids) => size_of_val(&ids[..]),
            Self::Document(envelope) => envelope.len(),
            Self::Open(Open { have: WirePieceSet::Runs(runs), .. }) => size_of_val(&runs[..]),
            Self::Open(Open { have: WirePieceSet::Bitmap(bytes), .. }) => bytes.len(),
            Self::Have(have) => size_of_val(&have.pieces[..]),
            Self::Ping(_) | Self::Pong(_) | Self::Digest(_) | Self::Close(_) | Self::Credit(_) => 0,
            Self::Request(_) | Self::Cancel(_) | Self::Decline(_) => 0,
            Self::Mode(_) | Self::Goodbye(_) | Self::Unknown(_) => 0,
            Self::Probe(_) | Self::Probed(_) => 0,
        };
        size_of::<Self>() + beside
    }
}

/// What became of a [`Message::Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// Of the probe.
    pub nonce: u64,
    /// Whether a new connection came to be, with the identity of the peer that asked.
    pub reached: bool,
}

/// The feature of a peer that answers probes.
pub const FEATURE_PROBE: &str = "probe";

/// How a peer gives out pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServeMode {
    /// A scarce link: the sender chooses; ask for credit.
    Grant,
    /// A cheap link: the receiver chooses; request pieces.
    Pull,
}

/// Why a peer will not have another as its neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// It belongs to another site.
    OtherSite,
    /// No version in common.
    Version,
    /// The mesh is closed, and it is not enrolled.
    NotEnrolled,
    /// The trust root shuts it out.
    Revoked,
    /// A reason of a later version; never sent.
    Unknown,
}

impl Goodbye {
    /// Its number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::OtherSite => 1,
            Self::Version => 2,
            Self::NotEnrolled => 3,
            Self::Revoked => 4,
        }
    }

    /// The reason of a number.
    pub fn of_code(code: u8) -> Self {
        let known = [Self::OtherSite, Self::Version, Self::NotEnrolled, Self::Revoked];
        known.into_iter().find(|goodbye| goodbye.code() == code).unwrap_or(Self::Unknown)
    }
}

/// What a peer says of itself first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Newest protocol version spoken.
    pub version: u16,
    /// Oldest protocol version spoken.
    pub version_min: u16,
    /// Names of optional features; unknown ones are ignored.
    pub features: Vec<String>,
    /// The site; a peer of another site is refused.
    pub site: SiteId,
    /// Software and version, for people.
    pub agent: String,
    /// How the sender serves.
    pub mode: ServeMode,
    /// The sender's Enrollment envelope, or empty; a closed mesh needs it.
    pub enrollment: Vec<u8>,
    /// Addresses at which the sender listens (multiaddr text).
    pub listen: Vec<String>,
}

impl Hello {
    /// Without what its frame has no room for: an enrollment that is too long, which comes with the documents as well,
    /// and addresses that nobody would keep.
    pub fn fitting(mut self) -> Self {
        if self.enrollment.len() > ENROLLMENT_SHOWN_MAX {
            self.enrollment.clear();
        }
        self.listen.retain(|address| address.len() <= ADDRESS_BYTES_MAX);
        self.listen.truncate(ADDRESSES_PER_PEER_MAX);
        self
    }
}

/// Where a peer may be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    /// Who.
    pub peer: crate::id::PeerId,
    /// Multiaddr text, without the peer id.
    pub addresses: Vec<String>,
}

/// Enough of a document to decide whether to want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DocumentOffer {
    /// Its id.
    pub id: DocumentId,
    /// What it is.
    pub kind: DocumentKind,
    /// Envelope bytes.
    pub bytes: u32,
}

/// The six kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// Keys, roles, thresholds.
    TrustRoot,
    /// A signed, numbered set of artifacts.
    Release,
    /// Policy by which a release reaches the site.
    Rollout,
    /// A release taken back.
    Withdrawal,
    /// A device of the site.
    Enrollment,
    /// A device's state.
    Report,
}

/// XOR of all document ids held, and their number: equal catalogs have equal digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CatalogDigest {
    /// How many documents.
    pub count: u32,
    /// XOR of their ids.
    pub xor: [u8; 32],
}

/// The sender takes part in the swarm of `content`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The sender's number for it in every later message of the sender.
    pub channel: Channel,
    /// Which artifact.
    pub content: ContentHash,
    /// Its length; must match the manifest that the receiver trusts.
    pub length: u64,
    /// Its piece size; must match as well.
    pub piece_bytes: u32,
    /// What the sender can serve.
    pub have: WirePieceSet,
}

/// Newly servable pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// The sender's channel.
    pub channel: Channel,
    /// Which pieces.
    pub pieces: Vec<PieceIndex>,
}

/// Readiness for grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// The sender's channel.
    pub channel: Channel,
    /// Pieces that the sender takes beyond those already granted and not yet complete; replaces the last value.
    pub pieces: u16,
}

/// Names bytes of a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The sender's channel.
    pub channel: Channel,
    /// Which bytes.
    pub range: PieceRange,
}

/// Header of a frame on a data stream; the bao encoding of the range follows.
///
/// Sent because of a request, or unasked as (part of) a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataHeader {
    /// The sender's channel.
    pub channel: Channel,
    /// Which bytes.
    pub range: PieceRange,
}

/// The longest enrollment that fits into a hello beside everything else.
pub const ENROLLMENT_SHOWN_MAX: usize = 6 * 1024;
/// Addresses of one peer, and the longest one: neither are more shown in a hello, nor kept by anybody.
pub(crate) const ADDRESSES_PER_PEER_MAX: usize = 8;
pub(crate) const ADDRESS_BYTES_MAX: usize = 128;
/// The most addresses in one message.
pub const ADDRESSES_MAX: usize = 32;
