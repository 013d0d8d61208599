//! What a device or laptop must not forget: documents, high-water marks, grants, the install journal.
//!
//! One redb file; each call that writes is one durable commit, so callers batch what comes often and keep the calls
//! away from the mesh loop. Marks never fall, whatever a caller asks and whatever a crash leaves: commits have two
//! phases, so that a damaged one is an error and never silently the one before.

mod error;
mod handle;
pub mod identity;
mod journal;
mod lock;
mod log;
mod open;
mod pre_check;
mod site;

#[cfg(test)]
mod tests;

pub use error::StateError;
pub use journal::{Row, Surplus, Transition};
pub use log::{LINES_MAX, Linked, Log, LogHead, LogLine};

use handle::Handle;
use lock::DirLock;
use redb::{AccessGuard, ReadableDatabase as _, ReadableTable, Table, TableDefinition};
use samara_protocol::geometry::PieceIndex;
use samara_protocol::id::{ContentHash, DocumentId, PeerId};
use samara_protocol::piece_set::PieceSet;
use samara_protocol::trust::{DocumentKey, HighWaterMarks, VerifiedDocument};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Documents by key.
const DOCUMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("documents");
/// Single values by name.
const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
/// Granted pieces by content and piece.
const GRANTED: TableDefinition<(&[u8; 32], u32), ()> = TableDefinition::new("granted");
/// The release in place by destination.
const INSTALLED: TableDefinition<&str, &[u8; 32]> = TableDefinition::new("installed");

const MARKS: &str = "marks";
const TOLD: &str = "told";
const NEIGHBOURS: &str = "neighbours";
/// What was kept so many boots ago is old.
const NEIGHBOURS_BOOTS_MAX: u64 = 5;

/// The state file.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    database: Handle,
    boot: u64,
    reports: AtomicU64,
    transitions: AtomicU64,
    _lock: DirLock,
}

impl State {
    /// How often this file was opened.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Says that the daemon ends because it was told to, not in the middle of anything.
    pub fn mark_told(&self) -> Result<(), StateError> {
        self.write(|transaction| {
            transaction.open_table(VALUES)?.insert(TOLD, self.boot.to_le_bytes().as_slice())?;
            Ok(())
        })
    }

    /// Whether the boot before this one ended so.
    pub fn was_told(&self) -> Result<bool, StateError> {
        self.read(|transaction| {
            let told = transaction.open_table(VALUES)?.get(TOLD)?.map(|boot| boot.value().to_vec());
            Ok(told.is_some_and(|boot| boot == self.boot.wrapping_sub(1).to_le_bytes()))
        })
    }

    /// Keeps with how many devices this one is connected.
    pub fn keep_neighbours(&self, devices: usize) -> Result<(), StateError> {
        self.write(|transaction| {
            let kept = serde_json::to_vec(&(self.boot, devices)).map_err(unreadable)?;
            transaction.open_table(VALUES)?.insert(NEIGHBOURS, kept.as_slice())?;
            Ok(())
        })
    }

    /// With how many it was connected in the last boots; 0 if that is not known.
    pub fn neighbours_kept(&self) -> Result<usize, StateError> {
        self.read(|transaction| {
            let table = transaction.open_table(VALUES)?;
            let Some(kept) = table.get(NEIGHBOURS)? else { return Ok(0) };
            let (boot, devices): (u64, usize) = serde_json::from_slice(kept.value()).map_err(unreadable)?;
            Ok(if self.boot.saturating_sub(boot) <= NEIGHBOURS_BOOTS_MAX { devices } else { 0 })
        })
    }

    /// The next report's (boot, counter): rises for ever, without a write.
    pub fn next_report(&self) -> (u64, u64) {
        (self.boot, self.reports.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The next transition's (boot, counter): rises for ever, without a write.
    pub fn next_transition(&self) -> (u64, u64) {
        (self.boot, self.transitions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Keeps a document and the marks that it raises, in one commit.
    pub fn put_document(
        &self,
        document: &VerifiedDocument,
        marks: &HighWaterMarks,
    ) -> Result<(), StateError> {
        self.write(|transaction| {
            let mut values = transaction.open_table(VALUES)?;
            let marks = marks_in(&values)?.max(marks);
            keep_marks(&mut values, &marks)?;
            let key = document.key().to_string();
            transaction.open_table(DOCUMENTS)?.insert(key.as_str(), document.envelope())?;
            Ok(())
        })
    }

    /// All envelopes, trust roots first and in order, reports last.
    pub fn documents(&self) -> Result<Vec<Vec<u8>>, StateError> {
        self.read(|transaction| {
            let table = transaction.open_table(DOCUMENTS)?;
            let mut all = Vec::new();
            for entry in table.iter()? {
                let (key, envelope) = entry?;
                all.push((rank(key.value()), key.value().to_owned(), envelope.value().to_vec()));
            }
            all.sort();
            Ok(all.into_iter().map(|(_, _, envelope)| envelope).collect())
        })
    }

    /// One envelope.
    pub fn document(&self, key: &DocumentKey) -> Result<Option<Vec<u8>>, StateError> {
        self.read(|transaction| {
            let table = transaction.open_table(DOCUMENTS)?;
            Ok(table.get(key.to_string().as_str())?.map(|envelope| envelope.value().to_vec()))
        })
    }

    /// The trust roots accepted after the pinned one, oldest first.
    pub fn trust_chain(&self) -> Result<Vec<Vec<u8>>, StateError> {
        self.read(|transaction| {
            let table = transaction.open_table(DOCUMENTS)?;
            let chain = table.range("trust-root/".."trust-root0")?;
            chain.map(|entry| Ok(entry?.1.value().to_vec())).collect()
        })
    }

    /// A device's Enrollment, if it is held.
    pub fn enrollment_of(&self, device: PeerId) -> Result<Option<Vec<u8>>, StateError> {
        self.document(&DocumentKey::Enrollment(device))
    }

    /// The high-water marks.
    pub fn marks(&self) -> Result<HighWaterMarks, StateError> {
        self.read(|transaction| marks_in(&transaction.open_table(VALUES)?))
    }

    /// Pieces that were handed out once, in a batch.
    pub fn add_granted(&self, content: ContentHash, pieces: &[PieceIndex]) -> Result<(), StateError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(GRANTED)?;
            for piece in pieces {
                table.insert((&content.0, piece.0), ())?;
            }
            Ok(())
        })
    }

    /// The ledger of a content with so many pieces.
    pub fn granted(&self, content: ContentHash, pieces: u32) -> Result<PieceSet, StateError> {
        self.read(|transaction| {
            let table = transaction.open_table(GRANTED)?;
            let mut set = PieceSet::empty(pieces);
            for entry in table.range((&content.0, 0)..(&content.0, pieces))? {
                set.insert(PieceIndex(entry?.0.value().1));
            }
            Ok(set)
        })
    }

    /// The release in place by destination, of all destinations; those that are about to change are left out.
    pub fn journal(&self) -> Result<BTreeMap<String, DocumentId>, StateError> {
        self.read(|transaction| by_destination(&transaction.open_table(INSTALLED)?))
    }

    /// The release in place at a destination; `None` while it may be any.
    pub fn installed(&self, destination: &str) -> Result<Option<DocumentId>, StateError> {
        self.read(|transaction| {
            let table = transaction.open_table(INSTALLED)?;
            Ok(table.get(destination)?.map(|release| DocumentId(*release.value())))
        })
    }

    fn read<T>(
        &self,
        body: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StateError> {
        let done = self.database.with(&self.path, |database| body(&database.begin_read()?));
        done.map_err(|error| StateError::of(&self.path, error))
    }

    fn write<T>(
        &self,
        body: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StateError> {
        let done = self.database.with(&self.path, |database| {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            let value = body(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        done.map_err(|error| StateError::of(&self.path, error))
    }
}

fn marks_in(values: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<HighWaterMarks, redb::Error> {
    let Some(marks) = values.get(MARKS)? else { return Ok(HighWaterMarks::default()) };
    serde_json::from_slice(marks.value()).map_err(unreadable)
}

fn keep_marks(
    values: &mut Table<'_, &'static str, &'static [u8]>,
    marks: &HighWaterMarks,
) -> Result<(), redb::Error> {
    values.insert(MARKS, serde_json::to_vec(marks).map_err(unreadable)?.as_slice())?;
    Ok(())
}

/// Releases by destination.
fn by_destination(
    table: &impl ReadableTable<&'static str, &'static [u8; 32]>,
) -> Result<BTreeMap<String, DocumentId>, redb::Error> {
    let entry = |entry: Result<(AccessGuard<&str>, AccessGuard<&[u8; 32]>), _>| {
        let (destination, release) = entry?;
        Ok((destination.value().to_owned(), DocumentId(*release.value())))
    };
    table.iter()?.map(entry).collect()
}

fn unreadable(error: serde_json::Error) -> redb::Error {
    redb::Error::Corrupted(format!("a record cannot be read: {error}"))
}

// What others are judged by comes before them.
fn rank(key: &str) -> u8 {
    match key.split('/').next().unwrap_or_default() {
        "trust-root" => 0,
        "enrollment" => 1,
        "report" => 3,
        _ => 2,
    }
}
