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
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How long a stream may take to be agreed on.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Most refused peers that are remembered.
const REFUSED_MAX: usize = 4096;

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
        self.events.truncate(8);
    }
}

/// Hands connections' streams to the network's task, and turns refused peers and crowded addresses away.
#[derive(Debug)]
pub(super) struct Streams {
    events: VecDeque<(PeerId, ConnectionId, HandlerEvent)>,
    refused: BTreeMap<PeerId, Instant>,
    addresses: HashMap<ConnectionId, IpAddr>,
    per_address_max: usize,
}

/// Why a connection was turned away.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("the peer is refused for a while")]
    Refused,
    #[error("too many connections from one address")]
    Crowded,
}

impl Streams {
    pub(super) fn new(per_address_max: usize) -> Self {
        Self { events: VecDeque::new(), refused: BTreeMap::new(), addresses: HashMap::new(), per_address_max }
    }

    /// Refuses a peer until a time.
    pub(super) fn refuse(&mut self, peer: PeerId, duration: Duration) {
        let now = Instant::now();
        self.refused.retain(|_, until| *until > now);
        if self.refused.len() < REFUSED_MAX {
            self.refused.insert(peer, now + duration);
        }
    }

    pub(super) fn is_refused(&self, peer: &PeerId) -> bool {
        self.refused.get(peer).is_some_and(|until| *until > Instant::now())
    }

    fn admit(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        if self.is_refused(peer) { Err(ConnectionDenied::new(Denied::Refused)) } else { Ok(()) }
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Ip4(ip) => Some(ip.into()),
        libp2p::multiaddr::Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    })
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = (PeerId, ConnectionId, HandlerEvent);

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(ip) = ip_of(remote) else { return Ok(()) };
        let same = self.addresses.values().filter(|other| **other == ip).count();
        if same >= self.per_address_max { Err(ConnectionDenied::new(Denied::Crowded)) } else { Ok(()) }
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)?;
        if let Some(ip) = ip_of(remote) {
            self.addresses.insert(id, ip);
        }
        Ok(Handler::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)?;
        Ok(Handler::new())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.addresses.remove(&closed.connection_id);
            }
            FromSwarm::ListenFailure(failure) => {
                self.addresses.remove(&failure.connection_id);
            }
            _ => {}
        }
    }

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
