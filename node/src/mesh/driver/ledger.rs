//! Newly granted pieces on their way to the state file, in batches; what could not be written waits for the next try.
//!
//! Each piece of a content is granted once, so the contents' sizes bound what waits.

use crate::state::{State, StateError};
use samara_protocol::geometry::PieceIndex;
use samara_protocol::id::ContentHash;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is granted and not yet written.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<ContentHash, Vec<PieceIndex>>);

impl Ledger {
    /// A piece was granted.
    pub(super) fn add(&mut self, content: ContentHash, piece: PieceIndex) {
        self.0.entry(content).or_default().push(piece);
    }

    /// Writes what waits, away from the loop.
    pub(super) async fn write(&mut self, state: Arc<State>) {
        if self.0.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(self);
        let written = tokio::task::spawn_blocking(move || {
            waiting.write_by(|content, pieces| state.add_granted(content, pieces));
            waiting
        });
        match written.await {
            Ok(waiting) => *self = waiting,
            Err(error) => tracing::error!(%error, "the ledger of grants is lost"),
        }
    }

    fn write_by(&mut self, put: impl Fn(ContentHash, &[PieceIndex]) -> Result<(), StateError>) {
        self.0.retain(|&content, pieces| {
            let Err(error) = put(content, pieces) else { return false };
            tracing::error!(
                target: "samara", event = "ledger_not_written", %content, %error,
                "cannot write the ledger of grants; it is tried again"
            );
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn grants_that_could_not_be_written_are_written_with_those_that_came_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(&dir.path().join("state.redb")).unwrap());
        let [one, other] = [1, 2].map(|n| ContentHash([n; 32]));
        let mut ledger = Ledger::default();
        ledger.add(one, PieceIndex(3));
        ledger.add(other, PieceIndex(4));
        let full = || StateError::Database { path: dir.path().into(), message: "no space left".into() };
        ledger.write_by(
            |content, pieces| {
                if content == one { Err(full()) } else { state.add_granted(content, pieces) }
            },
        );
        let written = |content| state.granted(content, 8).unwrap().iter().collect::<Vec<_>>();
        assert_eq!((written(one), written(other)), (vec![], vec![PieceIndex(4)]));
        ledger.add(one, PieceIndex(5));
        ledger.write(state.clone()).await;
        assert_eq!(written(one), [PieceIndex(3), PieceIndex(5)]);
        assert!(ledger.0.is_empty());
    }
}
