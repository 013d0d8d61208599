//! The right to change a site directory: one process at a time, sequences first.

use super::{SOURCES, Sequences, SiteDir, SiteError};
use crate::files::{self, FileError};
use samara_protocol::id::ContentHash;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

const SEQUENCES: &str = "sequences.json";

/// Holds the site's lock until it is dropped.
#[derive(Debug)]
pub struct SiteWriter<'a> {
    site: &'a SiteDir,
    /// The counters; [`Self::save_sequences`] makes them durable.
    pub sequences: Sequences,
    /// What the operator should know: counters had to be taken from the documents.
    pub remark: Option<String>,
    _lock: File,
}

impl<'a> SiteWriter<'a> {
    pub(super) fn open(site: &'a SiteDir) -> Result<Self, SiteError> {
        let path = site.dir.join(".lock");
        let mut options = File::options();
        options.create(true).append(true);
        let lock = options.open(&path).map_err(FileError::of("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SiteError::Busy { dir: site.dir.clone() }),
            Err(TryLockError::Error(source)) => {
                return Err(FileError { action: "lock", path, source }.into());
            }
        }
        remove_leftovers(&site.dir.join("blobs"));
        let (sequences, remark) = numbers_so_far(site)?;
        Ok(Self { site, sequences, remark, _lock: lock })
    }

    /// Makes the counters durable: before any document that carries them is written.
    pub fn save_sequences(&self) -> Result<(), SiteError> {
        self.write_json(SEQUENCES, &self.sequences)
    }

    /// Writes an envelope as `documents/NAME.json`, replacing an older one of that name.
    pub fn put_document(&self, name: &str, envelope: &[u8]) -> Result<PathBuf, SiteError> {
        let path = self.site.dir.join("documents").join(format!("{name}.json"));
        files::replace(&path, envelope, 0o644)?;
        Ok(path)
    }

    /// The folder of packed trees and file lists.
    pub fn blobs(&self) -> PathBuf {
        self.site.dir.join("blobs")
    }

    /// Remembers where contents are. Paths inside the site directory are kept relative, so that it can move.
    pub fn add_sources(&self, added: &BTreeMap<ContentHash, PathBuf>) -> Result<(), SiteError> {
        let mut sources: BTreeMap<ContentHash, PathBuf> = self.site.read_json(SOURCES)?;
        for (content, path) in added {
            sources.insert(*content, path.strip_prefix(&self.site.dir).unwrap_or(path).to_owned());
        }
        self.write_json(SOURCES, &sources)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.site.dir()
    }

    fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<(), SiteError> {
        let path = self.site.dir.join(name);
        let damaged = |e: serde_json::Error| SiteError::Damaged { path: path.clone(), reason: e.to_string() };
        let mut bytes = serde_json::to_vec_pretty(value).map_err(damaged)?;
        bytes.push(b'\n');
        Ok(files::replace(&path, &bytes, 0o644)?)
    }
}

// The file alone is not believed: a number that went out in a document is never given out again, though the file was
// lost, torn, or came from an older copy of the directory.
fn numbers_so_far(site: &SiteDir) -> Result<(Sequences, Option<String>), SiteError> {
    let (mut sequences, torn) = match site.read_json(SEQUENCES) {
        Ok(sequences) => (sequences, None),
        Err(SiteError::Damaged { reason, .. }) => (Sequences::default(), Some(reason)),
        Err(error) => return Err(error),
    };
    let raised = site.documents()?.iter().filter(|envelope| sequences.raise_to(envelope)).count();
    let remark = match torn {
        Some(reason) => {
            Some(format!("{SEQUENCES} is damaged ({reason}); numbers go on after those in documents/"))
        }
        None if raised > 0 => Some(format!(
            "{SEQUENCES} did not know the numbers of {raised} documents; numbers go on after those in documents/"
        )),
        None => None,
    };
    Ok((sequences, remark))
}

// What a killed `publish` was packing. The lock says that nobody is packing now; a failure here harms nothing.
fn remove_leftovers(blobs: &Path) {
    for entry in std::fs::read_dir(blobs).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(files::UNFINISHED.as_bytes()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
