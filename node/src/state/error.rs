//! Why state cannot be used: each error names the file and says what to do.

use samara_protocol::id::SiteId;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The state file is torn, or is none.
    #[error(
        "{path} is damaged: {message}; restore it from a backup, or move it away: the device then trusts its pinned root again"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A later version wrote it.
    #[error(
        "{path} has format {found}, this version knows {known}: run the version that wrote it, or a later one"
    )]
    Format {
        /// Which.
        path: PathBuf,
        /// What it says.
        found: u64,
        /// What it may say.
        known: u64,
    },
    /// It holds documents and marks of another site.
    #[error(
        "{path} belongs to site {found}, the trust root is that of site {wanted}: name the trust root of {found}, or give this site a data_dir of its own"
    )]
    OtherSite {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        found: SiteId,
        /// Whose it should be.
        wanted: SiteId,
    },
    /// The database refused for another reason.
    #[error("cannot use {path}: {message}")]
    Database {
        /// Which.
        path: PathBuf,
        /// redb's words.
        message: String,
    },
    /// Another process works there.
    #[error("{path} is in use: another samara runs with this directory; stop it first")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file.
    #[error("cannot use {path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
    /// Others may read the secret.
    #[error("{path} has mode {mode:03o}: a device key must be readable by its owner only (chmod 600)")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The secret is none.
    #[error("{path} is no device key: {problem}; restore it, or remove it to become a new device")]
    Identity {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl StateError {
    pub(super) fn of(path: &Path, error: redb::Error) -> Self {
        let path = path.to_owned();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            redb::Error::Corrupted(message) => Self::Damaged { path, message },
            // No file of ours was ever of an older format: the bytes that say so are wrong.
            redb::Error::UpgradeRequired(_) => Self::Damaged { path, message: error.to_string() },
            redb::Error::Io(error) if is_damage(error.kind()) => {
                Self::Damaged { path, message: error.to_string() }
            }
            redb::Error::Io(cause) => Self::File { path, cause },
            other => Self::Database { path, message: other.to_string() },
        }
    }
}

/// Kinds by which a reader says that bytes make no sense, or end early.
fn is_damage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}
