//! From the bytes of a release to what runs: one interface for all kinds of artifacts, one file for each kind.
//!
//! ```text
//! check     refuses what cannot be placed, and changes nothing
//! stage     writes beside the destination, durably, hashing what it writes; the destination is untouched
//! activate  the switch, at once
//! undo      back to what was there before: after a stage, after an activate, in the middle of one, twice
//! commit    what was in place becomes the previous version; what is older goes
//! ```
//! A release stages all its artifacts, activates them in order, and then either commits them all or undoes them all
//! in reverse. Each function may be cut at any point and be called again: what it finds on disk says what is left to
//! do, nothing is remembered elsewhere.
//!
//! ```text
//! ROOT/DEST                 a file, or a link into a version
//! ROOT/DEST.samara-previous what was there before the last commit
//! ROOT/DEST.samara-HASH     a version, whole
//! ROOT/DEST.samara-part     being written
//! ROOT/DEST.samara-new      staged, whole
//! ROOT/DEST.samara-kept     what was in place before an activation that is not committed
//! ```
//! This module knows no network and no store: bytes come from a [`Source`].

mod binary;
mod config;
mod copy;
mod error;
mod file;
mod fuse;
mod place;
mod restart;
mod script;
mod space;
mod switch;
mod tree;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::fixture;

pub use copy::Source;
pub use error::InstallError;

use copy::Copier;
use place::Place;
use samara_protocol::document::{Artifact, ArtifactKind, BlobRef};
use samara_protocol::id::DocumentId;
use std::fs::File;
use std::path::Path;

/// Where and for what a handler works.
pub struct Site<'a> {
    /// Every destination lies below it.
    pub root: &'a Path,
    /// Where the bytes of contents come from.
    pub source: &'a dyn Source,
    /// A directory of the daemon's own, outside the root: programs of a release lie here while they run.
    pub private: &'a Path,
    /// The release that the artifacts are of.
    pub release: DocumentId,
    /// Its version, for programs.
    pub version: &'a str,
    /// The version that was in place before, for programs; empty if none was.
    pub version_before: &'a str,
}

/// What staging cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// Bytes of files written to the install root; 0 if the destination is as it should be already.
    pub bytes_written: u64,
}

/// What the file system says of an artifact's destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The artifact is in place, whole.
    New,
    /// Something else, or nothing.
    Other,
}

/// One kind of artifact. What a kind does not say for itself is the same for all: the switch of a name.
trait Handler: Sync {
    /// What this kind can refuse before anything is written, beside a destination that cannot be used.
    fn check(&self, site: &Site, artifact: &Artifact) -> Result<(), InstallError>;

    /// Bytes that staging would write.
    fn bytes_needed(&self, site: &Site, artifact: &Artifact) -> u64;

    /// Whether the destination is as it should be.
    fn is_in_place(&self, site: &Site, place: &Place, artifact: &Artifact) -> bool;

    /// Whether it is switched in even where the destination is as it should be: what others write into it comes and goes,
    /// so that the version before can only come back if it is the one that was kept last.
    fn is_always_switched(&self) -> bool {
        false
    }

    /// Leaves what is to be switched in as `new`, durably. Says how many bytes were written.
    fn stage(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<u64, InstallError>;

    /// Puts what is staged into its place, with all that belongs to it.
    fn activate(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
        self.switch(site, artifact, place)
    }

    /// Takes that back.
    fn undo(&self, _: &Site, _: &Artifact, place: &Place) -> Result<(), InstallError> {
        switch::undo(place).map_err(place.disk())
    }

    /// Goes although it is committed; see [`give_back`].
    fn give_way(
        &self,
        site: &Site,
        _: &Artifact,
        before: Option<&Artifact>,
        place: &Place,
    ) -> Result<(), InstallError> {
        switch::give_back(place, site.release, before.is_some()).map_err(place.disk())
    }

    /// Takes a committed artifact away, and the previous version comes back if it `is_restored`; see [`take_away`].
    fn take_away(
        &self,
        _: &Site,
        _: &Artifact,
        place: &Place,
        is_restored: bool,
    ) -> Result<(), InstallError> {
        switch::give_way(place, is_restored).map_err(place.disk())
    }

    /// Takes that back.
    fn put_back(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
        self.undo(site, artifact, place)
    }

    /// The switch alone; done already if nothing is staged and the destination is as it should be.
    fn switch(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
        if switch::is_staged(place) {
            return switch::activate(place).map_err(place.disk());
        }
        if self.is_in_place(site, place, artifact) {
            return Ok(());
        }
        Err(InstallError::NotStaged { path: place.shown().into() })
    }
}

fn handler(artifact: &Artifact) -> &'static dyn Handler {
    match artifact.kind {
        ArtifactKind::File => &file::FileHandler,
        ArtifactKind::Tree => &tree::TreeHandler,
        ArtifactKind::Config => &config::ConfigHandler,
        ArtifactKind::Binary => &binary::BinaryHandler,
        ArtifactKind::Script => &script::ScriptHandler,
    }
}

/// Refuses what could not be staged, and changes nothing.
pub fn check(site: &Site, artifact: &Artifact) -> Result<(), InstallError> {
    Place::look(site.root, &artifact.destination)?;
    handler(artifact).check(site, artifact)
}

/// Bytes that staging would take on the disk of the install root, at most. Of a tree whose list is not there yet it is
/// the least.
pub fn bytes_needed(site: &Site, artifact: &Artifact) -> u64 {
    let handler = handler(artifact);
    match evidence(site, artifact) {
        Evidence::New if !handler.is_always_switched() => 0,
        _ => handler.bytes_needed(site, artifact),
    }
}

/// Writes all that [`activate`] needs beside the destination, durably, unless the destination is as it should be. An
/// activation that was never committed is undone first. What fails leaves nothing behind.
pub fn stage(site: &Site, artifact: &Artifact) -> Result<Staged, InstallError> {
    stage_unless(site, artifact, |handler, place| handler.is_in_place(site, place, artifact))
}

/// The same, where what is in place is not the artifact's own: kinds that are always switched are written even if the
/// destination is as it should be.
pub fn stage_over(site: &Site, artifact: &Artifact) -> Result<Staged, InstallError> {
    stage_unless(site, artifact, |handler, place| {
        !handler.is_always_switched() && handler.is_in_place(site, place, artifact)
    })
}

fn stage_unless(
    site: &Site,
    artifact: &Artifact,
    is_needless: impl Fn(&dyn Handler, &Place) -> bool,
) -> Result<Staged, InstallError> {
    let handler = handler(artifact);
    check(site, artifact)?;
    undo(site, artifact)?;
    let place = Place::make(site.root, &artifact.destination)?;
    if is_needless(handler, &place) {
        return Ok(Staged { bytes_written: 0 });
    }
    let staged = handler.stage(site, artifact, &place);
    if staged.is_err() {
        // The first error counts; what cannot be tidied up now is at the next try.
        let _ = switch::undo(&place);
    }
    staged.map(|bytes_written| Staged { bytes_written })
}

/// Puts what is staged into its place, and lets what runs it take it up.
pub fn activate(site: &Site, artifact: &Artifact) -> Result<(), InstallError> {
    let place = Place::make(site.root, &artifact.destination)?;
    handler(artifact).activate(site, artifact, &place)
}

/// Goes back to what was in place before [`activate`], and removes what [`stage`] wrote. Where nothing was activated,
/// or all of it is committed, what is in place stays.
pub fn undo(site: &Site, artifact: &Artifact) -> Result<(), InstallError> {
    let Some(place) = Place::find(site.root, &artifact.destination)? else { return Ok(()) };
    handler(artifact).undo(site, artifact, &place)
}

/// Makes what was in place before [`activate`] the previous version, and forgets what is older.
pub fn commit(site: &Site, artifact: &Artifact) -> Result<(), InstallError> {
    let Some(place) = Place::find(site.root, &artifact.destination)? else { return Ok(()) };
    switch::commit(&place).map_err(place.disk())
}

/// Puts what was there before an artifact back although the artifact is committed. `before` is the artifact of the
/// release that was in place then; `None`: no release had anything there, so that what was there comes back, or there is
/// nothing again.
pub fn give_back(site: &Site, artifact: &Artifact, before: Option<&Artifact>) -> Result<(), InstallError> {
    let place = match (Place::find(site.root, &artifact.destination)?, before) {
        (Some(place), _) => place,
        (None, Some(_)) => Place::make(site.root, &artifact.destination)?,
        (None, None) => return Ok(()),
    };
    if !switch::is_given_back(&place, site.release) {
        // One that was cut begins anew.
        undo(site, artifact)?;
        // The record of a script names a release, and never the one that goes; of what is always switched the one that was
        // kept is the right one.
        let is_told_by_bytes = |before: &&Artifact| {
            let is_kept = handler(before).is_always_switched() && switch::has_previous(&place);
            before.kind != ArtifactKind::Script && !is_kept
        };
        let known = before.filter(is_told_by_bytes);
        if known.is_some_and(|before| handler(before).is_in_place(site, &place, before)) {
            return Ok(());
        }
    }
    handler(artifact).give_way(site, artifact, before, &place)
}

/// Whether something was in place at a destination before the last commit there.
pub fn has_previous(root: &Path, destination: &str) -> bool {
    Place::find(root, destination).ok().flatten().is_some_and(|place| switch::has_previous(&place))
}

/// Takes a committed artifact away, as a part of a release that has none there: what was there before it comes back if it
/// `is_restored`, else there is nothing. [`put_back`] takes it back until [`forget`] makes it final.
pub fn take_away(site: &Site, artifact: &Artifact, is_restored: bool) -> Result<(), InstallError> {
    match Place::find(site.root, &artifact.destination)? {
        Some(place) if !is_gone(site, artifact, &place) => {
            handler(artifact).take_away(site, artifact, &place, is_restored)
        }
        _ => Ok(()),
    }
}

/// Whether a [`take_away`] is done, or somebody else has done it.
pub fn is_taken_away(site: &Site, artifact: &Artifact) -> bool {
    let place = Place::find(site.root, &artifact.destination).ok().flatten();
    place.is_none_or(|place| is_gone(site, artifact, &place))
}

fn is_gone(site: &Site, artifact: &Artifact, place: &Place) -> bool {
    match switch::is_kept(place) {
        true => switch::is_switched(place),
        false => !handler(artifact).is_in_place(site, place, artifact),
    }
}

/// Takes a [`take_away`] back, wherever it was cut.
pub fn put_back(site: &Site, artifact: &Artifact) -> Result<(), InstallError> {
    let Some(place) = Place::find(site.root, &artifact.destination)? else { return Ok(()) };
    handler(artifact).put_back(site, artifact, &place)
}

/// What was taken away does not come back.
pub fn forget(site: &Site, artifact: &Artifact) -> Result<(), InstallError> {
    let Some(place) = Place::find(site.root, &artifact.destination)? else { return Ok(()) };
    switch::forget(&place).map_err(place.disk())
}

/// What is in place, read from the disk.
pub fn evidence(site: &Site, artifact: &Artifact) -> Evidence {
    match Place::find(site.root, &artifact.destination) {
        Ok(Some(place)) if handler(artifact).is_in_place(site, &place, artifact) => Evidence::New,
        _ => Evidence::Other,
    }
}

/// The bytes of an artifact that is one content.
fn single(artifact: &Artifact) -> Result<&BlobRef, InstallError> {
    let plain = artifact.plain().ok_or(InstallError::Representation)?;
    match plain.list {
        None => Ok(&plain.data),
        Some(_) => Err(InstallError::FileList(format!("a {} has none", artifact.kind.as_str()))),
    }
}

/// Writes a content to a file, known to people as `shown`, and hashes it on the way.
pub(crate) fn copy_verified(
    site: &Site,
    data: &BlobRef,
    file: &File,
    shown: &Path,
) -> Result<(), InstallError> {
    let mut copier = Copier::new(site.source, data.content);
    copier.write(data.size, file, shown)?;
    copier.finish()
}

/// Reads a content into memory, and hashes it on the way.
fn read_verified(site: &Site, data: &BlobRef) -> Result<Vec<u8>, InstallError> {
    let mut copier = Copier::new(site.source, data.content);
    let bytes = copier.read(data.size)?;
    copier.finish().map(|()| bytes)
}
