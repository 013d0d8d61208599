//! A site directory: all that an operator's laptop knows about one site.
//!
//! ```text
//! DIR/site.toml         name, site id, defaults                     written once
//! DIR/trust-root.json   version 1 of the trust root: devices pin it written once
//! DIR/node.toml         configuration to copy to a device           written once
//! DIR/keys/ROLE[-N]     OpenSSH Ed25519 keys, 0600, and ROLE.pub    written once
//! DIR/documents/*.json  signed envelopes that `serve` offers
//! DIR/to-sign/*.json    envelopes that lack signatures of others
//! DIR/sources.json      content hash -> path of its bytes
//! DIR/blobs/HASH        packed trees and their file lists
//! DIR/sequences.json    the last number and sequences given out, or seen on the mesh
//! ```
//! Every file is whole or absent (see [`crate::files`]). Reading needs no lock; writing goes through
//! [`SiteWriter`], one at a time. Sequences are on disk before the documents that carry them: after a crash a
//! number may be unused, but none is given out twice. Where they are behind the documents, the documents count.

mod documents;
mod sequences;
mod writer;

pub use documents::{Documents, payload};
pub use sequences::{Raised, Sequences};
pub use writer::SiteWriter;

use crate::files::{self, FileError};
use crate::keys::{KeyError, Passphrases};
use samara_protocol::document::ENVELOPE_BYTES_MAX;
use samara_protocol::id::{ContentHash, SiteId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SOURCES: &str = "sources.json";

/// Why a site directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// There is none.
    #[error("{} is no site directory (no site.toml in it); make one with: samara site init {}", dir.display(), dir.display())]
    Missing {
        /// Where it should be.
        dir: PathBuf,
    },
    /// Its path has no JSON form.
    #[error("the path of the site directory {dir:?} is not UTF-8; move it")]
    Name {
        /// The directory.
        dir: PathBuf,
    },
    /// A file of it does not say what it should.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process writes to it.
    #[error("another samara is writing to {}; try again when it is done", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// A document of the same name waits for signatures.
    #[error(
        "{} waits for signatures, and is another document than this one: have it signed (samara sign), or remove it first",
        path.display()
    )]
    Waiting {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What `site init` decided once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What people call the site.
    pub name: String,
    /// Its identity.
    pub site: SiteId,
    /// Who signs releases, unless `publish --issuer` says otherwise.
    pub issuer: String,
    /// The product that `publish` and `enroll` mean when they are not told.
    pub product: String,
}

/// A file of `documents/`; one that is longer than any document is refused, not read.
pub fn read_document(path: &Path) -> Result<Vec<u8>, SiteError> {
    Ok(files::read_at_most(path, ENVELOPE_BYTES_MAX as u64)?)
}

/// An existing site directory, for reading.
#[derive(Debug, Clone)]
pub struct SiteDir {
    dir: PathBuf,
    settings: Settings,
}

impl SiteDir {
    /// Opens a directory that `site init` made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, SiteError> {
        let dir = dir.into();
        let path = dir.join("site.toml");
        let bytes = match files::read(&path) {
            Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => {
                return Err(SiteError::Missing { dir });
            }
            other => other?,
        };
        let damaged = |reason: String| SiteError::Damaged { path: path.clone(), reason };
        let text = std::str::from_utf8(&bytes).map_err(|e| damaged(e.to_string()))?;
        let settings = toml::from_str(text).map_err(|e| damaged(e.to_string()))?;
        // Absolute, because the store refers to contents by absolute paths.
        let dir = dir.canonicalize().map_err(FileError::of("find", &dir))?;
        // Verbs tell it to programs, as JSON.
        if dir.to_str().is_none() {
            return Err(SiteError::Name { dir });
        }
        Ok(Self { dir, settings })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `site init` decided.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The envelope of version 1 of the trust root.
    pub fn trust_root(&self) -> Result<Vec<u8>, SiteError> {
        Ok(files::read(&self.dir.join("trust-root.json"))?)
    }

    /// The secret of one of this laptop's mesh identities: `operator` seeds, `observer` only looks, so that both may
    /// be on the mesh at once. They sign no document and have no passphrase, so that a seeder can start unattended.
    pub fn mesh_secret(&self, name: &str) -> Result<[u8; 32], SiteError> {
        Ok(Passphrases::default().load(&self.key_path(name))?.to_bytes())
    }

    /// A role's key file.
    pub fn key_path(&self, name: &str) -> PathBuf {
        self.dir.join("keys").join(name)
    }

    /// Where the bytes of every published content are.
    pub fn sources(&self) -> Result<BTreeMap<ContentHash, PathBuf>, SiteError> {
        let stored: BTreeMap<ContentHash, PathBuf> = self.read_json(SOURCES)?;
        Ok(stored.into_iter().map(|(content, path)| (content, self.dir.join(path))).collect())
    }

    /// The file of [`Self::sources`].
    pub fn sources_file(&self) -> PathBuf {
        self.dir.join(SOURCES)
    }

    /// The numbers given out so far, also by what `documents/` holds.
    pub fn numbers(&self) -> Result<Sequences, SiteError> {
        Ok(writer::numbers_so_far(self)?.0)
    }

    /// The right to write, until it is dropped; fails soon when another process has it.
    pub fn writer(&self) -> Result<SiteWriter<'_>, SiteError> {
        SiteWriter::open(self)
    }

    // A file that no verb wrote yet is empty.
    fn read_json<T: Default + serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, SiteError> {
        let path = self.dir.join(name);
        match files::read(&path) {
            Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
            Err(e) => Err(e.into()),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| SiteError::Damaged { path, reason: e.to_string() })
            }
        }
    }
}
