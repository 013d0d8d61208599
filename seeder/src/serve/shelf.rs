//! What is served at this moment, and how it follows the site directory.
//!
//! ```text
//! a release:  named by the directory -> its contents are hashed, one at a time -> offered -> gone
//!                                          \-> unavailable, until something in the directory changes
//! ```
//! Looks, hashing and comparing run as tasks of their own: nothing that is offered waits for them. A content's swarm is open from
//! the moment in which the first release that has it is offered, until no release on offer has it.

use super::fate::Wanted;
use super::folder::{self, Listing, Look};
use super::live::described;
use super::offer::{Gone, Offer, SetAside};
use super::source::Source;
use crate::failure::{Failure, Kind};
use crate::mesh::Joined;
use crate::outrun::{Outrun, Seen};
use crate::site::SiteDir;
use crate::ui::Bars;
use samara_node::mesh::MeshHandle;
use samara_node::mesh::store::Store;
use samara_node::state::State;
use samara_protocol::document::{BlobRef, Release};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::mesh::Input;
use samara_protocol::neighbour::Limits;
use samara_protocol::piece_set::PieceSet;
use samara_protocol::trust::{Verified, VerifiedDocument};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinSet;

/// What people and programs are told.
pub(super) enum News {
    /// A release is offered from now on.
    Offered(Verified<Release>),
    /// A release is no longer offered.
    Gone(Verified<Release>, Gone),
    /// A release cannot be offered: its bytes are not there.
    Unavailable(Verified<Release>, Failure),
    /// A release cannot be offered beside the others: peers would not take so many contents, or pieces, at once.
    NoRoom(Verified<Release>),
    /// A new file is not given to devices, or not yet.
    SetAside(PathBuf, SetAside),
    /// The directory cannot be looked at.
    Unreadable(Failure),
    /// The site knows newer documents than the directory.
    Outrun(Outrun),
}

/// A piece of work that ended.
pub(super) enum Done {
    Looked(Result<Option<Look>, Failure>),
    Hashed(BlobRef, Result<Source, Failure>),
    Compared(Seen, Result<Option<Outrun>, Failure>),
}

pub(super) struct Shelf {
    site: SiteDir,
    mesh: MeshHandle,
    store: Store,
    state: Arc<State>,
    bars: Bars,
    offer: Offer,
    listing: Listing,
    sources: BTreeMap<ContentHash, Source>,
    /// Contents whose swarms are open.
    open: BTreeSet<ContentHash>,
    offered: BTreeMap<DocumentId, Verified<Release>>,
    unavailable: BTreeSet<DocumentId>,
    work: JoinSet<Done>,
    is_looking: bool,
    hashing: Option<ContentHash>,
    /// Why the last look failed, so that it is said once.
    unreadable: Option<String>,
    /// Documents of the mesh that were not compared with the directory yet.
    seen: Seen,
    is_comparing: bool,
    /// What outran the directory and could not be kept, so that it is said once.
    outrun: Option<Outrun>,
}

impl Shelf {
    /// `listing` was taken before `offer` was read.
    pub(super) fn new(site: SiteDir, joined: &Joined, bars: Bars, listing: Listing, offer: Offer) -> Self {
        Self {
            site,
            mesh: joined.mesh.clone(),
            store: joined.store.clone(),
            state: joined.state.clone(),
            bars,
            offer,
            listing,
            sources: BTreeMap::new(),
            open: BTreeSet::new(),
            offered: BTreeMap::new(),
            unavailable: BTreeSet::new(),
            work: JoinSet::new(),
            is_looking: false,
            hashing: None,
            unreadable: None,
            seen: Seen::default(),
            is_comparing: false,
            outrun: None,
        }
    }

    /// Whether the directory names no release.
    pub(super) fn is_empty(&self) -> bool {
        self.offer.releases.is_empty()
    }

    /// The releases that the directory names, as devices speak of them.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let wanted = |release: &Verified<Release>| Wanted {
            id: release.id(),
            name: described(release),
            version: self
                .offer
                .is_alone_in_its_version(release)
                .then(|| (release.product.clone(), release.version.clone())),
        };
        self.offer.releases.iter().map(wanted).collect()
    }

    /// The contents of the releases on offer.
    pub(super) fn blobs(&self) -> Vec<BlobRef> {
        self.offer.blobs().into_iter().filter(|blob| self.open.contains(&blob.content)).collect()
    }

    /// The source of a content that is served.
    pub(super) fn source(&self, content: ContentHash) -> Option<&Source> {
        self.sources.get(&content)
    }

    /// Looks whether every source is still the file that was hashed, also of what nobody asks for.
    pub(super) async fn check_sources(&self) -> Result<(), Failure> {
        for source in self.sources.values() {
            source.check().await?;
        }
        Ok(())
    }

    /// Whether every release that the directory names is offered, or is known to be unavailable.
    pub(super) fn is_settled(&self) -> bool {
        self.hashing.is_none() && self.next_blob().is_none()
    }

    /// Whether some release that the directory names is not offered.
    pub(super) fn lacks_some(&self) -> bool {
        self.offered.len() < self.offer.releases.len()
    }

    /// Whether the directory changed since the last look that ended.
    pub(super) fn is_behind(&self) -> bool {
        Listing::take(&self.site).is_ok_and(|now| now != self.listing)
    }

    /// Begins to look at the directory, unless the last look is still under way.
    pub(super) fn look(&mut self) {
        if !std::mem::replace(&mut self.is_looking, true) {
            let look = folder::look(self.site.clone(), self.mesh.clone(), self.listing.clone());
            self.work.spawn(async { Done::Looked(look.await) });
        }
    }

    /// The mesh holds a document, the directory's own ones too.
    pub(super) fn saw(&mut self, document: VerifiedDocument) {
        self.seen.add(document);
    }

    /// Begins to compare what was seen with the directory, unless that is under way.
    pub(super) fn compare(&mut self) {
        if !self.seen.is_empty() && !std::mem::replace(&mut self.is_comparing, true) {
            let (site, seen) = (self.site.clone(), std::mem::take(&mut self.seen));
            self.work.spawn_blocking(move || {
                let outrun = seen.settle(&site);
                Done::Compared(seen, outrun)
            });
        }
    }

    /// Compares what no look came to any more.
    pub(super) async fn compare_last(&mut self) -> Option<News> {
        let (site, seen) = (self.site.clone(), std::mem::take(&mut self.seen));
        if seen.is_empty() {
            return None;
        }
        let outrun = tokio::task::spawn_blocking(move || seen.settle(&site)).await.ok()?.ok()?;
        outrun.filter(|outrun| self.outrun.as_ref() != Some(outrun)).map(News::Outrun)
    }

    /// Waits for the next piece of work. May be dropped and called again.
    pub(super) async fn done(&mut self) -> Done {
        loop {
            match self.work.join_next().await {
                Some(Ok(done)) => return done,
                Some(Err(error)) => return Done::Looked(Err(Failure::new(Kind::Failed, error))),
                None => std::future::pending().await,
            }
        }
    }

    /// Acts on it.
    pub(super) async fn on_done(&mut self, done: Done) -> Result<Vec<News>, Failure> {
        let mut news = Vec::new();
        match done {
            Done::Looked(looked) => {
                self.is_looking = false;
                match looked {
                    Ok(look) => {
                        self.unreadable = None;
                        if let Some(look) = look {
                            news.extend(self.follow(look).await);
                        }
                    }
                    Err(failure) if self.unreadable.as_ref() == Some(&failure.to_string()) => {}
                    Err(failure) => {
                        self.unreadable = Some(failure.to_string());
                        news.push(News::Unreadable(failure));
                    }
                }
            }
            Done::Hashed(blob, hashed) => {
                self.hashing = None;
                match hashed {
                    // It may have been withdrawn meanwhile.
                    Ok(_) if !self.offer.uses(blob.content) => self.store.close(blob.content).await,
                    Ok(source) => {
                        self.sources.insert(blob.content, source);
                    }
                    Err(failure) => news.extend(self.set_unavailable(blob, &failure)),
                }
            }
            Done::Compared(seen, outrun) => {
                self.is_comparing = false;
                news.extend(self.on_compared(seen, outrun));
            }
        }
        news.extend(self.go_on().await?);
        Ok(news)
    }

    /// What the directory holds and the site does not take, or not yet.
    pub(super) fn set_aside(&self) -> Vec<News> {
        let set_aside = self.offer.set_aside.clone();
        set_aside.into_iter().map(|(path, why)| News::SetAside(path, why)).collect()
    }

    /// Offers what is ready, and begins to hash what is not.
    pub(super) async fn go_on(&mut self) -> Result<Vec<News>, Failure> {
        let mut news = Vec::new();
        let mut releases = self.offer.releases.clone();
        // As devices that know them all begin with them: where there is no room, both sides lack it for the same.
        releases.sort_by_key(Verified::id);
        for release in releases {
            let blobs = release.blobs();
            let is_ready = blobs.iter().all(|blob| self.sources.contains_key(&blob.content));
            if is_ready && !self.has_room_for(&blobs) {
                if self.unavailable.insert(release.id()) {
                    news.push(News::NoRoom(release));
                }
                continue;
            }
            if is_ready && self.offered.insert(release.id(), release.clone()).is_none() {
                for blob in blobs {
                    self.open_swarm(&blob).await?;
                }
                news.push(News::Offered(release));
            }
        }
        if self.hashing.is_none()
            && let Some(blob) = self.next_blob()
        {
            self.hashing = Some(blob.content);
            let bar = self.bars.bytes("hashing", blob.size);
            let (site, store) = (self.site.clone(), self.store.clone());
            self.work.spawn(async move {
                let hashed = Source::open(&site, &store, blob, &bar).await;
                bar.finish_and_clear();
                Done::Hashed(blob, hashed)
            });
        }
        Ok(news)
    }

    /// Whether the swarms of a release could be open beside the others.
    fn has_room_for(&self, blobs: &[BlobRef]) -> bool {
        let limits = Limits::default();
        let open = self.blobs();
        let new = blobs.iter().filter(|blob| !self.open.contains(&blob.content));
        let all: Vec<_> = open.iter().chain(new).collect();
        let pieces = |blob: &&BlobRef| blob.geometry().map_or(0, |geometry| u64::from(geometry.pieces()));
        all.len() <= limits.channels_per_peer_max
            && all.iter().map(pieces).sum::<u64>() <= limits.pieces_per_peer_max
    }

    /// The next content to hash.
    fn next_blob(&self) -> Option<BlobRef> {
        let wanted = self.offer.releases.iter().filter(|release| !self.unavailable.contains(&release.id()));
        wanted.flat_map(|release| release.blobs()).find(|blob| !self.sources.contains_key(&blob.content))
    }

    async fn open_swarm(&mut self, blob: &BlobRef) -> Result<(), Failure> {
        if !self.open.insert(blob.content) {
            return Ok(());
        }
        let geometry = blob.geometry().map_err(|e| Failure::new(Kind::Configuration, e))?;
        let granted = self
            .state
            .granted(blob.content, geometry.pieces())
            .map_err(|e| Failure::new(Kind::Storage, e))?;
        let have = PieceSet::full(geometry.pieces());
        let opened = Input::SwarmOpened { content: blob.content, geometry, have, wanted: false, granted };
        self.mesh.tell(opened).await;
        Ok(())
    }

    /// Takes what the directory says now: what it no longer offers is closed at once.
    async fn follow(&mut self, look: Look) -> Vec<News> {
        let Look { listing, offer, set_aside } = look;
        (self.listing, self.offer) = (listing, offer);
        self.unavailable.clear();
        let mut news: Vec<_> = set_aside.into_iter().map(|(path, why)| News::SetAside(path, why)).collect();
        let gone = self.offered.extract_if(.., |id, _| !self.offer.offers(*id));
        news.extend(gone.map(|(id, release)| News::Gone(release, self.offer.why_gone(id))));
        for content in self.open.extract_if(.., |content| !self.offer.uses(*content)) {
            self.mesh.tell(Input::SwarmClosed { content }).await;
        }
        let unused = self.sources.extract_if(.., |content, _| !self.offer.uses(*content));
        for (content, _) in unused {
            self.store.close(content).await;
        }
        news
    }

    /// What could not be compared or kept is compared again at the next look, which says so if the directory is at fault.
    fn on_compared(&mut self, seen: Seen, outrun: Result<Option<Outrun>, Failure>) -> Option<News> {
        let is_kept = matches!(&outrun, Ok(outrun) if outrun.as_ref().is_none_or(|o| o.unsaved.is_none()));
        if !is_kept {
            self.seen.put_back(seen);
        }
        let outrun = outrun.ok()?;
        let before = std::mem::replace(&mut self.outrun, outrun.clone());
        outrun.filter(|outrun| before.as_ref() != Some(outrun)).map(News::Outrun)
    }

    fn set_unavailable(&mut self, blob: BlobRef, failure: &Failure) -> Vec<News> {
        let needs = |release: &&Verified<Release>| release.blobs().iter().any(|b| b.content == blob.content);
        let lacking: Vec<_> = self.offer.releases.iter().filter(needs).cloned().collect();
        self.unavailable.extend(lacking.iter().map(Verified::id));
        let told =
            |release| News::Unavailable(release, Failure::new(failure.kind(), anyhow::anyhow!("{failure}")));
        lacking.into_iter().map(told).collect()
    }
}
