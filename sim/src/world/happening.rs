//! Processes that start and end, and links that fail, as the plan says.

use super::clock::{Clock, Nanos};
use super::peer::{PeerIndex, Process, address_of};
use super::{Event, World};
use crate::outcome::Mark;
use crate::plan::{self, Milestone, Party, Verb};
use samara_protocol::geometry::{GROUP_BYTES, PieceIndex};
use samara_protocol::id::SiteId;
use samara_protocol::mesh::{Input, Mesh, MeshConfig};
use samara_protocol::wire::ServeMode;
use std::collections::BTreeMap;

/// How long newly granted pieces may wait before the ledger is on disk.
const LEDGER_NANOS: u64 = 1_000_000_000;
/// A peer is heard by multicast within this time.
const DISCOVERY_NANOS: u64 = 20_000_000;
/// Peers that one hears of by multicast at most: on a larger site the answers of some get lost, and addresses travel
/// from neighbour to neighbour.
const HEARD_MAX: usize = 64;
/// An enrollment, which every device shows in its hello.
const ENROLLMENT_BYTES: usize = 760;
/// Neighbours that the seeder takes.
const SEEDER_NEIGHBOURS_MAX: usize = 64;

pub(super) const SITE: SiteId = SiteId([1; 16]);

impl World {
    pub(super) fn on_plan(&mut self, event: &plan::Event) {
        self.record.marks.push(Mark::of(event, self.second()));
        if event.verb.is_of_rollout() {
            self.trace.planned(self.now, self.seeder(), event.verb);
            return self.change_rollout(event.verb);
        }
        for party in &event.who {
            let peer = match party {
                Party::Seeder => self.seeder(),
                Party::Device(device) => *device as PeerIndex,
            };
            self.trace.planned(self.now, peer, event.verb);
            match event.verb {
                Verb::Kill => self.end(peer, false),
                Verb::PowerCut => self.cut_power(peer),
                Verb::Leave => {
                    self.end(peer, true);
                    if *party == Party::Seeder {
                        self.on_milestone(Milestone::SeederLeft);
                    }
                }
                Verb::Restart => self.start(peer, self.now),
                Verb::Join => {
                    self.peers[peer as usize].joined = Some(self.now);
                    self.start(peer, self.now);
                }
                Verb::LinkDown => self.set_link(peer, false),
                Verb::LinkUp => self.set_link(peer, true),
                // It happens to nobody in particular.
                Verb::RolloutPause | Verb::RolloutResume | Verb::RolloutAbort | Verb::RolloutRetry => {}
            }
        }
    }

    /// Begins to start a process; it listens a little later.
    pub(super) fn start(&mut self, peer: PeerIndex, at: Nanos) {
        let this = &mut self.peers[peer as usize];
        this.life += 1;
        this.is_started = true;
        let life = this.life;
        self.record_wanting(peer);
        let this = &self.peers[peer as usize];
        let hashed: u64 = self.contents.iter().map(|content| content.geometry.length()).sum();
        let hash = if this.is_seeder { (hashed as f64 * self.costs.hash_ns_per_byte) as u64 } else { 0 };
        self.agenda.push(at.plus(self.costs.start_ns + hash), Event::Start { peer, life });
    }

    pub(super) fn on_start(&mut self, peer: PeerIndex, life: u32) {
        if self.peers[peer as usize].life != life {
            return;
        }
        let this = &self.peers[peer as usize];
        let (is_seeder, me) = (this.is_seeder, this.id);
        let mode = if is_seeder { ServeMode::Grant } else { ServeMode::Pull };
        let config = MeshConfig {
            listen: vec![address_of(peer)],
            enrollment: if is_seeder { Vec::new() } else { vec![0; ENROLLMENT_BYTES] },
            neighbours_max: if is_seeder { SEEDER_NEIGHBOURS_MAX } else { self.plan.network.neighbours },
            peers: self.configured_peers(peer),
            limits: self.limits.clone(),
            ..MeshConfig::new(me, SITE, "samara-sim", mode)
        };
        let mesh = Mesh::new(
            config,
            self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(peer)) ^ u64::from(life),
        );
        let process = Process {
            mesh,
            connections: BTreeMap::new(),
            tickets: BTreeMap::new(),
            ticket_next: 0,
            parts: BTreeMap::new(),
            unwritten: Vec::new(),
            channels: BTreeMap::new(),
            is_open: false,
            clock: Clock::drawn(&mut self.rng),
            disk_free_at: self.now,
            agent: None,
        };
        self.peers[peer as usize].process = Some(Box::new(process));
        self.take_documents(peer);
        if is_seeder {
            self.input(peer, Input::DevicesEnrolled(self.plan.devices.count));
            self.agenda.push(self.now.plus(LEDGER_NANOS), Event::WriteLedger { life });
        }
        self.open_when_rolled_out(peer);
        self.begin_agent(peer);
        self.begin_flood(peer, life);
        if self.plan.network.discovery == plan::Discovery::Mdns {
            let wait = self.rng.below(DISCOVERY_NANOS as usize) as u64;
            self.agenda.push(self.now.plus(wait), Event::Discover { peer, life });
        } else {
            self.later(peer, Input::Timeout);
        }
    }

    fn configured_peers(&self, peer: PeerIndex) -> Vec<String> {
        match self.plan.network.discovery {
            plan::Discovery::Mdns => Vec::new(),
            plan::Discovery::Static => {
                (0..self.peers.len() as PeerIndex).filter(|other| *other != peer).map(address_of).collect()
            }
        }
    }

    /// What the state on disk holds is offered again; the seeder has its directory.
    fn take_documents(&mut self, peer: PeerIndex) {
        if self.peers[peer as usize].is_seeder {
            self.peers[peer as usize].disk.documents = self.documents.current().collect();
        }
        let held: Vec<u32> = self.peers[peer as usize].disk.documents.iter().copied().collect();
        for number in held {
            let offer = self.documents.offer(number);
            self.input(peer, Input::DocumentHeld { offer, from: None, replaces: None });
        }
    }

    /// A newcomer and the others hear of each other.
    pub(super) fn on_discover(&mut self, peer: PeerIndex, life: u32) {
        if self.peers[peer as usize].life != life {
            return;
        }
        let is_there = |other: &PeerIndex| {
            let other = &self.peers[*other as usize];
            other.process.is_some() && other.is_linked
        };
        let mut others: Vec<PeerIndex> =
            (0..self.peers.len() as PeerIndex).filter(|other| *other != peer).filter(is_there).collect();
        if others.len() > HEARD_MAX {
            self.rng.shuffle(&mut others);
            others.truncate(HEARD_MAX);
        }
        for other in others {
            for (who, heard) in [(peer, other), (other, peer)] {
                let id = self.peers[heard as usize].id;
                self.input(who, Input::Heard { peer: id, addresses: vec![address_of(heard)] });
            }
        }
    }

    /// A process ends: with a word to its neighbours, or by SIGKILL (the kernel closes its connections then).
    pub(super) fn end(&mut self, peer: PeerIndex, in_order: bool) {
        self.cut_install(peer, in_order);
        if in_order {
            self.write_ledger();
        }
        let this = &mut self.peers[peer as usize];
        this.life += 1;
        this.is_started = false;
        self.record.on_not_wanting(peer, self.now);
        let this = &mut self.peers[peer as usize];
        this.keep_stats(&self.contents);
        let Some(process) = this.process.take() else { return };
        // Pieces that are not whole are begun anew.
        let parts: u64 =
            process.parts.values().map(|groups| u64::from(groups.count_ones()) * GROUP_BYTES).sum();
        self.forget_stored(peer, parts);
        self.timers.set(peer, None);
        self.processors.clear(peer, self.now);
        for id in process.connections.into_values() {
            let side = self.connections[id as usize].side_of(peer);
            self.close(id, side);
        }
    }

    /// Nobody is told: its neighbours find out by its silence, or when it comes again.
    fn cut_power(&mut self, peer: PeerIndex) {
        let connections =
            self.peers[peer as usize].process.as_mut().map(|p| std::mem::take(&mut p.connections));
        for id in connections.unwrap_or_default().into_values() {
            self.shut(id, self.connections[id as usize].side_of(peer));
        }
        self.end(peer, false);
        self.peers[peer as usize].power_cut = Some(self.now);
        let lost = self.peers[peer as usize].disk.lose(self.now, &mut self.rng);
        let bytes = lost.iter().map(|(content, piece)| self.contents[*content].geometry.piece_len(*piece));
        self.forget_stored(peer, bytes.sum());
    }

    /// A device lost something that had been counted.
    fn forget_stored(&mut self, peer: PeerIndex, bytes: u64) {
        if self.peers[peer as usize].joined.is_none() {
            // The last group of a content may be short.
            self.bytes_stored = self.bytes_stored.saturating_sub(bytes);
        }
    }

    fn set_link(&mut self, peer: PeerIndex, is_up: bool) {
        let this = &mut self.peers[peer as usize];
        this.is_linked = is_up;
        let (up, down) = (this.up, this.down);
        let (up_rate, down_rate) = if is_up { self.rates_of(peer) } else { (0, 0) };
        self.network.set_rate(up, up_rate, self.now);
        self.network.set_rate(down, down_rate, self.now);
        if is_up {
            self.record_wanting(peer);
            self.release_held(peer);
        } else {
            self.record.on_not_wanting(peer, self.now);
        }
    }

    pub(super) fn on_write_ledger(&mut self, life: u32) {
        let seeder = self.seeder();
        if self.peers[seeder as usize].life == life {
            self.write_ledger();
            self.agenda.push(self.now.plus(LEDGER_NANOS), Event::WriteLedger { life });
        }
    }

    fn write_ledger(&mut self) {
        let seeder = self.seeder();
        let this = &mut self.peers[seeder as usize];
        let Some(process) = &mut this.process else { return };
        let unwritten: Vec<(usize, PieceIndex)> = std::mem::take(&mut process.unwritten);
        for (content, piece) in unwritten {
            this.disk.granted[content].insert(piece);
        }
    }
}
