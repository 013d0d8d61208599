//! The contents of a release, from opened to sealed: what its machine calls downloading.

use super::Agent;
use super::work::{Subject, Work};
use crate::handler;
use crate::mesh::store::StoreError;
use crate::state::Surplus;
use samara_protocol::document::{Artifact, BlobRef, Release};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::install::{self, Install, Space, State, Verdict};
use samara_protocol::mesh::Input;
use samara_protocol::piece_set::PieceSet;
use samara_protocol::rollout::artifacts_for;
use samara_protocol::trust::Verified;
use std::cell::LazyCell;

impl Agent {
    /// Starts the work on a release.
    pub(super) async fn begin(&mut self, id: DocumentId, rollout: DocumentId, verdict: Verdict) {
        let Some(release) = self.documents.releases.get(&id).cloned() else { return };
        let surplus = self.surplus_beside(&release);
        let subject = Subject::new(id, Release::clone(&release), &self.facts, surplus);
        let (plan, now, seed) = (subject.plan(&self.facts), self.now(), self.seed_of(id));
        let before = self.rows.get(&id).map(|row| &row.record).filter(|record| record.state == State::Failed);
        let machine = match before {
            _ if self.is_in_place(&release) && subject.surplus.is_empty() => {
                Install::in_place(plan, verdict, seed)
            }
            Some(record) => Install::again(plan, record.clone(), verdict, now, seed),
            None => Install::new(plan, verdict, now, seed),
        };
        tracing::info!(release = %id, version = release.version, product = release.product, "release wanted");
        let is_in_place = machine.state().is_in_place();
        self.work.insert(id, Work::new(subject, rollout, machine, &self.facts));
        // Verifying what is on disk may take a while.
        self.show_status().await;
        if is_in_place {
            self.open_swarms(id).await;
        }
    }

    /// What goes when a release comes back over later ones.
    fn surplus_beside(&self, release: &Verified<Release>) -> Vec<Surplus> {
        // Mostly nothing goes, and nothing is read.
        let previous = LazyCell::new(|| self.parts.state.previous().unwrap_or_default());
        let surplus = self.documents.surplus_beside(release, &self.facts).map(|(later, artifact)| Surplus {
            release: later.id(),
            version: later.version.clone(),
            artifact: artifact.clone(),
            is_restored: !previous.contains_key(&artifact.destination)
                && handler::has_previous(&self.parts.install_root, &artifact.destination),
        });
        surplus.collect()
    }

    /// Whether what must go for a release is not what it was when the work on it began: another one came to be in place.
    pub(super) fn is_surplus_outdated(&self, id: DocumentId) -> bool {
        let (Some(work), Some(release)) = (self.work.get(&id), self.documents.releases.get(&id)) else {
            return false;
        };
        match work.state() {
            state if state.is_under_way() => false,
            state if state.is_in_place() => !self.surplus_beside(release).is_empty(),
            _ => self.surplus_beside(release) != work.subject.surplus,
        }
    }

    /// Ends the work on a release, so that it begins anew; false if it is not over yet: what it has written goes first, and
    /// it is decided again then.
    pub(super) async fn give_up(&mut self, id: DocumentId) -> bool {
        let is_in_place = self.work.get(&id).is_some_and(|work| work.state().is_in_place());
        if is_in_place {
            self.drop_work(id).await;
        } else {
            self.tell(id, install::Input::Decided(Verdict::Superseded));
        }
        is_in_place
    }

    /// Fetches what is missing of a release, as its machine wants it.
    pub(super) async fn fetch(&mut self, id: DocumentId) {
        let Some(work) = self.work.get(&id) else { return };
        for content in self.stopped.extract_if(.., |content| work.has(*content)) {
            self.parts.mesh.tell(Input::Intake { content, open: true }).await;
        }
        self.open_swarms(id).await;
        self.on_sealed(id).await;
    }

    /// An install may have replaced what another wanted release had in place, or have been of one that is wanted no more;
    /// and somebody may have removed what was installed.
    pub(super) fn look_again(&mut self) {
        let is_gone = |(id, work): &(&DocumentId, &Work)| {
            let release = self.documents.releases.get(id);
            work.state().is_in_place()
                && !self.aside.contains_key(id)
                && release.is_some_and(|release| !self.is_in_place(release))
        };
        let gone: Vec<DocumentId> = self.work.iter().filter(is_gone).map(|(id, _)| *id).collect();
        // What another release has written beside the same destination must go first.
        self.is_stale |= !gone.is_empty();
        gone.into_iter().for_each(|id| self.tell(id, install::Input::Gone));
    }

    /// Whether all that this device installs of a release is in place: by the journal, when it was last read, and still
    /// there.
    pub(super) fn is_in_place(&self, release: &Verified<Release>) -> bool {
        let in_place = |artifact: &Artifact| {
            let installed = self.facts.in_place.get(&artifact.destination);
            let place = self.parts.install_root.join(&artifact.destination);
            installed == Some(&release.id()) && place.exists()
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
            match self.open_swarm(id, &blob).await {
                Ok(complete) => {
                    let Some(work) = self.work.get_mut(&id) else { return };
                    work.open.insert(blob.content);
                    if complete {
                        self.seal(blob.content).await;
                    }
                }
                Err(StoreError::Closing) => return,
                Err(error) => {
                    self.on_closed(id, blob.content, error);
                    // What is under way reads what is here, and does not wait for the rest.
                    if !self.work.get(&id).is_some_and(|work| work.state().is_under_way()) {
                        return;
                    }
                }
            }
        }
    }

    /// A content cannot be opened.
    pub(super) fn on_closed(&mut self, id: DocumentId, content: ContentHash, error: StoreError) {
        if self.work.get(&id).is_some_and(|work| work.state().is_in_place()) {
            tracing::warn!(%error, %content, "cannot keep a copy for others");
            return;
        }
        let input = match error {
            StoreError::NoSpace { needed, available } => {
                tracing::warn!(target: "samara", event = "waiting_for_space", %error, %content, "cannot open a content");
                install::Input::Space(Space::Lacks { needed, available })
            }
            error => {
                tracing::error!(%error, %content, "cannot open a content; tried again");
                install::Input::Unkept(format!("cannot keep its bytes: {error}"))
            }
        };
        self.tell(id, input);
    }

    async fn open_swarm(&mut self, id: DocumentId, blob: &BlobRef) -> Result<bool, StoreError> {
        let geometry = blob.geometry().map_err(|e| StoreError::Invalid(e.to_string()))?;
        let have = loop {
            match self.parts.store.open_content(blob.content, geometry).await {
                Err(StoreError::NoSpace { .. }) if self.evict_for(id).await => {}
                opened => break opened?,
            }
        };
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
        self.work.iter().filter(move |(_, work)| work.has(content)).map(|(id, _)| *id)
    }

    /// Makes a complete content durable; an install reads nothing else.
    async fn seal(&mut self, content: ContentHash) {
        if let Err(error) = self.parts.store.seal(content).await {
            tracing::error!(%error, %content, "cannot make a complete content durable; tried again");
            self.unsealed.insert(content);
            return;
        }
        for work in self.work.values_mut().filter(|work| work.has(content)) {
            work.sealed.insert(content);
        }
    }

    /// Goes on with a release when the last of its contents is sealed.
    async fn on_sealed(&mut self, id: DocumentId) {
        let Some(work) = self.work.get_mut(&id) else { return };
        if !work.is_sealed() || !matches!(work.state(), State::Downloading | State::WaitingForSpace) {
            return;
        }
        if work.state() == State::WaitingForSpace {
            // Another release brought what it lacked.
            self.tell(id, install::Input::Space(Space::Fits));
        }
        let Some(work) = self.work.get(&id) else { return };
        let content_bytes: u64 = work.blobs.iter().map(|b| b.size).sum();
        // Whoever reads the next line may ask at once where the bytes came from.
        self.show_status().await;
        tracing::info!(target: "samara", event = "release_verified", release = %id, content_bytes, "every byte is verified");
        self.tell(id, install::Input::Complete);
    }

    /// The disk is full: the rest of the site goes on, this device waits for room.
    pub(super) fn on_no_space(&mut self, content: ContentHash) {
        self.stopped.insert(content);
        let concerned: Vec<_> = self.work_with(content).collect();
        for id in concerned {
            if self.work.get(&id).is_some_and(|work| work.state() == State::Downloading) {
                tracing::warn!(target: "samara", event = "waiting_for_space", %content, "the disk is full");
                self.tell(id, install::Input::Space(Space::Full));
            }
        }
    }

    /// Bytes on disk were wrong: what waits for an install waits until the content was fetched again.
    pub(super) fn on_damaged(&mut self, content: ContentHash) {
        // It is complete once more before it is sealed.
        self.unsealed.remove(&content);
        let concerned: Vec<_> = self.work_with(content).collect();
        for id in concerned {
            if self.work.get_mut(&id).is_some_and(|work| work.sealed.remove(&content)) {
                self.tell(id, install::Input::Lost);
            }
        }
    }

    /// Tries again what could not be done before.
    pub(super) async fn retry(&mut self) {
        self.look_at_store();
        self.keep_unwritten().await;
        for content in std::mem::take(&mut self.unsealed) {
            if self.work_with(content).next().is_some() {
                self.on_complete(content).await;
            }
        }
        if !self.is_under_way() {
            // What stood in the way of a release may have been removed.
            let places = self.places();
            self.is_stale |= places != self.facts.in_place;
            self.facts.in_place = places;
            self.look_again();
        }
        self.purge().await;
        let short: Vec<_> = self.stopped.iter().flat_map(|content| self.work_with(*content)).collect();
        for id in short {
            if self.evict_for(id).await {
                break;
            }
        }
        for content in std::mem::take(&mut self.stopped) {
            self.parts.mesh.tell(Input::Intake { content, open: true }).await;
        }
        // A copy for others found no room, or could not be opened.
        let lacks_copies = |work: &Work| work.state().is_in_place() && work.open.len() < work.blobs.len();
        let ids: Vec<_> = self.work.iter().filter(|(_, w)| lacks_copies(w)).map(|(id, _)| *id).collect();
        for id in ids {
            self.open_swarms(id).await;
        }
        self.pump().await;
    }

    /// Ends the work on a release; contents that others need stay open.
    pub(super) async fn drop_work(&mut self, id: DocumentId) {
        let Some(work) = self.work.remove(&id) else { return };
        for content in work.open {
            if !self.work.values().any(|w| w.open.contains(&content)) {
                self.parts.mesh.tell(Input::SwarmClosed { content }).await;
                // An install that runs may still read it.
                if !self.is_under_way() {
                    self.parts.store.close(content).await;
                }
            }
        }
    }

    /// Deletes what only the releases to be purged need, whatever else is under way; an install may still read it.
    pub(super) async fn purge(&mut self) {
        if self.is_under_way() || self.to_purge.is_empty() {
            return;
        }
        let (held, wanted) = (self.parts.store.contents().await, self.contents_wanted());
        for id in std::mem::take(&mut self.to_purge) {
            let Some(release) = self.documents.releases.get(&id) else { continue };
            let contents = release.blobs().into_iter().map(|blob| blob.content);
            let gone: Vec<_> = contents.filter(|c| held.contains(c) && !wanted.contains(c)).collect();
            for content in gone {
                self.remove(content).await;
            }
        }
    }

    pub(super) async fn remove(&self, content: ContentHash) {
        if let Err(error) = self.parts.store.remove(content).await {
            tracing::error!(%error, %content, "cannot remove a content");
        }
    }

    /// Ends the work on releases that were superseded, once their successor is in place, and frees their copies.
    pub(super) async fn forget_unwanted(&mut self) {
        let is_open = |(id, work): (&DocumentId, &Work)| {
            let is_wanted = !work.state().is_terminal() && !self.aside.contains_key(id);
            // What it wrote beside its destinations goes first.
            is_wanted || work.machine.is_leaving() || work.state().is_under_way()
        };
        if self.work.iter().any(is_open) {
            return;
        }
        let old: Vec<_> = self.work.keys().filter(|id| self.aside.contains_key(id)).copied().collect();
        for id in old {
            self.drop_work(id).await;
        }
        self.tidy_store().await;
    }
}
