//! The operator's files: hashed once, read where they lie, and watched for change.

use super::StoreError;
use super::content::{LENGTH_PREFIX, chunks, export, hash_of, plain};
use bytes::Bytes;
use futures::StreamExt as _;
use iroh_blobs::BlobFormat;
use iroh_blobs::api::TempTag;
use iroh_blobs::api::blobs::{AddPathOptions, AddProgressItem, ImportMode};
use iroh_blobs::store::fs::FsStore;
use samara_protocol::geometry::{Geometry, PieceRange};
use samara_protocol::id::ContentHash;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio::sync::Semaphore;

/// Operations on one file at once; iroh-blobs refuses more than 32.
const OPERATIONS_MAX: usize = 16;

/// The store that all of an operator's files share.
#[derive(Debug)]
pub(super) struct Sources {
    blobs: FsStore,
    dir: PathBuf,
}

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    blobs: FsStore,
    path: PathBuf,
    content: ContentHash,
    size: u64,
    modified: Option<SystemTime>,
    permits: Semaphore,
    _tag: TempTag,
}

impl Sources {
    pub(super) async fn open(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(StoreError::io(dir))?;
        let blobs = FsStore::load(dir).await.map_err(|e| io(dir, e))?;
        Ok(Self { blobs, dir: dir.into() })
    }

    pub(super) async fn add(&self, path: &Path, progress: impl Fn(u64) + Send) -> Result<Source, StoreError> {
        let path = std::path::absolute(path).map_err(StoreError::io(path))?;
        let before = std::fs::metadata(&path).map_err(StoreError::io(&path))?;
        let options =
            AddPathOptions { path: path.clone(), format: BlobFormat::Raw, mode: ImportMode::TryReference };
        let mut steps = Box::pin(self.blobs.blobs().add_path_with_opts(options).stream().await);
        let tag = loop {
            match steps.next().await {
                Some(AddProgressItem::OutboardProgress(bytes)) => progress(bytes),
                Some(AddProgressItem::Done(tag)) => break tag,
                Some(AddProgressItem::Error(error)) => return Err(io(&path, error)),
                Some(_) => {}
                None => return Err(io(&path, "hashing ended early")),
            }
        };
        let modified = before.modified().ok();
        let content = ContentHash(*tag.hash().as_bytes());
        let permits = Semaphore::new(OPERATIONS_MAX);
        let source = Source {
            blobs: self.blobs.clone(),
            path,
            content,
            size: before.len(),
            modified,
            permits,
            _tag: tag,
        };
        source.check_unchanged()?;
        Ok(source)
    }

    pub(super) async fn close(self) {
        if let Err(error) = self.blobs.shutdown().await {
            tracing::debug!(%error, dir = %self.dir.display(), "the store of sources did not close");
        }
    }
}

impl Source {
    pub(super) fn content(&self) -> ContentHash {
        self.content
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) async fn read(&self, geometry: &Geometry, range: PieceRange) -> Result<Bytes, StoreError> {
        let _permit = self.permits.acquire().await;
        self.check_unchanged()?;
        match export(&self.blobs, hash_of(self.content), chunks(geometry, range)).await {
            Ok(bao) => Ok(Bytes::from(bao).slice(LENGTH_PREFIX..)),
            Err(_) => Err(self.changed()),
        }
    }

    pub(super) async fn plain(&self, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let _permit = self.permits.acquire().await;
        plain(&self.blobs, hash_of(self.content), offset, len).await.map_err(|_| self.changed())
    }

    /// Size and time say at once what the hashes would say later, and for pieces that nobody asks for, too.
    fn check_unchanged(&self) -> Result<(), StoreError> {
        let same = std::fs::metadata(&self.path)
            .is_ok_and(|now| now.len() == self.size && now.modified().ok() == self.modified);
        if same { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> StoreError {
        StoreError::SourceChanged { path: self.path.clone() }
    }
}

pub(super) fn io(path: &Path, error: impl std::fmt::Display) -> StoreError {
    StoreError::Io { path: path.into(), message: format!("{error:#}") }
}
