//! The task that owns the libp2p swarm: listens, dials, keeps one connection for each pair, and ends connections.
//!
//! The smaller PeerId dials, the larger only half a second later (one of them may be behind a firewall). Of two
//! connections with one peer [`choice`] keeps one. A connection is in one [`State`]; the driver hears of it only
//! while it is live.

mod building;
mod dialling;
mod reaching;

use super::events::Signal;
use super::gate::Refuse;
use super::link::{Four, Link};
use super::listeners::Listeners;
use super::streams::{Direction, HandlerEvent, Kind};
use super::{NetError, NetEvent, NetOptions, address, choice};
#[cfg(test)]
pub(super) use building::transport;
use building::{Behaviour, BehaviourEvent};
use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::swarm::{ConnectionId, DialError, ListenError, Stream, SwarmEvent};
use libp2p::{Multiaddr, Swarm};
use samara_protocol::id::PeerId;
use samara_protocol::wire::codec::WireError;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

/// How long the larger PeerId waits for the smaller to dial: several round trips of a slow link.
const LARGER_WAITS: Duration = Duration::from_millis(500);
/// How long a peer that sent what is no frame is refused.
const FAULT_REFUSED: Duration = Duration::from_secs(600);
/// How long a connection may take to have all its streams.
const HALF_OPEN_MAX: Duration = Duration::from_secs(10);
/// How often connections are looked through for that, and lost listeners opened again.
const TICK: Duration = Duration::from_secs(1);
/// Dials wait so long for our own addresses to be known, so that the first hello tells them.
const ADDRESSES_WAIT: Duration = Duration::from_secs(1);
/// Requests that may wait for the task.
const REQUESTS_MAX: usize = 1024;

/// What the handle asks of the task.
#[derive(Debug)]
pub(super) enum Request {
    Dial { peer: Option<PeerId>, addresses: Vec<String> },
    DialNow { peer: PeerId, addresses: Vec<String> },
    Reach { peer: PeerId, addresses: Vec<String>, answer: oneshot::Sender<bool> },
    Disconnect { peer: PeerId, refuse: Option<Refuse> },
    End { connection: ConnectionId },
    Refuse { peer: PeerId, refuse: Refuse },
    Forgive { peer: Option<PeerId> },
    Fault { peer: PeerId, connection: ConnectionId, end: Option<WireError> },
    Close,
}

/// What handle, driver's end and task share.
#[derive(Debug, Default)]
pub(super) struct Connections {
    links: Mutex<BTreeMap<PeerId, Link>>,
    requests: Mutex<VecDeque<Request>>,
    wake: Notify,
    closed: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub(super) fn with_link<T>(&self, peer: PeerId, body: impl FnOnce(&Link) -> T) -> Option<T> {
        lock(&self.links).get(&peer).map(body)
    }

    pub(super) fn link(&self, peer: PeerId, link: Link) {
        lock(&self.links).insert(peer, link);
    }

    pub(super) fn is_linked(&self, peer: PeerId, connection: ConnectionId) -> bool {
        self.with_link(peer, |link| link.connection() == connection).unwrap_or(false)
    }

    /// Ends the link if it is this connection's.
    pub(super) fn unlink(&self, peer: PeerId, connection: ConnectionId) -> bool {
        let is_linked = self.is_linked(peer, connection);
        if is_linked {
            lock(&self.links).remove(&peer);
        }
        is_linked
    }

    /// Never lost: a full queue drops only dials, which are repeated.
    pub(super) fn request(&self, request: Request) {
        let mut requests = lock(&self.requests);
        if requests.len() >= REQUESTS_MAX && matches!(request, Request::Dial { .. }) {
            return;
        }
        requests.push_back(request);
        drop(requests);
        self.wake.notify_one();
    }

    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }
}

/// A libp2p connection with a peer.
#[derive(Debug)]
struct Connection {
    dialled_by_us: bool,
    /// From where the peer is connected.
    remote: Option<IpAddr>,
    since: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Streams are being opened.
    Opening(BTreeMap<(Kind, Direction), Stream>),
    /// It is the neighbour's.
    Live,
    /// It was; another replaced it.
    Replaced,
}

/// The task.
pub(super) struct Task {
    me: PeerId,
    keypair: Keypair,
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) listeners: Listeners,
    shared: Arc<Connections>,
    signals: mpsc::Sender<Signal>,
    open: BTreeMap<PeerId, BTreeMap<ConnectionId, Connection>>,
    /// Peers that are given time to dial first.
    waiting: BTreeSet<PeerId>,
}

impl Task {
    /// Builds the swarm and binds all its listeners.
    pub(super) fn new(
        options: &NetOptions,
        shared: Arc<Connections>,
        signals: mpsc::Sender<Signal>,
    ) -> Result<Self, NetError> {
        let keypair = address::keypair(options.secret)?;
        let me = address::from_libp2p(&keypair.public().to_peer_id())
            .ok_or_else(|| NetError::Start("not an Ed25519 identity".into()))?;
        let mut swarm = building::swarm(&keypair, options)?;
        let listeners = Listeners::open(&options.listen, |address| swarm.listen_on(address))?;
        let (open, waiting) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { me, keypair, swarm, listeners, shared, signals, open, waiting })
    }

    pub(super) async fn run(mut self) {
        let started = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        loop {
            let shared = self.shared.clone();
            let may_dial = self.listeners.are_told() || started.elapsed() >= ADDRESSES_WAIT;
            tokio::select! {
                _ = tick.tick() => self.on_tick(),
                event = self.swarm.select_next_some() => self.on_event(event).await,
                () = shared.wake.notified(), if may_dial => {
                    if self.on_requests().await {
                        break;
                    }
                }
            }
        }
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        self.shared.closed.notify_one();
    }

    fn on_tick(&mut self) {
        self.listeners.reopen(Instant::now(), |address| self.swarm.listen_on(address));
        // A peer that authenticates and then opens no streams would hold its place for ever.
        let late = |c: &Connection| matches!(c.state, State::Opening(_)) && c.since.elapsed() > HALF_OPEN_MAX;
        let close: Vec<_> =
            self.open.values().flatten().filter(|(_, c)| late(c)).map(|(id, _)| *id).collect();
        for id in close {
            self.swarm.close_connection(id);
        }
    }

    /// True when the network shall close.
    async fn on_requests(&mut self) -> bool {
        let requests = std::mem::take(&mut *lock(&self.shared.requests));
        for request in requests {
            match request {
                Request::Dial { peer, addresses } => self.dial(peer, addresses),
                Request::DialNow { peer, addresses } => self.dial_now(peer, &addresses),
                Request::Reach { peer, addresses, answer } => self.reach(peer, &addresses, answer),
                Request::Disconnect { peer, refuse } => self.disconnect(peer, refuse),
                Request::End { connection } => {
                    self.swarm.close_connection(connection);
                }
                Request::Refuse { peer, refuse } => self.refuse(peer, refuse),
                Request::Forgive { peer } => {
                    let peer = peer.and_then(address::to_libp2p);
                    self.swarm.behaviour_mut().gate.forgive(peer);
                }
                Request::Fault { peer, connection, end } => {
                    if let Some(error) = end {
                        self.disconnect(peer, Some(Refuse::For(FAULT_REFUSED)));
                        tracing::warn!(target: "samara", event = "peer_violation", %peer, reason = %error, "malformed frame");
                        self.say(NetEvent::WireFault { peer, error }).await;
                    } else {
                        self.swarm.close_connection(connection);
                    }
                }
                Request::Close => return true,
            }
        }
        false
    }

    fn disconnect(&mut self, peer: PeerId, refuse: Option<Refuse>) {
        if let Some(refuse) = refuse {
            self.refuse(peer, refuse);
        }
        if let Some(id) = address::to_libp2p(peer) {
            let _ = self.swarm.disconnect_peer_id(id);
        }
    }

    fn refuse(&mut self, peer: PeerId, refuse: Refuse) {
        if let Some(id) = address::to_libp2p(peer) {
            self.swarm.behaviour_mut().gate.refuse(id, refuse);
        }
    }

    async fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams((peer, connection, event))) => {
                if let Some(peer) = address::from_libp2p(&peer) {
                    self.on_stream(peer, connection, event).await;
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Discovery(found)) => self.on_discovered(found).await,
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let Some(peer) = address::from_libp2p(&peer_id) else {
                    self.swarm.close_connection(connection_id);
                    return;
                };
                let (dialled_by_us, since) = (endpoint.is_dialer(), Instant::now());
                let remote = address::ip_of(endpoint.get_remote_address());
                let state = State::Opening(BTreeMap::new());
                let connection = Connection { dialled_by_us, remote, since, state };
                self.open.entry(peer).or_default().insert(connection_id, connection);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                if let Some(peer) = address::from_libp2p(&peer_id) {
                    self.on_closed(peer, connection_id).await;
                }
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.listeners.on_told(listener_id);
                tracing::info!(target: "samara", event = "listening", %address, "listening");
                self.say(NetEvent::Listening { address: address.to_string() }).await;
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                tracing::info!(target: "samara", event = "not_listening", %address, "no longer listening");
                self.say(NetEvent::NotListening { address: address.to_string() }).await;
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                let why = reason.err().map_or_else(|| "closed".into(), |e| e.to_string());
                self.listeners.on_lost(listener_id, &why, Instant::now());
                for address in addresses {
                    self.say(NetEvent::NotListening { address: address.to_string() }).await;
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(target: "samara", event = "listener_error", %error, "cannot accept a connection");
            }
            SwarmEvent::IncomingConnectionError {
                error: ListenError::LocalPeerId { .. },
                send_back_addr: met,
                ..
            }
            | SwarmEvent::OutgoingConnectionError {
                error: DialError::LocalPeerId { address: met }, ..
            } => {
                self.say(NetEvent::OwnIdentity { address: met.to_string() }).await;
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                self.say(NetEvent::Refused { peer: None, why: error.to_string() }).await;
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                let peer = peer_id.as_ref().and_then(address::from_libp2p);
                self.say(NetEvent::Refused { peer, why: error.to_string() }).await;
            }
            _ => {}
        }
    }

    async fn on_discovered(&mut self, found: Vec<(libp2p::PeerId, Multiaddr)>) {
        let mut peers: BTreeMap<PeerId, Vec<String>> = BTreeMap::new();
        for (peer, address) in found {
            if let Some(peer) = address::from_libp2p(&peer) {
                peers.entry(peer).or_default().push(address.to_string());
            }
        }
        for (peer, addresses) in peers {
            self.say(NetEvent::Discovered { peer, addresses }).await;
        }
    }

    async fn on_stream(&mut self, peer: PeerId, id: ConnectionId, event: HandlerEvent) {
        let Some(connection) = self.open.get_mut(&peer).and_then(|all| all.get_mut(&id)) else { return };
        match (event, &mut connection.state) {
            (HandlerEvent::Opened { kind, direction, stream }, State::Opening(streams)) => {
                streams.insert((kind, direction), stream);
                if let Some(four) = four(streams) {
                    self.on_complete(peer, id, four).await;
                }
            }
            _ => {
                self.swarm.close_connection(id);
            }
        }
    }

    /// A connection has all its streams: it becomes the neighbour's, unless an older one stays.
    async fn on_complete(&mut self, peer: PeerId, id: ConnectionId, four: Four) {
        let Some(connections) = self.open.get_mut(&peer) else { return };
        let newer_dialled_by_us = connections.get(&id).is_some_and(|c| c.dialled_by_us);
        let used = connections.iter_mut().find(|(_, c)| matches!(c.state, State::Live));
        if let Some((&used_id, used)) = used {
            let (by_us, age) = (used.dialled_by_us, used.since.elapsed());
            if !choice::replaces(self.me < peer, newer_dialled_by_us, by_us, age) {
                self.swarm.close_connection(id);
                return;
            }
            used.state = State::Replaced;
            self.swarm.close_connection(used_id);
            self.signal(Signal::Down { peer, connection: used_id }).await;
        }
        if let Some(connection) = self.open.get_mut(&peer).and_then(|all| all.get_mut(&id)) {
            connection.state = State::Live;
        }
        if let Some(libp2p_id) = address::to_libp2p(peer) {
            self.swarm.behaviour_mut().gate.on_live(&libp2p_id, id);
        }
        self.signal(Signal::Up { peer, connection: id, four: Box::new(four) }).await;
    }

    async fn on_closed(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(connections) = self.open.get_mut(&peer) else { return };
        let closed = connections.remove(&id);
        if connections.is_empty() {
            self.open.remove(&peer);
        }
        if closed.is_some_and(|c| matches!(c.state, State::Live)) {
            self.signal(Signal::Down { peer, connection: id }).await;
        }
    }

    async fn say(&mut self, event: NetEvent) {
        self.signal(Signal::Net(event)).await;
    }

    // Nobody listens when the owner is gone; the task ends with it.
    async fn signal(&mut self, signal: Signal) {
        let _ = self.signals.send(signal).await;
    }
}

/// All four streams, once they are there.
fn four(streams: &mut BTreeMap<(Kind, Direction), Stream>) -> Option<Four> {
    if streams.len() < 4 {
        return None;
    }
    Some(Four {
        control_in: streams.remove(&(Kind::Control, Direction::Inbound))?,
        control_out: streams.remove(&(Kind::Control, Direction::Outbound))?,
        data_in: streams.remove(&(Kind::Data, Direction::Inbound))?,
        data_out: streams.remove(&(Kind::Data, Direction::Outbound))?,
    })
}
