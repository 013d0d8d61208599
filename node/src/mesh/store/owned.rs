//! A device's own copy of a content: one iroh-blobs store in a directory of its own.
//!
//! iroh-blobs fsyncs and closes the files of a blob whenever nobody uses it, that is, between any two ranges that
//! arrive one by one. A watcher that nobody reads keeps it in use as long as the content is open; after a failed write
//! it is let go, because only a blob out of use leaves its failed state.

use super::StoreError;
use super::encoding::{Received, export, is_damage, plain};
use super::held::{Held, span_chunks};
use super::survey::{Survey, survey};
use super::{rebuild, records, space};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use iroh_blobs::Hash;
use iroh_blobs::api::proto::Bitfield;
use iroh_blobs::store::fs::FsStore;
use samara_protocol::geometry::{GROUP_BYTES, Geometry};
use samara_protocol::id::ContentHash;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Operations on one content at once; iroh-blobs refuses more than 32.
const OPERATIONS_MAX: usize = 16;
/// How long a blob may take to get out of use before its store is closed all the same.
const IDLE_WAIT_MAX: Duration = Duration::from_secs(10);

pub(super) struct Owned {
    path: PathBuf,
    hash: Hash,
    geometry: Geometry,
    blobs: FsStore,
    watcher: Mutex<Option<BoxStream<'static, Bitfield>>>,
    permits: Semaphore,
    /// See [`Survey::is_stuck`].
    is_stuck: bool,
}

/// Why an export gave nothing.
pub(super) enum ReadFault {
    /// The bytes are wrong or gone.
    Damage,
    /// They could not be read just now.
    Io(StoreError),
}

impl Owned {
    /// Opens or makes the copy and verifies all that it claims to hold.
    pub(super) async fn open(
        path: &Path,
        content: ContentHash,
        geometry: Geometry,
    ) -> Result<(Self, Held), StoreError> {
        let hash = Hash::from_bytes(content.0);
        if path.exists() && records::are_torn(path).await? {
            // Nothing in it can be trusted, all of it can be fetched.
            tracing::warn!(path = %path.display(), "a content's records are torn; it is fetched again");
            rebuild::set_aside(path)?;
            rebuild::remove_old(path)?;
        }
        let blobs = load(path).await?;
        // Nothing collects garbage here, but a tag also says to people what the directory holds.
        blobs.tags().set("content", hash).await.map_err(StoreError::io(path))?;
        let found = match survey(&blobs, path, hash, &geometry).await {
            Ok(found) => found,
            Err(error) => {
                shut(&blobs, path).await?;
                return Err(error);
            }
        };
        if found.is_stuck {
            tracing::warn!(path = %path.display(), "bytes on disk are damaged; they are fetched again");
        }
        let owned = Self {
            path: path.into(),
            hash,
            geometry,
            blobs,
            watcher: Mutex::default(),
            permits: Semaphore::new(OPERATIONS_MAX),
            is_stuck: found.is_stuck,
        };
        Ok((owned, Held::new(geometry, found.good)))
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether it must be rebuilt before anything can be written.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Verifies and writes the encoding of a valid range; says what it wrote to `held`.
    pub(super) async fn write(
        &self,
        held: &Mutex<Option<Held>>,
        offset: u64,
        len: u64,
        bao: &[u8],
    ) -> Result<(), StoreError> {
        let _permit = self.permits.acquire().await;
        let received = Received::verify(self.hash, self.geometry.length(), (offset, len), bao);
        let good = received.span();
        let wrong = (!received.is_whole()).then(|| {
            let last = offset + len - 1;
            StoreError::WrongBytes { group: last.min(offset + good.1) / GROUP_BYTES }
        });
        let is_news =
            |held: &Option<Held>| held.as_ref().is_some_and(|h| h.first_missing(good.0, good.1).is_some());
        if is_news(&held.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.watch().await;
            if let Err(error) = received.import(&self.blobs, self.hash, self.geometry.length()).await {
                self.unwatch();
                let no_space = space::fault(&error, &self.path, good.1);
                return Err(no_space.unwrap_or_else(|| StoreError::io(&self.path)(error)));
            }
            if let Some(held) = &mut *held.lock().unwrap_or_else(PoisonError::into_inner) {
                held.add(good.0, good.1);
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    /// The encoding of some bytes that are held.
    pub(super) async fn read(&self, offset: u64, len: u64) -> Result<Bytes, ReadFault> {
        let _permit = self.permits.acquire().await;
        self.watch().await;
        export(&self.blobs, self.hash, span_chunks(offset, len), len).await.map_err(|e| self.fault(e))
    }

    /// Whole groups of plain bytes that are held.
    pub(super) async fn plain(&self, offset: u64, len: u64) -> Result<Bytes, ReadFault> {
        let _permit = self.permits.acquire().await;
        self.watch().await;
        plain(&self.blobs, self.hash, span_chunks(offset, len), len).await.map_err(|e| self.fault(e))
    }

    fn fault(&self, error: bao_tree::io::EncodeError) -> ReadFault {
        if is_damage(&error) { ReadFault::Damage } else { ReadFault::Io(StoreError::io(&self.path)(error)) }
    }

    /// Reads everything anew. Nobody else may use the copy meanwhile.
    pub(super) async fn survey(&mut self) -> Result<Survey, StoreError> {
        self.out_of_use().await;
        let found = survey(&self.blobs, &self.path, self.hash, &self.geometry).await?;
        self.is_stuck |= found.is_stuck;
        Ok(found)
    }

    /// The good part of a stuck copy, beside it; this one stays as it is.
    pub(super) async fn build_beside(&self, held: &Held, available: u64) -> Result<(), StoreError> {
        space::check(held.bytes(), available)?;
        let built =
            rebuild::build_beside(&self.path, &self.blobs, self.hash, &self.geometry, held.chunks()).await;
        if built.is_err() {
            rebuild::remove(&rebuild::beside(&self.path))?;
        }
        built
    }

    /// Puts the copy that was built beside in the place of this one, and opens it.
    pub(super) async fn replace(self, content: ContentHash) -> Result<(Self, Held), StoreError> {
        self.close().await;
        rebuild::set_aside(&self.path)?;
        rebuild::move_in(&self.path)?;
        rebuild::remove_old(&self.path)?;
        Self::open(&self.path, content, self.geometry).await
    }

    /// fsync of data, outboard and all directories above: iroh-blobs records completeness without it.
    pub(super) async fn seal(&self) -> Result<(), StoreError> {
        self.blobs.sync_db().await.map_err(StoreError::io(&self.path))?;
        let path = self.path.clone();
        let sync = move || sync_tree(&path).and_then(|()| sync_parent(&path));
        let synced = tokio::task::spawn_blocking(sync).await.map_err(StoreError::io(&self.path))?;
        synced.map_err(StoreError::io(&self.path))
    }

    pub(super) async fn close(&self) {
        self.out_of_use().await;
        if let Err(error) = shut(&self.blobs, &self.path).await {
            tracing::debug!(%error, "a content did not close");
        }
    }

    async fn out_of_use(&self) {
        self.unwatch();
        let _ = tokio::time::timeout(IDLE_WAIT_MAX, self.blobs.wait_idle()).await;
    }

    async fn watch(&self) {
        if self.watcher.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        if let Ok(watcher) = self.blobs.blobs().observe(self.hash).stream().await {
            *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher.boxed());
        }
    }

    fn unwatch(&self) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl std::fmt::Debug for Owned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Owned({})", self.path.display())
    }
}

/// Opens the iroh-blobs store of a directory, made if missing.
pub(super) async fn load(path: &Path) -> Result<FsStore, StoreError> {
    use iroh_blobs::store::fs::options::Options;
    std::fs::create_dir_all(path).map_err(StoreError::io(path))?;
    FsStore::load_with_opts(path.join(records::FILE), Options::new(path)).await.map_err(StoreError::io(path))
}

/// Closes an iroh-blobs store, so that its directory may be opened again.
pub(super) async fn shut(blobs: &FsStore, path: &Path) -> Result<(), StoreError> {
    let _ = tokio::time::timeout(IDLE_WAIT_MAX, blobs.wait_idle()).await;
    blobs.shutdown().await.map_err(StoreError::io(path))
}

pub(super) fn sync_tree(path: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { std::fs::File::open(&path)?.sync_all()? }
    }
    std::fs::File::open(path)?.sync_all()
}

pub(super) fn sync_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
}
