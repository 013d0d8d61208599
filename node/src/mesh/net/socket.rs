//! A TCP connection that is read in large portions.
//!
//! Artifact bytes arrive packet by packet. Waking for each, decrypting it and handing it on costs several times the
//! processor time of the bytes themselves. So after a read that emptied the socket of artifact bytes it is not even
//! watched until, at the rate of late, [`GATHER_BYTES`] have come, at most for [`REST_MAX`]. At high rates that is
//! shorter than a timer can tell, and the socket is read without pause; short messages are not waited for.
//!
//! Reading and writing have a descriptor each, because watching ends for one and goes on for the other.

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::tcp;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep};

/// How many bytes shall gather: two dozen packets; a small part of what may be under way on a stream.
const GATHER_BYTES: usize = 32 * 1024;
/// How long they may take: short beside what is requested ahead of a slow link.
const REST_MAX: Duration = Duration::from_millis(8);
/// Timers tell no less.
const REST_MIN: Duration = Duration::from_millis(1);
/// Fewer bytes are control messages, which shall not wait for each other.
const BULK_BYTES: usize = 1024;
/// Bytes read at once: about a Noise frame. Less until a read was full: most connections only say a few words, and
/// those of a flood never get that far.
const READ_BYTES: usize = 64 * 1024;
const READ_BYTES_FIRST: usize = 4 * 1024;

/// The socket.
pub(super) struct Socket {
    reader: Reader,
    writer: AsyncFd<TcpStream>,
    buffer: Box<[u8]>,
    /// What of the buffer is still to be taken.
    start: usize,
    end: usize,
    /// Whether the last read filled the buffer: there may be more.
    is_full: bool,
    /// Bytes that were read since the last decision to rest or not, and when that was.
    gathered: usize,
    since: Instant,
}

/// How the next bytes are waited for.
enum Reader {
    Watched(AsyncFd<TcpStream>),
    /// Boxed, because a timer must not move.
    Resting(TcpStream, Pin<Box<Sleep>>),
    /// While one becomes the other, and after an error.
    Gone,
}

impl Socket {
    pub(super) fn new(stream: tcp::tokio::TcpStream) -> io::Result<Self> {
        let writer = tokio::net::TcpStream::from(stream).into_std()?;
        let reader = writer.try_clone()?;
        Ok(Self {
            reader: Reader::Watched(watch(reader, Interest::READABLE)?),
            writer: watch(writer, Interest::WRITABLE)?,
            buffer: vec![0; READ_BYTES_FIRST].into(),
            start: 0,
            end: 0,
            is_full: false,
            gathered: 0,
            since: Instant::now(),
        })
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_full && self.buffer.len() < READ_BYTES {
            self.buffer = vec![0; READ_BYTES].into();
        }
        loop {
            match &mut self.reader {
                Reader::Watched(watched) => {
                    let mut guard = ready!(watched.poll_read_ready(context))?;
                    if let Ok(read) = guard.try_io(|stream| stream.get_ref().read(&mut self.buffer)) {
                        self.on_read(read?);
                        return Poll::Ready(Ok(()));
                    }
                }
                Reader::Resting(stream, rest) => {
                    ready!(rest.as_mut().poll(context));
                    match stream.read(&mut self.buffer) {
                        Ok(bytes) => {
                            self.on_read(bytes);
                            return Poll::Ready(Ok(()));
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.end_rest()?,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Reader::Gone => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        }
    }

    /// Bytes are there; decides whether those behind them shall gather.
    fn on_read(&mut self, bytes: usize) {
        (self.start, self.end) = (0, bytes);
        self.gathered += bytes;
        self.is_full = bytes == self.buffer.len();
        if bytes < BULK_BYTES || self.is_full {
            return;
        }
        let now = Instant::now();
        let rest = rest(self.gathered, now - self.since);
        (self.gathered, self.since) = (0, now);
        // With no rest to make, one that has passed is left as it is: the socket is tried, and then watched.
        let Some(rest) = rest else { return };
        self.reader = match std::mem::replace(&mut self.reader, Reader::Gone) {
            Reader::Watched(watched) => {
                Reader::Resting(watched.into_inner(), Box::pin(tokio::time::sleep(rest)))
            }
            Reader::Resting(stream, mut timer) => {
                timer.as_mut().reset(now + rest);
                Reader::Resting(stream, timer)
            }
            Reader::Gone => Reader::Gone,
        };
    }

    fn end_rest(&mut self) -> io::Result<()> {
        if let Reader::Resting(stream, _) = std::mem::replace(&mut self.reader, Reader::Gone) {
            self.reader = Reader::Watched(watch(stream, Interest::READABLE)?);
        }
        Ok(())
    }

    fn poll_io(
        &self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.writer.poll_write_ready(context))?;
            if let Ok(written) = guard.try_io(|stream| write(stream.get_ref())) {
                return Poll::Ready(written);
            }
        }
    }
}

/// How long the socket is left alone, when so many bytes came in that time.
fn rest(bytes: usize, elapsed: Duration) -> Option<Duration> {
    let rest = elapsed.mul_f64(GATHER_BYTES as f64 / bytes as f64).min(REST_MAX);
    (rest >= REST_MIN).then_some(rest)
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe for sake of descriptors that are not owned; this one is"
)]
fn watch(stream: TcpStream, interest: Interest) -> io::Result<AsyncFd<TcpStream>> {
    AsyncFd::with_interest(stream, interest)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.start == this.end {
            ready!(this.poll_fill(context))?;
        }
        let took = out.len().min(this.end - this.start);
        out[..took].copy_from_slice(&this.buffer[this.start..this.start + took]);
        this.start += took;
        Poll::Ready(Ok(took))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_io(context, |mut stream| stream.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.writer.get_ref().shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_rests_long_on_a_slow_link_shortly_on_a_fast_one_and_never_on_one_that_is_faster() {
        let second = Duration::from_secs(1);
        assert_eq!(rest(250_000, second), Some(REST_MAX));
        let at_100_mbit = rest(12_500_000, second).unwrap();
        assert!((REST_MIN..REST_MAX).contains(&at_100_mbit), "{at_100_mbit:?}");
        assert_eq!(rest(125_000_000, second), None);
    }
}
