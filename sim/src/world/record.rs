//! What a report tells beside the numbers: what happened when, how often each piece left the seeder, and for how long
//! nothing was on its way to a device that wanted something. One counter for each piece and each device, and no more.

use super::World;
use super::clock::Nanos;
use super::peer::PeerIndex;
use crate::outcome::{Happening, Mark, PIECES_SHOWN_MAX};
use samara_protocol::geometry::{Geometry, PieceIndex, PieceRange};

/// What is on its way to one device, and since when nothing is.
#[derive(Debug, Clone, Copy, Default)]
struct Inbound {
    flows: u32,
    /// Set while the device is there, wants something, and nothing is on its way to it.
    idle_since: Option<Nanos>,
    idle_ns: u64,
    /// It is not there, or wants nothing more.
    is_closed: bool,
}

impl Inbound {
    fn stop_idling(&mut self, now: Nanos) {
        if let Some(since) = self.idle_since.take() {
            self.idle_ns += now.0.saturating_sub(since.0);
        }
    }

    fn close(&mut self, now: Nanos) {
        self.stop_idling(now);
        self.is_closed = true;
    }

    fn open(&mut self, now: Nanos) {
        self.is_closed = false;
        if self.flows == 0 {
            self.idle_since.get_or_insert(now);
        }
    }
}

/// The record of a run.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) marks: Vec<Mark>,
    /// Chunk groups of each piece of the artifact that left the seeder.
    groups_sent: Vec<u32>,
    /// By peer, the seeder last.
    inbound: Vec<Inbound>,
}

impl Record {
    pub(super) fn new(pieces: u32, peers: usize) -> Self {
        let inbound = Inbound { is_closed: true, ..Inbound::default() };
        Self { marks: Vec::new(), groups_sent: vec![0; pieces as usize], inbound: vec![inbound; peers] }
    }

    /// Whatever was said before, the seeder may go for the first time.
    pub(super) fn on_safe(&mut self, seconds: f64) {
        if !self.marks.iter().any(|mark| mark.event == Happening::SafeToLeave) {
            self.marks.push(Mark::safe(seconds));
        }
    }

    /// A range of the artifact was handed to the seeder's link, as the seeder counts it.
    pub(super) fn on_seeder_sent(&mut self, range: PieceRange) {
        if let Some(groups) = self.groups_sent.get_mut(range.piece.0 as usize) {
            *groups += u32::from(range.groups);
        }
    }

    pub(super) fn on_flow_start(&mut self, to: PeerIndex, now: Nanos) {
        let inbound = &mut self.inbound[to as usize];
        inbound.flows += 1;
        inbound.stop_idling(now);
    }

    pub(super) fn on_flow_stop(&mut self, to: PeerIndex, now: Nanos) {
        let inbound = &mut self.inbound[to as usize];
        inbound.flows -= 1;
        if inbound.flows == 0 && !inbound.is_closed {
            inbound.idle_since = Some(now);
        }
    }

    /// The device is there and wants the artifact.
    pub(super) fn on_wanting(&mut self, peer: PeerIndex, now: Nanos) {
        self.inbound[peer as usize].open(now);
    }

    /// The device is gone, or has everything.
    pub(super) fn on_not_wanting(&mut self, peer: PeerIndex, now: Nanos) {
        self.inbound[peer as usize].close(now);
    }

    /// Until `now`.
    pub(super) fn idle_seconds(&self, peer: usize, now: Nanos) -> f64 {
        let inbound = &self.inbound[peer];
        let running = inbound.idle_since.map_or(0, |since| now.0.saturating_sub(since.0));
        (inbound.idle_ns + running) as f64 / 1e9
    }

    /// Copies of each piece that left the seeder, of a large artifact the most of each stretch.
    pub(super) fn piece_copies(&self, geometry: &Geometry) -> Vec<f64> {
        let copies = |(piece, groups): (usize, &u32)| {
            f64::from(*groups) / f64::from(geometry.groups(PieceIndex(piece as u32)))
        };
        let copies: Vec<f64> = self.groups_sent.iter().enumerate().map(copies).collect();
        let stretch = copies.len().div_ceil(PIECES_SHOWN_MAX).max(1);
        copies.chunks(stretch).map(|chunk| chunk.iter().copied().fold(0.0, f64::max)).collect()
    }
}

impl World {
    /// A device begins to be waited for, unless it has everything.
    pub(super) fn record_wanting(&mut self, peer: PeerIndex) {
        let this = &self.peers[peer as usize];
        if !this.is_seeder && this.verified.is_none() && this.is_living() {
            self.record.on_wanting(peer, self.now.max(self.begin));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerIndex = 0;

    #[test]
    fn a_device_idles_while_it_is_there_and_nothing_is_on_its_way() {
        let mut record = Record::new(1, 1);
        let idle = |record: &Record, now| record.idle_seconds(0, Nanos::from_seconds(now));
        let at = Nanos::from_seconds;
        assert_eq!(idle(&record, 5.0), 0.0);
        record.on_wanting(A, at(1.0));
        record.on_flow_start(A, at(3.0));
        record.on_flow_start(A, at(4.0));
        record.on_flow_stop(A, at(5.0));
        assert_eq!(idle(&record, 6.0), 2.0);
        record.on_flow_stop(A, at(6.0));
        assert_eq!(idle(&record, 7.0), 3.0);
        record.on_not_wanting(A, at(8.0));
        assert_eq!(idle(&record, 20.0), 4.0);
        record.on_wanting(A, at(20.0));
        assert_eq!(idle(&record, 20.5), 4.5);
    }

    #[test]
    fn a_flow_that_ends_after_its_device_is_gone_begins_no_idling() {
        let mut record = Record::new(1, 1);
        record.on_wanting(A, Nanos(0));
        record.on_flow_start(A, Nanos(0));
        record.on_not_wanting(A, Nanos(5));
        record.on_flow_stop(A, Nanos(6));
        assert_eq!(record.idle_seconds(0, Nanos::from_seconds(9.0)), 0.0);
    }

    #[test]
    fn a_piece_of_which_half_went_twice_left_one_and_a_half_times() {
        let geometry = Geometry::new(1 << 20, 512 << 10).unwrap();
        let mut record = Record::new(geometry.pieces(), 1);
        for piece in [0, 0, 1] {
            for range in geometry.ranges(PieceIndex(piece)) {
                record.on_seeder_sent(range);
            }
        }
        assert_eq!(record.piece_copies(&geometry), [2.0, 1.0]);
        record.on_seeder_sent(PieceRange { piece: PieceIndex(1), first_group: 0, groups: 16 });
        assert_eq!(record.piece_copies(&geometry), [2.0, 1.5]);
    }

    #[test]
    fn of_a_large_artifact_each_stretch_shows_its_most() {
        let geometry = Geometry::new(4096 * (128 << 10), 128 << 10).unwrap();
        let mut record = Record::new(geometry.pieces(), 1);
        record.on_seeder_sent(PieceRange { piece: PieceIndex(5), first_group: 0, groups: 8 });
        let copies = record.piece_copies(&geometry);
        assert_eq!((copies.len(), copies[0], copies[1]), (PIECES_SHOWN_MAX, 0.0, 1.0));
    }
}
