//! The four tasks of one connection: read and write control messages, read and write data frames.
//!
//! Reading waits for room in the event queue, so a fast sender is held back by TCP. Writing has its own queue per
//! stream; a peer that does not read for [`WRITE_TIMEOUT`] loses its connection.

use super::NetEvent;
use super::events::Outlet;
use super::frames::{End, Frames, Pace};
use crate::mesh::limiter::Limiter;
use bytes::Bytes;
use futures::io::{AsyncWrite, AsyncWriteExt as _};
use libp2p::swarm::{ConnectionId, Stream};
use samara_protocol::wire::codec::{self, WireError};
use samara_protocol::wire::{DataHeader, Message};
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Control messages that may wait for one peer.
const CONTROL_QUEUE_MAX: usize = 1024;
/// Data frames that may wait for one peer; the machine opens fewer.
const DATA_QUEUE_MAX: usize = 64;
/// Bytes of control messages written at once.
const CONTROL_BATCH_BYTES: usize = 16 * 1024;
/// Bytes of a data frame written at once, so that control gets its turn in between.
const DATA_CHUNK_BYTES: usize = 16 * 1024;
/// A peer that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of control messages taken from one peer in a second: a laptop's whole catalog comes at once, a flood of large
/// documents waits in TCP, and Yamux grants the sender no larger window for it.
const CONTROL_BYTES_PER_SECOND: u64 = 2 << 20;

/// A frame to send.
#[derive(Debug, Clone)]
pub struct DataFrame {
    /// Channel and range.
    pub header: DataHeader,
    /// The bao encoding.
    pub bytes: Bytes,
}

/// The writing end of a connection.
#[derive(Debug)]
pub(super) struct Link {
    connection: ConnectionId,
    control: mpsc::Sender<Message>,
    data: mpsc::Sender<(DataFrame, u64)>,
    /// Tokens of frames whose writing has not begun.
    queued: Arc<Mutex<BTreeSet<u64>>>,
    tasks: Vec<tokio::task::AbortHandle>,
}

/// The four streams of a connection.
pub(super) struct Four {
    pub(super) control_in: Stream,
    pub(super) control_out: Stream,
    pub(super) data_in: Stream,
    pub(super) data_out: Stream,
}

/// What a finished task says.
pub(super) enum LinkEnd {
    /// The stream ended, broke, or stalled.
    Closed,
    /// What came is no frame.
    Fault(WireError),
}

impl From<End> for LinkEnd {
    fn from(end: End) -> Self {
        match end {
            End::Closed(error) => {
                tracing::debug!(%error, "a stream ended");
                Self::Closed
            }
            End::Fault(error) => Self::Fault(error),
        }
    }
}

impl Link {
    /// Starts the tasks. `ended` is told when the first of them ends.
    pub(super) fn start(four: Four, out: &Outlet, ended: impl Fn(LinkEnd) + Send + Sync + 'static) -> Self {
        let (control, control_queue) = mpsc::channel(CONTROL_QUEUE_MAX);
        let (data, data_queue) = mpsc::channel(DATA_QUEUE_MAX);
        let queued = Arc::new(Mutex::new(BTreeSet::new()));
        let ended = Arc::new(ended);
        let mut tasks = Vec::new();
        let mut spawn = |task: Pin<Box<dyn Future<Output = LinkEnd> + Send>>| {
            let ended = ended.clone();
            tasks.push(tokio::spawn(async move { ended(task.await) }).abort_handle());
        };
        spawn(Box::pin(read_control(Frames::new(four.control_in, Pace::MESH), out.clone())));
        spawn(Box::pin(read_data(Frames::new(four.data_in, Pace::MESH), out.clone())));
        spawn(Box::pin(write_control(four.control_out, control_queue)));
        spawn(Box::pin(write_data(four.data_out, data_queue, queued.clone(), out.clone())));
        Self { connection: out.connection, control, data, queued, tasks }
    }

    /// Whose streams these are.
    pub(super) fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Queues a message; false when the queue is full or the connection is ending.
    pub(super) fn send_control(&self, message: Message) -> bool {
        self.control.try_send(message).is_ok()
    }

    /// Queues a frame; false when the queue is full or the connection is ending.
    pub(super) fn send_data(&self, frame: DataFrame, token: u64) -> bool {
        // In the set before it is in the queue: the writer takes it from both.
        lock(&self.queued).insert(token);
        let sent = self.data.try_send((frame, token)).is_ok();
        if !sent {
            lock(&self.queued).remove(&token);
        }
        sent
    }

    /// Takes a frame back; true only when its writing has not begun.
    pub(super) fn cancel_data(&self, token: u64) -> bool {
        lock(&self.queued).remove(&token)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read_control(mut frames: Frames<Stream>, out: Outlet) -> LinkEnd {
    let pace = Limiter::new(CONTROL_BYTES_PER_SECOND);
    loop {
        let (message, bytes) = match frames.control().await {
            Ok(read) => read,
            Err(end) => return end.into(),
        };
        pace.take(bytes).await;
        let peer = out.peer;
        if out.say(NetEvent::Control { peer, message }).await.is_err() {
            return LinkEnd::Closed;
        }
    }
}

async fn read_data(mut frames: Frames<Stream>, out: Outlet) -> LinkEnd {
    loop {
        let DataFrame { header, bytes } = match frames.data().await {
            Ok(frame) => frame,
            Err(end) => return end.into(),
        };
        let peer = out.peer;
        if out.say(NetEvent::Data { peer, header, bytes }).await.is_err() {
            return LinkEnd::Closed;
        }
    }
}

async fn write_control(mut stream: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Message>) -> LinkEnd {
    let mut buffer = Vec::new();
    while let Some(message) = queue.recv().await {
        codec::encode_control(&message, &mut buffer);
        while buffer.len() < CONTROL_BATCH_BYTES {
            let Ok(message) = queue.try_recv() else { break };
            codec::encode_control(&message, &mut buffer);
        }
        if write(&mut stream, &buffer).await.is_err() {
            return LinkEnd::Closed;
        }
        buffer.clear();
        buffer.shrink_to(CONTROL_BATCH_BYTES);
    }
    LinkEnd::Closed
}

async fn write_data(
    mut stream: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<(DataFrame, u64)>,
    queued: Arc<Mutex<BTreeSet<u64>>>,
    out: Outlet,
) -> LinkEnd {
    while let Some((frame, token)) = queue.recv().await {
        if !lock(&queued).remove(&token) {
            continue;
        }
        let header = codec::encode_data_header(&frame.header, frame.bytes.len());
        if write(&mut stream, &header).await.is_err() {
            return LinkEnd::Closed;
        }
        for chunk in frame.bytes.chunks(DATA_CHUNK_BYTES) {
            if write(&mut stream, chunk).await.is_err() {
                return LinkEnd::Closed;
            }
        }
        let peer = out.peer;
        if out.say(NetEvent::Written { peer, token }).await.is_err() {
            return LinkEnd::Closed;
        }
    }
    LinkEnd::Closed
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    tokio::time::timeout(WRITE_TIMEOUT, written).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
