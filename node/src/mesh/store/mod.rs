//! Artifact bytes on disk: iroh-blobs behind our own boundary. Nobody else names one of its types.
//!
//! ```text
//! DIR/CONTENT/      one iroh-blobs store per content of a device: removal is exact, damage is mended by rebuilding
//! DIR/CONTENT.new/  being rebuilt; removed at the next start
//! DIR/sources/      the operator's files, referenced where they lie; made anew at each start
//! ```
//! What iroh-blobs does not do is done here: everything on disk is verified when a content is opened (a flipped,
//! short or deleted file is found before it is believed), space is checked first, a complete content is fsynced
//! before it is called complete, operations on one content are bounded, bytes are verified while they are copied out.

mod content;
mod owned;
mod source;
mod space;

use bytes::Bytes;
use content::Content;
use owned::Owned;
use samara_protocol::geometry::{Geometry, PieceRange};
use samara_protocol::id::ContentHash;
use samara_protocol::piece_set::PieceSet;
use source::Sources;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;

/// Bytes verified and copied out at a time.
const COPY_BYTES: u64 = 256 * 1024;

/// How the store uses the disk.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Bytes of the disk that are never used.
    pub reserve_free_bytes: u64,
}

/// Why bytes could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Received bytes do not match the content hash; nothing of them, or only good groups, was kept.
    #[error("wrong bytes in chunk group {group}")]
    WrongBytes {
        /// The first wrong 16 KiB group, counted in the artifact.
        group: u64,
    },
    /// The disk has no room.
    #[error("no room on the disk: {needed} bytes are needed, {available} are available beyond the reserve")]
    NoSpace {
        /// For the rest of the content.
        needed: u64,
        /// Free, less the reserve and what other contents still need.
        available: u64,
    },
    /// Bytes on disk do not match the content hash, or are gone.
    #[error("the bytes on disk at chunk group {group} are damaged")]
    Damaged {
        /// A group in or before the damage, in the range that was read.
        group: u64,
    },
    /// A file that is served in place is not what it was.
    #[error("{path} was changed, or cannot be read any more")]
    SourceChanged {
        /// Which.
        path: PathBuf,
    },
    /// The content was not opened, or the geometry makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The disk failed.
    #[error("{path}: {message}")]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's words.
        message: String,
    },
}

impl StoreError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { path, message: error.to_string() }
    }
}

/// A handle that may be cloned.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    options: StoreOptions,
    contents: Mutex<BTreeMap<ContentHash, Arc<Content>>>,
    sources: Mutex<Option<Sources>>,
}

impl Store {
    /// Opens a directory, made if missing; what a crash left half-made is removed.
    pub async fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(StoreError::io(dir))?;
        for entry in std::fs::read_dir(dir).map_err(StoreError::io(dir))?.filter_map(Result::ok) {
            let path = entry.path();
            let leftover = path.extension().is_some_and(|e| e == "new")
                || path.file_name().is_some_and(|n| n == "sources");
            if leftover {
                std::fs::remove_dir_all(&path).map_err(StoreError::io(&path))?;
            }
        }
        let inner = Inner { dir: dir.into(), options, contents: Mutex::default(), sources: Mutex::default() };
        Ok(Self(Arc::new(inner)))
    }

    /// Opens a content for reading and writing: verifies what the disk holds of it, reserves room for the rest.
    pub async fn open_content(
        &self,
        content: ContentHash,
        geometry: Geometry,
    ) -> Result<PieceSet, StoreError> {
        if geometry.length() == 0 {
            return Ok(PieceSet::empty(0));
        }
        let mut contents = self.0.contents.lock().await;
        if let Some(open) = contents.get(&content) {
            return Ok(open.have(&geometry));
        }
        let reserved: u64 = contents.values().map(|c| c.bytes_missing()).sum();
        let path = self.0.dir.join(content.to_string());
        let owned = Owned::open(&path, content, geometry).await?;
        let reserved = reserved + self.0.options.reserve_free_bytes;
        if let Err(no_space) = space::check(&self.0.dir, owned.bytes_missing(), reserved) {
            // Closed in order, so that the next try finds it unlocked.
            owned.close().await;
            return Err(no_space);
        }
        let have = owned.have();
        contents.insert(content, Arc::new(Content::Owned(owned)));
        Ok(have)
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
        self.0.contents.lock().await.insert(source.content(), Arc::new(Content::Source(source)));
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
        self.opened(content).await?.write(geometry, range, bao).await
    }

    /// The bao encoding of a range, without the length that the receiver knows; verified while it is read.
    pub async fn read(
        &self,
        content: ContentHash,
        geometry: &Geometry,
        range: PieceRange,
    ) -> Result<Bytes, StoreError> {
        self.opened(content).await?.read(geometry, range).await
    }

    /// Makes a complete content durable: data, outboard, directories.
    pub async fn seal(&self, content: ContentHash) -> Result<(), StoreError> {
        match self.0.contents.lock().await.get(&content).cloned() {
            Some(open) => open.seal().await,
            // An empty content has nothing on disk.
            None => Ok(()),
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
        let open = self.opened(content).await?;
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let step = (COPY_BYTES - at % COPY_BYTES).min(end - at);
            let bytes = open.plain(at, step).await?;
            out.write_all(&bytes).await.map_err(StoreError::io(&self.0.dir))?;
            at += step;
        }
        Ok(())
    }

    /// Removes a content from disk.
    pub async fn remove(&self, content: ContentHash) -> Result<(), StoreError> {
        if let Some(open) = self.0.contents.lock().await.remove(&content) {
            open.close().await;
        }
        let path = self.0.dir.join(content.to_string());
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(&path)(error)),
            _ => Ok(()),
        }
    }

    /// The contents on disk, opened or not.
    pub async fn contents(&self) -> Vec<ContentHash> {
        let entries = std::fs::read_dir(&self.0.dir).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Closes everything in order.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        for open in std::mem::take(&mut *self.0.contents.lock().await).into_values() {
            open.close().await;
        }
        if let Some(sources) = self.0.sources.lock().await.take() {
            sources.close().await;
        }
        Ok(())
    }

    async fn opened(&self, content: ContentHash) -> Result<Arc<Content>, StoreError> {
        let open = self.0.contents.lock().await.get(&content).cloned();
        open.ok_or_else(|| StoreError::Invalid(format!("the content {content} is not open")))
    }
}
