//! A device's own copy of a content: one iroh-blobs store in a directory of its own.
//!
//! iroh-blobs fsyncs and closes the files of a blob whenever nobody uses it, that is, between any two ranges that
//! arrive one by one. A watcher that nobody reads keeps it in use as long as the content is open; after a failed write
//! it is let go, because only a blob out of use leaves its failed state.

use super::StoreError;
use super::encoding::{Received, export, is_damage, is_good, plain};
use super::held::{Held, span_chunks};
use super::overwrite::overwrite;
use super::survey::{Repair, Survey, survey};
use super::{aside, records, space};
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
use tokio_util::sync::CancellationToken;

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
    repair: Repair,
    /// Breaks off what reads everything.
    stop: CancellationToken,
}

/// How a write ended.
pub(super) enum Write {
    Done,
    /// The copy does not give what was written: it must be begun anew.
    Stuck,
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
        stop: &CancellationToken,
    ) -> Result<(Self, Held), StoreError> {
        let hash = Hash::from_bytes(content.0);
        if path.exists() && records::are_torn(path).await? {
            // Nothing in it can be trusted, all of it can be fetched.
            tracing::warn!(path = %path.display(), "a content's records are torn; it is fetched again");
            aside::set_aside(path)?;
            aside::remove_old(path)?;
        }
        let blobs = load(path).await?;
        // Nothing collects garbage here, but a tag also says to people what the directory holds.
        blobs.tags().set("content", hash).await.map_err(StoreError::io(path))?;
        let found = match survey(&blobs, path, hash, &geometry, stop).await {
            Ok(found) => found,
            Err(error) => {
                shut(&blobs, path).await?;
                return Err(error);
            }
        };
        if found.repair != Repair::None {
            tracing::warn!(path = %path.display(), "bytes on disk are damaged; they are fetched again");
        }
        let owned = Self {
            path: path.into(),
            hash,
            geometry,
            blobs,
            watcher: Mutex::default(),
            permits: Semaphore::new(OPERATIONS_MAX),
            repair: found.repair,
            stop: stop.clone(),
        };
        Ok((owned, Held::new(geometry, found.good)))
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(super) fn repair(&self) -> Repair {
        self.repair
    }

    /// Verifies and writes the encoding of a valid range; says what it wrote to `held`.
    pub(super) async fn write(
        &self,
        held: &Mutex<Option<Held>>,
        offset: u64,
        len: u64,
        bao: &[u8],
    ) -> Result<Write, StoreError> {
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
            if let Err(error) = self.keep(received).await {
                self.unwatch();
                let no_space = space::fault(&error, &self.path, good.1);
                return Err(no_space.unwrap_or_else(|| StoreError::io(&self.path)(error)));
            }
            // A hash pair that iroh-blobs moved into its records while it was wrong cannot be written over.
            if self.repair != Repair::None
                && !is_good(&self.blobs, self.hash, span_chunks(good.0, good.1))
                    .await
                    .map_err(StoreError::io(&self.path))?
            {
                return Ok(Write::Stuck);
            }
            if let Some(held) = &mut *held.lock().unwrap_or_else(PoisonError::into_inner) {
                held.add(good.0, good.1);
            }
        }
        wrong.map_or(Ok(Write::Done), Err)
    }

    async fn keep(&self, mut received: Received) -> std::io::Result<()> {
        let (hash, length) = (self.hash, self.geometry.length());
        if self.repair == Repair::Overwrite {
            let path = self.path.clone();
            let write = move || overwrite(&path, hash, length, &received).map(|()| received);
            received = tokio::task::spawn_blocking(write).await.map_err(std::io::Error::other)??;
        }
        received.import(&self.blobs, hash, length).await
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
        let found = survey(&self.blobs, &self.path, self.hash, &self.geometry, &self.stop).await?;
        if found.repair != Repair::None {
            self.repair = found.repair;
        }
        Ok(found)
    }

    /// Puts an empty copy in the place of this one.
    pub(super) async fn begin_anew(self, content: ContentHash) -> Result<(Self, Held), StoreError> {
        self.close().await;
        aside::set_aside(&self.path)?;
        let fresh = Self::open(&self.path, content, self.geometry, &self.stop).await?;
        aside::remove_old(&self.path)?;
        Ok(fresh)
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
