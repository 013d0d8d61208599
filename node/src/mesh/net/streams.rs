//! A libp2p behaviour that opens one control and one data stream each way on every connection, and nothing else.
//!
//! Streams are few and live as long as the connection: opening one for each piece would lose requests at a busy
//! acceptor. Each side writes on the streams that it opened and reads on those that the other side opened.

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a stream may take to be agreed on.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Control,
    Data,
}

impl Kind {
    fn protocol(self) -> StreamProtocol {
        match self {
            Self::Control => StreamProtocol::new("/samara/control/1"),
            Self::Data => StreamProtocol::new("/samara/data/1"),
        }
    }
}

/// Who opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// They did: we read.
    Inbound,
    /// We did: we write.
    Outbound,
}

/// What a connection tells.
#[derive(Debug)]
pub(super) enum HandlerEvent {
    Opened {
        kind: Kind,
        direction: Direction,
        stream: Stream,
    },
    /// The other side does not speak our protocols, or opens more streams than it may.
    Unusable,
}

/// Agrees on one of the given kinds.
#[derive(Debug, Clone)]
pub(super) struct Upgrade(Vec<Kind>);

impl UpgradeInfo for Upgrade {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;
    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().map(|kind| kind.protocol()).collect::<Vec<_>>().into_iter()
    }
}

fn agreed(protocol: &StreamProtocol) -> Kind {
    if *protocol == Kind::Data.protocol() { Kind::Data } else { Kind::Control }
}

impl InboundUpgrade<Stream> for Upgrade {
    type Output = (Kind, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;
    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((agreed(&protocol), stream)))
    }
}

impl OutboundUpgrade<Stream> for Upgrade {
    type Output = (Kind, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;
    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((agreed(&protocol), stream)))
    }
}

/// One connection's streams while they are being opened.
#[derive(Debug)]
pub(super) struct Handler {
    to_open: VecDeque<Kind>,
    events: VecDeque<HandlerEvent>,
    inbound: Vec<Kind>,
}

impl Handler {
    fn new() -> Self {
        Self { to_open: [Kind::Control, Kind::Data].into(), events: VecDeque::new(), inbound: Vec::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = HandlerEvent;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade, ()> {
        SubstreamProtocol::new(Upgrade(vec![Kind::Control, Kind::Data]), ()).with_timeout(OPEN_TIMEOUT)
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, (), HandlerEvent>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(kind) = self.to_open.pop_front() {
            let protocol = SubstreamProtocol::new(Upgrade(vec![kind]), ()).with_timeout(OPEN_TIMEOUT);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        // Every later event comes through `on_connection_event`, after which the connection polls again.
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade, (), ()>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (kind, stream),
                ..
            }) => {
                if self.inbound.contains(&kind) {
                    self.events.push_back(HandlerEvent::Unusable);
                } else {
                    self.inbound.push(kind);
                    let direction = Direction::Inbound;
                    self.events.push_back(HandlerEvent::Opened { kind, direction, stream });
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (kind, stream),
                ..
            }) => {
                let direction = Direction::Outbound;
                self.events.push_back(HandlerEvent::Opened { kind, direction, stream });
            }
            ConnectionEvent::DialUpgradeError(_) => self.events.push_back(HandlerEvent::Unusable),
            _ => {}
        }
    }
}

/// Hands connections' streams to the network's task.
#[derive(Debug, Default)]
pub(super) struct Streams {
    events: VecDeque<(PeerId, ConnectionId, HandlerEvent)>,
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = (PeerId, ConnectionId, HandlerEvent);

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.events.push_back((peer, id, event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.events.pop_front() {
            Some(event) => Poll::Ready(ToSwarm::GenerateEvent(event)),
            None => Poll::Pending,
        }
    }
}
