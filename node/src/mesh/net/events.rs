//! The way of events to the driver: what it is told of a neighbour is always of the connection that it knows of.
//!
//! A connection becomes the neighbour's when the driver reads of it, and stops being so in the same way. What an
//! older connection's tasks had still put in the queue is dropped here, and nothing that the driver says to a
//! connection that has ended goes out on the next one.

use super::NetEvent;
use super::connections::{Connections, Request};
use super::link::{Four, Link, LinkEnd};
use libp2p::swarm::ConnectionId;
use samara_protocol::id::PeerId;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What stands in the queue.
pub(super) enum Signal {
    /// A connection has all its streams.
    Up { peer: PeerId, connection: ConnectionId, four: Box<Four> },
    /// It has ended, or another replaces it.
    Down { peer: PeerId, connection: ConnectionId },
    /// From a connection's tasks.
    Link { peer: PeerId, connection: ConnectionId, event: NetEvent },
    /// Of no connection.
    Net(NetEvent),
}

/// A connection's way into the queue.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) signals: mpsc::Sender<Signal>,
}

/// Nobody listens any more.
pub(super) struct Unheard;

impl Outlet {
    /// Waits for room: that is what holds a fast sender back.
    pub(super) async fn say(&self, event: NetEvent) -> Result<(), Unheard> {
        let signal = Signal::Link { peer: self.peer, connection: self.connection, event };
        self.signals.send(signal).await.map_err(|_| Unheard)
    }
}

/// The driver's end.
pub struct NetEvents {
    signals: mpsc::Receiver<Signal>,
    /// For new connections' tasks; weak, so that the end of all others is seen.
    sender: mpsc::WeakSender<Signal>,
    connections: Arc<Connections>,
}

impl NetEvents {
    pub(super) fn new(
        signals: mpsc::Receiver<Signal>,
        sender: mpsc::WeakSender<Signal>,
        connections: Arc<Connections>,
    ) -> Self {
        Self { signals, sender, connections }
    }

    /// The next event; `None` when the network has ended. Nothing is lost when the wait is given up.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        loop {
            let signal = self.signals.recv().await?;
            if let Some(event) = self.take(signal) {
                return Some(event);
            }
        }
    }

    fn take(&self, signal: Signal) -> Option<NetEvent> {
        match signal {
            Signal::Net(event) => Some(event),
            Signal::Link { peer, connection, event } => {
                self.connections.is_linked(peer, connection).then_some(event)
            }
            Signal::Down { peer, connection } => {
                self.connections.unlink(peer, connection).then_some(NetEvent::Disconnected { peer })
            }
            Signal::Up { peer, connection, four } => {
                let outlet = Outlet { peer, connection, signals: self.sender.upgrade()? };
                let shared = self.connections.clone();
                let ended = move |end| {
                    let end = match end {
                        LinkEnd::Closed => None,
                        LinkEnd::Fault(error) => Some(error),
                    };
                    shared.request(Request::Fault { peer, connection, end });
                };
                self.connections.link(peer, Link::start(*four, &outlet, ended));
                Some(NetEvent::Connected { peer })
            }
        }
    }
}
