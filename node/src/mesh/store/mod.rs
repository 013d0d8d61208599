//! Artifact bytes on disk: iroh-blobs behind our own boundary. Nobody else names one of its types.
//!
//! ```text
//! DIR/CONTENT/      one iroh-blobs store per content of a device: removal is exact, damage is written over
//! DIR/CONTENT.old/  cannot be mended and is replaced; put in order at the next start
//! DIR/sources/      the operator's files, referenced where they lie; made anew at each start
//! ```
//! What iroh-blobs does not do is done here: everything on disk is verified when a content is opened (a flipped,
//! short or deleted file is found before it is believed), what is held is known group by group and nothing else is
//! read, space is checked first, a complete content is fsynced before it is called complete, operations on one
//! content are bounded, bytes are verified while they are copied out. What turns out damaged counts as missing at once;
//! [`Store::next_loss`] names it, and the next write of it mends the copy.

mod aside;
mod encoding;
mod error;
mod held;
mod losses;
mod overwrite;
mod owned;
mod places;
mod records;
mod slot;
mod source;
mod space;
mod survey;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use losses::Loss;
pub(crate) use space::{of_content, used as bytes_used};

use bytes::Bytes;
use losses::Losses;
use owned::{Owned, Write};
use places::{is_empty, not_open, span};
use samara_protocol::geometry::{GROUP_BYTES, Geometry, PieceIndex, PieceRange};
use samara_protocol::id::ContentHash;
use samara_protocol::piece_set::PieceSet;
use slot::{Content, Form, Slot};
use source::Sources;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use survey::Repair;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

/// Bytes verified and copied out at a time.
const COPY_BYTES: u64 = 1024 * 1024;

/// How the store uses the disk.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Bytes of the disk that are never used.
    pub reserve_free_bytes: u64,
    /// Bytes on disk that all contents together may take; none: as much as there is.
    pub quota_bytes: Option<u64>,
}

/// A handle that may be cloned.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    options: StoreOptions,
    /// Held only to look a place up or to reserve room, never across disk work.
    slots: Mutex<BTreeMap<ContentHash, Arc<Slot>>>,
    sources: tokio::sync::Mutex<Option<Sources>>,
    losses: Losses,
    stop: CancellationToken,
}

impl Store {
    /// Opens a directory, made if missing; what a crash left half-made is put in order.
    pub async fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(StoreError::io(dir))?;
        aside::remove(&dir.join("sources"))?;
        aside::recover(dir)?;
        Ok(Self(Arc::new(Inner {
            dir: dir.into(),
            options,
            slots: Mutex::default(),
            sources: tokio::sync::Mutex::default(),
            losses: Losses::default(),
            stop: CancellationToken::new(),
        })))
    }

    /// Opens a content for reading and writing: verifies what the disk holds of it, reserves room for the rest. Of a
    /// content that is open already, what is held now.
    pub async fn open_content(
        &self,
        content: ContentHash,
        geometry: Geometry,
    ) -> Result<PieceSet, StoreError> {
        if geometry.length() == 0 {
            let wrong = || StoreError::Invalid(format!("{content} is not the hash of an empty content"));
            return is_empty(content).then(|| PieceSet::empty(0)).ok_or_else(wrong);
        }
        loop {
            let slot = self.slot(content);
            let mut open = slot.content.write().await;
            if !self.is_current(content, &slot) {
                // It was removed while we waited for it.
                continue;
            }
            if let Some(open) = &*open {
                open.check_geometry(&geometry)?;
                let held = slot.held(|held| held.pieces().clone());
                return Ok(held.unwrap_or_else(|| PieceSet::full(geometry.pieces())));
            }
            let opened = Owned::open(&self.path(content), content, geometry, &self.0.stop).await;
            let (owned, held) = opened.map_err(|error| space::fault_of_opening(error, &self.0.dir))?;
            let pieces = held.pieces().clone();
            if let Err(no_space) = self.reserve(&slot, held) {
                // Closed in order, so that the next try finds it unlocked.
                owned.close().await;
                return Err(no_space);
            }
            *open = Some(Content::Owned(owned));
            return Ok(pieces);
        }
    }

    /// The operator's file: hashed, and referenced where it lies. `progress` hears the bytes hashed.
    pub async fn add_file(
        &self,
        path: &Path,
        progress: impl Fn(u64) + Send,
    ) -> Result<(ContentHash, u64), StoreError> {
        let mut sources = self.0.sources.lock().await;
        let sources = match &mut *sources {
            Some(sources) => sources,
            none => none.insert(Sources::open(&self.0.dir.join("sources")).await?),
        };
        let source = sources.add(path, progress).await?;
        let found = (source.content(), source.size());
        self.close(source.content()).await;
        let slot = self.slot(source.content());
        *slot.content.write().await = Some(Content::Source(source));
        Ok(found)
    }

    /// Verifies and writes the bao encoding of a range.
    pub async fn write(
        &self,
        content: ContentHash,
        geometry: &Geometry,
        range: PieceRange,
        bao: Bytes,
    ) -> Result<(), StoreError> {
        let slot = self.open_slot(content)?;
        // Once more with a fresh copy.
        for _ in 0..2 {
            let open = slot.content.read().await;
            let owned = match &*open {
                Some(Content::Owned(owned)) => owned,
                Some(Content::Source(_)) => {
                    return Err(StoreError::Invalid("an operator's file is not written".into()));
                }
                None => return Err(not_open(content)),
            };
            open.as_ref().map_or(Ok(()), |open| open.check_geometry(geometry))?;
            let (offset, len) = span(geometry, range)?;
            // What is written over has its room already.
            if owned.repair() != Repair::Overwrite {
                space::check(len, self.available()?)?;
            }
            if owned.repair() != Repair::Anew
                && let Write::Done = owned.write(&slot.held, offset, len, &bao).await?
            {
                return Ok(());
            }
            drop(open);
            self.begin_anew(content, &slot).await?;
        }
        Err(StoreError::io(&self.path(content))("a fresh copy does not give what was written"))
    }

    /// The bao encoding of a range, without the length that the receiver knows; verified while it is read.
    pub async fn read(
        &self,
        content: ContentHash,
        geometry: &Geometry,
        range: PieceRange,
    ) -> Result<Bytes, StoreError> {
        let (offset, len) = span(geometry, range)?;
        let slot = self.open_slot(content)?;
        slot.content.read().await.as_ref().ok_or_else(|| not_open(content))?.check_geometry(geometry)?;
        self.read_groups(content, &slot, Form::Encoding, offset, len).await
    }

    /// Makes a complete content durable: data, outboard, directories.
    pub async fn seal(&self, content: ContentHash) -> Result<(), StoreError> {
        if is_empty(content) {
            return Ok(());
        }
        let slot = self.open_slot(content)?;
        let open = slot.content.read().await;
        match &*open {
            Some(Content::Owned(owned)) => {
                slot.check_held(0, owned.geometry().length())?;
                owned.seal().await
            }
            Some(Content::Source(_)) => Ok(()),
            None => Err(not_open(content)),
        }
    }

    /// Copies bytes out, each group verified before it is written.
    pub async fn copy_verified(
        &self,
        content: ContentHash,
        offset: u64,
        len: u64,
        out: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), StoreError> {
        if len == 0 {
            return Ok(());
        }
        let slot = self.open_slot(content)?;
        let length = slot.content.read().await.as_ref().ok_or_else(|| not_open(content))?.length();
        let end = offset.checked_add(len).filter(|end| *end <= length);
        let beyond =
            || StoreError::Invalid(format!("{len} bytes at {offset} are beyond the content's {length}"));
        let (mut at, end) = (offset, end.ok_or_else(beyond)?);
        while at < end {
            let upto = (at - at % COPY_BYTES + COPY_BYTES).min(end);
            let start = at - at % GROUP_BYTES;
            let groups = upto.next_multiple_of(GROUP_BYTES).min(length) - start;
            let bytes = self.read_groups(content, &slot, Form::Plain, start, groups).await?;
            let wanted = (at - start) as usize..(upto - start) as usize;
            let wanted = bytes.get(wanted).ok_or(StoreError::Damaged { group: start / GROUP_BYTES })?;
            out.write_all(wanted).await.map_err(StoreError::io(&self.0.dir))?;
            at = upto;
        }
        Ok(())
    }

    /// Whether a piece of an open content is verified and on disk.
    pub fn has_piece(&self, content: ContentHash, piece: PieceIndex) -> bool {
        let slot = self.slots().get(&content).cloned();
        slot.is_some_and(|slot| slot.has_piece(piece))
    }

    /// Waits until pieces are found lost. May be dropped and called again.
    pub async fn next_loss(&self) -> Loss {
        self.0.losses.next().await
    }

    /// Closes a content that nobody needs for now; what runs on it ends first.
    pub async fn close(&self, content: ContentHash) {
        self.give_up(content, false).await.unwrap_or_else(|error| tracing::debug!(%error, "cannot close"));
    }

    /// Removes a content from disk; what runs on it ends first.
    pub async fn remove(&self, content: ContentHash) -> Result<(), StoreError> {
        self.give_up(content, true).await
    }

    /// The contents on disk, opened or not.
    pub async fn contents(&self) -> Vec<ContentHash> {
        let entries = std::fs::read_dir(&self.0.dir).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Bytes that all contents take on disk.
    pub fn bytes_used(&self) -> u64 {
        space::used(&self.0.dir)
    }

    /// Bytes on disk that they may take, if that is limited.
    pub fn quota_bytes(&self) -> Option<u64> {
        self.0.options.quota_bytes
    }

    /// Whether bytes freed here are free for files of another directory.
    pub fn shares_disk_with(&self, other: &Path) -> bool {
        space::is_one_disk(&self.0.dir, other)
    }

    /// The process ends: what reads whole contents is broken off. What runs on single ranges goes on.
    pub fn interrupt(&self) {
        self.0.stop.cancel();
    }

    /// Closes everything in order.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        self.interrupt();
        let contents: Vec<_> = self.slots().keys().copied().collect();
        for content in contents {
            self.close(content).await;
        }
        if let Some(sources) = self.0.sources.lock().await.take() {
            sources.close().await;
        }
        Ok(())
    }
}
