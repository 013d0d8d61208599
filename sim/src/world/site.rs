//! A world made from a plan: peers with their links, contents, documents, dice.

use super::access::Access;
use super::agenda::Agenda;
use super::alarms::Alarms;
use super::checker::{Bounds, Checker};
use super::clock::Nanos;
use super::curve::Curve;
use super::documents::Documents;
use super::install::{Installs, SignError};
use super::network::Network;
use super::peer::{Disk, Peer, PeerIndex, Received, peer_id};
use super::processor::Processors;
use super::record::Record;
use super::trace::Trace;
use super::{Content, Options, World};
use crate::plan::{ArtifactKind, Party, Plan, Rate, Schedule, Sharing};
use samara_protocol::geometry::{Geometry, GeometryError};
use samara_protocol::id::ContentHash;
use samara_protocol::neighbour::Limits;
use samara_protocol::piece_set::PieceSet;
use samara_protocol::rng::Prng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Devices up to which transfers share links exactly, unless said otherwise.
const EXACT_DEVICES_MAX: usize = 1000;
/// Devices up to which each one's enrollment is a document that spreads during the run; larger sites have had theirs for
/// long.
const ENROLLED_DEVICES_MAX: usize = 48;
/// Keeps the dice of the links apart from those of everything else.
const ACCESS_SALT: u64 = 0x6c69_6e6b_0000_0000;
/// Bytes of one entry of a tree's file list.
const LIST_ENTRY_BYTES: u64 = 110;

/// Why there is no world for a plan.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Its artifact has no shape.
    #[error("the artifact: {0}")]
    Artifact(#[from] GeometryError),
    /// Its documents make no sense.
    #[error("the documents: {0}")]
    Documents(#[from] SignError),
}

impl World {
    /// A world in which nothing has happened yet.
    pub fn new(plan: &Plan, options: &Options) -> Result<Self, SiteError> {
        let count = plan.devices.count;
        let mut rng = Prng::new(options.seed);
        let simulated = plan.simulated.clone().unwrap_or_default();
        let limits = Limits { request_bytes: simulated.request_bytes(count), ..Limits::default() };
        let contents = contents(plan, limits.request_bytes, &mut rng)?;
        let sharing = if count <= EXACT_DEVICES_MAX { Sharing::Exact } else { Sharing::Local };
        let mut network = Network::new(simulated.sharing.unwrap_or(sharing));
        let peers: Vec<Peer> =
            (0..=count).map(|index| peer(index, plan, &contents, &mut network, &mut rng)).collect();
        let accesses = accesses(plan, &peers, &mut network, options.seed ^ ACCESS_SALT);
        let enrollments = if count <= ENROLLED_DEVICES_MAX { count as u32 } else { 0 };
        let present = plan.present();
        let pieces = contents.last().map_or(0, |content| content.geometry.pieces());
        let signed = Installs::new(plan, &contents, options.seed)?;
        let documents =
            Documents::new(enrollments, signed.as_ref().map(|(_, [release, rollout])| [release, rollout]));
        let trace = Trace::new(Nanos::from_seconds(plan.settle), count, &contents);
        let mut world = Self {
            plan: plan.clone(),
            seed: options.seed,
            now: Nanos(0),
            begin: Nanos::from_seconds(plan.settle),
            rng,
            costs: options.costs,
            is_ideal: options.is_ideal,
            has_power_cuts: plan.has_power_cuts(),
            disk_ns_per_byte: simulated.disk.map(|disk| 1e9 / disk.0 as f64),
            are_links_perfect: accesses.iter().all(Access::is_perfect),
            accesses,
            segments: (0..=count).map(|device| plan.segment_of(device)).collect(),
            agenda: Agenda::new(),
            timers: Alarms::default(),
            processors: Processors::new(count + 1, options.cores),
            network,
            peers,
            connections: Vec::new(),
            dialling: BTreeSet::new(),
            refused: BTreeMap::new(),
            contents,
            documents,
            installs: signed.map(|(installs, _)| Box::new(installs)),
            schedule: Schedule::new(&plan.happenings),
            checker: Checker::new(Bounds {
                frames_per_peer: limits.serve_queue_max + limits.serve_active_per_peer,
                storing_per_peer: limits.storing_bytes_per_peer_max,
            }),
            limits,
            trace,
            record: Record::new(pieces, count + 1),
            curve: Curve::new(Nanos::from_seconds(plan.settle), plan.lower_bound_seconds()),
            scratch: Vec::new(),
            seeder_control_bytes: 0,
            bytes_stored: 0,
            bytes_wanted: plan.present().count() as u64 * plan.artifact.bytes.0,
            handled: 0,
        };
        for device in present {
            world.start(device as PeerIndex, Nanos(0));
        }
        world.start(count as PeerIndex, world.begin);
        Ok(world)
    }

    /// Bits per second up and down.
    pub(super) fn rates_of(&self, peer: PeerIndex) -> (u64, u64) {
        rates(&self.plan, peer as usize)
    }
}

fn rates(plan: &Plan, index: usize) -> (u64, u64) {
    if index == plan.devices.count {
        return (plan.seeder.up.0, Rate::UNLIMITED.0);
    }
    let link = plan.rates(index);
    (link.up, link.down)
}

fn peer(index: usize, plan: &Plan, contents: &[Content], network: &mut Network, rng: &mut Prng) -> Peer {
    let is_seeder = index == plan.devices.count;
    let (up, down) = rates(plan, index);
    let empty: Vec<PieceSet> = contents.iter().map(|c| PieceSet::empty(c.geometry.pieces())).collect();
    let full: Vec<PieceSet> = contents.iter().map(|c| PieceSet::full(c.geometry.pieces())).collect();
    Peer {
        id: peer_id(index as PeerIndex, rng),
        is_seeder,
        lie: plan.lie(index),
        up: network.add_link(up),
        down: network.add_link(down),
        disk: Disk {
            have: if is_seeder { full } else { empty.clone() },
            granted: empty,
            documents: BTreeSet::new(),
            unsynced: VecDeque::new(),
        },
        process: None,
        life: 0,
        is_started: false,
        is_linked: true,
        power_cut: None,
        joined: None,
        verified: None,
        received: Received::default(),
        sent_before: 0,
        repaired_before: 0,
    }
}

fn accesses(plan: &Plan, peers: &[Peer], network: &mut Network, rng_seed: u64) -> Vec<Access> {
    let of_peers = peers.iter().enumerate().map(|(index, peer)| {
        let party = if peer.is_seeder { Party::Seeder } else { Party::Device(index) };
        let (up, down) = rates(plan, index);
        Access::new(plan.link_of(party), [peer.up, peer.down], [up, down], rng_seed)
    });
    let of_segments = plan.segments.iter().map(|segment| {
        let rates = [segment.up.0, segment.down.0];
        Access::new(segment.link, rates.map(|rate| network.add_link(rate)), rates, rng_seed)
    });
    of_peers.chain(of_segments).collect()
}

fn contents(plan: &Plan, request_bytes: u32, rng: &mut Prng) -> Result<Vec<Content>, GeometryError> {
    let artifact = &plan.artifact;
    let list = match artifact.kind {
        ArtifactKind::File => None,
        ArtifactKind::Tree => Some(artifact.files as u64 * LIST_ENTRY_BYTES),
    };
    let lengths = list.into_iter().chain([artifact.bytes.0]);
    lengths
        .map(|length| {
            let mut hash = [0; 32];
            hash.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next_u64().to_le_bytes()));
            let geometry = Geometry::for_length(length)?.with_requests_of(request_bytes);
            Ok(Content { hash: ContentHash(hash), geometry })
        })
        .collect()
}
