//! What a device does with what the mesh brings: documents → decision → fetch → install → report.
//!
//! What is done next with a release its machine says ([`samara_protocol::install`]); here is what it is told, and how it
//! is obeyed. One task owns all of it. It never stops the mesh: what fails here is said in status and report, and tried again.

mod cache;
mod drive;
mod explain;
mod fetch;
mod local;
mod record;
mod report;
mod source;
mod standing;
mod steps;
mod successor;
mod view;
mod work;

pub use local::{Order, RollBack};
pub use steps::StepResult;

use crate::api::{StatusView, StoreView};
use crate::guard::{GivenUp, TrialFiles};
use crate::mesh::store::Store;
use crate::mesh::{MeshEvent, MeshHandle};
use crate::state::{LogLine, Row, State, StateError};
use record::Unwritten;
use report::Reporter;
use samara_protocol::id::{ContentHash, DocumentId, PeerId};
use samara_protocol::install::{Ended, Input, State as Stands, Verdict};
use samara_protocol::rollout::{Decision, Facts, SiteDocuments};
use samara_protocol::trust::VerifiedDocument;
use standing::Aside;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use successor::Near;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use work::Work;

/// How often the status is made anew.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// How long after a failed fsync or a failed read the next try comes.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// Finished steps that may wait; one runs at a time.
const RESULTS_MAX: usize = 4;

/// What an agent is made of.
pub struct AgentParts {
    /// The device.
    pub device: PeerId,
    /// Its secret, to sign reports.
    pub secret: [u8; 32],
    /// Its site.
    pub site: samara_protocol::id::SiteId,
    /// What it is.
    pub facts: Facts,
    /// Where artifacts are installed.
    pub install_root: PathBuf,
    /// Where programs of a release lie while they run.
    pub private: PathBuf,
    /// Ends the daemon, so that its successor can be started.
    pub restart: CancellationToken,
    /// Where the guard is told of a successor.
    pub trials: TrialFiles,
    /// A successor that the guard gave up.
    pub given_up: Option<GivenUp>,
    /// Whether somebody at the device may bring the version before back.
    pub local_rollback: bool,
    /// The mesh.
    pub mesh: MeshHandle,
    /// Artifact bytes.
    pub store: Store,
    /// Documents and the install journal.
    pub state: Arc<State>,
    /// Where the status goes.
    pub status: watch::Sender<StatusView>,
}

/// Where an agent hears of what happens.
pub struct Inlets {
    /// Steps that ended.
    pub results: mpsc::Receiver<StepResult>,
    /// What the mesh brings.
    pub events: mpsc::Receiver<MeshEvent>,
    /// What people at the device want.
    pub orders: mpsc::Receiver<Order>,
}

/// The agent of one device.
pub struct Agent {
    parts: AgentParts,
    facts: Facts,
    documents: SiteDocuments,
    is_restored: bool,
    work: BTreeMap<DocumentId, Work>,
    aside: BTreeMap<DocumentId, Aside>,
    /// Complete contents that could not be made durable yet.
    unsealed: BTreeSet<ContentHash>,
    /// Contents that the mesh asks for no more because the disk was full.
    stopped: BTreeSet<ContentHash>,
    /// Contents that lack pieces here and of which no neighbour has any, when that was looked at last.
    unheld: BTreeSet<ContentHash>,
    /// Withdrawn releases whose copies are to go.
    to_purge: BTreeSet<DocumentId>,
    reporter: Reporter,
    /// The last transition of each release that is in the journal.
    rows: BTreeMap<DocumentId, Row>,
    /// Records that could not be made durable yet.
    unwritten: Vec<Unwritten>,
    /// Lines of the log that wait for the next commit.
    lines: Vec<LogLine>,
    /// What is known has changed since it was decided.
    is_stale: bool,
    /// Whose steps are run.
    turn: Option<DocumentId>,
    /// Of which release a step runs.
    running: Option<DocumentId>,
    results: mpsc::Sender<StepResult>,
    /// Neighbours when they were last looked at.
    near: Near,
    /// What the store takes.
    store_view: StoreView,
    /// Tells that the agent is to end.
    ending: Option<CancellationToken>,
    /// How the agent before this one ended.
    ended_before: Ended,
    started: Instant,
}

impl Agent {
    /// An agent that has not yet heard of any document.
    pub fn new(parts: AgentParts) -> Result<(Self, mpsc::Receiver<StepResult>), StateError> {
        let (sender, results) = mpsc::channel(RESULTS_MAX);
        let reporter = Reporter::new(parts.site, parts.device, parts.secret, parts.state.clone());
        let rows = parts.state.rows()?;
        let near = Near::new(parts.state.neighbours_kept()?);
        let ended_before = if parts.state.was_told()? { Ended::Told } else { Ended::Cut };
        let facts = Facts { bad: parts.state.bad()?, ..parts.facts.clone() };
        let agent = Self {
            facts,
            parts,
            documents: SiteDocuments::default(),
            is_restored: false,
            work: BTreeMap::new(),
            aside: BTreeMap::new(),
            unsealed: BTreeSet::new(),
            stopped: BTreeSet::new(),
            unheld: BTreeSet::new(),
            to_purge: BTreeSet::new(),
            reporter,
            rows,
            unwritten: Vec::new(),
            lines: Vec::new(),
            is_stale: false,
            turn: None,
            running: None,
            results: sender,
            near,
            store_view: StoreView::default(),
            ending: None,
            ended_before,
            started: Instant::now(),
        };
        Ok((agent, results))
    }

    /// Runs until `shutdown`; what has begun to change the device is finished first.
    pub async fn run(mut self, mut inlets: Inlets, shutdown: CancellationToken) {
        let restart = self.parts.restart.clone();
        self.ending = Some(shutdown.clone());
        let mut status = tokio::time::interval(STATUS_EVERY);
        let mut retry = tokio::time::interval(RETRY_EVERY);
        loop {
            let tick = self.next_tick();
            tokio::select! {
                () = shutdown.cancelled(), if self.running.is_none() => break,
                () = restart.cancelled(), if self.running.is_none() => break,
                Some(result) = inlets.results.recv() => self.on_step(result).await,
                Some(order) = inlets.orders.recv() => self.on_order(order).await,
                event = inlets.events.recv() => match event {
                    Some(event) => self.on_event(event).await,
                    None => break,
                },
                () = tokio::time::sleep_until(tick.unwrap_or_else(Instant::now)), if tick.is_some() => {
                    self.on_tick().await;
                }
                _ = status.tick() => self.show_status().await,
                _ = retry.tick() => self.retry().await,
            }
        }
        self.keep_lines().await;
        let state = self.parts.state.clone();
        let told = tokio::task::spawn_blocking(move || state.mark_told()).await;
        if let Ok(Err(error)) = told {
            tracing::error!(%error, "cannot write down that the agent was told to end");
        }
    }

    async fn on_event(&mut self, event: MeshEvent) {
        match event {
            MeshEvent::Document(document) => self.on_document(*document),
            MeshEvent::DocumentDropped(id) => {
                self.documents.remove(id);
                self.is_stale = true;
            }
            MeshEvent::Restored => {
                self.resume().await;
                (self.is_restored, self.is_stale) = (true, true);
            }
            MeshEvent::Complete(content) => self.on_complete(content).await,
            MeshEvent::NoSpace(content) => self.on_no_space(content),
            MeshEvent::Damaged(content) => self.on_damaged(content),
            MeshEvent::SourceChanged { content, why } => {
                tracing::error!(%content, why, "a stored file was changed")
            }
            MeshEvent::Neighbour { peer, connected } => tracing::info!(%peer, connected, "neighbour"),
            MeshEvent::Listening(_) | MeshEvent::SafeToLeave(_) => return,
        }
        // With a part of what is known an older release would seem the newest.
        if self.is_restored {
            self.pump().await;
        }
    }

    fn on_document(&mut self, document: VerifiedDocument) {
        match document {
            VerifiedDocument::Report(report) => {
                if report.device == self.parts.device && !self.is_restored {
                    self.reporter.recall(&report);
                }
                return;
            }
            VerifiedDocument::Enrollment(enrollment) => {
                if enrollment.device != self.parts.device {
                    return;
                }
                self.facts.product.clone_from(&enrollment.product);
            }
            other => self.documents.insert(other),
        }
        self.is_stale = true;
    }

    /// Compares what is decided with what is under way, and starts or stops the difference.
    async fn decide(&mut self) {
        self.facts.in_place = self.places();
        let under_way = self.work.iter().filter(|(_, work)| work.state().is_under_way());
        self.facts.under_way = under_way.map(|(id, _)| *id).collect();
        let decisions = self.documents.decide(&self.facts);
        let before = std::mem::take(&mut self.aside);
        // Of what nobody vouches for any more nothing is fetched or shared; what is in place stays there.
        let is_dropped =
            |(id, work): &(&DocumentId, &Work)| !decisions.contains_key(id) && !work.state().is_under_way();
        let undecided: Vec<_> = self.work.iter().filter(is_dropped).map(|(id, _)| *id).collect();
        for release in undecided {
            self.drop_work(release).await;
        }
        let is_wanted =
            |decision: &Decision| matches!(decision, Decision::Install { .. } | Decision::Prepare { .. });
        let wanted: BTreeSet<_> =
            decisions.iter().filter(|(_, decision)| is_wanted(decision)).map(|(id, _)| *id).collect();
        for (release, decision) in decisions {
            let verdict = Verdict::from(&decision);
            let mut aside = self.aside_of(release, &decision, &wanted);
            if let Decision::Install { rollout, .. } | Decision::Prepare { rollout } = decision {
                self.follow(release, rollout).await;
                if self.is_surplus_outdated(release) && !self.give_up(release).await {
                    continue;
                }
                if !self.work.contains_key(&release) {
                    self.begin(release, rollout, verdict).await;
                    continue;
                }
            }
            let is_unfinished = self.work.get(&release).is_some_and(|work| !work.state().is_in_place());
            self.tell(release, Input::Decided(verdict));
            if let Decision::Withdrawn { purge, .. } = decision {
                let was_begun = is_unfinished || before.get(&release).is_some_and(|aside| aside.was_begun);
                aside = aside.map(|aside| Aside { was_begun, ..aside });
                if purge {
                    self.to_purge.insert(release);
                }
            }
            if let Some(aside) = aside {
                self.aside.insert(release, aside);
            }
        }
        self.drop_purged().await;
        self.look_in_place();
    }

    /// A later sequence of its Rollout names a release that is worked on. What the device itself refused is asked once
    /// more: the operator may know that it has changed.
    async fn follow(&mut self, release: DocumentId, rollout: DocumentId) {
        let Some(work) = self.work.get_mut(&release) else { return };
        let is_news = std::mem::replace(&mut work.rollout, rollout) != rollout;
        if is_news && work.state() == Stands::Rejected {
            self.drop_work(release).await;
        }
    }

    /// Copies that are to go are shared no longer either.
    async fn drop_purged(&mut self) {
        let is_at_rest = |id: &&DocumentId| self.work.get(id).is_some_and(|work| work.state().is_in_place());
        let at_rest: Vec<_> = self.to_purge.iter().filter(is_at_rest).copied().collect();
        for id in at_rest {
            self.drop_work(id).await;
        }
        self.purge().await;
    }
}

#[cfg(test)]
mod tests;
