//! Artifact bytes on their way: read and encoded, sent in order on a connection, verified and stored.
//!
//! ```text
//!  Serve -> encode (processor) -> pipe (one frame at a time, shares links) -> latency -> DataReceived
//!  Store -> verify (processor) -> disk -> Stored, or StoreFailed for wrong bytes
//! ```

use super::checker::Fault;
use super::connections::{Cargo, Side};
use super::cost::frame_wire_bytes;
use super::network::FlowId;
use super::peer::{Arrived, ConnectionId, PeerIndex, index_of};
use super::tcp::Tcp;
use super::{Event, Job, Work, World};
use crate::plan::Lie;
use samara_protocol::geometry::PieceRange;
use samara_protocol::id::{ContentHash, PeerId};
use samara_protocol::mesh::{Input, StoreFault, Ticket};
use samara_protocol::wire::DataHeader;
use std::collections::VecDeque;

/// Data frames that one end sends on one connection, in order.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    waiting: VecDeque<Frame>,
    sending: Option<(FlowId, Frame)>,
    serial_next: u64,
    /// What holds this direction back beside its links.
    pub(super) tcp: Option<Tcp>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    serial: u64,
    content: usize,
    header: DataHeader,
    is_encoded: bool,
    is_wrong: bool,
}

impl Pipe {
    /// The flow of the frame that is being sent.
    pub(super) fn flow(&self) -> Option<FlowId> {
        self.sending.as_ref().map(|(flow, _)| *flow)
    }
}

impl World {
    pub(super) fn serve(&mut self, peer: PeerIndex, to: PeerId, content: ContentHash, header: DataHeader) {
        let range = header.range;
        let known = self.content_number(content).zip(self.connection_of(peer, index_of(to)));
        let Some((number, id)) = known else {
            return self.later(peer, Input::ServeFailed { peer: to, content, range });
        };
        if !self.peers[peer as usize].disk.have[number].contains(range.piece) {
            self.checker.report(Fault::ServesWhatItLacks { peer, piece: range.piece });
        }
        let (_, bytes) = self.contents[number].geometry.byte_range(range);
        let is_wrong = self.peers[peer as usize].lie == Some(Lie::WrongBytes);
        let side = self.connections[id as usize].side_of(peer);
        let pipe = &mut self.connections[id as usize].end_mut(side).pipe;
        let serial = pipe.serial_next;
        pipe.serial_next += 1;
        pipe.waiting.push_back(Frame { serial, content: number, header, is_encoded: false, is_wrong });
        let depth = pipe.waiting.len();
        self.checker.see_queue(peer, depth);
        let cost = (bytes as f64 * self.costs.send_ns_per_byte) as u64;
        self.work(peer, cost, Work::Encoded { connection: id, side, serial });
    }

    pub(super) fn cancel_serve(
        &mut self,
        peer: PeerIndex,
        to: PeerId,
        content: ContentHash,
        range: PieceRange,
    ) {
        let Some(number) = self.content_number(content) else { return };
        let Some(id) = self.connection_of(peer, index_of(to)) else { return };
        let side = self.connections[id as usize].side_of(peer);
        let waiting = &mut self.connections[id as usize].end_mut(side).pipe.waiting;
        if let Some(at) = waiting.iter().position(|f| f.content == number && f.header.range == range) {
            waiting.remove(at);
        }
    }

    pub(super) fn on_encoded(&mut self, id: ConnectionId, side: Side, serial: u64) {
        let pipe = &mut self.connections[id as usize].end_mut(side).pipe;
        if let Some(frame) = pipe.waiting.iter_mut().find(|frame| frame.serial == serial) {
            frame.is_encoded = true;
            self.send_next(id, side);
        }
    }

    fn send_next(&mut self, id: ConnectionId, side: Side) {
        let connection = &mut self.connections[id as usize];
        let (from, to) = (connection.end(side).peer, connection.end(side.other()).peer);
        let is_there = connection.end(side.other()).is_open;
        let pipe = &mut connection.end_mut(side).pipe;
        // Into a connection whose other end is gone the kernel takes no more than a window.
        let is_stuck = !is_there || pipe.sending.is_some();
        if is_stuck || !pipe.waiting.front().is_some_and(|frame| frame.is_encoded) {
            return;
        }
        let Some(frame) = pipe.waiting.pop_front() else { return };
        let geometry = &self.contents[frame.content].geometry;
        let range = frame.header.range;
        let bytes =
            if self.is_ideal { geometry.byte_range(range).1 } else { frame_wire_bytes(geometry, range) };
        let own = pipe.tcp.as_mut().map(|tcp| {
            self.network.set_rate(tcp.own, tcp.send(bytes), self.now);
            tcp.own
        });
        let path = self.path(from, to, own);
        // What is lost crosses the links as well.
        let bytes = (bytes as f64 / self.arriving(from, to)) as u64;
        let owner = u64::from(id) << 1 | side as u64;
        let flow = self.network.start(path, bytes, owner, self.now);
        self.record.on_flow_start(to, self.now);
        if from == self.seeder() && frame.content + 1 == self.contents.len() {
            self.record.on_seeder_sent(range);
        }
        self.connections[id as usize].end_mut(side).pipe.sending = Some((flow, frame));
        // The socket's buffer has room for about a frame: it is handed over when the one before it has left.
        let served = Input::Served {
            peer: self.peers[to as usize].id,
            content: self.contents[frame.content].hash,
            range,
        };
        self.later(from, served);
    }

    pub(super) fn on_flow_end(&mut self, flow: FlowId) {
        let owner = self.network.stop(flow, self.now);
        let id = (owner >> 1) as ConnectionId;
        let side = if owner & 1 == 0 { Side::Dialler } else { Side::Listener };
        let connection = &mut self.connections[id as usize];
        let to = connection.end(side.other()).peer;
        let pipe = &mut connection.end_mut(side).pipe;
        let Some((_, frame)) = pipe.sending.take() else { return };
        let Frame { content, header, is_wrong, .. } = frame;
        let (_, bytes) = self.contents[content].geometry.byte_range(header.range);
        let segments = pipe.tcp.as_ref().map_or(1, |tcp| tcp.segments_under_way(bytes));
        self.record.on_flow_stop(to, self.now);
        self.travel(id, side.other(), Cargo::Data { content, header, is_wrong }, segments);
        self.send_next(id, side);
    }

    pub(super) fn on_data(
        &mut self,
        peer: PeerIndex,
        from: PeerId,
        content: usize,
        header: DataHeader,
        is_wrong: bool,
    ) {
        let range = header.range;
        let Some(process) = &mut self.peers[peer as usize].process else { return };
        let ticket = Ticket(process.ticket_next);
        process.ticket_next += 1;
        process.tickets.insert(ticket, Arrived { content, range, from: index_of(from), is_wrong });
        self.input(peer, Input::DataReceived { peer: from, header, ticket });
    }

    pub(super) fn store(&mut self, peer: PeerIndex, ticket: Ticket) {
        let Some(process) = &self.peers[peer as usize].process else { return };
        let Some(arrived) = process.tickets.get(&ticket) else { return };
        let (_, bytes) = self.contents[arrived.content].geometry.byte_range(arrived.range);
        let from_same = process.tickets.values().filter(|other| other.from == arrived.from);
        let storing = from_same.map(|other| self.contents[other.content].geometry.byte_range(other.range).1);
        let storing = storing.sum();
        self.checker.see_storing(peer, storing);
        let cost = (bytes as f64 * self.costs.receive_ns_per_byte) as u64;
        self.work(peer, cost, Work::Verified { ticket });
    }

    pub(super) fn discard(&mut self, peer: PeerIndex, ticket: Ticket) {
        let Some(process) = &mut self.peers[peer as usize].process else { return };
        process.tickets.remove(&ticket);
    }

    /// The bytes of a ticket were hashed: right ones go to the disk.
    pub(super) fn on_verified(&mut self, peer: PeerIndex, ticket: Ticket) {
        let now = self.now;
        let Some(process) = &mut self.peers[peer as usize].process else { return };
        let Some(arrived) = process.tickets.get(&ticket).copied() else { return };
        if arrived.is_wrong {
            process.tickets.remove(&ticket);
            let fault = StoreFault::WrongBytes { group: 0 };
            return self.input(peer, Input::StoreFailed { ticket, fault });
        }
        let Some(ns_per_byte) = self.disk_ns_per_byte else { return self.on_written(peer, ticket) };
        let (_, bytes) = self.contents[arrived.content].geometry.byte_range(arrived.range);
        process.disk_free_at = process.disk_free_at.max(now).plus((bytes as f64 * ns_per_byte) as u64);
        let (at, life) = (process.disk_free_at, self.peers[peer as usize].life);
        self.agenda.push(at, Event::Worked(Job { peer, life, work: Work::Written { ticket } }));
    }

    pub(super) fn on_written(&mut self, peer: PeerIndex, ticket: Ticket) {
        let seeder = self.seeder();
        let this = &mut self.peers[peer as usize];
        let Some(process) = &mut this.process else { return };
        let Some(arrived) = process.tickets.remove(&ticket) else { return };
        let Arrived { content, range, from, .. } = arrived;
        let geometry = &self.contents[content].geometry;
        let (_, bytes) = geometry.byte_range(range);
        let part = process.parts.entry((content, range.piece)).or_default();
        *part |= (u128::MAX >> (128 - u32::from(range.groups))) << range.first_group;
        if part.count_ones() == u32::from(geometry.groups(range.piece)) {
            process.parts.remove(&(content, range.piece));
            this.disk.have[content].insert(range.piece);
            if self.has_power_cuts {
                this.disk.wrote(content, range.piece, self.now);
            }
        }
        if from == seeder {
            this.received.from_seeder += bytes;
        } else {
            this.received.from_peers += bytes;
        }
        if this.joined.is_none() {
            self.bytes_stored += bytes;
        }
        self.schedule.on_fraction(self.second(), self.fraction());
        self.input(peer, Input::Stored { ticket });
    }
}
