//! Why bytes could not be stored or read, each variant something that a caller can act on.

use std::path::{Path, PathBuf};

/// Why bytes could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Received bytes do not match the content hash; the good groups before the wrong one were kept.
    #[error("wrong bytes in chunk group {group}")]
    WrongBytes {
        /// The first wrong 16 KiB group, counted in the artifact.
        group: u64,
    },
    /// The disk has no room.
    #[error("no room on the disk: {needed} bytes are needed, {available} are available beyond the reserve")]
    NoSpace {
        /// For what is to be written.
        needed: u64,
        /// Free, less the reserve and what other contents still need.
        available: u64,
    },
    /// Bytes on disk do not match the content hash, or are gone. They count as missing from now on, and
    /// [`Store::next_loss`](super::Store::next_loss) names every piece that is concerned.
    #[error("the bytes on disk at chunk group {group} are damaged")]
    Damaged {
        /// The first damaged group in the range that was read, counted in the artifact.
        group: u64,
    },
    /// These bytes were not stored, or were lost.
    #[error("chunk group {group} is not held")]
    NotHeld {
        /// The first one, counted in the artifact.
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
    /// The process ends: what takes long was broken off, and nothing was changed by that.
    #[error("the store closes")]
    Closing,
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
    /// Makes a fault at `path` of whatever went wrong there.
    pub(super) fn io<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self + use<E> {
        let path = path.to_owned();
        move |error| Self::Io { path, message: format!("{error:#}") }
    }
}
