//! The loop that drives the mesh machine: waits for one of a closed set of events, handles it, drains the actions.
//!
//! Artifact bytes wait here under their tickets; each is stored or dropped as soon as the machine has seen its
//! header. Work on disk runs beside the loop and comes back as a [`Done`]. All queues are bounded: what a peer sends
//! waits in its connection (TCP holds it back), what the owner does not read waits in `outbox`, whose growth follows
//! verified documents and the state of contents, never traffic.

mod documents;
mod ledger;
mod membership;
mod parting;
mod reach;

use super::alarms::Alarms;
use super::command::{COMMANDS_MAX, Command, EVENTS_MAX, MeshError, MeshEvent, MeshHandle, MeshView};
use super::library::{JOBS_MAX, Job, Library, Outcome};
use super::limiter::Limiter;
use super::net::{Net, NetEvent, NetEvents, NetOptions};
use super::serving::Serving;
use super::store::{Loss, Store, StoreError};
use crate::state::State;
use bytes::Bytes;
use membership::Member;
use samara_protocol::geometry::{Geometry, PieceRange};
use samara_protocol::id::{ContentHash, PeerId};
use samara_protocol::mesh::{Action, Input, Mesh, MeshConfig, StoreFault, Ticket};
use samara_protocol::time::Timestamp;
use samara_protocol::trust::Trust;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Finished pieces of work that may wait for the loop.
const DONE_MAX: usize = 256;
/// How long newly granted pieces may wait before the ledger is written.
const LEDGER_EVERY: Duration = Duration::from_secs(1);

/// What a mesh is made of.
pub struct MeshParts {
    /// The network's options.
    pub net: NetOptions,
    /// The machine's options.
    pub machine: MeshConfig,
    /// Where artifact bytes are.
    pub store: Store,
    /// Documents, marks, ledger.
    pub state: Arc<State>,
    /// The site's trust as restored from the state.
    pub trust: Trust,
    /// Envelopes to take before anybody is met: what an operator's directory holds.
    pub documents: Vec<Vec<u8>>,
    /// Bytes per second of artifact data that may leave, if limited.
    pub uplink_limit: Option<u64>,
    /// Randomness.
    pub rng_seed: u64,
}

/// Starts the mesh: the owner's handle, the events, and the task that ends after `shutdown`.
pub async fn start(
    parts: MeshParts,
    shutdown: CancellationToken,
) -> Result<(MeshHandle, mpsc::Receiver<MeshEvent>, tokio::task::JoinHandle<()>), MeshError> {
    let (net, net_events) = Net::start(&parts.net)?;
    let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
    let (events, events_out) = mpsc::channel(EVENTS_MAX);
    let (done_in, done) = mpsc::channel(DONE_MAX);
    let (jobs, jobs_out) = mpsc::channel(JOBS_MAX);
    let (outcomes_in, outcomes) = mpsc::channel(JOBS_MAX);
    let (library, held) =
        Library::open(parts.trust, parts.state.clone(), parts.documents).map_err(MeshError::State)?;
    let devices_enrolled = library.devices_enrolled();
    let alarms = Alarms::new(parts.machine.site);
    std::thread::Builder::new()
        .name("documents".into())
        .spawn(move || library.run(jobs_out, &outcomes_in))
        .map_err(|e| MeshError::State(e.to_string()))?;
    let enrollment = parts.machine.enrollment.clone();
    let limiter = parts.uplink_limit.map(|rate| Arc::new(Limiter::new(rate)));
    let net = Arc::new(net);
    let mut driver = Driver {
        me: parts.machine.me,
        machine: Mesh::new(parts.machine, parts.rng_seed),
        serving: Serving::new(net.clone(), parts.store.clone(), limiter, done_in.clone()),
        net,
        store: parts.store,
        state: parts.state,
        origin: Instant::now(),
        tickets: BTreeMap::new(),
        ticket_next: 0,
        geometries: BTreeMap::new(),
        granted: ledger::Ledger::default(),
        listen: Vec::new(),
        members: BTreeMap::new(),
        unopened: BTreeSet::new(),
        desk: documents::Desk::new(jobs),
        done: done_in,
        outbox: VecDeque::new(),
        alarms,
        reach_waiting: Vec::new(),
    };
    driver.watch_enrollment(&enrollment);
    for document in held {
        driver.hold(document, None, None);
    }
    driver.handle(Input::DevicesEnrolled(devices_enrolled));
    driver.outbox.push_back(MeshEvent::Restored);
    let task = tokio::spawn(driver.run(Inbox { net_events, commands, done, outcomes }, events, shutdown));
    Ok((MeshHandle { commands: commands_in }, events_out, task))
}

/// A finished piece of work on disk or network.
pub(super) enum Done {
    /// A fact for the machine.
    Input(Input),
    /// The disk is full.
    NoSpace { content: ContentHash, ticket: Ticket },
    /// A file that is served in place was changed.
    SourceChanged { content: ContentHash, failed: Input, peer: PeerId, token: u64, why: String },
    /// A range could not be sent.
    ServeFailed { failed: Input, peer: PeerId, token: u64 },
}

struct Inbox {
    net_events: NetEvents,
    commands: mpsc::Receiver<Command>,
    done: mpsc::Receiver<Done>,
    outcomes: mpsc::Receiver<Outcome>,
}

struct Driver {
    me: PeerId,
    machine: Mesh,
    net: Arc<Net>,
    store: Store,
    state: Arc<State>,
    origin: Instant,
    tickets: BTreeMap<Ticket, Bytes>,
    ticket_next: u64,
    geometries: BTreeMap<ContentHash, Geometry>,
    granted: ledger::Ledger,
    listen: Vec<String>,
    members: BTreeMap<PeerId, Member>,
    /// Contents that the machine did not open at once, although it was told to.
    unopened: BTreeSet<ContentHash>,
    serving: Serving,
    desk: documents::Desk,
    done: mpsc::Sender<Done>,
    outbox: VecDeque<MeshEvent>,
    alarms: Alarms,
    /// Who waits to hear how many neighbours can reach this peer.
    reach_waiting: Vec<oneshot::Sender<(u32, u32)>>,
}

impl Driver {
    async fn run(mut self, mut inbox: Inbox, events: mpsc::Sender<MeshEvent>, shutdown: CancellationToken) {
        let mut ledger = tokio::time::interval(LEDGER_EVERY);
        let store = self.store.clone();
        loop {
            self.drain();
            let timeout = self.machine.poll_timeout().map(|at| self.origin + Duration::from_micros(at.0));
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(done) = inbox.done.recv() => self.on_done(done),
                Some(outcome) = inbox.outcomes.recv() => self.on_outcome(outcome),
                Some(command) = inbox.commands.recv() => self.on_command(command),
                permit = events.reserve(), if !self.outbox.is_empty() => match (permit, self.outbox.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    _ => break,
                },
                Some(event) = inbox.net_events.recv() => self.on_net(event),
                loss = store.next_loss() => self.on_loss(loss),
                () = sleep_until(timeout) => self.handle(Input::Timeout),
                _ = ledger.tick() => self.granted.write(self.state.clone()).await,
            }
        }
        self.granted.write(self.state.clone()).await;
        self.serving.abort();
        // The network's task may be waiting for room in the queue that nobody reads any more.
        drop(inbox);
        self.net.close().await;
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.origin.elapsed().as_micros() as u64)
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(self.now(), input);
    }

    fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::Connected { peer } => self.handle(Input::Connected { peer }),
            NetEvent::Disconnected { peer } => self.gone(peer),
            NetEvent::Control { peer, message } => self.handle(Input::Received { peer, message }),
            NetEvent::Data { peer, header, bytes } => {
                let ticket = Ticket(self.ticket_next);
                self.ticket_next += 1;
                self.tickets.insert(ticket, bytes);
                self.handle(Input::DataReceived { peer, header, ticket });
            }
            NetEvent::Written { peer, token } => {
                if let Some(input) = self.serving.on_written(peer, token) {
                    self.handle(input);
                }
            }
            NetEvent::Discovered { peer, addresses } => self.handle(Input::Heard { peer, addresses }),
            NetEvent::Listening { address } => {
                self.listen.push(address.clone());
                self.machine.listening(self.listen.clone());
                self.outbox.push_back(MeshEvent::Listening(address));
            }
            NetEvent::NotListening { address } => {
                self.listen.retain(|held| *held != address);
                self.machine.listening(self.listen.clone());
            }
            NetEvent::Refused { peer, why } => {
                tracing::debug!(?peer, why, "connection refused");
                if let Some(peer) = peer {
                    self.handle(Input::DialFailed { peer });
                }
            }
            NetEvent::OwnIdentity { address } => self.on_own_identity(address),
            NetEvent::WireFault { .. } => {}
        }
    }

    fn gone(&mut self, peer: PeerId) {
        self.serving.on_gone(peer);
        self.desk.on_gone(peer);
        self.member_is_gone(peer);
        self.handle(Input::Disconnected { peer });
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Input(input) => self.handle(input),
            Done::NoSpace { content, ticket } => {
                self.handle(Input::StoreFailed { ticket, fault: StoreFault::NoSpace });
                self.handle(Input::Intake { content, open: false });
                self.outbox.push_back(MeshEvent::NoSpace(content));
            }
            Done::ServeFailed { failed, peer, token } => {
                self.serving.on_failed(peer, token);
                self.handle(failed);
            }
            Done::SourceChanged { content, failed, peer, token, why } => {
                self.serving.on_failed(peer, token);
                self.handle(failed);
                self.outbox.push_back(MeshEvent::SourceChanged { content, why });
            }
        }
    }

    /// Bytes on disk turned out wrong, whoever read them.
    fn on_loss(&mut self, Loss { content, pieces }: Loss) {
        tracing::error!(target: "samara", event = "damaged", %content, ?pieces, "bytes on disk are damaged");
        self.handle(Input::PiecesLost { content, pieces });
        self.outbox.push_back(MeshEvent::Damaged(content));
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Tell(input) => {
                match &input {
                    Input::SwarmOpened { content, geometry, .. } => {
                        self.geometries.insert(*content, *geometry);
                    }
                    Input::SwarmClosed { content } => {
                        self.geometries.remove(content);
                        self.unopened.remove(content);
                    }
                    _ => {}
                }
                self.handle(input);
            }
            Command::Publish { envelope, answer } => {
                self.ask(Job::Publish { envelope, answer });
            }
            Command::AskReach { at_least, answer } => self.ask_reach(at_least, answer),
            Command::View { contents, answer } => {
                let of = |content: &ContentHash| {
                    let stats = self.machine.swarm_stats(content)?;
                    Some((*content, (stats, self.machine.swarm_peers(content))))
                };
                let _ = answer.send(MeshView {
                    neighbours: self.machine.neighbours(),
                    devices: self.machine.devices_near(),
                    swarms: contents.iter().filter_map(of).collect(),
                    safe_to_leave: self.machine.is_safe_to_leave(),
                    alarms: self.alarms.view(Instant::now()),
                });
            }
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send { peer, message } => self.net.send_control(peer, message),
            Action::Admit { peer, hello } => self.ask_for(peer, hello.enrollment),
            Action::LetIn { .. } => self.alarms.on_let_in(),
            Action::GoodbyeHeard { peer, goodbye } => self.on_goodbye(peer, goodbye),
            Action::Disconnect { peer, reason } => self.disconnect(peer, &reason),
            Action::Serve { peer, content, header } => match self.geometries.get(&content) {
                Some(&geometry) => self.serving.serve(peer, content, geometry, header),
                None => self.handle(Input::ServeFailed { peer, content, range: header.range }),
            },
            Action::CancelServe { peer, content, range } => self.serving.cancel(peer, content, range),
            Action::Store { ticket, content, range } => self.store_bytes(ticket, content, range),
            Action::Discard { ticket } => {
                self.tickets.remove(&ticket);
            }
            // A part of it may have been lost before its last part came.
            Action::PieceStored { content, piece, .. } if !self.store.has_piece(content, piece) => {
                self.on_loss(Loss { content, pieces: vec![piece] });
            }
            Action::PieceStored { .. } => {}
            Action::NotOpened { content } => self.on_not_opened(content),
            Action::ContentComplete { content } => self.outbox.push_back(MeshEvent::Complete(content)),
            Action::Granted { content, piece, .. } => self.granted.add(content, piece),
            Action::CheckDocument { peer, envelope } => self.check_document(peer, envelope),
            Action::ReadDocument { peer, id } => self.read_document(peer, id),
            Action::Dial { peer, addresses } => self.net.dial(peer, addresses),
            Action::SafeToLeave(safe) => self.outbox.push_back(MeshEvent::SafeToLeave(safe)),
            Action::Probe { peer, addresses } => self.probe(peer, addresses),
            Action::Reached { asked, reached } => self.on_reached(asked, reached),
        }
    }

    fn on_not_opened(&mut self, content: ContentHash) {
        if self.unopened.insert(content) {
            tracing::warn!(
                target: "samara", event = "content_not_opened", %content,
                "too many contents, or pieces of them, at once: this one waits, neither fetched nor served, until others close"
            );
        }
    }

    fn store_bytes(&mut self, ticket: Ticket, content: ContentHash, range: PieceRange) {
        let (Some(bytes), Some(&geometry)) = (self.tickets.remove(&ticket), self.geometries.get(&content))
        else {
            return self.handle(Input::StoreFailed { ticket, fault: StoreFault::Io });
        };
        let (store, done) = (self.store.clone(), self.done.clone());
        tokio::spawn(async move {
            let input = match store.write(content, &geometry, range, bytes).await {
                Ok(()) => Done::Input(Input::Stored { ticket }),
                Err(StoreError::WrongBytes { group }) => {
                    Done::Input(Input::StoreFailed { ticket, fault: StoreFault::WrongBytes { group } })
                }
                Err(StoreError::NoSpace { .. }) => Done::NoSpace { content, ticket },
                Err(error) => {
                    tracing::error!(%error, %content, "cannot store received bytes");
                    Done::Input(Input::StoreFailed { ticket, fault: StoreFault::Io })
                }
            };
            let _ = done.send(input).await;
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
