//! The four tasks of one connection: read and write control messages, read and write data frames.
//!
//! Reading waits for room in the event queue, so a fast sender is held back by TCP. Writing has its own queue per
//! stream; a peer that does not read for [`WRITE_TIMEOUT`] loses its connection.

use super::NetEvent;
use crate::mesh::limiter::Limiter;
use bytes::{Bytes, BytesMut};
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::swarm::Stream;
use samara_protocol::id::PeerId;
use samara_protocol::wire::codec::{self, WireError};
use samara_protocol::wire::{DataHeader, Message};
use std::collections::BTreeSet;
use std::io;
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
/// Bytes read from a control stream at once.
const READ_BYTES: usize = 4 * 1024;

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
    /// The stream ended or broke.
    Closed,
    /// What came is no frame.
    Fault(WireError),
}

impl Link {
    /// Starts the tasks. `ended` is told when the first of them ends.
    pub(super) fn start(
        peer: PeerId,
        four: Four,
        events: &mpsc::Sender<NetEvent>,
        ended: impl Fn(LinkEnd) + Send + Sync + 'static,
    ) -> Self {
        let (control, control_queue) = mpsc::channel(CONTROL_QUEUE_MAX);
        let (data, data_queue) = mpsc::channel(DATA_QUEUE_MAX);
        let queued = Arc::new(Mutex::new(BTreeSet::new()));
        let ended = Arc::new(ended);
        let mut tasks = Vec::new();
        let mut spawn = |task: std::pin::Pin<Box<dyn Future<Output = LinkEnd> + Send>>| {
            let ended = ended.clone();
            tasks.push(tokio::spawn(async move { ended(task.await) }).abort_handle());
        };
        spawn(Box::pin(read_control(peer, four.control_in, events.clone())));
        spawn(Box::pin(read_data(peer, four.data_in, events.clone())));
        spawn(Box::pin(write_control(four.control_out, control_queue)));
        spawn(Box::pin(write_data(peer, four.data_out, data_queue, queued.clone(), events.clone())));
        Self { control, data, queued, tasks }
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

async fn read_control(
    peer: PeerId,
    mut stream: impl AsyncRead + Unpin,
    events: mpsc::Sender<NetEvent>,
) -> LinkEnd {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let mut chunk = vec![0; READ_BYTES];
    let pace = Limiter::new(CONTROL_BYTES_PER_SECOND);
    loop {
        loop {
            match codec::decode_control(&buffer) {
                Ok(Some((message, took))) => {
                    let _ = buffer.split_to(took);
                    if events.send(NetEvent::Control { peer, message }).await.is_err() {
                        return LinkEnd::Closed;
                    }
                }
                Ok(None) => break,
                Err(fault) => return LinkEnd::Fault(fault),
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return LinkEnd::Closed,
            Ok(n) => {
                buffer.extend_from_slice(&chunk[..n]);
                pace.take(n).await;
            }
        }
    }
}

async fn read_data(peer: PeerId, stream: impl AsyncRead + Unpin, events: mpsc::Sender<NetEvent>) -> LinkEnd {
    let mut stream = futures::io::BufReader::with_capacity(DATA_CHUNK_BYTES, stream);
    loop {
        let frame = match read_frame(&mut stream).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(fault)) => return LinkEnd::Fault(fault),
            Err(_) => return LinkEnd::Closed,
        };
        let event = NetEvent::Data { peer, header: frame.header, bytes: frame.bytes };
        if events.send(event).await.is_err() {
            return LinkEnd::Closed;
        }
    }
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Result<DataFrame, WireError>> {
    let mut prefix = Vec::with_capacity(4);
    let length = loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        prefix.push(byte[0]);
        match codec::decode_data_length(&prefix) {
            Ok(Some((length, _))) => break length,
            Ok(None) => {}
            Err(fault) => return Ok(Err(fault)),
        }
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let body = Bytes::from(body);
    Ok(codec::decode_data_header(&body).map(|(header, at)| DataFrame { header, bytes: body.slice(at..) }))
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
    peer: PeerId,
    mut stream: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<(DataFrame, u64)>,
    queued: Arc<Mutex<BTreeSet<u64>>>,
    events: mpsc::Sender<NetEvent>,
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
        if events.send(NetEvent::Written { peer, token }).await.is_err() {
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
