//! The ways between peers, beside the rates of links: which links they cross, delay, loss, and queues where links are full.
//!
//! ```text
//!  peer -- its link -- switch of a segment -- the segment's link -- common switch -- ... the same way down
//! ```
//!
//! A message takes the delay of all links at the moment it is sent, and the queues it passes. What gets lost comes later,
//! when TCP has sent it again; nothing overtakes it on its connection.

use super::World;
use super::clock::Nanos;
use super::network::{LinkId, Path};
use super::peer::PeerIndex;
use super::tcp::Tcp;
use crate::link::{Delay, Loss, dice};
use crate::plan::{Link, Rate};

/// Nanoseconds from one network card to another through a switch.
const SWITCH_NANOS: u64 = 60_000;
/// Round trips of TCP, Noise, Yamux and protocol selection before both sides may speak.
const CONNECT_ROUND_TRIPS: u64 = 4;
/// A lost SYN is sent again after this (RFC 6298, section 2.1).
const SYN_TIMEOUT_NANOS: u64 = 1_000_000_000;
/// With nothing behind it, a loss shows when the sender probes: after two round trips (RFC 8985, section 7.2), and Linux
/// waits for a delayed acknowledgement as well.
const PROBE_ROUND_TRIPS: u64 = 2;
const ACK_DELAY_NANOS: u64 = 40_000_000;
/// What is lost so often in a row is not looked at any further.
const REPEATS_MAX: u32 = 10;
/// A peer's link, up to two between segments, a peer's link.
const HOPS_MAX: usize = 4;

/// The two directions of a peer's or a segment's link.
#[derive(Debug)]
pub(super) struct Access {
    link: Link,
    /// Towards the common switch, and away from it.
    ways: [Way; 2],
}

#[derive(Debug)]
struct Way {
    id: LinkId,
    delay: Delay,
    loss: Loss,
    /// How long what is sent over the full link waits.
    queue_nanos: u64,
}

const UP: usize = 0;
const DOWN: usize = 1;

/// What is crossed from one peer to another: numbers of accesses, each with the direction.
#[derive(Debug, Clone, Copy)]
struct Route {
    hops: [(usize, usize); HOPS_MAX],
    len: usize,
}

impl Route {
    fn hops(&self) -> &[(usize, usize)] {
        &self.hops[..self.len]
    }
}

impl Access {
    /// With the links' ids and rates, up and down.
    pub(super) fn new(link: Link, ids: [LinkId; 2], rates: [u64; 2], rng_seed: u64) -> Self {
        let way = |direction: usize| {
            let number = u64::from(ids[direction]) << 1;
            Way {
                id: ids[direction],
                delay: Delay::new(link.delay.0, link.jitter.0, dice(rng_seed, number)),
                loss: Loss::new(link.loss.fraction(), link.loss_burst, dice(rng_seed, number | 1)),
                queue_nanos: if rates[direction] == Rate::UNLIMITED.0 {
                    0
                } else {
                    link.queue.nanos(rates[direction])
                },
            }
        };
        Self { link, ways: [way(UP), way(DOWN)] }
    }

    /// Whether it holds nothing up and loses nothing.
    pub(super) fn is_perfect(&self) -> bool {
        self.link.is_perfect()
    }
}

impl World {
    fn route(&self, from: PeerIndex, to: PeerIndex) -> Route {
        let mut route = Route { hops: [(0, 0); HOPS_MAX], len: 0 };
        let mut cross = |access: usize, direction: usize| {
            route.hops[route.len] = (access, direction);
            route.len += 1;
        };
        let (leaves, enters) = (self.segments[from as usize], self.segments[to as usize]);
        cross(from as usize, UP);
        if leaves != enters {
            // The accesses of segments come after those of the peers.
            let number = |segment: usize| self.peers.len() + segment;
            leaves.into_iter().for_each(|segment| cross(number(segment), UP));
            enters.into_iter().for_each(|segment| cross(number(segment), DOWN));
        }
        cross(to as usize, DOWN);
        route
    }

    /// The links that data crosses, and the connection's own if it has one.
    pub(super) fn path(&self, from: PeerIndex, to: PeerIndex, own: Option<LinkId>) -> Path {
        let route = self.route(from, to);
        let mut links = [0; HOPS_MAX + 1];
        let ids = route.hops().iter().map(|&(access, way)| self.accesses[access].ways[way].id).chain(own);
        let len = links.iter_mut().zip(ids).map(|(link, id)| *link = id).count();
        Path::new(&links[..len])
    }

    /// Nanoseconds from one peer to another, the queues of full links included.
    pub(super) fn latency(&self, from: PeerIndex, to: PeerIndex) -> u64 {
        if self.is_ideal && self.are_links_perfect {
            return SWITCH_NANOS;
        }
        let ways = |&(access, way): &(usize, usize)| {
            let way = &self.accesses[access].ways[way];
            let is_queue = !self.is_ideal && self.network.is_full(way.id);
            way.delay.at(self.now.0) + if is_queue { way.queue_nanos } else { 0 }
        };
        SWITCH_NANOS + self.route(from, to).hops().iter().map(ways).sum::<u64>()
    }

    /// Nanoseconds until both sides of a new connection may speak.
    pub(super) fn connect_latency(&mut self, from: PeerIndex, to: PeerIndex) -> u64 {
        let trip = self.latency(from, to) + self.latency(to, from);
        let mut nanos = 0;
        for round in 0..CONNECT_ROUND_TRIPS {
            let wait =
                if round == 0 { SYN_TIMEOUT_NANOS } else { trip * PROBE_ROUND_TRIPS + ACK_DELAY_NANOS };
            let repeats = (0..REPEATS_MAX).take_while(|_| self.is_lost(from, to) || self.is_lost(to, from));
            nanos += trip + repeats.count() as u64 * wait;
        }
        nanos
    }

    /// What losses add to the way of something whose last `segments` are under way at once.
    pub(super) fn repair_latency(&mut self, from: PeerIndex, to: PeerIndex, segments: u64) -> u64 {
        if self.arriving(from, to) >= 1.0 {
            return 0;
        }
        // From the last segment on: the earlier a lost one was sent, the less its repair delays the end.
        let Some(lost) = (0..segments).find(|_| self.is_lost(from, to)) else { return 0 };
        let trip = self.latency(from, to) + self.latency(to, from);
        let again = (0..REPEATS_MAX).take_while(|_| self.is_lost(from, to)).count() as u64;
        if segments == 1 {
            return (trip * PROBE_ROUND_TRIPS + ACK_DELAY_NANOS) * (1 + again);
        }
        trip * (segments - lost) / segments + again * trip
    }

    /// The part of what is sent that arrives.
    pub(super) fn arriving(&self, from: PeerIndex, to: PeerIndex) -> f64 {
        if self.are_links_perfect {
            return 1.0;
        }
        let carried = |&(access, _): &(usize, usize)| 1.0 - self.accesses[access].link.loss.fraction();
        self.route(from, to).hops().iter().map(carried).product()
    }

    /// How TCP holds back what one peer sends to another; `None` where the way is short and loses nothing.
    pub(super) fn tcp(&mut self, from: PeerIndex, to: PeerIndex) -> Option<Tcp> {
        let route = self.route(from, to);
        let links = || route.hops().iter().map(|(access, _)| &self.accesses[*access].link);
        if links().all(Link::is_perfect) {
            return None;
        }
        let delays: u64 = links().map(|link| link.delay.0.as_nanos() as u64).sum();
        let round_trip = Nanos(2 * (SWITCH_NANOS + delays));
        let events = links().map(Link::loss_events).sum();
        let own = self.network.add_link(0);
        Some(Tcp::new(&self.plan.network.congestion_control, round_trip, events, own))
    }

    /// Whether a packet is lost; every link that it reaches throws its dice.
    fn is_lost(&mut self, from: PeerIndex, to: PeerIndex) -> bool {
        let route = self.route(from, to);
        route.hops().iter().any(|&(access, way)| self.accesses[access].ways[way].loss.is_lost())
    }
}
