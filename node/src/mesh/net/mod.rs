//! The network behind one handle: libp2p over TCP, Noise and Yamux, mDNS, limits. Nobody else names a libp2p type.
//!
//! One task owns the libp2p swarm. A neighbour is one connection with four streams (`streams`), read and written by
//! four tasks (`link`). Queues are bounded: what a peer sends waits in TCP, what it does not take costs it the
//! connection.

mod address;
mod choice;
mod connections;
mod discovery;
mod endpoint;
mod events;
mod frames;
mod gate;
mod link;
mod listeners;
mod muxer;
mod socket;
mod streams;

pub use endpoint::{AddressError, DialAddress, ListenAddress};
pub use events::NetEvents;
pub use gate::Refuse;
pub use link::DataFrame;

use connections::{Connections, Request, Task};
use link::Link;
use samara_protocol::id::PeerId;
use samara_protocol::wire::codec::WireError;
use samara_protocol::wire::{DataHeader, Message};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// Events that may wait for the driver; a data event holds a frame of up to 272 KiB.
const EVENTS_MAX: usize = 32;

/// How long the last bytes may take to leave.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// How the network is set up.
#[derive(Debug, Clone)]
pub struct NetOptions {
    /// Ed25519 secret: the identity.
    pub secret: [u8; 32],
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// Whether to find peers by multicast.
    pub mdns: bool,
    /// Most connections at once; protects memory and descriptors.
    pub connections_max: u32,
    /// Most connections from one address; a site behind one router, or a demo, has many.
    pub connections_per_address_max: usize,
    /// Connections are refused while the process holds more memory than this.
    pub memory_bytes_max: usize,
}

impl NetOptions {
    /// The defaults for this identity: nothing to listen on, no multicast.
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            listen: Vec::new(),
            mdns: false,
            connections_max: 64,
            connections_per_address_max: 64,
            memory_bytes_max: 256 << 20,
        }
    }
}

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Where.
        address: ListenAddress,
        /// The system's words.
        why: String,
    },
    /// Something in libp2p.
    #[error("cannot start the network: {0}")]
    Start(String),
}

/// A peer that is not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer is gone, or its queue is full")]
pub struct Gone;

/// What happened on the network.
#[derive(Debug)]
pub enum NetEvent {
    /// A connection stands and all its streams are usable.
    Connected {
        /// Who.
        peer: PeerId,
    },
    /// It ended.
    Disconnected {
        /// Who.
        peer: PeerId,
    },
    /// A control message came.
    Control {
        /// From whom.
        peer: PeerId,
        /// What.
        message: Message,
    },
    /// A data frame came.
    Data {
        /// From whom.
        peer: PeerId,
        /// The sender's channel and the range.
        header: DataHeader,
        /// The bao encoding.
        bytes: bytes::Bytes,
    },
    /// A frame was handed to the connection.
    Written {
        /// To whom.
        peer: PeerId,
        /// Which.
        token: u64,
    },
    /// Multicast found a peer.
    Discovered {
        /// Who.
        peer: PeerId,
        /// Where.
        addresses: Vec<String>,
    },
    /// This process listens here.
    Listening {
        /// Where.
        address: String,
    },
    /// This process listens here no longer.
    NotListening {
        /// Where.
        address: String,
    },
    /// A connection ended at a peer with this one's own identity; it may be this one itself.
    OwnIdentity {
        /// Where it was met.
        address: String,
    },
    /// A connection did not come to be.
    Refused {
        /// With whom, where known.
        peer: Option<PeerId>,
        /// Why.
        why: String,
    },
    /// A peer sent what is no frame; it is disconnected and refused.
    WireFault {
        /// Who.
        peer: PeerId,
        /// What was wrong.
        error: WireError,
    },
}

/// The handle.
#[derive(Debug)]
pub struct Net {
    connections: Arc<Connections>,
    task: tokio::task::JoinHandle<()>,
}

impl Net {
    /// Starts listening, in a Tokio runtime. All listen addresses must work.
    pub fn start(options: &NetOptions) -> Result<(Self, NetEvents), NetError> {
        let (signals, signals_out) = mpsc::channel(EVENTS_MAX);
        let connections = Arc::new(Connections::default());
        let events = NetEvents::new(signals_out, signals.downgrade(), connections.clone());
        let task = tokio::spawn(Task::new(options, connections.clone(), signals)?.run());
        Ok((Self { connections, task }, events))
    }

    /// Queues a message. A peer whose queue is full is disconnected.
    pub fn send_control(&self, peer: PeerId, message: Message) {
        if self.connections.with_link(peer, |link| link.send_control(message)) == Some(false) {
            self.disconnect(peer, None);
        }
    }

    /// Queues a frame; `Written` with its token follows, unless the connection ends before.
    pub fn send_data(&self, peer: PeerId, frame: DataFrame, token: u64) -> Result<(), Gone> {
        match self.connections.with_link(peer, |link| link.send_data(frame, token)) {
            Some(true) => Ok(()),
            Some(false) | None => Err(Gone),
        }
    }

    /// Forgets a queued frame, if its writing has not begun; then no `Written` comes.
    pub fn cancel_data(&self, peer: PeerId, token: u64) -> bool {
        self.connections.with_link(peer, |link| link.cancel_data(token)).unwrap_or(false)
    }

    /// Ends all connections with a peer, and refuses it for a while if so wanted.
    pub fn disconnect(&self, peer: PeerId, refuse: Option<Refuse>) {
        self.connections.request(Request::Disconnect { peer, refuse });
    }

    /// Takes no further connection of a peer for a while. The one that stands ends after `last_words`, unless the task is
    /// aborted before; a later one is left alone.
    pub fn part(&self, peer: PeerId, refuse: Refuse, last_words: Duration) -> Option<AbortHandle> {
        self.connections.request(Request::Refuse { peer, refuse });
        let connection = self.connections.with_link(peer, Link::connection)?;
        let connections = self.connections.clone();
        let end = async move {
            tokio::time::sleep(last_words).await;
            connections.request(Request::End { connection });
        };
        Some(tokio::spawn(end).abort_handle())
    }

    /// This peer, or any where none is named, is not refused as a stranger any more.
    pub fn forgive(&self, peer: Option<PeerId>) {
        self.connections.request(Request::Forgive { peer });
    }

    /// Dials. Nothing happens when the peer is connected, is being dialled, or is refused.
    pub fn dial(&self, peer: Option<PeerId>, addresses: Vec<String>) {
        self.connections.request(Request::Dial { peer, addresses });
    }

    /// Whether a new connection to a neighbour comes to be at one of these addresses; only those of the machine from which
    /// it is connected are tried, and the connection ends at once.
    pub fn reach(&self, peer: PeerId, addresses: Vec<String>) -> oneshot::Receiver<bool> {
        let (answer, result) = oneshot::channel();
        self.connections.request(Request::Reach { peer, addresses, answer });
        result
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.connections.request(Request::Close);
        let _ = tokio::time::timeout(CLOSE_MAX, self.connections.closed()).await;
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
