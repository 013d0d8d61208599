//! How the state file comes to be and is opened: whole or absent, and checked before it is believed.
//!
//! A new one is made under another name and renamed, so that an empty or short file is always damage, never a
//! beginning: a device whose marks were lost must not go on as if it had none.

use super::handle::Handle;
use super::journal::{BAD, EARLIER, JOURNAL, PREVIOUS};
use super::log::LOG;
use super::pre_check::PRE_CHECKS;
use super::{DOCUMENTS, DirLock, GRANTED, INSTALLED, State, StateError, VALUES};
use crate::durable;
use redb::{Builder, Database, ReadableTable as _};
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// Page cache: the file holds kilobytes, redb's default of 1 GiB would let it grow with every scan.
const CACHE_BYTES: usize = 2 << 20;
/// What the file holds and how; a later version that changes it raises it.
const FORMAT_VERSION: u64 = 1;

const FORMAT: &str = "format";
const BOOT: &str = "boot";

impl State {
    /// Opens or makes the file and takes its directory for this process. Every opening is a new boot.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let lock = DirLock::take(dir)?;
        let failed = |error| StateError::of(path, error);
        let file = |cause| StateError::File { path: path.into(), cause };
        if !path.try_exists().map_err(file)? {
            let fresh = path.with_extension("redb.new");
            make(&fresh).map_err(failed)?;
            fs::rename(&fresh, path).and_then(|()| durable::sync_dir(dir)).map_err(file)?;
        }
        let mut state = Self::load(path, lock)?;
        state.boot = state.write(|transaction| {
            let mut values = transaction.open_table(VALUES)?;
            let boot = values.get(BOOT)?.map_or(0, |v| number(v.value())) + 1;
            values.insert(BOOT, boot.to_le_bytes().as_slice())?;
            // A file that an older version made has none of these.
            transaction.open_table(JOURNAL)?;
            transaction.open_table(PREVIOUS)?;
            transaction.open_table(EARLIER)?;
            transaction.open_table(BAD)?;
            transaction.open_table(LOG)?;
            transaction.open_table(PRE_CHECKS)?;
            Ok(boot)
        })?;
        Ok(state)
    }

    /// Opens a file only to look at it; `None` when there is none yet, or a daemon works with it.
    pub fn look(path: &Path) -> Result<Option<Self>, StateError> {
        let file = |cause| StateError::File { path: path.into(), cause };
        if !path.try_exists().map_err(file)? {
            return Ok(None);
        }
        match DirLock::take(path.parent().unwrap_or(Path::new("."))) {
            Ok(lock) => Self::load(path, lock).map(Some),
            Err(StateError::InUse { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn load(path: &Path, lock: DirLock) -> Result<Self, StateError> {
        let database = builder().open(path).map_err(|e| StateError::of(path, e.into()))?;
        let database = Handle::new(database);
        let (reports, transitions) = (AtomicU64::new(0), AtomicU64::new(0));
        let state = Self { path: path.into(), database, boot: 0, reports, transitions, _lock: lock };
        let found = state.read(|transaction| {
            Ok(transaction.open_table(VALUES)?.get(FORMAT)?.map_or(0, |v| number(v.value())))
        })?;
        if found != FORMAT_VERSION {
            return Err(StateError::Format { path: path.into(), found, known: FORMAT_VERSION });
        }
        Ok(state)
    }
}

pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// An empty file with all its tables; what a crash left of one is overwritten.
fn make(path: &Path) -> Result<(), redb::Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(redb::Error::Io(error)),
        _ => {}
    }
    let database = builder().create(path)?;
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.open_table(DOCUMENTS)?;
    transaction.open_table(GRANTED)?;
    transaction.open_table(INSTALLED)?;
    transaction.open_table(VALUES)?.insert(FORMAT, FORMAT_VERSION.to_le_bytes().as_slice())?;
    transaction.commit()?;
    Ok(database.close()?)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}
