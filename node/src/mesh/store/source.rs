//! The operator's files: hashed once, read where they lie, and watched for change.

use super::StoreError;
use super::encoding::{export, is_damage, plain};
use super::held::span_chunks;
use super::owned::{load, shut};
use bao_tree::io::EncodeError;
use bytes::Bytes;
use futures::StreamExt as _;
use iroh_blobs::api::TempTag;
use iroh_blobs::api::blobs::{AddPathOptions, AddProgressItem, ImportMode};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{BlobFormat, Hash};
use samara_protocol::id::ContentHash;
use std::io::ErrorKind;
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
        Ok(Self { blobs: load(dir).await?, dir: dir.into() })
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
                Some(AddProgressItem::Error(error)) => return Err(StoreError::io(&path)(error)),
                Some(_) => {}
                None => return Err(StoreError::io(&path)("hashing ended early")),
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
        if let Err(error) = shut(&self.blobs, &self.dir).await {
            tracing::debug!(%error, "the store of sources did not close");
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

    /// The encoding of whole groups.
    pub(super) async fn read(&self, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let _permit = self.permits.acquire().await;
        self.check_unchanged()?;
        let hash = Hash::from_bytes(self.content.0);
        export(&self.blobs, hash, span_chunks(offset, len), len).await.map_err(|e| self.fault(e))
    }

    /// Whole groups of plain bytes.
    pub(super) async fn plain(&self, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let _permit = self.permits.acquire().await;
        self.check_unchanged()?;
        let hash = Hash::from_bytes(self.content.0);
        plain(&self.blobs, hash, span_chunks(offset, len), len).await.map_err(|e| self.fault(e))
    }

    /// Size and time say at once what the hashes would say later, and for pieces that nobody asks for, too.
    fn check_unchanged(&self) -> Result<(), StoreError> {
        match std::fs::metadata(&self.path) {
            Ok(now) if now.len() == self.size && now.modified().ok() == self.modified => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io(&self.path)(error)),
            _ => Err(self.changed()),
        }
    }

    fn fault(&self, error: EncodeError) -> StoreError {
        if is_damage(&error) { self.changed() } else { StoreError::io(&self.path)(error) }
    }

    fn changed(&self) -> StoreError {
        StoreError::SourceChanged { path: self.path.clone() }
    }
}
