//! Which copies of contents stay on disk, and which give way.
//!
//! What a release that is wanted needs is never touched. Beside that the copy of the release before stays, closed: it
//! costs no memory, and a rollout that goes back to it needs no uplink. It gives way when room is wanted, or when the
//! store is beyond its quota: what was superseded first goes first. The mesh is not told of such copies, so that no seeder
//! leaves because of them. Last of all the copy of what is in place gives way to its successor: it is there only for
//! others, who want the successor as well.

use super::Agent;
use super::standing::Aside;
use super::work::undo_of;
use crate::api::StoreView;
use crate::state::Row;
use samara_protocol::document::{Hook, HookStep, Release, ReleaseState};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::install::Space;
use samara_protocol::rollout::{artifacts_for, blobs_for, hooks_for};
use samara_protocol::trust::Verified;
use std::collections::BTreeSet;

impl Agent {
    /// What the releases need that are wanted, or are under way, and what takes back those in place, undos of scripts and
    /// hooks: a withdrawn release is not offered any more.
    pub(super) fn contents_wanted(&self) -> BTreeSet<ContentHash> {
        let undos = self.facts.in_place.iter().flat_map(|(destination, id)| {
            let release = self.documents.releases.get(id).into_iter();
            let artifacts = release.flat_map(|release| artifacts_for(release, &self.facts));
            artifacts.filter(move |artifact| artifact.destination == *destination).flat_map(undo_of)
        });
        let is_of_roll_back =
            |hook: &&Hook| matches!(hook.step, HookStep::PreRollback | HookStep::PostRollback);
        let hooks = self
            .releases_in_place()
            .flat_map(|release| hooks_for(release, &self.facts).filter(is_of_roll_back));
        let needed = self.work.values().flat_map(|work| &work.blobs).cloned();
        needed.chain(undos).chain(hooks.map(|hook| hook.data)).map(|blob| blob.content).collect()
    }

    /// What the releases in place consist of, wanted or not.
    fn contents_in_place(&self) -> BTreeSet<ContentHash> {
        let blobs = self.releases_in_place().flat_map(|release| blobs_for(release, &self.facts));
        blobs.map(|blob| blob.content).collect()
    }

    /// Those that have something in place, as far as their documents are known.
    pub(super) fn releases_in_place(&self) -> impl Iterator<Item = &Verified<Release>> {
        let there: BTreeSet<_> = self.facts.in_place.values().collect();
        there.into_iter().filter_map(|id| self.documents.releases.get(id))
    }

    /// The releases before those in place, first superseded first.
    fn releases_before(&self) -> Vec<DocumentId> {
        let previous = self.parts.state.previous().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read what was in place before");
            Default::default()
        });
        let distinct: BTreeSet<_> = previous.into_values().collect();
        let mut releases: Vec<_> = distinct.into_iter().collect();
        releases.sort_by_key(|id| (self.rows.get(id).map(Row::age), *id));
        releases
    }

    /// Of the contents that are held those that are kept although nothing wants them; what gives way first is in front.
    fn contents_kept(&self, held: &[ContentHash], wanted: &BTreeSet<ContentHash>) -> Vec<ContentHash> {
        let releases = self.releases_before();
        // What two releases have in common stays as long as the later one.
        let mut kept: Vec<ContentHash> = Vec::new();
        for release in releases.iter().rev().filter_map(|id| self.documents.releases.get(id)) {
            for blob in blobs_for(release, &self.facts).into_iter().rev() {
                let is_kept = held.contains(&blob.content) && !wanted.contains(&blob.content);
                if is_kept && !kept.contains(&blob.content) {
                    kept.push(blob.content);
                }
            }
        }
        kept.reverse();
        kept
    }

    /// Removes the copy that gives way first to a release; false if none does.
    pub(super) async fn evict_for(&mut self, id: DocumentId) -> bool {
        // A release that was outrun on its way may still have its contents open.
        self.drop_ended().await;
        let is_to_come = self.work.get(&id).is_some_and(|work| !work.state().is_in_place());
        self.evict_before().await || (is_to_come && self.evict_outrun().await)
    }

    /// Removes a copy that nothing stands for, else of those of releases before the one that gives way first; false if there
    /// is none.
    async fn evict_before(&self) -> bool {
        // A roll back may read what the release before brought.
        if self.is_under_way() {
            return false;
        }
        let held = self.parts.store.contents().await;
        let wanted = self.contents_wanted();
        let kept = self.contents_kept(&held, &wanted);
        let there = self.contents_in_place();
        let is_of_use = |c: &ContentHash| wanted.contains(c) || kept.contains(c) || there.contains(c);
        match held.iter().find(|content| !is_of_use(content)).or(kept.first()) {
            Some(content) => self.evict(*content).await,
            None => false,
        }
    }

    /// Removes a content of what is in place and has a successor; nothing of that is shared from then on. False if there
    /// is none.
    async fn evict_outrun(&mut self) -> bool {
        if self.is_under_way() {
            return false;
        }
        let is_outrun = |aside: &Aside| aside.is_in_place && aside.state == ReleaseState::Superseded;
        let outrun = self.aside.iter().filter(|(_, aside)| is_outrun(aside));
        let outrun: Vec<_> = outrun.map(|(id, _)| *id).collect();
        for id in outrun {
            self.drop_work(id).await;
            let (held, wanted) = (self.parts.store.contents().await, self.contents_wanted());
            let Some(release) = self.documents.releases.get(&id) else { continue };
            let mut contents = blobs_for(release, &self.facts).into_iter().map(|blob| blob.content);
            let gives_way = contents.find(|content| held.contains(content) && !wanted.contains(content));
            if let Some(content) = gives_way {
                return self.evict(content).await;
            }
        }
        false
    }

    async fn evict(&self, content: ContentHash) -> bool {
        match self.parts.store.remove(content).await {
            Ok(()) => {
                tracing::info!(target: "samara", event = "evicted", %content, "a copy gives way");
                true
            }
            Err(error) => {
                tracing::error!(%error, %content, "cannot remove a content");
                false
            }
        }
    }

    /// Frees what nothing stands for any more, and what is beyond the quota.
    pub(super) async fn tidy_store(&self) {
        let (held, wanted) = (self.parts.store.contents().await, self.contents_wanted());
        let kept = self.contents_kept(&held, &wanted);
        for content in held {
            if !wanted.contains(&content) && !kept.contains(&content) {
                self.remove(content).await;
            }
        }
        while self.is_beyond_quota() && self.evict_before().await {}
    }

    fn is_beyond_quota(&self) -> bool {
        let store = &self.parts.store;
        store.quota_bytes().is_some_and(|quota| store.bytes_used() > quota)
    }

    /// What the store takes, for the status.
    pub(super) fn look_at_store(&mut self) {
        let store = &self.parts.store;
        self.store_view = StoreView { bytes_used: store.bytes_used(), bytes_quota: store.quota_bytes() };
    }

    /// Room for a release; earlier copies give way to what is staged if they lie on the same disk.
    pub(super) async fn make_room(&mut self, release: DocumentId) -> Space {
        let may_help = self.parts.store.shares_disk_with(&self.parts.install_root);
        loop {
            let space = self.space_for(release).await;
            if !matches!(space, Space::Lacks { .. }) || !may_help || !self.evict_for(release).await {
                return space;
            }
        }
    }
}
