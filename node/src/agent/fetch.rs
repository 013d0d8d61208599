//! The work on one release: its swarms, from opened to sealed.

use super::Agent;
use crate::mesh::store::StoreError;
use samara_protocol::document::{Artifact, BlobRef, Release};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::mesh::Input;
use samara_protocol::piece_set::PieceSet;
use samara_protocol::rollout::{artifacts_for, blobs_for};
use samara_protocol::trust::Verified;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// How far a release has come here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its bytes come.
    Downloading,
    /// The disk is full; tried again.
    WaitingForSpace(String),
    /// A content cannot be opened for another reason; tried again.
    Closed(String),
    /// All bytes are verified and durable.
    Verified,
    /// A handler places it.
    Installing,
    /// It is in place.
    Installed,
    /// The install failed; tried again later.
    Failed {
        /// Why.
        why: String,
        /// When the next try may begin.
        retry_at: Instant,
        /// Tries so far.
        tries: u32,
    },
}

impl Phase {
    pub(super) fn of_fault(content: &ContentHash, error: StoreError) -> Self {
        match error {
            StoreError::NoSpace { .. } => {
                tracing::warn!(target: "samara", event = "waiting_for_space", %error, %content, "cannot open a content");
                Self::WaitingForSpace(error.to_string())
            }
            error => {
                tracing::error!(%error, %content, "cannot open a content; tried again");
                Self::Closed(format!("cannot keep its bytes: {error}"))
            }
        }
    }

    /// Without one of its contents a release can only be downloaded; an install under way says itself how it ends.
    fn on_content_lost(&mut self) {
        if matches!(self, Self::Verified | Self::Failed { .. }) {
            *self = Self::Downloading;
        }
    }
}

/// Work on one release.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) release: Verified<Release>,
    pub(super) rollout: DocumentId,
    pub(super) blobs: Vec<BlobRef>,
    /// What is sealed (verified, complete, durable) of `blobs`.
    pub(super) sealed: BTreeSet<ContentHash>,
    /// What the mesh swarms.
    pub(super) open: BTreeSet<ContentHash>,
    pub(super) phase: Phase,
    pub(super) tries: u32,
}

impl Agent {
    /// Starts to fetch a release.
    pub(super) async fn begin(&mut self, id: DocumentId, rollout: DocumentId) {
        let Some(release) = self.documents.releases.get(&id).cloned() else { return };
        let blobs = blobs_for(&release, &self.facts);
        // What an install under way will leave in place the journal does not yet say.
        let is_installed = self.installing.is_none() && self.is_in_place(&release);
        let phase = if is_installed { Phase::Installed } else { Phase::Downloading };
        tracing::info!(release = %id, version = release.version, product = release.product, "release wanted");
        let work =
            Work { release, rollout, blobs, sealed: BTreeSet::new(), open: BTreeSet::new(), phase, tries: 0 };
        self.work.insert(id, work);
        // Verifying what is on disk may take a while.
        self.show_status().await;
        self.open_swarms(id).await;
        self.on_sealed(id).await;
    }

    /// An install may have replaced what another wanted release had in place, or have been of one that is wanted no more;
    /// and somebody may have removed what was installed.
    pub(super) async fn look_again(&mut self) {
        let is_gone = |(id, work): &(&DocumentId, &Work)| {
            work.phase == Phase::Installed && !self.aside.contains_key(id) && !self.is_in_place(&work.release)
        };
        let gone: Vec<DocumentId> = self.work.iter().filter(is_gone).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(work) = self.work.get_mut(&id) {
                work.phase = Phase::Downloading;
            }
            self.on_sealed(id).await;
        }
    }

    /// Whether all that this device installs of a release is in place: by the journal, and still there.
    pub(super) fn is_in_place(&self, release: &Verified<Release>) -> bool {
        let in_place = |artifact: &Artifact| {
            let installed = self.parts.state.installed(&artifact.destination);
            let place = self.parts.install_root.join(&artifact.destination);
            installed.is_ok_and(|there| there == Some(release.id())) && place.exists()
        };
        let mut artifacts = artifacts_for(release, &self.facts).peekable();
        artifacts.peek().is_some() && artifacts.all(in_place)
    }

    /// Opens those swarms of a release that are not open yet.
    async fn open_swarms(&mut self, id: DocumentId) {
        let Some(work) = self.work.get(&id) else { return };
        let missing: Vec<_> =
            work.blobs.iter().filter(|b| !work.open.contains(&b.content)).copied().collect();
        for blob in missing {
            match self.open_swarm(&blob).await {
                Ok(complete) => {
                    let Some(work) = self.work.get_mut(&id) else { return };
                    work.open.insert(blob.content);
                    if complete {
                        self.seal(blob.content).await;
                    }
                }
                Err(StoreError::Closing) => return,
                Err(error) => {
                    let Some(work) = self.work.get_mut(&id) else { return };
                    if work.phase == Phase::Installed {
                        tracing::warn!(%error, content = %blob.content, "cannot keep a copy for others");
                        return;
                    }
                    work.phase = Phase::of_fault(&blob.content, error);
                    return;
                }
            }
        }
    }

    async fn open_swarm(&self, blob: &BlobRef) -> Result<bool, StoreError> {
        let geometry = blob.geometry().map_err(|e| StoreError::Invalid(e.to_string()))?;
        let have = self.parts.store.open_content(blob.content, geometry).await?;
        let complete = have.is_full();
        let granted = PieceSet::empty(geometry.pieces());
        let opened = Input::SwarmOpened { content: blob.content, geometry, have, wanted: true, granted };
        self.parts.mesh.tell(opened).await;
        Ok(complete)
    }

    /// All pieces of a content are here.
    pub(super) async fn on_complete(&mut self, content: ContentHash) {
        self.seal(content).await;
        let concerned: Vec<_> = self.work_with(content).collect();
        for id in concerned {
            self.on_sealed(id).await;
        }
    }

    fn work_with(&self, content: ContentHash) -> impl Iterator<Item = DocumentId> + use<'_> {
        self.work.iter().filter(move |(_, w)| w.blobs.iter().any(|b| b.content == content)).map(|(id, _)| *id)
    }

    /// Makes a complete content durable; an install reads nothing else.
    async fn seal(&mut self, content: ContentHash) {
        if let Err(error) = self.parts.store.seal(content).await {
            tracing::error!(%error, %content, "cannot make a complete content durable; tried again");
            self.unsealed.insert(content);
            return;
        }
        for work in self.work.values_mut().filter(|w| w.blobs.iter().any(|b| b.content == content)) {
            work.sealed.insert(content);
        }
    }

    /// Goes on with a release when the last of its contents is sealed.
    async fn on_sealed(&mut self, id: DocumentId) {
        let Some(work) = self.work.get_mut(&id) else { return };
        if work.sealed.len() < work.blobs.len()
            || !matches!(work.phase, Phase::Downloading | Phase::WaitingForSpace(_) | Phase::Closed(_))
        {
            return;
        }
        work.phase = Phase::Verified;
        let content_bytes: u64 = work.blobs.iter().map(|b| b.size).sum();
        // Whoever reads the next line may ask at once where the bytes came from.
        self.show_status().await;
        tracing::info!(target: "samara", event = "release_verified", release = %id, content_bytes, "every byte is verified");
        self.start_install().await;
    }

    /// The disk is full: the rest of the site goes on, this device waits for room.
    pub(super) fn on_no_space(&mut self, content: ContentHash) {
        self.stopped.insert(content);
        let concerned: Vec<_> = self.work_with(content).collect();
        for id in concerned {
            let Some(work) = self.work.get_mut(&id) else { continue };
            if work.phase == Phase::Downloading {
                tracing::warn!(target: "samara", event = "waiting_for_space", %content, "the disk is full");
                work.phase = Phase::WaitingForSpace("the disk is full".into());
            }
        }
    }

    /// Bytes on disk were wrong: what waits for an install waits until the content was fetched again.
    pub(super) fn on_damaged(&mut self, content: ContentHash) {
        // It is complete once more before it is sealed.
        self.unsealed.remove(&content);
        for work in self.work.values_mut() {
            if work.sealed.remove(&content) {
                work.phase.on_content_lost();
            }
        }
    }

    /// Tries again what could not be done before.
    pub(super) async fn retry(&mut self) {
        for content in std::mem::take(&mut self.unsealed) {
            if self.work_with(content).next().is_some() {
                self.on_complete(content).await;
            }
        }
        if self.installing.is_none() {
            self.look_again().await;
            // What stood in the way of a release may have been removed.
            if self.places() != self.facts.in_place {
                self.decide().await;
            }
        }
        self.purge().await;
        for content in std::mem::take(&mut self.stopped) {
            self.parts.mesh.tell(Input::Intake { content, open: true }).await;
        }
        let ids: Vec<_> = self.work.keys().copied().collect();
        for id in ids {
            let Some(work) = self.work.get_mut(&id) else { continue };
            match &work.phase {
                Phase::WaitingForSpace(_) | Phase::Closed(_) => {
                    self.report().await;
                    if let Some(work) = self.work.get_mut(&id) {
                        work.phase = Phase::Downloading;
                    }
                    self.open_swarms(id).await;
                    self.on_sealed(id).await;
                }
                // A copy for others found no room, or could not be opened.
                Phase::Installed if work.open.len() < work.blobs.len() => self.open_swarms(id).await,
                Phase::Failed { retry_at, .. } if *retry_at <= Instant::now() => {
                    work.phase = Phase::Verified;
                    self.start_install().await;
                }
                _ => {}
            }
        }
    }

    /// Ends the work on a release; contents that others need stay open.
    pub(super) async fn drop_work(&mut self, id: DocumentId) {
        let Some(work) = self.work.remove(&id) else { return };
        for content in work.open {
            if !self.work.values().any(|w| w.open.contains(&content)) {
                self.parts.mesh.tell(Input::SwarmClosed { content }).await;
                // An install that runs may still read it.
                if self.installing.is_none() {
                    self.parts.store.close(content).await;
                }
            }
        }
    }

    /// Deletes what only the releases to be purged need, whatever else is under way; an install may still read it.
    pub(super) async fn purge(&mut self) {
        if self.installing.is_some() || self.to_purge.is_empty() {
            return;
        }
        let held = self.parts.store.contents().await;
        for id in std::mem::take(&mut self.to_purge) {
            let Some(release) = self.documents.releases.get(&id) else { continue };
            let is_wanted = |content: ContentHash| {
                self.work.values().any(|work| work.blobs.iter().any(|blob| blob.content == content))
            };
            let contents = release.blobs().into_iter().map(|blob| blob.content);
            let gone: Vec<_> = contents.filter(|c| held.contains(c) && !is_wanted(*c)).collect();
            for content in gone {
                self.remove(content).await;
            }
        }
    }

    async fn remove(&self, content: ContentHash) {
        if let Err(error) = self.parts.store.remove(content).await {
            tracing::error!(%error, %content, "cannot remove a content");
        }
    }

    /// Frees the copies of releases that were superseded, once their successor is in place.
    pub(super) async fn forget_unwanted(&mut self) {
        if self.work.iter().any(|(id, w)| w.phase != Phase::Installed && !self.aside.contains_key(id)) {
            return;
        }
        let old: Vec<_> = self.work.keys().filter(|id| self.aside.contains_key(id)).copied().collect();
        for id in old {
            self.drop_work(id).await;
        }
        let wanted: BTreeMap<_, _> =
            self.work.values().flat_map(|w| &w.blobs).map(|b| (b.content, b.size)).collect();
        for content in self.parts.store.contents().await {
            if wanted.contains_key(&content) {
                continue;
            }
            self.remove(content).await;
        }
    }
}
