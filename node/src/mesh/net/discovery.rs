//! Multicast DNS with a bound on what one host can make us remember, and patience with lost packets.
//!
//! libp2p keeps every record until the time that the record itself names, and searches all of them for each new one.
//! When there are more than a site has, all are dropped and multicast is left alone for a while; configured peers,
//! and addresses told by neighbours, go on to work.
//!
//! libp2p asks again and again only until the first answer, then every five minutes. If that one answer leads to no
//! connection, or came from nobody we can reach, a peer would stay alone for so long: as long as it has no connection it
//! begins anew, after 5 s at first and at last every minute.

use libp2p::core::{Endpoint, transport::ListenerId, transport::PortUse};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, ListenAddresses, NetworkBehaviour, NewListenAddr, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId, mdns};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Records kept: a thousand devices, a few addresses each.
pub(super) const RECORDS_MAX: usize = 4096;
/// How long multicast is left alone after a flood.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a peer is alone before it asks anew, at first and at most.
const ALONE_MIN: Duration = Duration::from_secs(5);
const ALONE_MAX: Duration = Duration::from_secs(60);

/// The behaviour; it tells what was discovered.
pub(super) struct Discovery {
    me: PeerId,
    listen: ListenAddresses,
    state: State,
    connections: usize,
    alone: Alone,
}

/// When a peer without connections asks anew.
struct Alone {
    wait: Duration,
    until: Pin<Box<Sleep>>,
}

impl Alone {
    fn new() -> Self {
        Self { wait: ALONE_MIN, until: Box::pin(tokio::time::sleep(ALONE_MIN)) }
    }

    fn again(&mut self) {
        self.wait = (self.wait * 2).min(ALONE_MAX);
        self.until = Box::pin(tokio::time::sleep(self.wait));
    }
}

enum State {
    On(Box<mdns::tokio::Behaviour>),
    Paused(Pin<Box<Sleep>>),
}

impl Discovery {
    pub(super) fn new(me: PeerId) -> io::Result<Self> {
        let state = State::On(Box::new(mdns::tokio::Behaviour::new(mdns::Config::default(), me)?));
        let alone = Alone::new();
        Ok(Self { me, listen: ListenAddresses::default(), state, connections: 0, alone })
    }

    fn resume(&mut self) {
        match mdns::tokio::Behaviour::new(mdns::Config::default(), self.me) {
            Ok(mut behaviour) => {
                for addr in self.listen.iter() {
                    let listener_id = ListenerId::next();
                    let new = NewListenAddr { listener_id, addr };
                    behaviour.on_swarm_event(FromSwarm::NewListenAddr(new));
                }
                self.state = State::On(Box::new(behaviour));
            }
            Err(error) => {
                tracing::warn!(target: "samara", event = "multicast", %error, "multicast does not start");
                self.pause();
            }
        }
    }

    fn pause(&mut self) {
        self.state = State::Paused(Box::pin(tokio::time::sleep(PAUSE)));
    }
}

impl NetworkBehaviour for Discovery {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Vec<(PeerId, Multiaddr)>;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.listen.on_swarm_event(&event);
        match event {
            FromSwarm::ConnectionEstablished(_) => self.connections += 1,
            FromSwarm::ConnectionClosed(_) => {
                self.connections = self.connections.saturating_sub(1);
                if self.connections == 0 {
                    self.alone = Alone::new();
                }
            }
            _ => {}
        }
        if let State::On(behaviour) = &mut self.state {
            behaviour.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while self.connections == 0 && self.alone.until.as_mut().poll(context).is_ready() {
            self.alone.again();
            if matches!(self.state, State::On(_)) {
                self.resume();
            }
        }
        loop {
            match &mut self.state {
                State::On(behaviour) => match behaviour.poll(context) {
                    Poll::Ready(_) if behaviour.discovered_nodes().len() > RECORDS_MAX => {
                        tracing::warn!(target: "samara", event = "multicast", "too many records: multicast pauses");
                        self.pause();
                    }
                    Poll::Ready(ToSwarm::GenerateEvent(mdns::Event::Discovered(found))) => {
                        return Poll::Ready(ToSwarm::GenerateEvent(found));
                    }
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                },
                State::Paused(until) => match until.as_mut().poll(context) {
                    Poll::Ready(()) => self.resume(),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}
