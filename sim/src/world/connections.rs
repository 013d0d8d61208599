//! Connections: dialled, broken off, and what travels on them in order.
//!
//! A connection has two ends that close one after the other; a message for an end that is closed is lost, one for a
//! peer whose link is down waits until the link is up (TCP sends it again).

use super::clock::Nanos;
use super::peer::{ConnectionId, PeerIndex};
use super::transfer::Pipe;
use super::{Event, World};
use samara_protocol::id::PeerId;
use samara_protocol::mesh::Input;
use samara_protocol::wire::Message;
use samara_protocol::wire::codec::encode_control;

/// A dial that nobody answers ends after this: the kernel gives up, or the daemon does.
const DIAL_TIMEOUT_SECONDS: f64 = 10.0;
/// How long the daemon refuses a peer that broke the protocol.
const REFUSED_NANOS: u64 = 600_000_000_000;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Dialler,
    Listener,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}

/// What travels on a connection.
#[derive(Debug)]
pub(super) enum Cargo {
    Control(Message),
    Data {
        content: usize,
        header: samara_protocol::wire::DataHeader,
        is_wrong: bool,
    },
    /// The other end was closed.
    Close,
}

/// What belongs to one end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) peer: PeerIndex,
    pub(super) is_open: bool,
    /// What this end sends.
    pub(super) pipe: Pipe,
    /// When the last message for this end arrives: later ones do not overtake it.
    arrives_at: Nanos,
    /// What waits for a link that is down.
    held: Vec<Cargo>,
}

/// A connection between two peers.
#[derive(Debug)]
pub(super) struct Connection {
    ends: [End; 2],
}

impl Connection {
    pub(super) fn new(dialler: PeerIndex, listener: PeerIndex) -> Self {
        let end = |peer| End {
            peer,
            is_open: true,
            pipe: Pipe::default(),
            arrives_at: Nanos::default(),
            held: Vec::new(),
        };
        Self { ends: [end(dialler), end(listener)] }
    }

    pub(super) fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    pub(super) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// Which end a peer has.
    pub(super) fn side_of(&self, peer: PeerIndex) -> Side {
        if self.ends[0].peer == peer { Side::Dialler } else { Side::Listener }
    }
}

impl World {
    pub(super) fn dial(&mut self, from: PeerIndex, peer: Option<PeerId>, addresses: &[String]) {
        let target = addresses.iter().find_map(|address| super::peer::index_at(address));
        let Some(to) = target.filter(|to| *to != from && (*to as usize) < self.peers.len()) else {
            return self.fail_dial(from, peer, self.now);
        };
        let is_connected = self.connection_of(from, to).is_some();
        if is_connected || !self.dialling.insert((from.min(to), from.max(to))) {
            return;
        }
        let (dialler, listener) = (self.peers[from as usize].life, self.peers[to as usize].life);
        let (from_peer, to_peer) = (&self.peers[from as usize], &self.peers[to as usize]);
        if !from_peer.is_linked || !to_peer.is_linked {
            let at = self.now.plus(Nanos::from_seconds(DIAL_TIMEOUT_SECONDS).0);
            return self.agenda.push(at, Event::DialFailed { from, to, life: dialler });
        }
        if to_peer.process.is_none() {
            let trip = self.latency(from, to) + self.latency(to, from);
            return self.agenda.push(self.now.plus(trip), Event::DialFailed { from, to, life: dialler });
        }
        let at = self.now.plus(self.connect_latency(from, to) + self.costs.connect_ns);
        self.agenda.push(at, Event::Connect { from, to, lives: (dialler, listener) });
    }

    pub(super) fn on_dial_failed(&mut self, from: PeerIndex, to: PeerIndex, life: u32) {
        self.dialling.remove(&(from.min(to), from.max(to)));
        if self.peers[from as usize].life == life {
            self.fail_dial(from, Some(self.peers[to as usize].id), self.now);
        }
    }

    fn fail_dial(&mut self, from: PeerIndex, peer: Option<PeerId>, at: Nanos) {
        if let Some(peer) = peer {
            let life = self.peers[from as usize].life;
            self.agenda.push(at, Event::Input { peer: from, life, input: Input::DialFailed { peer } });
        }
    }

    pub(super) fn on_connect(&mut self, from: PeerIndex, to: PeerIndex, lives: (u32, u32)) {
        let is_refused = self.is_refused(from, to) || self.is_refused(to, from);
        let (a, b) = (&self.peers[from as usize], &self.peers[to as usize]);
        if is_refused || (a.life, b.life) != lives || !a.is_linked || !b.is_linked {
            return self.on_dial_failed(from, to, lives.0);
        }
        let (a, b) = (a.id, b.id);
        self.dialling.remove(&(from.min(to), from.max(to)));
        // One of them may not know yet that the last connection is gone.
        for (peer, other) in [(from, to), (to, from)] {
            if let Some(old) = self.connection_of(peer, other) {
                self.close(old, self.connections[old as usize].side_of(peer));
                self.input(peer, Input::Disconnected { peer: self.peers[other as usize].id });
            }
        }
        let id = self.connections.len() as ConnectionId;
        let mut connection = Connection::new(from, to);
        connection.end_mut(Side::Dialler).pipe.tcp = self.tcp(from, to);
        connection.end_mut(Side::Listener).pipe.tcp = self.tcp(to, from);
        self.connections.push(connection);
        for (peer, other) in [(from, to), (to, from)] {
            if let Some(process) = &mut self.peers[peer as usize].process {
                process.connections.insert(other, id);
            }
        }
        self.input(from, Input::Connected { peer: b });
        self.input(to, Input::Connected { peer: a });
    }

    /// After a violation a peer is not let in, and not dialled, for a while.
    fn is_refused(&self, by: PeerIndex, whom: PeerIndex) -> bool {
        self.refused.get(&(by, whom)).is_some_and(|until| *until > self.now)
    }

    pub(super) fn refuse(&mut self, by: PeerIndex, whom: PeerIndex) {
        self.refused.insert((by, whom), self.now.plus(REFUSED_NANOS));
    }

    /// The connection to `other` that is open at this peer's end.
    pub(super) fn connection_of(&self, peer: PeerIndex, other: PeerIndex) -> Option<ConnectionId> {
        self.peers[peer as usize].process.as_ref()?.connections.get(&other).copied()
    }

    pub(super) fn send_control(&mut self, from: PeerIndex, to: PeerIndex, message: Message) {
        let Some(id) = self.connection_of(from, to) else { return };
        if from == self.seeder() {
            self.scratch.clear();
            encode_control(&message, &mut self.scratch);
            self.seeder_control_bytes += super::cost::message_wire_bytes(self.scratch.len() as u64);
        }
        let side = self.connections[id as usize].side_of(to);
        self.travel(id, side, Cargo::Control(message), 1);
    }

    /// Sends something on its way to one end; so many segments of it are under way at once.
    pub(super) fn travel(&mut self, id: ConnectionId, to: Side, cargo: Cargo, segments: u64) {
        let connection = &self.connections[id as usize];
        let (from, target) = (connection.end(to.other()).peer, connection.end(to).peer);
        let at = self.now.plus(self.latency(from, target) + self.repair_latency(from, target, segments));
        let end = self.connections[id as usize].end_mut(to);
        end.arrives_at = end.arrives_at.max(at);
        let at = end.arrives_at;
        self.agenda.push(at, Event::Arrival { connection: id, to, cargo });
    }

    pub(super) fn on_arrival(&mut self, id: ConnectionId, to: Side, cargo: Cargo) {
        let connection = &mut self.connections[id as usize];
        let (from, peer) = (connection.end(to.other()).peer, connection.end(to).peer);
        if !connection.end(to).is_open {
            return;
        }
        if !self.peers[peer as usize].is_linked || !self.peers[from as usize].is_linked {
            return self.connections[id as usize].end_mut(to).held.push(cargo);
        }
        let from = self.peers[from as usize].id;
        match cargo {
            Cargo::Control(message) => self.input(peer, Input::Received { peer: from, message }),
            Cargo::Data { content, header, is_wrong } => self.on_data(peer, from, content, header, is_wrong),
            Cargo::Close => {
                self.shut(id, to);
                self.input(peer, Input::Disconnected { peer: from });
            }
        }
    }

    /// One side ends a connection; the other learns of it when the news arrives.
    pub(super) fn close(&mut self, id: ConnectionId, side: Side) {
        if self.connections[id as usize].end(side).is_open {
            self.shut(id, side);
            if self.connections[id as usize].end(side.other()).is_open {
                self.travel(id, side.other(), Cargo::Close, 1);
            }
        }
    }

    pub(super) fn shut(&mut self, id: ConnectionId, side: Side) {
        let connection = &mut self.connections[id as usize];
        let (peer, other) = (connection.end(side).peer, connection.end(side.other()).peer);
        let end = connection.end_mut(side);
        end.is_open = false;
        end.held = Vec::new();
        if let Some(process) = &mut self.peers[peer as usize].process
            && process.connections.get(&other) == Some(&id)
        {
            process.connections.remove(&other);
        }
        // Nothing flows on a connection that either side has closed.
        for side in [side, side.other()] {
            let pipe = std::mem::take(&mut self.connections[id as usize].end_mut(side).pipe);
            if let Some(flow) = pipe.flow() {
                self.record.on_flow_stop(self.connections[id as usize].end(side.other()).peer, self.now);
                self.network.stop(flow, self.now);
            }
        }
    }

    /// What waited for the link of a peer arrives now.
    pub(super) fn release_held(&mut self, peer: PeerIndex) {
        let now = self.now;
        for (id, connection) in self.connections.iter_mut().enumerate() {
            let is_concerned = connection.ends.iter().any(|end| end.peer == peer);
            for side in [Side::Dialler, Side::Listener].into_iter().filter(|_| is_concerned) {
                let end = connection.end_mut(side);
                end.arrives_at = end.arrives_at.max(now);
                for cargo in std::mem::take(&mut end.held) {
                    self.agenda.push(now, Event::Arrival { connection: id as ConnectionId, to: side, cargo });
                }
            }
        }
    }
}
