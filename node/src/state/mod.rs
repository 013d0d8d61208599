//! What a device or laptop must not forget: documents, high-water marks, seals, grants, the install journal.
//!
//! One redb file; each call that writes is one durable commit (an fsync), so callers batch what comes often and keep
//! the calls away from the mesh loop. Marks never fall, whatever a caller asks.

pub mod identity;

use crate::handler::InstalledRecord;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use samara_protocol::geometry::PieceIndex;
use samara_protocol::id::{ContentHash, PeerId};
use samara_protocol::piece_set::PieceSet;
use samara_protocol::trust::{DocumentKey, HighWaterMarks, VerifiedDocument};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Documents by key.
const DOCUMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("documents");
/// Single values by name.
const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
/// Contents that are verified, complete and durable.
const SEALED: TableDefinition<&[u8; 32], ()> = TableDefinition::new("sealed");
/// Granted pieces by content and piece.
const GRANTED: TableDefinition<(&[u8; 32], u32), ()> = TableDefinition::new("granted");
/// Installed releases by destination.
const INSTALLED: TableDefinition<&str, &[u8]> = TableDefinition::new("installed");

const MARKS: &str = "marks";
const BOOT: &str = "boot";
const CLEAN: &str = "clean_shutdown";
/// Page cache: the file holds kilobytes, redb's default of 1 GiB would let it grow with every scan.
const CACHE_BYTES: usize = 2 << 20;

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The state file.
    #[error(
        "{path}: {message}; restore it from a backup, or move it away: the device then trusts its pinned root again"
    )]
    Database {
        /// Which.
        path: PathBuf,
        /// redb's words.
        message: String,
    },
    /// Another process has it open.
    #[error("{path} is in use: another samara runs with this directory")]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A file beside it.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Others may read the secret.
    #[error("{path} has mode {mode:o}: a device key must be readable by its owner only (chmod 600)")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The secret is torn.
    #[error("{path} has {length} bytes instead of 32: restore it, or remove it to become a new device")]
    Identity {
        /// Which.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
}

/// The state file.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    database: Database,
    boot: u64,
    reports: AtomicU64,
}

impl State {
    /// Opens or makes the file. Every opening is a new boot.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |message: String| StateError::Database { path: path.into(), message };
        let database = match Database::builder().set_cache_size(CACHE_BYTES).create(path) {
            Ok(database) => database,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                return Err(StateError::InUse { path: path.into() });
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let mut state = Self { path: path.into(), database, boot: 0, reports: AtomicU64::new(0) };
        state.boot = state.write(|transaction| {
            transaction.open_table(DOCUMENTS)?;
            transaction.open_table(SEALED)?;
            transaction.open_table(GRANTED)?;
            transaction.open_table(INSTALLED)?;
            let mut values = transaction.open_table(VALUES)?;
            let last = values.get(BOOT)?.map(|v| number(v.value())).unwrap_or(0);
            values.insert(BOOT, (last + 1).to_le_bytes().as_slice())?;
            values.remove(CLEAN)?;
            Ok(last + 1)
        })?;
        Ok(state)
    }

    /// How often this file was opened.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// The next report's (boot, counter): rises for ever, without a write.
    pub fn next_report(&self) -> (u64, u64) {
        (self.boot, self.reports.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Keeps a document and the marks that it raises, in one commit.
    pub fn put_document(
        &self,
        document: &VerifiedDocument,
        marks: &HighWaterMarks,
    ) -> Result<(), StateError> {
        let marks = marks.max(&self.marks()?);
        let encoded = serde_json::to_vec(&marks).map_err(|e| self.failed(e))?;
        self.write(|transaction| {
            transaction
                .open_table(DOCUMENTS)?
                .insert(document.key().to_string().as_str(), document.envelope())?;
            transaction.open_table(VALUES)?.insert(MARKS, encoded.as_slice())?;
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
        let bytes = self.read(|transaction| {
            Ok(transaction.open_table(VALUES)?.get(MARKS)?.map(|value| value.value().to_vec()))
        })?;
        bytes.map_or_else(
            || Ok(HighWaterMarks::default()),
            |b| serde_json::from_slice(&b).map_err(|e| self.failed(e)),
        )
    }

    /// A content is verified, complete and durable. Call it after the store's own fsync.
    pub fn mark_sealed(&self, content: ContentHash) -> Result<(), StateError> {
        self.write(|transaction| {
            transaction.open_table(SEALED)?.insert(&content.0, ()).map(|_| ()).map_err(Into::into)
        })
    }

    /// A content is complete no more.
    pub fn unmark_sealed(&self, content: ContentHash) -> Result<(), StateError> {
        self.write(|transaction| {
            transaction.open_table(SEALED)?.remove(&content.0).map(|_| ()).map_err(Into::into)
        })
    }

    /// Whether a content was complete.
    pub fn is_sealed(&self, content: ContentHash) -> Result<bool, StateError> {
        self.read(|transaction| Ok(transaction.open_table(SEALED)?.get(&content.0)?.is_some()))
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

    /// A release is in place at its destination.
    pub fn record_installed(&self, destination: &str, record: &InstalledRecord) -> Result<(), StateError> {
        let encoded = serde_json::to_vec(record).map_err(|e| self.failed(e))?;
        self.write(|transaction| {
            transaction.open_table(INSTALLED)?.insert(destination, encoded.as_slice())?;
            Ok(())
        })
    }

    /// What is in place at a destination.
    pub fn installed(&self, destination: &str) -> Result<Option<InstalledRecord>, StateError> {
        let bytes = self.read(|transaction| {
            Ok(transaction.open_table(INSTALLED)?.get(destination)?.map(|value| value.value().to_vec()))
        })?;
        bytes.map(|b| serde_json::from_slice(&b).map_err(|e| self.failed(e))).transpose()
    }

    /// The last word of a daemon that ends in order.
    pub fn mark_clean_shutdown(&self) -> Result<(), StateError> {
        self.write(|transaction| {
            transaction.open_table(VALUES)?.insert(CLEAN, [1].as_slice())?;
            Ok(())
        })
    }

    fn read<T>(
        &self,
        body: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StateError> {
        let transaction = self.database.begin_read().map_err(|e| self.failed(e))?;
        body(&transaction).map_err(|e| self.failed(e))
    }

    fn write<T>(
        &self,
        body: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StateError> {
        let transaction = self.database.begin_write().map_err(|e| self.failed(e))?;
        let value = body(&transaction).map_err(|e| self.failed(e))?;
        transaction.commit().map_err(|e| self.failed(e))?;
        Ok(value)
    }

    fn failed(&self, error: impl std::fmt::Display) -> StateError {
        StateError::Database { path: self.path.clone(), message: error.to_string() }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
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
