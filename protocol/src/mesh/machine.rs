//! The router: what each input means to which part, the timers, and nothing else.
//!
//! ```text
//!  admission   hello, membership, pings, addresses     documents   the catalog
//!  parties     who takes part in which swarm           requests    of whom to ask what
//!  transfer    what is served and what arrives         grants      the scarce link and safe_to_leave
//!  announce    haves                                   counting    whose haves are evidence
//! ```

use super::reach::Reach;
use super::{Action, DisconnectReason, Input, MeshConfig, SwarmPeer, SwarmStats, Ticket, Violation};
use crate::catalog::Catalog;
use crate::geometry::PieceRange;
use crate::id::{ContentHash, PeerId};
use crate::neighbour::rate::{RateMeter, Smoothed};
use crate::neighbour::{AddressBook, Choice, Neighbour, ScarceWindow, Uploads};
use crate::peer_map::PeerMap;
use crate::rng::Prng;
use crate::swarm::Swarm;
use crate::swarm::unopened::Unopened;
use crate::time::Timestamp;
use crate::wire::{Channel, Message};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Interval at which grants, wants and news are looked at while there are any.
const TICK: Duration = Duration::from_millis(100);
/// The same for what waits to be served.
const TICK_UPLOADS: Duration = Duration::from_millis(300);
/// Interval at which neighbours' clocks are looked at.
const WATCH: Duration = Duration::from_secs(1);

/// What the driver stores for us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storing {
    pub content: ContentHash,
    pub range: PieceRange,
    pub bytes: u64,
    pub from: PeerId,
}

/// One peer's view of the mesh.
pub struct Mesh {
    pub(super) config: MeshConfig,
    pub(super) actions: VecDeque<Action>,
    pub(super) rng: Prng,
    pub(super) neighbours: PeerMap<Neighbour>,
    pub(super) swarms: BTreeMap<ContentHash, Swarm>,
    pub(super) unopened: Unopened,
    /// Rises from swarm to swarm: bytes that are under way for one that was closed never fit another.
    pub(super) channel_last: Channel,
    pub(super) tickets: BTreeMap<Ticket, Storing>,
    pub(super) uploads: Uploads,
    pub(super) scarce: ScarceWindow,
    pub(super) catalog: Catalog,
    pub(super) addresses: AddressBook,
    pub(super) choice: Choice,
    pub(super) reach: Reach,
    pub(super) has_enrolled: bool,
    pub(super) devices_enrolled: usize,
    pub(super) is_safe: bool,
    pub(super) safety_is_stale: bool,
    /// Bytes asked of all neighbours.
    pub(super) asked_bytes: u64,
    /// No request under way was made before.
    pub(super) asked_since: Timestamp,
    pub(super) inflight_is_full: bool,
    pub(super) received_rate: RateMeter,
    /// How long requests take.
    pub(super) answer_time: Smoothed,
    tick_at: Option<Timestamp>,
    pub(super) resume_at: Option<Timestamp>,
    pub(super) announce_at: Option<Timestamp>,
    watch_at: Option<Timestamp>,
    digest_at: Option<Timestamp>,
    replace_at: Option<Timestamp>,
}

impl Mesh {
    /// A machine without neighbours.
    pub fn new(mut config: MeshConfig, rng_seed: u64) -> Self {
        config.fit_choice();
        let choice = Choice::new(config.me, &config.peers);
        Self {
            config,
            choice,
            actions: VecDeque::new(),
            rng: Prng::new(rng_seed),
            neighbours: PeerMap::default(),
            swarms: BTreeMap::new(),
            unopened: Unopened::default(),
            channel_last: 0,
            tickets: BTreeMap::new(),
            uploads: Uploads::default(),
            scarce: ScarceWindow::default(),
            catalog: Catalog::default(),
            addresses: AddressBook::default(),
            reach: Reach::default(),
            has_enrolled: false,
            devices_enrolled: 0,
            is_safe: false,
            safety_is_stale: false,
            asked_bytes: 0,
            asked_since: Timestamp::ZERO,
            inflight_is_full: false,
            received_rate: RateMeter::default(),
            answer_time: Smoothed::default(),
            tick_at: None,
            resume_at: None,
            announce_at: None,
            watch_at: None,
            digest_at: None,
            replace_at: None,
        }
    }

    /// Takes in what happened; then drain [`Self::poll_action`].
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Connected { peer } => self.on_connected(peer, now),
            Input::Disconnected { peer } => self.forget(peer, now),
            Input::Heard { peer, addresses } => self.choice.heard(peer, addresses, now),
            Input::DialFailed { peer } => self.choice.fail(peer, now),
            Input::Received { peer, message } => self.on_received(peer, message, now),
            Input::Admitted { peer, enrolled_device } => self.on_admitted(peer, enrolled_device, now),
            Input::DataReceived { peer, header, ticket } => self.on_data(peer, header, ticket, now),
            Input::Stored { ticket } => self.on_stored(ticket, now),
            Input::StoreFailed { ticket, fault } => self.on_store_failed(ticket, fault, now),
            Input::Served { peer, content, range } => self.on_served(peer, content, range, now),
            Input::ServeFailed { peer, content, range } => self.on_serve_failed(peer, content, range, now),
            Input::SwarmOpened { content, geometry, have, wanted, granted } => {
                self.on_swarm_opened(content, geometry, have, wanted, granted, now);
            }
            Input::SwarmClosed { content } => self.on_swarm_closed(content, now),
            Input::PiecesLost { content, pieces } => self.on_pieces_lost(content, &pieces, now),
            Input::Intake { content, open } => self.on_intake(content, open, now),
            Input::DocumentHeld { offer, from, replaces } => {
                self.on_document_held(offer, from, replaces, now)
            }
            Input::DocumentDropped(id) => self.on_document_dropped(id, now),
            Input::DocumentRefused { peer, id, verdict } => self.on_document_refused(peer, id, verdict, now),
            Input::DocumentRead { peer, envelope } => self.on_document_read(peer, envelope),
            Input::Timeout => {}
            Input::MayBeMember { peer } => self.choice.forgive(peer, now, &mut self.rng),
            Input::DevicesEnrolled(count) => self.on_devices_enrolled(count),
            Input::ModeChanged(mode) => self.on_mode_changed(mode, now),
            Input::AskReach { at_least } => self.on_ask_reach(at_least, now),
            Input::Probed { peer, reached } => self.on_probe_ended(peer, reached),
        }
        self.run_timers(now);
        self.refresh_safety();
        self.arm_timers(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to hand in [`Input::Timeout`].
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let timers = [
            self.tick_at,
            self.resume_at,
            self.announce_at,
            self.watch_at,
            self.digest_at,
            self.replace_at,
            self.reach.due(),
            self.choice.due(),
        ];
        timers.into_iter().flatten().min()
    }

    /// Sets the addresses that later hellos name.
    pub fn listening(&mut self, addresses: Vec<String>) {
        self.config.listen = addresses;
    }

    /// Sets the enrollment that later hellos show; one of more than [`ENROLLMENT_SHOWN_MAX`] bytes has no place there.
    ///
    /// [`ENROLLMENT_SHOWN_MAX`]: crate::wire::ENROLLMENT_SHOWN_MAX
    pub fn enrolled(&mut self, envelope: Vec<u8>) {
        self.config.enrollment = envelope;
    }

    /// Counters of a swarm.
    pub fn swarm_stats(&self, content: &ContentHash) -> Option<SwarmStats> {
        let swarm = self.swarms.get(content)?;
        Some(SwarmStats {
            pieces: swarm.geometry.pieces(),
            have: swarm.picker.have().count(),
            received: swarm.counters.received.clone(),
            duplicate_bytes: swarm.counters.duplicate,
            sent_bytes: swarm.counters.sent,
            repair_bytes: swarm.counters.repair,
            wrong_bytes: swarm.counters.wrong,
        })
    }

    /// The neighbours that take part in a swarm.
    pub fn swarm_peers(&self, content: &ContentHash) -> Vec<SwarmPeer> {
        let parties = self.swarms.get(content).into_iter().flat_map(|swarm| swarm.parties.iter());
        let view = |(peer, party): (&PeerId, &crate::swarm::Party)| SwarmPeer {
            peer: *peer,
            enrolled_device: self.neighbours.get(peer).is_some_and(Neighbour::is_enrolled),
            have: party.have.count(),
        };
        parties.map(view).collect()
    }

    /// The admitted neighbours.
    pub fn neighbours(&self) -> Vec<PeerId> {
        self.neighbours.iter().filter(|(_, neighbour)| neighbour.is_member()).map(|(peer, _)| *peer).collect()
    }

    /// Whether the last `SafeToLeave` said so.
    pub fn is_safe_to_leave(&self) -> bool {
        self.is_safe
    }

    pub(super) fn send(&mut self, peer: PeerId, message: Message) {
        self.actions.push_back(Action::Send { peer, message });
    }

    pub(super) fn violation(&mut self, peer: PeerId, what: &'static str, now: Timestamp) {
        self.disconnect(peer, DisconnectReason::Violation(Violation::Message(what)), now);
    }

    pub(super) fn disconnect(&mut self, peer: PeerId, reason: DisconnectReason, now: Timestamp) {
        if self.neighbours.contains_key(&peer) {
            self.actions.push_back(Action::Disconnect { peer, reason });
            self.forget(peer, now);
        }
    }

    fn run_timers(&mut self, now: Timestamp) {
        if self.announce_at.take_if(|at| *at <= now).is_some() {
            self.announce_gathered();
        }
        if self.tick_at.take_if(|at| *at <= now).is_some() {
            self.expire_requests(now);
            self.survey_grants(now);
            self.retry_wants(now);
            self.pass_news();
            self.pump_uploads(now);
        }
        if self.resume_at.take_if(|at| *at <= now).is_some() {
            self.resume_requests(now);
        }
        if self.watch_at.take_if(|at| *at <= now).is_some() {
            self.watch_neighbours(now);
        }
        if self.digest_at.take_if(|at| *at <= now).is_some() {
            self.send_digests();
        }
        if self.replace_at.take_if(|at| *at <= now).is_some() {
            self.replace_idle(now);
        }
        self.watch_reach(now);
        self.dial(now);
    }

    fn arm_timers(&mut self, now: Timestamp) {
        if self.neighbours.is_empty() {
            (self.tick_at, self.watch_at, self.digest_at, self.replace_at) = (None, None, None, None);
            return;
        }
        if self.tick_at.is_none() {
            self.tick_at = self.next_tick(now);
        }
        if self.watch_at.is_none() {
            self.watch_at = Some(now + WATCH);
        }
        if self.digest_at.is_none() {
            self.digest_at = Some(now + self.rng.jitter(self.config.limits.digest_interval));
        }
        if self.replace_at.is_none() {
            self.replace_at = Some(now + self.rng.jitter(self.config.limits.replace_interval));
        }
    }

    /// When time alone may next change something.
    fn next_tick(&self, now: Timestamp) -> Option<Timestamp> {
        let grants =
            |swarm: &Swarm| swarm.origin.as_ref().is_some_and(|origin| self.is_granting(swarm, origin));
        let is_busy =
            self.catalog.is_wanting() || self.addresses.has_news() || self.swarms.values().any(grants);
        let soon = is_busy.then_some(now + TICK);
        let overdue = || self.requests_due().map(|due| due.max(now + TICK));
        let stuck = || self.uploads.is_waiting().then_some(now + TICK_UPLOADS);
        soon.or_else(|| [overdue(), stuck()].into_iter().flatten().min())
    }
}
