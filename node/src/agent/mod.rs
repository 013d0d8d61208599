//! What a device does with what the mesh brings: documents → decision → fetch → install → report.
//!
//! One task owns all of it. It never stops the mesh: what fails here is said in status and report, and tried again.

mod fetch;
mod install;
mod report;
mod standing;
mod view;

use crate::api::StatusView;
use crate::handler::InstallError;
use crate::mesh::store::Store;
use crate::mesh::{MeshEvent, MeshHandle};
use crate::state::State;
use fetch::{Phase, Work};
use report::Reporter;
use samara_protocol::document::ReleaseState;
use samara_protocol::id::{ContentHash, DocumentId, PeerId};
use samara_protocol::rollout::{Decision, Facts, SiteDocuments};
use samara_protocol::trust::VerifiedDocument;
use standing::Aside;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the status is made anew.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// How long after a full disk, a failed fsync, a failed install or a failed read the next try comes.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// Finished installs that may wait; one runs at a time.
const INSTALLED_MAX: usize = 4;

/// How the install of a release ended.
type InstallResult = (DocumentId, Result<(), InstallError>);

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
    /// The mesh.
    pub mesh: MeshHandle,
    /// Artifact bytes.
    pub store: Store,
    /// Documents and the install journal.
    pub state: Arc<State>,
    /// Where the status goes.
    pub status: watch::Sender<StatusView>,
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
    /// Withdrawn releases whose copies are to go.
    to_purge: BTreeSet<DocumentId>,
    reporter: Reporter,
    installing: Option<DocumentId>,
    installed: mpsc::Sender<InstallResult>,
    started: Instant,
}

impl Agent {
    /// An agent that has not yet heard of any document.
    pub fn new(parts: AgentParts) -> (Self, mpsc::Receiver<InstallResult>) {
        let (installed, results) = mpsc::channel(INSTALLED_MAX);
        let reporter = Reporter::new(parts.site, parts.device, parts.secret, parts.state.clone());
        let agent = Self {
            facts: parts.facts.clone(),
            parts,
            documents: SiteDocuments::default(),
            is_restored: false,
            work: BTreeMap::new(),
            aside: BTreeMap::new(),
            unsealed: BTreeSet::new(),
            stopped: BTreeSet::new(),
            to_purge: BTreeSet::new(),
            reporter,
            installing: None,
            installed,
            started: Instant::now(),
        };
        (agent, results)
    }

    /// Runs until `shutdown`; an install under way is finished first.
    pub async fn run(
        mut self,
        mut results: mpsc::Receiver<InstallResult>,
        mut events: mpsc::Receiver<MeshEvent>,
        shutdown: CancellationToken,
    ) {
        let mut status = tokio::time::interval(STATUS_EVERY);
        let mut retry = tokio::time::interval(RETRY_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled(), if self.installing.is_none() => break,
                Some((release, result)) = results.recv() => self.on_installed(release, result).await,
                event = events.recv() => match event {
                    Some(event) => self.on_event(event).await,
                    None => break,
                },
                _ = status.tick() => self.show_status().await,
                _ = retry.tick() => self.retry().await,
            }
        }
    }

    async fn on_event(&mut self, event: MeshEvent) {
        match event {
            MeshEvent::Document(document) => self.on_document(*document).await,
            MeshEvent::DocumentDropped(id) => {
                self.documents.remove(id);
                if self.is_restored {
                    self.decide().await;
                }
            }
            MeshEvent::Restored => {
                self.is_restored = true;
                self.decide().await;
            }
            MeshEvent::Complete(content) => self.on_complete(content).await,
            MeshEvent::NoSpace(content) => self.on_no_space(content),
            MeshEvent::Damaged(content) => self.on_damaged(content),
            MeshEvent::SourceChanged { content, why } => {
                tracing::error!(%content, why, "a stored file was changed")
            }
            MeshEvent::Neighbour { peer, connected } => tracing::info!(%peer, connected, "neighbour"),
            MeshEvent::Listening(_) | MeshEvent::SafeToLeave(_) => {}
        }
    }

    async fn on_document(&mut self, document: VerifiedDocument) {
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
        // With a part of what is known an older release would seem the newest.
        if self.is_restored {
            self.decide().await;
        }
    }

    /// Compares what is decided with what is under way, and starts or stops the difference.
    async fn decide(&mut self) {
        self.facts.in_place = self.places();
        let decisions = self.documents.decide(&self.facts);
        let before = std::mem::take(&mut self.aside);
        // Of what nobody vouches for any more nothing is fetched or shared; what is in place stays there.
        let undecided: Vec<_> = self.work.keys().filter(|id| !decisions.contains_key(id)).copied().collect();
        for release in undecided {
            self.drop_work(release).await;
        }
        for (release, decision) in decisions {
            match decision {
                Decision::Install { rollout } if !self.work.contains_key(&release) => {
                    self.begin(release, rollout).await;
                }
                Decision::Install { .. } => {}
                Decision::Superseded => {
                    let aside = Aside::new(ReleaseState::Superseded, "a later release is wanted");
                    self.set_aside(release, aside).await;
                }
                Decision::Withdrawn { reason, purge } => {
                    let was_begun = self.withdraw(release, purge).await
                        || before.get(&release).is_some_and(|aside| aside.was_begun);
                    let aside = Aside::new(ReleaseState::Withdrawn, reason);
                    self.aside.insert(release, Aside { was_begun, ..aside });
                }
                Decision::Held(state) => {
                    let why = format!("the rollout is {state}");
                    self.aside.insert(release, Aside::new(ReleaseState::Waiting, why));
                }
                Decision::NotApplicable(why) => {
                    self.set_aside(release, Aside::new(ReleaseState::NotApplicable, why)).await;
                }
            }
        }
        self.look_in_place();
        self.report().await;
    }

    /// A release that is no longer wanted keeps its copy until its successor is installed.
    async fn set_aside(&mut self, release: DocumentId, aside: Aside) {
        if let Some(work) = self.work.get(&release)
            && work.phase != Phase::Installed
        {
            self.drop_work(release).await;
        }
        self.aside.insert(release, aside);
    }

    /// True if it was on its way.
    async fn withdraw(&mut self, release: DocumentId, purge: bool) -> bool {
        let unfinished = self.work.get(&release).is_some_and(|work| work.phase != Phase::Installed);
        if purge || unfinished {
            self.drop_work(release).await;
            self.forget_unwanted().await;
        }
        if purge {
            self.to_purge.insert(release);
            self.purge().await;
        }
        unfinished
    }
}

#[cfg(test)]
mod tests;
