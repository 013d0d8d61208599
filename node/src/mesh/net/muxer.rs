//! Yamux with the bounds that libp2p's wrapper of it leaves open: the memory of unread bytes, and the time to close.
//!
//! Without the first a peer that feigns a long round trip is granted a window of a gigabyte; without the second a
//! connection to a peer that takes nothing is never closed, and holds its place.

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::Sleep;
use yamux::{Connection, ConnectionError, Mode, Stream};

/// Streams of a connection: four, and room while they open.
const STREAMS_MAX: usize = 8;
/// Bytes that a peer may have sent and nobody here has read: the specification's 256 KiB for each stream, and what
/// one stream needs at 1 Gbit/s and 8 ms, or 100 Mbit/s and 80 ms.
const UNREAD_BYTES_MAX: usize = STREAMS_MAX * yamux::DEFAULT_CREDIT as usize + (1 << 20);
/// How long saying goodbye may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Agrees on Yamux.
#[derive(Debug, Clone)]
pub(super) struct Upgrade(yamux::Config);

impl Upgrade {
    pub(super) fn new() -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(UNREAD_BYTES_MAX));
        Self(config)
    }
}

impl UpgradeInfo for Upgrade {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        std::future::ready(Ok(Muxer::new(Connection::new(socket, self.0, Mode::Server))))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        std::future::ready(Ok(Muxer::new(Connection::new(socket, self.0, Mode::Client))))
    }
}

/// A Yamux connection as libp2p drives it.
pub(super) struct Muxer<C> {
    connection: Connection<C>,
    /// Streams that the peer opened while nobody asked for one; Yamux bounds their number.
    opened: VecDeque<Stream>,
    opened_waker: Option<Waker>,
    /// Set when closing begins.
    close_by: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(connection: Connection<C>) -> Self {
        Self { connection, opened: VecDeque::new(), opened_waker: None, close_by: None }
    }

    fn poll_opened(&mut self, context: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        self.connection.poll_next_inbound(context).map(|next| next.unwrap_or(Err(ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionError>> {
        if let Some(stream) = self.opened.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let polled = self.poll_opened(context);
        if polled.is_pending() {
            self.opened_waker = Some(context.waker().clone());
        }
        polled
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionError>> {
        self.connection.poll_new_outbound(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let close_by = self.close_by.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_MAX)));
        if close_by.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        }
        self.connection.poll_close(context)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        let stream = ready!(self.poll_opened(context))?;
        self.opened.push_back(stream);
        if let Some(waker) = self.opened_waker.take() {
            waker.wake();
        }
        // There may be more to do.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
