//! Pieces that were held and are not any more, until somebody asks: however they were found, by a read for a peer or
//! for an install, by a caller that waited for the answer or went away.

use samara_protocol::geometry::PieceIndex;
use samara_protocol::id::ContentHash;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Pieces of one content that were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Of what.
    pub content: ContentHash,
    /// Every piece of which some group is gone, complete before or not; ascending.
    pub pieces: Vec<PieceIndex>,
}

/// Bounded by the contents that are open and their pieces.
#[derive(Debug, Default)]
pub(super) struct Losses {
    waiting: Mutex<BTreeMap<ContentHash, BTreeSet<PieceIndex>>>,
    news: Notify,
}

impl Losses {
    pub(super) fn push(&self, content: ContentHash, pieces: Vec<PieceIndex>) {
        if pieces.is_empty() {
            return;
        }
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(content)
            .or_default()
            .extend(pieces);
        self.news.notify_one();
    }

    pub(super) fn forget(&self, content: ContentHash) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&content);
    }

    /// Waits for the next one. Nothing is lost when the caller goes away.
    pub(super) async fn next(&self) -> Loss {
        loop {
            let news = self.news.notified();
            let first = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            if let Some((content, pieces)) = first {
                // Another content may wait behind it.
                self.news.notify_one();
                return Loss { content, pieces: pieces.into_iter().collect() };
            }
            news.await;
        }
    }
}
