//! A site in virtual time: the machines of `samara-protocol`, driven as the daemon drives them, over modelled links,
//! processors and disks.
//!
//! One world is one run on one thread. Everything that happens comes from one of four queues, the earliest first: the
//! agenda, the ends of flows, the processors, the machines' timers. All dice are seeded: the same plan and seed give
//! the same run. What the model leaves out is listed in `docs/SIMULATION.md`.

mod access;
mod actions;
mod agenda;
mod alarms;
mod checker;
mod clock;
mod connections;
mod cost;
mod curve;
mod documents;
mod happening;
mod install;
mod lies;
mod network;
mod outcome;
mod peer;
mod processor;
mod record;
mod site;
mod tcp;
mod trace;
mod transfer;

pub use cost::Costs;
pub use install::SignError;
pub use outcome::Simulated;
pub use site::SiteError;
pub use trace::{Entry, Log, What};

use crate::plan::{Milestone, Plan, Schedule};
use access::Access;
use agenda::Agenda;
use alarms::Alarms;
use checker::Checker;
use clock::Nanos;
use connections::{Cargo, Connection, Side};
use curve::Curve;
use documents::Documents;
use install::{Ended, Installs};
use network::{FlowId, Network};
use peer::{ConnectionId, Peer, PeerIndex};
use processor::Processors;
use record::Record;
use samara_protocol::geometry::Geometry;
use samara_protocol::id::ContentHash;
use samara_protocol::mesh::{Input, Ticket};
use samara_protocol::neighbour::Limits;
use samara_protocol::rng::Prng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use trace::Trace;

/// Seconds by which a time that went through nanoseconds may be too early.
const ROUNDING: f64 = 2e-9;

/// How a plan is simulated.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of all dice.
    pub seed: u64,
    /// What work costs.
    pub costs: Costs,
    /// Where that was read, if it is not as usual: for the command that repeats the run.
    pub costs_file: Option<PathBuf>,
    /// Cores that all peers share, as in the lab; `None`: each has a core of its own.
    pub cores: Option<u32>,
    /// Headers and full queues cost nothing: what remains is the swarm alone.
    pub is_ideal: bool,
}

impl Options {
    /// Defaults for a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, costs: Costs::default(), costs_file: None, cores: None, is_ideal: false }
    }

    /// Links, processors and queues that cost nothing beside the bytes of the artifact.
    pub fn ideal(seed: u64) -> Self {
        Self { costs: Costs::NONE, is_ideal: true, ..Self::new(seed) }
    }
}

/// What is spread, file lists and data.
#[derive(Debug, Clone, Copy)]
struct Content {
    hash: ContentHash,
    geometry: Geometry,
}

/// What will happen.
enum Event {
    Start { peer: PeerIndex, life: u32 },
    Discover { peer: PeerIndex, life: u32 },
    Connect { from: PeerIndex, to: PeerIndex, lives: (u32, u32) },
    DialFailed { from: PeerIndex, to: PeerIndex, life: u32 },
    Arrival { connection: ConnectionId, to: Side, cargo: Cargo },
    Input { peer: PeerIndex, life: u32, input: Input },
    Worked(Job),
    WriteLedger { life: u32 },
    Flood { peer: PeerIndex, life: u32 },
    Install { peer: PeerIndex, life: u32, ended: Ended },
}

/// What a processor does for a peer.
struct Job {
    peer: PeerIndex,
    life: u32,
    work: Work,
}

enum Work {
    Encoded { connection: ConnectionId, side: Side, serial: u64 },
    Verified { ticket: Ticket },
    Written { ticket: Ticket },
    Sealed,
    Closed,
    Input(Input),
}

/// The queue that the next happening comes from.
enum Next {
    Agenda,
    Flow(FlowId),
    Processor,
    Timer(PeerIndex),
    Plan,
    Sample,
}

/// One run.
pub struct World {
    plan: Plan,
    seed: u64,
    now: Nanos,
    /// When the seeder is started: second 0 of the report.
    begin: Nanos,
    rng: Prng,
    costs: Costs,
    is_ideal: bool,
    has_power_cuts: bool,
    disk_ns_per_byte: Option<f64>,
    /// Of the peers, then of the segments.
    accesses: Vec<Access>,
    /// None of them has a delay or loses anything: they need not be looked at for each message.
    are_links_perfect: bool,
    /// Which one each peer is in, if not at the common switch.
    segments: Vec<Option<usize>>,
    agenda: Agenda<Event>,
    timers: Alarms,
    processors: Processors<Job>,
    network: Network,
    peers: Vec<Peer>,
    connections: Vec<Connection>,
    dialling: BTreeSet<(PeerIndex, PeerIndex)>,
    /// Who refuses whom after a violation, and until when.
    refused: BTreeMap<(PeerIndex, PeerIndex), Nanos>,
    contents: Vec<Content>,
    documents: Documents,
    /// What devices do with the release; `None`: they only fetch it.
    installs: Option<Box<Installs>>,
    schedule: Schedule,
    /// Of all machines.
    limits: Limits,
    checker: Checker,
    trace: Trace,
    record: Record,
    curve: Curve,
    scratch: Vec<u8>,
    seeder_control_bytes: u64,
    /// What the devices that are there from the start hold.
    bytes_stored: u64,
    /// What the devices that are there from the start hold in the end.
    bytes_wanted: u64,
    handled: u64,
}

impl World {
    /// Runs until every device that must finish has, or the plan's time is over.
    pub fn run(self, progress: impl FnMut(f64)) -> Simulated {
        self.run_logged(progress, None)
    }

    /// The same, and hands each event to `log` until that wants no more, which ends the run as well.
    pub fn run_logged(mut self, mut progress: impl FnMut(f64), mut log: Option<Log<'_>>) -> Simulated {
        self.trace.keep(log.is_some());
        let end = Nanos(self.begin.0 + Nanos::from_seconds(self.plan.timeout).0);
        let mut reported = 0;
        while let Some((at, next)) = self.next() {
            if at > end || self.is_finished() {
                break;
            }
            self.now = at;
            self.happen(next);
            self.handled += 1;
            if let Some(log) = &mut log
                && self.flush_log(log).is_break()
            {
                break;
            }
            if self.handled - reported >= 1 << 18 {
                reported = self.handled;
                progress(self.fraction());
            }
        }
        self.outcome()
    }

    fn next(&self) -> Option<(Nanos, Next)> {
        let agenda = self.agenda.next_at().map(|at| (at, Next::Agenda));
        let flow = self.network.next_end().map(|(at, flow)| (at, Next::Flow(flow)));
        let processor = self.processors.next_at().map(|at| (at, Next::Processor));
        let timer = self.timers.next().map(|(at, peer)| (at, Next::Timer(peer)));
        let plan = self.schedule.next_due().map(|at| (self.at_second(at), Next::Plan));
        let sample = Some((self.curve.next_at, Next::Sample));
        // Of equal times the first in this order.
        let earliest =
            [agenda, flow, processor, timer, plan, sample].into_iter().flatten().min_by_key(|(at, _)| *at);
        earliest.map(|(at, next)| (at.max(self.now), next))
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Agenda => {
                if let Some(event) = self.agenda.pop() {
                    self.on_event(event);
                }
            }
            Next::Flow(flow) => self.on_flow_end(flow),
            Next::Processor => {
                if let Some((_, job)) = self.processors.pop(self.now) {
                    self.on_worked(job);
                }
            }
            Next::Timer(peer) => {
                self.timers.set(peer, None);
                self.input(peer, Input::Timeout);
            }
            Next::Sample => self.take_sample(),
            Next::Plan => {
                while let Some(event) = self.schedule.poll_due(self.second() + ROUNDING) {
                    self.on_plan(&event);
                }
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Start { peer, life } => self.on_start(peer, life),
            Event::Discover { peer, life } => self.on_discover(peer, life),
            Event::Connect { from, to, lives } => self.on_connect(from, to, lives),
            Event::DialFailed { from, to, life } => self.on_dial_failed(from, to, life),
            Event::Arrival { connection, to, cargo } => self.on_arrival(connection, to, cargo),
            Event::Input { peer, life, input } => {
                if self.peers[peer as usize].life == life {
                    self.input(peer, input);
                }
            }
            Event::Worked(job) => self.on_worked(job),
            Event::WriteLedger { life } => self.on_write_ledger(life),
            Event::Flood { peer, life } => self.on_flood(peer, life),
            Event::Install { peer, life, ended } => self.on_install(peer, life, ended),
        }
    }

    fn on_worked(&mut self, Job { peer, life, work }: Job) {
        if self.peers[peer as usize].life != life {
            return;
        }
        match work {
            Work::Encoded { connection, side, serial } => self.on_encoded(connection, side, serial),
            Work::Verified { ticket } => self.on_verified(peer, ticket),
            Work::Written { ticket } => self.on_written(peer, ticket),
            Work::Sealed => self.on_sealed(peer),
            Work::Closed => self.on_closed(peer),
            Work::Input(input) => self.input(peer, input),
        }
    }

    /// Hands an input to a machine and carries out what it wants.
    fn input(&mut self, peer: PeerIndex, input: Input) {
        let now = self.now;
        let this = &mut self.peers[peer as usize];
        let Some(process) = &mut this.process else { return };
        self.trace.input(now, peer, &input);
        process.mesh.handle(process.clock.read(now), input);
        while let Some(action) = self.peers[peer as usize].process.as_mut().and_then(|p| p.mesh.poll_action())
        {
            self.carry_out(peer, action);
        }
        let process = self.peers[peer as usize].process.as_ref();
        let timeout = process.and_then(|process| Some(process.clock.shows(process.mesh.poll_timeout()?)));
        self.timers.set(peer, timeout.map(|at| at.max(now)));
    }

    /// The same, as the next thing that happens.
    fn later(&mut self, peer: PeerIndex, input: Input) {
        let life = self.peers[peer as usize].life;
        self.agenda.push(self.now, Event::Input { peer, life, input });
    }

    fn work(&mut self, peer: PeerIndex, cost: u64, work: Work) {
        let life = self.peers[peer as usize].life;
        self.processors.push(peer, cost, Job { peer, life, work }, self.now);
    }

    fn seeder(&self) -> PeerIndex {
        (self.peers.len() - 1) as PeerIndex
    }

    fn content_number(&self, hash: ContentHash) -> Option<usize> {
        self.contents.iter().position(|content| content.hash == hash)
    }

    fn second(&self) -> f64 {
        self.now.seconds_since(self.begin)
    }

    fn at_second(&self, second: f64) -> Nanos {
        Nanos(self.begin.0 + Nanos::from_seconds(second).0)
    }

    /// The part of all bytes that the devices which were there from the start hold.
    fn fraction(&self) -> f64 {
        self.bytes_stored as f64 / self.bytes_wanted as f64
    }

    fn on_milestone(&mut self, milestone: Milestone) {
        self.schedule.on_milestone(self.second(), milestone);
    }
}

#[cfg(test)]
mod tests;
