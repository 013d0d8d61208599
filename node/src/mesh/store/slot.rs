//! The place of one content in the store: what is open there, and what is held of it.
//!
//! Whoever opens, mends or removes the content has the place for himself; reads and writes share it. So one slow
//! content never keeps another waiting, and nothing is opened twice.

use super::StoreError;
use super::held::Held;
use super::owned::{Owned, ReadFault};
use super::source::Source;
use bytes::Bytes;
use samara_protocol::geometry::{GROUP_BYTES, Geometry, PieceIndex};
use samara_protocol::id::ContentHash;
use std::sync::{Mutex, PoisonError};
use tokio::sync::RwLock;

#[derive(Debug)]
pub(super) enum Content {
    /// A device's own copy.
    Owned(Owned),
    /// An operator's file.
    Source(Source),
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) content: RwLock<Option<Content>>,
    /// Of an own copy that is open.
    pub(super) held: Mutex<Option<Held>>,
}

/// What is read of a content.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// The bao encoding.
    Encoding,
    /// The bytes themselves.
    Plain,
}

/// How a read ended.
pub(super) enum Read {
    Done(Bytes),
    /// The copy does not give what it should hold: it must be mended.
    Damage,
}

impl Content {
    /// Reads whole groups that lie inside the content.
    pub(super) async fn read(
        &self,
        slot: &Slot,
        form: Form,
        offset: u64,
        len: u64,
    ) -> Result<Read, StoreError> {
        let done = match self {
            Self::Owned(owned) => {
                slot.check_held(offset, len)?;
                match form {
                    Form::Encoding => owned.read(offset, len).await,
                    Form::Plain => owned.plain(offset, len).await,
                }
            }
            Self::Source(source) => match form {
                Form::Encoding => source.read(offset, len).await,
                Form::Plain => source.plain(offset, len).await,
            }
            .map_err(ReadFault::Io),
        };
        match done {
            Ok(bytes) => Ok(Read::Done(bytes)),
            Err(ReadFault::Damage) => Ok(Read::Damage),
            Err(ReadFault::Io(error)) => Err(error),
        }
    }

    /// Bytes of the content.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Owned(owned) => owned.geometry().length(),
            Self::Source(source) => source.size(),
        }
    }

    /// Whether the content may be used with a geometry.
    pub(super) fn check_geometry(&self, geometry: &Geometry) -> Result<(), StoreError> {
        let same = match self {
            Self::Owned(owned) => owned.geometry() == geometry,
            Self::Source(source) => source.size() == geometry.length(),
        };
        let message = || format!("the content is open with another geometry than {geometry:?}");
        if same { Ok(()) } else { Err(StoreError::Invalid(message())) }
    }
}

impl Slot {
    /// Looks at, or changes, what is held; `None` when no own copy is open.
    pub(super) fn held<T>(&self, with: impl FnOnce(&mut Held) -> T) -> Option<T> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(with)
    }

    pub(super) fn set_held(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    pub(super) fn bytes_missing(&self) -> u64 {
        self.held(|held| held.bytes_missing()).unwrap_or(0)
    }

    pub(super) fn has_piece(&self, piece: PieceIndex) -> bool {
        self.held(|held| held.pieces().contains(piece)).unwrap_or(false)
    }

    pub(super) fn check_held(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        match self.held(|held| held.first_missing(offset, len)).unwrap_or(Some(offset / GROUP_BYTES)) {
            Some(group) => Err(StoreError::NotHeld { group }),
            None => Ok(()),
        }
    }

    /// A read of some bytes failed: finds out all that is damaged, and gives the pieces that lost something.
    pub(super) async fn mend(&self, offset: u64, len: u64) -> Result<Vec<PieceIndex>, StoreError> {
        let mut content = self.content.write().await;
        let Some(Content::Owned(owned)) = &mut *content else { return Ok(Vec::new()) };
        if self.check_held(offset, len).is_err() {
            // Another reader was here before.
            return Ok(Vec::new());
        }
        let found = owned.survey().await?;
        Ok(self.held(|held| held.keep(&found.good)).unwrap_or_default())
    }

    /// Puts an empty copy in the place of one that cannot be mended; gives the pieces that are lost with it.
    pub(super) async fn begin_anew(&self, hash: ContentHash) -> Result<Vec<PieceIndex>, StoreError> {
        let mut content = self.content.write().await;
        let Some(Content::Owned(owned)) = content.take_if(|content| matches!(content, Content::Owned(_)))
        else {
            return Ok(Vec::new());
        };
        match owned.begin_anew(hash).await {
            Ok((fresh, found)) => {
                *content = Some(Content::Owned(fresh));
                Ok(self.held(|held| held.keep(found.chunks())).unwrap_or_default())
            }
            Err(error) => {
                // Closed; what is on disk is found when it is opened again.
                self.set_held(None);
                Err(error)
            }
        }
    }
}
