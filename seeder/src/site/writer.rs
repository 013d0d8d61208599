//! The right to change a site directory: one process at a time, sequences first.

use super::{SOURCES, Sequences, SiteDir, SiteError, payload};
use crate::files::{self, FileError};
use samara_protocol::document::{Envelope, Release};
use samara_protocol::id::{ContentHash, DocumentId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SEQUENCES: &str = "sequences.json";
const TO_SIGN: &str = "to-sign";
/// A seeder that keeps the numbers it has seen holds the lock for a moment: so often, and so long each time, is it
/// tried again before another one counts as writing.
const LOCK_TRIES: u32 = 20;
const LOCK_EVERY: Duration = Duration::from_millis(25);

/// Holds the site's lock until it is dropped.
#[derive(Debug)]
pub struct SiteWriter<'a> {
    site: &'a SiteDir,
    /// The counters; [`Self::save_sequences`] makes them durable.
    pub sequences: Sequences,
    /// What the operator should know: files that hold no document, counters that had to be taken from the documents.
    pub remarks: Vec<String>,
    _lock: File,
}

impl<'a> SiteWriter<'a> {
    pub(super) fn open(site: &'a SiteDir) -> Result<Self, SiteError> {
        let path = site.dir.join(".lock");
        let mut options = File::options();
        options.create(true).append(true);
        let lock = options.open(&path).map_err(FileError::of("open", &path))?;
        let mut tries = 0..LOCK_TRIES;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries.next().is_some() => std::thread::sleep(LOCK_EVERY),
                Err(TryLockError::WouldBlock) => return Err(SiteError::Busy { dir: site.dir.clone() }),
                Err(TryLockError::Error(source)) => {
                    return Err(FileError { action: "lock", path, source }.into());
                }
            }
        }
        remove_leftovers(&site.dir.join("blobs"));
        let (sequences, remarks) = numbers_so_far(site)?;
        Ok(Self { site, sequences, remarks, _lock: lock })
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

    /// Writes an envelope that lacks signatures as `to-sign/NAME.json`. Another document of that name, whose signatures may
    /// be under way, is never lost for it.
    pub fn put_to_sign(&self, name: &str, id: DocumentId, envelope: &[u8]) -> Result<PathBuf, SiteError> {
        let path = self.to_sign(name);
        if let Ok(waiting) = files::read(&path)
            && Envelope::parse(&waiting).is_ok_and(|waiting| waiting.id() != id)
        {
            return Err(SiteError::Waiting { path });
        }
        let folder = self.site.dir.join(TO_SIGN);
        std::fs::create_dir_all(&folder).map_err(FileError::of("make", &folder))?;
        files::replace(&path, envelope, 0o644)?;
        Ok(path)
    }

    /// Where a document of this name waits for signatures.
    pub fn to_sign(&self, name: &str) -> PathBuf {
        self.site.dir.join(TO_SIGN).join(format!("{name}.json"))
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

    /// Removes from `blobs/` what a `publish` packed that did not come to its end: contents that neither `sources.json`
    /// nor a release in `documents/` names. Where that cannot be known nothing is removed; a failure harms nothing.
    pub fn remove_orphans(&self) {
        let (Ok(sources), Ok(documents)) = (self.site.sources(), self.site.read_documents()) else { return };
        if !documents.refused.is_empty() {
            return;
        }
        let releases = documents.envelopes.iter().filter_map(|(_, envelope)| payload::<Release>(envelope));
        let named: BTreeSet<_> =
            releases.flat_map(|release| release.blobs()).map(|blob| blob.content).collect();
        for entry in std::fs::read_dir(self.blobs()).into_iter().flatten().flatten() {
            let content = entry.file_name().to_str().and_then(|name| name.parse::<ContentHash>().ok());
            if content.is_some_and(|content| !named.contains(&content) && !sources.contains_key(&content)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
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
// lost, torn, or came from an older copy of the directory. A document that cannot be read may carry one, too: where the
// file does not tell either, that is said.
pub(super) fn numbers_so_far(site: &SiteDir) -> Result<(Sequences, Vec<String>), SiteError> {
    let (mut sequences, torn) = match site.read_json(SEQUENCES) {
        Ok(sequences) => (sequences, None),
        Err(SiteError::Damaged { reason, .. }) => (Sequences::default(), Some(reason)),
        Err(error) => return Err(error),
    };
    let documents = site.read_documents()?;
    let raised =
        documents.envelopes.iter().filter(|(_, envelope)| sequences.raise_to(envelope).is_some()).count();
    let mut remarks: Vec<_> =
        documents.refused.values().map(|reason| format!("left out of the documents: {reason}")).collect();
    let is_behind = match torn {
        Some(reason) => {
            remarks
                .push(format!("{SEQUENCES} is damaged ({reason}); numbers go on after those in documents/"));
            true
        }
        None if raised > 0 => {
            remarks.push(format!(
                "{SEQUENCES} did not know the numbers of {raised} documents; numbers go on after those in documents/"
            ));
            true
        }
        None => false,
    };
    if is_behind && !documents.refused.is_empty() {
        remarks.push(format!(
            "a number may be given out twice, as neither {SEQUENCES} nor the files that were left out tell it: \
             mend them first, or give publish a --number above the last one"
        ));
    }
    Ok((sequences, remarks))
}

// What a killed `publish` was packing. The lock says that nobody is packing now; a failure here harms nothing.
fn remove_leftovers(blobs: &Path) {
    for entry in std::fs::read_dir(blobs).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(files::UNFINISHED.as_bytes()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
