//! The folder `documents/`: what can be read of it, and the files that nobody can read.
//!
//! One bad file holds up nothing: it is named with the reason, and the others are read.

use super::{SiteDir, SiteError, read_document};
use crate::files::FileError;
use samara_protocol::document::{Document, Envelope};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `documents/` holds.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// The envelopes, sorted by file name; who signed them is not checked.
    pub envelopes: Vec<(PathBuf, Vec<u8>)>,
    /// The files that hold none, each with the reason: a directory, a dangling link, something too long, or garbage.
    pub refused: BTreeMap<PathBuf, String>,
}

impl SiteDir {
    /// Reads every file of `documents/`; fails only when the folder cannot be listed.
    pub fn read_documents(&self) -> Result<Documents, SiteError> {
        let mut documents = Documents::default();
        for path in self.document_files()? {
            let read =
                read_document(&path).map_err(|e| e.to_string()).and_then(|bytes| {
                    match Envelope::parse(&bytes) {
                        Ok(_) => Ok(bytes),
                        Err(e) => Err(format!("{} is no document: {e}", path.display())),
                    }
                });
            match read {
                Ok(bytes) => documents.envelopes.push((path, bytes)),
                Err(reason) => {
                    documents.refused.insert(path, reason);
                }
            }
        }
        Ok(documents)
    }

    /// The envelopes of [`Self::read_documents`].
    pub fn documents(&self) -> Result<Vec<Vec<u8>>, SiteError> {
        Ok(self.read_documents()?.envelopes.into_iter().map(|(_, envelope)| envelope).collect())
    }

    /// The files of `documents/` whose names say that they are documents, sorted.
    pub fn document_files(&self) -> Result<Vec<PathBuf>, SiteError> {
        let folder = self.dir.join("documents");
        let list = FileError::of("list", &folder);
        let entries = std::fs::read_dir(&folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut paths: Vec<_> = entries.map_err(list)?.into_iter().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        Ok(paths)
    }
}

/// What an envelope of this kind says; our own directory is believed without a look at its signatures.
pub fn payload<T: Document>(envelope: &[u8]) -> Option<T> {
    let envelope = Envelope::parse(envelope).ok()?;
    (envelope.payload_type == T::PAYLOAD_TYPE).then(|| envelope.unverified_payload().ok())?
}
