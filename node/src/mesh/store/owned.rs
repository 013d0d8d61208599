//! A device's own copy of a content: one iroh-blobs store in a directory of its own.
//!
//! iroh-blobs ignores bytes for ranges that it believes to hold, so a damaged copy cannot be mended in place: it is
//! rebuilt beside itself from its good pieces and switched by a rename.

use super::StoreError;
use super::content::{LENGTH_PREFIX, chunks, export, first_group, hash_of, piece_chunks, plain};
use super::source::io;
use super::space;
use bytes::Bytes;
use iroh_blobs::Hash;
use iroh_blobs::store::fs::FsStore;
use samara_protocol::geometry::{GROUP_BYTES, Geometry, PieceIndex, PieceRange};
use samara_protocol::id::ContentHash;
use samara_protocol::piece_set::PieceSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{RwLock, Semaphore};

/// Operations on one content at once; iroh-blobs refuses more than 32.
const OPERATIONS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Owned {
    path: PathBuf,
    hash: Hash,
    geometry: Geometry,
    /// Written only while a damaged copy is rebuilt.
    blobs: RwLock<FsStore>,
    permits: Semaphore,
    verified: PieceSet,
    bytes_missing: AtomicU64,
    is_damaged: AtomicBool,
}

impl Owned {
    /// Opens or makes the copy and verifies all that it claims to hold.
    pub(super) async fn open(
        path: &Path,
        content: ContentHash,
        geometry: Geometry,
    ) -> Result<Self, StoreError> {
        let hash = hash_of(content);
        let (blobs, verified) = open_verified(path, hash, &geometry).await?;
        let have: u64 = verified.iter().map(|piece| geometry.piece_len(piece)).sum();
        Ok(Self {
            path: path.into(),
            hash,
            geometry,
            blobs: RwLock::new(blobs),
            permits: Semaphore::new(OPERATIONS_MAX),
            verified,
            bytes_missing: AtomicU64::new(geometry.length() - have),
            is_damaged: AtomicBool::new(false),
        })
    }

    /// What was verified when it was opened.
    pub(super) fn have(&self) -> PieceSet {
        self.verified.clone()
    }

    pub(super) fn bytes_missing(&self) -> u64 {
        self.bytes_missing.load(Ordering::Relaxed)
    }

    pub(super) async fn write(
        &self,
        geometry: &Geometry,
        range: PieceRange,
        bao: Bytes,
    ) -> Result<(), StoreError> {
        if self.is_damaged.swap(false, Ordering::AcqRel) {
            self.rebuild().await?;
        }
        let _permit = self.permits.acquire().await;
        let mut encoding = Vec::with_capacity(LENGTH_PREFIX + bao.len());
        encoding.extend_from_slice(&geometry.length().to_le_bytes());
        encoding.extend_from_slice(&bao);
        let blobs = self.blobs.read().await;
        let imported = blobs.blobs().import_bao_bytes(self.hash, chunks(geometry, range), encoding).await;
        let Err(error) = imported else {
            let len = geometry.byte_range(range).1;
            let _ = self
                .bytes_missing
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |m| Some(m.saturating_sub(len)));
            return Ok(());
        };
        let words = format!("{error:#} {error:?}");
        if space::is_full(&words) {
            return Err(StoreError::NoSpace { needed: self.bytes_missing(), available: 0 });
        }
        match wrong_group(&words, geometry, range) {
            Some(group) => Err(StoreError::WrongBytes { group }),
            None => Err(io(&self.path, words)),
        }
    }

    pub(super) async fn read(&self, geometry: &Geometry, range: PieceRange) -> Result<Bytes, StoreError> {
        let _permit = self.permits.acquire().await;
        let blobs = self.blobs.read().await;
        match export(&blobs, self.hash, chunks(geometry, range)).await {
            Ok(bao) => Ok(Bytes::from(bao).slice(LENGTH_PREFIX..)),
            Err(error) => Err(self.damaged(first_group(geometry, range), &error)),
        }
    }

    pub(super) async fn plain(&self, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let _permit = self.permits.acquire().await;
        let blobs = self.blobs.read().await;
        plain(&blobs, self.hash, offset, len)
            .await
            .map_err(|error| self.damaged(offset / GROUP_BYTES, &error))
    }

    fn damaged(&self, group: u64, error: &str) -> StoreError {
        tracing::warn!(path = %self.path.display(), group, error, "bytes on disk cannot be read");
        self.is_damaged.store(true, Ordering::Release);
        StoreError::Damaged { group }
    }

    /// fsync of data, outboard and their directories: iroh-blobs records completeness without it.
    pub(super) async fn seal(&self) -> Result<(), StoreError> {
        self.blobs.read().await.sync_db().await.map_err(|e| io(&self.path, e))?;
        let path = self.path.clone();
        let synced = tokio::task::spawn_blocking(move || sync_tree(&path)).await;
        synced.map_err(|e| io(&self.path, e))?.map_err(StoreError::io(&self.path))
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.blobs.read().await.shutdown().await {
            tracing::debug!(%error, path = %self.path.display(), "a content did not close");
        }
    }

    async fn rebuild(&self) -> Result<(), StoreError> {
        let mut blobs = self.blobs.write().await;
        let survey = survey(&blobs, self.hash, &self.geometry).await;
        let have: u64 = survey.good.iter().map(|piece| self.geometry.piece_len(piece)).sum();
        *blobs = rebuilt(&self.path, &blobs, self.hash, &self.geometry, &survey.good).await?;
        self.bytes_missing.store(self.geometry.length() - have, Ordering::Relaxed);
        Ok(())
    }
}

/// What a copy really holds, and whether it claims more.
struct Survey {
    good: PieceSet,
    claims_more: bool,
}

async fn open_verified(
    path: &Path,
    hash: Hash,
    geometry: &Geometry,
) -> Result<(FsStore, PieceSet), StoreError> {
    let is_new = !path.exists();
    std::fs::create_dir_all(path).map_err(StoreError::io(path))?;
    let blobs = match FsStore::load(path).await {
        Ok(blobs) => blobs,
        // A full disk, a missing permission or a lock will pass: only torn records are given up.
        Err(error) if is_new || !is_torn(&format!("{error:#} {error:?}")) => return Err(io(path, error)),
        Err(error) => {
            // Its own records are torn: nothing in it can be trusted, all of it can be fetched.
            tracing::warn!(%error, path = %path.display(), "a content's records are damaged; it is fetched again");
            std::fs::remove_dir_all(path).map_err(StoreError::io(path))?;
            std::fs::create_dir_all(path).map_err(StoreError::io(path))?;
            FsStore::load(path).await.map_err(|e| io(path, e))?
        }
    };
    // Nothing collects garbage here, but a tag also says to people what the directory holds.
    blobs.tags().set("content", hash).await.map_err(|e| io(path, e))?;
    if is_new {
        return Ok((blobs, PieceSet::empty(geometry.pieces())));
    }
    let survey = survey(&blobs, hash, geometry).await;
    if !survey.claims_more {
        return Ok((blobs, survey.good));
    }
    tracing::warn!(path = %path.display(), good = ?survey.good, "bytes on disk are damaged; they are fetched again");
    let blobs = rebuilt(path, &blobs, hash, geometry, &survey.good).await?;
    Ok((blobs, survey.good))
}

/// Whether an error's words mean that the store's own records cannot be read any more.
fn is_torn(words: &str) -> bool {
    ["Corrupted", "corrupt", "InvalidData", "invalid magic", "UpgradeRequired", "failed to fill whole buffer"]
        .iter()
        .any(|known| words.contains(known))
}

async fn survey(blobs: &FsStore, hash: Hash, geometry: &Geometry) -> Survey {
    let claimed = blobs.blobs().observe(hash).await.ok();
    let mut survey = Survey { good: PieceSet::empty(geometry.pieces()), claims_more: claimed.is_none() };
    for piece in (0..geometry.pieces()).map(PieceIndex) {
        let chunks = piece_chunks(geometry, piece);
        let claims = claimed.as_ref().is_some_and(|claimed| (&chunks & &claimed.ranges) == chunks);
        if claims && export(blobs, hash, chunks).await.is_ok() {
            survey.good.insert(piece);
        } else if claims {
            survey.claims_more = true;
        }
    }
    survey
}

/// A fresh copy with the good pieces of `old`, in its place.
async fn rebuilt(
    path: &Path,
    old: &FsStore,
    hash: Hash,
    geometry: &Geometry,
    good: &PieceSet,
) -> Result<FsStore, StoreError> {
    let fresh_path = path.with_extension("new");
    let _ = std::fs::remove_dir_all(&fresh_path);
    std::fs::create_dir_all(&fresh_path).map_err(StoreError::io(&fresh_path))?;
    let fresh = FsStore::load(&fresh_path).await.map_err(|e| io(&fresh_path, e))?;
    for piece in good.iter() {
        let chunks = piece_chunks(geometry, piece);
        if let Ok(bao) = export(old, hash, chunks.clone()).await {
            fresh.blobs().import_bao_bytes(hash, chunks, bao).await.map_err(|e| io(&fresh_path, e))?;
        }
    }
    fresh.shutdown().await.map_err(|e| io(&fresh_path, e))?;
    let _ = old.shutdown().await;
    std::fs::remove_dir_all(path).map_err(StoreError::io(path))?;
    std::fs::rename(&fresh_path, path).map_err(StoreError::io(path))?;
    FsStore::load(path).await.map_err(|e| io(path, e))
}

/// The first group that an import error names, counted in the artifact; `None` when it was no wrong byte.
fn wrong_group(words: &str, geometry: &Geometry, range: PieceRange) -> Option<u64> {
    let first = first_group(geometry, range);
    let number =
        |tail: &str| tail.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().ok();
    if let Some((_, tail)) = words.split_once("leaf hash mismatch (offset ") {
        return Some(number(tail).map_or(first, |offset| offset / GROUP_BYTES));
    }
    // A wrong hash path condemns the whole range; too few bytes do as well.
    let wrong = ["hash mismatch", "LeafNotFound", "ParentNotFound"];
    wrong.iter().any(|known| words.contains(known)).then_some(first)
}

fn sync_tree(path: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { std::fs::File::open(&path)?.sync_all()? }
    }
    std::fs::File::open(path)?.sync_all()
}
