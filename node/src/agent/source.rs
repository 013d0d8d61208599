//! The bytes of contents for handlers, hooks and scripts: read from the store by a thread that may wait.

use super::Agent;
use crate::handler::Source;
use crate::mesh::store::{Store, StoreError};
use samara_protocol::id::ContentHash;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;

impl Agent {
    pub(super) fn source(&self) -> StoreSource {
        StoreSource { store: self.parts.store.clone(), runtime: Handle::current() }
    }
}

/// The store, asked from a thread that may wait.
pub(super) struct StoreSource {
    pub(super) store: Store,
    pub(super) runtime: Handle,
}

impl Source for StoreSource {
    fn copy(
        &self,
        content: ContentHash,
        offset: u64,
        len: u64,
        out: &mut dyn Write,
    ) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.copy_verified(content, offset, len, &mut Waiting(out)))
    }
}

/// A writer that makes its thread wait instead of its task.
struct Waiting<'a>(&'a mut dyn Write);

impl AsyncWrite for Waiting<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(self.0.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(self.0.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.poll_flush(context)
    }
}
