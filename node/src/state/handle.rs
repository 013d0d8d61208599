//! The open database, opened anew after a failed write: redb takes no orders after one until then, and a disk that was
//! full has room again some day.

use super::open::builder;
use redb::{Database, Error};
use std::path::Path;
use std::sync::{PoisonError, RwLock};

/// A database that is open, or will be at the next use.
#[derive(Debug)]
pub(super) struct Handle(RwLock<Option<Database>>);

impl Handle {
    pub(super) fn new(database: Database) -> Self {
        Self(RwLock::new(Some(database)))
    }

    /// Uses the database at `path`. Whatever was committed before an error is there afterwards.
    pub(super) fn with<T>(
        &self,
        path: &Path,
        body: impl FnOnce(&Database) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let open = if open.is_some() {
            open
        } else {
            drop(open);
            self.reopen(path)?;
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        };
        let Some(database) = open.as_ref() else { return Err(Error::PreviousIo) };
        let done = body(database);
        drop(open);
        if let Err(Error::Io(_) | Error::PreviousIo) = &done {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        done
    }

    fn reopen(&self, path: &Path) -> Result<(), Error> {
        let mut closed = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if closed.is_none() {
            *closed = Some(builder().open(path)?);
            tracing::info!(path = %path.display(), "the state was opened anew after a failed write");
        }
        Ok(())
    }
}
