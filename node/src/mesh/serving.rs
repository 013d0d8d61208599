//! What this process is sending: reads a range from the store, waits for the uplink's limit, hands it to the network.
//!
//! The machine bounds how many serves are open; each ends in exactly one `Served` or `ServeFailed`, or silently when
//! it was cancelled before its bytes were handed over, or its peer is gone.

use super::driver::Done;
use super::limiter::Limiter;
use super::net::{DataFrame, Net};
use super::store::{Store, StoreError};
use samara_protocol::geometry::{Geometry, PieceRange};
use samara_protocol::id::{ContentHash, PeerId};
use samara_protocol::mesh::Input;
use samara_protocol::wire::DataHeader;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

type What = (ContentHash, PieceRange);

struct Open {
    what: What,
    task: AbortHandle,
}

/// The open serves, by peer and token.
pub(super) struct Serving {
    net: Arc<Net>,
    store: Store,
    limiter: Option<Arc<Limiter>>,
    done: mpsc::Sender<Done>,
    open: BTreeMap<(PeerId, u64), Open>,
    token_next: u64,
}

impl Serving {
    pub(super) fn new(
        net: Arc<Net>,
        store: Store,
        limiter: Option<Arc<Limiter>>,
        done: mpsc::Sender<Done>,
    ) -> Self {
        Self { net, store, limiter, done, open: BTreeMap::new(), token_next: 0 }
    }

    /// Begins to send a range.
    pub(super) fn serve(
        &mut self,
        peer: PeerId,
        content: ContentHash,
        geometry: Geometry,
        header: DataHeader,
    ) {
        let token = self.token_next;
        self.token_next += 1;
        let job = Job {
            net: self.net.clone(),
            store: self.store.clone(),
            limiter: self.limiter.clone(),
            peer,
            token,
        };
        let done = self.done.clone();
        let task = tokio::spawn(async move {
            if let Err(failure) = job.run(content, geometry, header).await {
                let _ = done.send(failure).await;
            }
        });
        self.open.insert((peer, token), Open { what: (content, header.range), task: task.abort_handle() });
    }

    /// Forgets a serve whose bytes the network has not begun to write.
    pub(super) fn cancel(&mut self, peer: PeerId, content: ContentHash, range: PieceRange) {
        let what = (content, range);
        let of_peer = self.open.range((peer, 0)..=(peer, u64::MAX));
        let Some(token) = of_peer.filter(|(_, open)| open.what == what).map(|(&(_, token), _)| token).next()
        else {
            return;
        };
        let handed_over = self.open.get(&(peer, token)).is_some_and(|open| open.task.is_finished());
        if (!handed_over || self.net.cancel_data(peer, token))
            && let Some(open) = self.open.remove(&(peer, token))
        {
            open.task.abort();
        }
    }

    /// The network has written a frame.
    pub(super) fn on_written(&mut self, peer: PeerId, token: u64) -> Option<Input> {
        let (content, range) = self.open.remove(&(peer, token))?.what;
        Some(Input::Served { peer, content, range })
    }

    /// A serve ended without its bytes.
    pub(super) fn on_failed(&mut self, peer: PeerId, token: u64) {
        self.open.remove(&(peer, token));
    }

    /// A peer is gone with all its serves.
    pub(super) fn on_gone(&mut self, peer: PeerId) {
        self.open.retain(|(of, _), open| {
            let keep = *of != peer;
            if !keep {
                open.task.abort();
            }
            keep
        });
    }

    /// Ends everything.
    pub(super) fn abort(&mut self) {
        self.open.values().for_each(|open| open.task.abort());
        self.open.clear();
    }
}

struct Job {
    net: Arc<Net>,
    store: Store,
    limiter: Option<Arc<Limiter>>,
    peer: PeerId,
    token: u64,
}

impl Job {
    async fn run(self, content: ContentHash, geometry: Geometry, header: DataHeader) -> Result<(), Done> {
        let Self { peer, token, .. } = self;
        let failed = Input::ServeFailed { peer, content, range: header.range };
        let bytes = match self.store.read(content, &geometry, header.range).await {
            Ok(bytes) => bytes,
            Err(error @ StoreError::SourceChanged { .. }) => {
                return Err(Done::SourceChanged { content, failed, peer, token, why: error.to_string() });
            }
            Err(error) => {
                tracing::warn!(%error, %content, "cannot read bytes to serve");
                return Err(Done::ServeFailed { failed, peer, token });
            }
        };
        if let Some(limiter) = &self.limiter {
            limiter.take(bytes.len()).await;
        }
        self.net.send_data(peer, DataFrame { header, bytes }, token).map_err(|_gone| Done::ServeFailed {
            failed,
            peer,
            token,
        })
    }
}
