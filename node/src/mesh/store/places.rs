//! Finding a content's place, and what needs the store and the place together.

use super::held::Held;
use super::slot::{Content, Form, Read, Slot};
use super::{Store, StoreError, aside, space};
use bytes::Bytes;
use samara_protocol::document::BlobRef;
use samara_protocol::geometry::{Geometry, PieceRange};
use samara_protocol::id::ContentHash;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

impl Store {
    pub(super) fn slots(&self) -> MutexGuard<'_, BTreeMap<ContentHash, Arc<Slot>>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a content, made if there is none.
    pub(super) fn slot(&self, content: ContentHash) -> Arc<Slot> {
        self.slots().entry(content).or_default().clone()
    }

    /// The place of a content that was opened.
    pub(super) fn open_slot(&self, content: ContentHash) -> Result<Arc<Slot>, StoreError> {
        self.slots().get(&content).cloned().ok_or_else(|| not_open(content))
    }

    pub(super) fn is_current(&self, content: ContentHash, slot: &Arc<Slot>) -> bool {
        self.slots().get(&content).is_some_and(|current| Arc::ptr_eq(current, slot))
    }

    pub(super) fn path(&self, content: ContentHash) -> PathBuf {
        self.0.dir.join(content.to_string())
    }

    /// Bytes of the disk that may be written now.
    pub(super) fn available(&self) -> Result<u64, StoreError> {
        space::available(&self.0.dir, self.0.options.reserve_free_bytes)
    }

    /// Bytes that a content still takes, hash tree and all. Of one that is not open what its files take is believed, its
    /// records too: some MiB may be missing in truth.
    pub(crate) fn bytes_to_come(&self, blob: &BlobRef) -> u64 {
        let slot = self.slots().get(&blob.content).cloned();
        let missing = slot.and_then(|slot| slot.held(|held| held.bytes_missing()));
        let by_files = || blob.size.saturating_sub(space::used(&self.path(blob.content)));
        space::of_content(missing.unwrap_or_else(by_files))
    }

    /// Takes room for the rest of a content, beside what the others still need.
    pub(super) fn reserve(&self, slot: &Slot, held: Held) -> Result<(), StoreError> {
        let slots = self.slots();
        let others: u64 = slots.values().map(|other| other.bytes_missing()).sum();
        let within_quota = self.quota_bytes().map(|quota| quota.saturating_sub(self.bytes_used()));
        let available = self.available()?.min(within_quota.unwrap_or(u64::MAX));
        space::check(held.bytes_missing(), available.saturating_sub(others))?;
        slot.set_held(Some(held));
        Ok(())
    }

    /// Reads whole groups; when the copy does not give them, finds out what else is lost.
    pub(super) async fn read_groups(
        &self,
        content: ContentHash,
        slot: &Arc<Slot>,
        form: Form,
        offset: u64,
        len: u64,
    ) -> Result<Bytes, StoreError> {
        let mut read = read_once(content, slot, form, offset, len).await?;
        if matches!(read, Read::Damage) {
            self.mend(content, slot, offset, len).await?;
            match slot.check_held(offset, len) {
                Err(StoreError::NotHeld { group }) => return Err(StoreError::Damaged { group }),
                other => other?,
            }
            read = read_once(content, slot, form, offset, len).await?;
        }
        match read {
            Read::Done(bytes) => Ok(bytes),
            Read::Damage => Err(StoreError::io(&self.path(content))("bytes that verify cannot be read")),
        }
    }

    /// In a task of its own, so that a reader that goes away takes no loss with it.
    async fn mend(
        &self,
        content: ContentHash,
        slot: &Arc<Slot>,
        offset: u64,
        len: u64,
    ) -> Result<(), StoreError> {
        let (store, slot) = (self.clone(), slot.clone());
        let mended = tokio::spawn(async move {
            let lost = slot.mend(offset, len).await?;
            store.0.losses.push(content, lost);
            Ok(())
        });
        mended.await.map_err(StoreError::io(&self.path(content)))?
    }

    /// In a task of its own: it is not left half-way when the caller goes away.
    pub(super) async fn begin_anew(&self, content: ContentHash, slot: &Arc<Slot>) -> Result<(), StoreError> {
        let (store, slot) = (self.clone(), slot.clone());
        let begun = tokio::spawn(async move {
            let lost = slot.begin_anew(content).await?;
            store.0.losses.push(content, lost);
            Ok(())
        });
        begun.await.map_err(StoreError::io(&self.path(content)))?
    }

    /// Gives a content's place up, with or without its bytes on disk.
    pub(super) async fn give_up(&self, content: ContentHash, with_bytes: bool) -> Result<(), StoreError> {
        let slot = self.slot(content);
        let mut open = slot.content.write().await;
        slot.set_held(None);
        if let Some(Content::Owned(owned)) = open.take() {
            owned.close().await;
        }
        self.0.losses.forget(content);
        if self.is_current(content, &slot) {
            self.slots().remove(&content);
            if with_bytes {
                let path = self.path(content);
                for path in [aside::aside(&path), path] {
                    aside::remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

async fn read_once(
    content: ContentHash,
    slot: &Slot,
    form: Form,
    offset: u64,
    len: u64,
) -> Result<Read, StoreError> {
    let open = slot.content.read().await;
    open.as_ref().ok_or_else(|| not_open(content))?.read(slot, form, offset, len).await
}

/// First byte and length of a range that fits the geometry of the content.
pub(super) fn span(geometry: &Geometry, range: PieceRange) -> Result<(u64, u64), StoreError> {
    let wrong = || StoreError::Invalid(format!("{range:?} is not a range of {geometry:?}"));
    geometry.is_valid(range).then(|| geometry.byte_range(range)).ok_or_else(wrong)
}

pub(super) fn not_open(content: ContentHash) -> StoreError {
    StoreError::Invalid(format!("the content {content} is not open"))
}

/// Whether this is the hash of no bytes at all: such a content has nothing on disk.
pub(super) fn is_empty(content: ContentHash) -> bool {
    content.0 == *blake3::hash(&[]).as_bytes()
}
