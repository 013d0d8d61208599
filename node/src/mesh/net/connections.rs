//! The task that owns the libp2p swarm: listens, dials, keeps one connection for each pair, and ends connections.
//!
//! One connection per pair: the smaller PeerId dials, the larger only after two seconds (one of them may be behind a
//! firewall). Of two connections both sides keep the one that the smaller dialled; of two that one side dialled, that
//! side closes the later.

mod dialling;

use super::link::{Four, Link, LinkEnd};
use super::streams::{Direction, HandlerEvent, Kind, Streams};
use super::{NetError, NetEvent, NetOptions, address};
use futures::StreamExt as _;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{ConnectionId, NetworkBehaviour, Stream, SwarmEvent};
use libp2p::{
    Multiaddr, Swarm, connection_limits, identify, mdns, memory_connection_limits, noise, tcp, yamux,
};
use samara_protocol::id::PeerId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// How long the larger PeerId waits for the smaller to dial.
const LARGER_WAITS: Duration = Duration::from_secs(2);
/// How long a peer that sent what is no frame is refused.
const FAULT_REFUSED: Duration = Duration::from_secs(600);
/// Connections that may be on their way in at once.
const PENDING_MAX: u32 = 32;
/// How long a connection may take to have all its streams.
const HALF_OPEN_MAX: Duration = Duration::from_secs(10);
/// How often connections are looked through for that.
const HALF_OPEN_EVERY: Duration = Duration::from_secs(2);
/// Requests that may wait for the task.
const REQUESTS_MAX: usize = 1024;
/// Streams that a peer may hold open: ours, identify's and a few in change.
const STREAMS_MAX: usize = 16;

/// What the handle asks of the task.
#[derive(Debug)]
pub(super) enum Request {
    Dial { peer: Option<PeerId>, addresses: Vec<String> },
    DialNow { peer: PeerId, addresses: Vec<String> },
    Disconnect { peer: PeerId, refuse_for: Option<Duration> },
    Fault { peer: PeerId, connection: ConnectionId, end: Option<samara_protocol::wire::codec::WireError> },
    Close,
}

/// What handle and task share.
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

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    streams: Streams,
    identify: identify::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

/// A connection on its way to being a neighbour's.
#[derive(Debug)]
struct Connection {
    dialled_by_us: bool,
    streams: BTreeMap<(Kind, Direction), Stream>,
    is_live: bool,
    since: Instant,
}

struct Task {
    me: PeerId,
    swarm: Swarm<Behaviour>,
    shared: Arc<Connections>,
    events: mpsc::Sender<NetEvent>,
    open: BTreeMap<PeerId, BTreeMap<ConnectionId, Connection>>,
    /// Peers that are given time to dial first.
    waiting: BTreeSet<PeerId>,
}

/// Builds the swarm, waits until it listens, starts the task.
pub(super) async fn start(
    options: NetOptions,
    shared: Arc<Connections>,
    events: mpsc::Sender<NetEvent>,
) -> Result<(PeerId, tokio::task::JoinHandle<()>), NetError> {
    let keypair = address::keypair(options.secret)?;
    let me = address::from_libp2p(&keypair.public().to_peer_id())
        .ok_or_else(|| NetError::Start("not an Ed25519 identity".into()))?;
    let mut swarm = build(keypair, &options)?;
    for text in &options.listen {
        let listen = address::parse(text)?;
        swarm
            .listen_on(listen)
            .map_err(|e| NetError::Listen { address: text.clone(), why: e.to_string() })?;
    }
    let mut task = Task { me, swarm, shared, events, open: BTreeMap::new(), waiting: BTreeSet::new() };
    task.wait_listening(&options.listen).await?;
    Ok((me, tokio::spawn(task.run())))
}

fn build(keypair: libp2p::identity::Keypair, options: &NetOptions) -> Result<Swarm<Behaviour>, NetError> {
    let start = |e: &dyn std::fmt::Display| NetError::Start(e.to_string());
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_pending_outgoing(Some(PENDING_MAX))
        .with_max_established(Some(options.connections_max))
        .with_max_established_per_peer(Some(2));
    let public = keypair.public();
    let mdns = if options.mdns {
        let mdns = mdns::tokio::Behaviour::new(mdns::Config::default(), public.to_peer_id());
        Some(mdns.map_err(|e| start(&e))?)
    } else {
        None
    };
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        memory: memory_connection_limits::Behaviour::with_max_bytes(options.memory_bytes_max),
        streams: Streams::new(options.connections_per_address_max),
        identify: identify::Behaviour::new(identify::Config::new("/samara/1".into(), public)),
        mdns: Toggle::from(mdns),
    };
    let streams = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX);
        config
    };
    let builder = libp2p::SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, streams)
        .map_err(|e| start(&e))?;
    let builder = builder.with_behaviour(|_| behaviour).map_err(|e| start(&e))?;
    Ok(builder.build())
}

impl Task {
    async fn wait_listening(&mut self, wanted: &[String]) -> Result<(), NetError> {
        let mut waiting = wanted.len();
        while waiting > 0 {
            match self.swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { address, .. } => {
                    waiting -= 1;
                    say(&self.events, NetEvent::Listening { address: address.to_string() }).await;
                }
                SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                    let address = addresses.first().map_or_else(String::new, Multiaddr::to_string);
                    let why = reason.err().map_or_else(|| "closed".into(), |e| e.to_string());
                    return Err(NetError::Listen { address, why });
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn run(mut self) {
        let mut half_open = tokio::time::interval(HALF_OPEN_EVERY);
        loop {
            let shared = self.shared.clone();
            tokio::select! {
                _ = half_open.tick() => self.close_half_open(),
                event = self.swarm.select_next_some() => self.on_event(event).await,
                () = shared.wake.notified() => {
                    if self.on_requests().await {
                        break;
                    }
                }
            }
        }
        lock(&self.shared.links).clear();
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        self.shared.closed.notify_one();
    }

    /// A peer that authenticates and then opens no streams would hold its place for ever.
    fn close_half_open(&mut self) {
        let late = |c: &Connection| !c.is_live && c.since.elapsed() > HALF_OPEN_MAX;
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
                Request::Disconnect { peer, refuse_for } => self.disconnect(peer, refuse_for),
                Request::Fault { peer, connection, end } => {
                    if let Some(error) = end {
                        self.disconnect(peer, Some(FAULT_REFUSED));
                        say(&self.events, NetEvent::WireFault { peer, error }).await;
                    } else {
                        self.swarm.close_connection(connection);
                    }
                }
                Request::Close => return true,
            }
        }
        false
    }

    fn disconnect(&mut self, peer: PeerId, refuse_for: Option<Duration>) {
        let Some(id) = address::to_libp2p(peer) else { return };
        if let Some(duration) = refuse_for {
            self.swarm.behaviour_mut().streams.refuse(id, duration);
        }
        let _ = self.swarm.disconnect_peer_id(id);
    }

    async fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams((peer, connection, event))) => {
                if let Some(peer) = address::from_libp2p(&peer) {
                    self.on_stream(peer, connection, event).await;
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                let mut peers: BTreeMap<PeerId, Vec<String>> = BTreeMap::new();
                for (peer, address) in found {
                    if let Some(peer) = address::from_libp2p(&peer) {
                        peers.entry(peer).or_default().push(address.to_string());
                    }
                }
                for (peer, addresses) in peers {
                    say(&self.events, NetEvent::Discovered { peer, addresses }).await;
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let Some(peer) = address::from_libp2p(&peer_id) else {
                    self.swarm.close_connection(connection_id);
                    return;
                };
                self.on_established(peer, connection_id, endpoint.is_dialer());
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                if let Some(peer) = address::from_libp2p(&peer_id) {
                    self.on_closed(peer, connection_id).await;
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                say(&self.events, NetEvent::Listening { address: address.to_string() }).await;
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                say(&self.events, NetEvent::Refused { peer: None, why: error.to_string() }).await;
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                let peer = peer_id.as_ref().and_then(address::from_libp2p);
                say(&self.events, NetEvent::Refused { peer, why: error.to_string() }).await;
            }
            _ => {}
        }
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, dialled_by_us: bool) {
        let connections = self.open.entry(peer).or_default();
        connections.insert(
            id,
            Connection { dialled_by_us, streams: BTreeMap::new(), is_live: false, since: Instant::now() },
        );
        if connections.len() < 2 {
            return;
        }
        let smaller_is_us = self.me < peer;
        let by_smaller = |c: &Connection| c.dialled_by_us == smaller_is_us;
        let (good, bad): (Vec<_>, Vec<_>) = connections.iter().partition(|(_, c)| by_smaller(c));
        let close: Vec<ConnectionId> = if good.is_empty() || bad.is_empty() {
            // One side dialled both: it closes all but its first.
            connections.iter().skip(1).filter(|(_, c)| c.dialled_by_us).map(|(id, _)| *id).collect()
        } else {
            bad.into_iter().map(|(id, _)| *id).collect()
        };
        for id in close {
            self.swarm.close_connection(id);
        }
    }

    async fn on_stream(&mut self, peer: PeerId, id: ConnectionId, event: HandlerEvent) {
        let Some(connection) = self.open.get_mut(&peer).and_then(|all| all.get_mut(&id)) else { return };
        match event {
            HandlerEvent::Opened { kind, direction, stream } => {
                connection.streams.insert((kind, direction), stream);
            }
            HandlerEvent::Unusable => {
                self.swarm.close_connection(id);
                return;
            }
        }
        self.go_live(peer).await;
    }

    /// Makes a complete connection the neighbour's, if none is yet.
    async fn go_live(&mut self, peer: PeerId) {
        let Some(connections) = self.open.get_mut(&peer) else { return };
        if connections.values().any(|c| c.is_live) {
            return;
        }
        let Some((&id, connection)) = connections.iter_mut().find(|(_, c)| c.streams.len() == 4) else {
            return;
        };
        let mut take = |kind, direction| connection.streams.remove(&(kind, direction));
        let (Some(control_in), Some(control_out), Some(data_in), Some(data_out)) = (
            take(Kind::Control, Direction::Inbound),
            take(Kind::Control, Direction::Outbound),
            take(Kind::Data, Direction::Inbound),
            take(Kind::Data, Direction::Outbound),
        ) else {
            return;
        };
        connection.is_live = true;
        let shared = self.shared.clone();
        let ended = move |end| {
            let end = match end {
                LinkEnd::Closed => None,
                LinkEnd::Fault(error) => Some(error),
            };
            shared.request(Request::Fault { peer, connection: id, end });
        };
        // The driver may answer `Connected` at once: the link must stand by then, and read nothing before it.
        let Ok(permit) = self.events.reserve().await else { return };
        let mut links = lock(&self.shared.links);
        permit.send(NetEvent::Connected { peer });
        let link =
            Link::start(peer, Four { control_in, control_out, data_in, data_out }, &self.events, ended);
        links.insert(peer, link);
    }

    async fn on_closed(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(connections) = self.open.get_mut(&peer) else { return };
        let was_live = connections.remove(&id).is_some_and(|c| c.is_live);
        if connections.is_empty() {
            self.open.remove(&peer);
        }
        if was_live {
            lock(&self.shared.links).remove(&peer);
            say(&self.events, NetEvent::Disconnected { peer }).await;
            self.go_live(peer).await;
        }
    }
}

// Nobody listens when the owner is gone; the task ends with it.
async fn say(events: &mpsc::Sender<NetEvent>, event: NetEvent) {
    let _ = events.send(event).await;
}
