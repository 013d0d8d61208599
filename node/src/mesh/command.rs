//! How the rest of a process talks with the mesh loop: commands in, events out, and a view on request.
//!
//! Both channels are bounded. The loop never waits for a reader of its events, so the two cannot lock each other.

use super::alarms::Alarm;
use crate::mesh::net::NetError;
use samara_protocol::id::{ContentHash, DocumentId, PeerId};
use samara_protocol::mesh::{Input, SwarmPeer, SwarmStats};
use samara_protocol::trust::{Refusal, VerifiedDocument};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for the loop; more make their sender wait.
pub(super) const COMMANDS_MAX: usize = 64;
/// Events that may wait for the reader before they wait inside the loop.
pub(super) const EVENTS_MAX: usize = 64;

/// What the owner of the mesh asks of it.
pub(super) enum Command {
    /// A fact for the machine (swarm opened or closed, intake, mode).
    Tell(Input),
    /// A document made here: check, keep and offer it.
    Publish { envelope: Vec<u8>, answer: oneshot::Sender<Result<DocumentId, PublishError>> },
    /// How many neighbours can reach this peer, of those that are asked.
    AskReach { at_least: u32, answer: oneshot::Sender<(u32, u32)> },
    /// Numbers of the given swarms.
    View { contents: Vec<ContentHash>, answer: oneshot::Sender<MeshView> },
}

/// What the mesh tells its owner.
#[derive(Debug)]
pub enum MeshEvent {
    /// This process listens here.
    Listening(String),
    /// A document was verified and kept (once for each held document at the start, too).
    Document(Box<VerifiedDocument>),
    /// A document that was told is believed no longer.
    DocumentDropped(DocumentId),
    /// Every document that was held at the start has been told.
    Restored,
    /// A peer was admitted, or went away.
    Neighbour {
        /// Who.
        peer: PeerId,
        /// Which of the two.
        connected: bool,
    },
    /// All pieces of a content are verified and readable.
    Complete(ContentHash),
    /// The disk has no room for bytes of this content; intake of it is closed.
    NoSpace(ContentHash),
    /// Bytes on disk no longer match: these pieces count as missing again.
    Damaged(ContentHash),
    /// A file that is served in place was changed by somebody.
    SourceChanged {
        /// What it was.
        content: ContentHash,
        /// The store's words.
        why: String,
    },
    /// Whether the operator's laptop may go.
    SafeToLeave(bool),
}

/// The mesh at one moment.
#[derive(Debug, Clone, Default)]
pub struct MeshView {
    /// Admitted neighbours.
    pub neighbours: Vec<PeerId>,
    /// How many of them are devices that stay, as far as one can know.
    pub devices: usize,
    /// Per content: counters, and what each neighbour holds of it.
    pub swarms: BTreeMap<ContentHash, (SwarmStats, Vec<SwarmPeer>)>,
    /// Whether the operator's laptop may go.
    pub safe_to_leave: bool,
    /// What people should look at.
    pub alarms: Vec<Alarm>,
}

/// Why an own document was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It does not verify, or is older than what is held.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The state file failed.
    #[error("cannot keep the document: {0}")]
    State(String),
    /// One of a device's many reports; the newest is offered again.
    #[error("{0} reports too often")]
    TooOften(PeerId),
    /// The mesh has ended.
    #[error("the mesh has ended")]
    Ended,
}

/// Why the mesh did not start.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The state file.
    #[error("cannot read the state: {0}")]
    State(String),
}

/// The owner's end.
#[derive(Debug, Clone)]
pub struct MeshHandle {
    pub(super) commands: mpsc::Sender<Command>,
}

impl MeshHandle {
    /// Of a mesh that has ended: for the tests of an owner.
    #[cfg(test)]
    pub(crate) fn ended() -> Self {
        Self { commands: mpsc::channel(1).0 }
    }

    /// Tells the machine a fact. Nothing happens when the mesh has ended.
    pub async fn tell(&self, input: Input) {
        let _ = self.commands.send(Command::Tell(input)).await;
    }

    /// Checks, keeps and offers a document made here.
    pub async fn publish(&self, envelope: Vec<u8>) -> Result<DocumentId, PublishError> {
        let (answer, result) = oneshot::channel();
        let _ = self.commands.send(Command::Publish { envelope, answer }).await;
        result.await.unwrap_or(Err(PublishError::Ended))
    }

    /// Asks neighbours to open a new connection to this peer: how many were asked, and how many did. `None` when the mesh
    /// has ended.
    pub async fn ask_reach(&self, at_least: u32) -> Option<(u32, u32)> {
        let (answer, result) = oneshot::channel();
        self.commands.send(Command::AskReach { at_least, answer }).await.ok()?;
        result.await.ok()
    }

    /// The mesh as it is now; `None` when it has ended.
    pub async fn view(&self, contents: Vec<ContentHash>) -> Option<MeshView> {
        let (answer, result) = oneshot::channel();
        self.commands.send(Command::View { contents, answer }).await.ok()?;
        result.await.ok()
    }
}
