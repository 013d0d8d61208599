//! Reading frames off a stream: memory follows what has arrived, and a frame that was begun ends in time.
//!
//! Between frames a peer may be silent for as long as it likes. Within one it has to bring a byte every
//! [`Pace::stall_max`], and the whole at [`Pace::bytes_per_second_min`] on average: a slow link passes, a peer that
//! holds a buffer of ours for nothing does not.

use super::link::DataFrame;
use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt as _};
use samara_protocol::wire::Message;
use samara_protocol::wire::codec::{self, WireError};
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes read at once at first; later as many as have arrived of the frame.
const PORTION_BYTES: usize = 16 * 1024;

/// How slowly a frame may come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) stall_max: Duration,
    pub(super) bytes_per_second_min: u32,
}

impl Pace {
    /// A quarter of a link of 64 kbit/s.
    pub(super) const MESH: Self = Self { stall_max: Duration::from_secs(30), bytes_per_second_min: 2 * 1024 };
}

/// Why there is no further frame.
#[derive(Debug)]
pub(super) enum End {
    /// The stream ended, broke, or stalled.
    Closed(io::Error),
    /// What came is no frame.
    Fault(WireError),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Fault(error)
    }
}

/// A stream of frames.
pub(super) struct Frames<S> {
    stream: S,
    pace: Pace,
    /// What has arrived and was not taken is `start..end`; behind it is room.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// When the frame at the front was begun.
    begun: Option<Instant>,
}

impl<S: AsyncRead + Unpin> Frames<S> {
    pub(super) fn new(stream: S, pace: Pace) -> Self {
        Self { stream, pace, buffer: Vec::new(), start: 0, end: 0, begun: None }
    }

    /// The next control message, and the bytes of its frame.
    pub(super) async fn control(&mut self) -> Result<(Message, usize), End> {
        loop {
            if let Some((message, took)) = codec::decode_control(&self.buffer[self.start..self.end])? {
                self.took(took);
                return Ok((message, took));
            }
            self.fill(PORTION_BYTES, codec::CONTROL_FRAME_MAX).await?;
        }
    }

    /// The next data frame.
    pub(super) async fn data(&mut self) -> Result<DataFrame, End> {
        loop {
            let arrived = self.end - self.start;
            let mut wanted = PORTION_BYTES;
            if let Some((length, at)) = codec::decode_data_length(&self.buffer[self.start..self.end])? {
                let whole = at + length;
                if arrived >= whole {
                    let body = self.take(whole).slice(at..);
                    let (header, at) = codec::decode_data_header(&body)?;
                    return Ok(DataFrame { header, bytes: body.slice(at..) });
                }
                wanted = (whole - arrived).min(arrived.max(PORTION_BYTES));
            }
            self.fill(wanted, codec::DATA_FRAME_MAX).await?;
        }
    }

    /// Takes bytes from the front, without a copy where nothing else has arrived.
    fn take(&mut self, bytes: usize) -> Bytes {
        let taken = if self.start == 0 && self.end == bytes {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.truncate(bytes);
            Bytes::from(buffer)
        } else {
            Bytes::copy_from_slice(&self.buffer[self.start..self.start + bytes])
        };
        self.took(bytes);
        taken
    }

    fn took(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // A large frame is no reason to hold its room while the peer is silent.
            if self.buffer.len() > PORTION_BYTES {
                self.buffer = Vec::new();
            }
        }
        // What follows has begun at the latest now.
        self.begun = (self.end > 0).then(Instant::now);
    }

    /// Reads once, at most `wanted` bytes.
    async fn fill(&mut self, wanted: usize, frame_max: usize) -> Result<(), End> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let room = self.end + wanted;
        if self.buffer.len() < room {
            self.buffer.reserve_exact(room - self.buffer.len());
            self.buffer.resize(room, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.end..room]);
        let bytes = match self.begun {
            None => read.await?,
            Some(begun) => {
                let whole = frame_max as f64 / f64::from(self.pace.bytes_per_second_min);
                let by = begun + self.pace.stall_max + Duration::from_secs_f64(whole);
                let by = by.min(Instant::now() + self.pace.stall_max);
                let late = |_| io::Error::from(io::ErrorKind::TimedOut);
                tokio::time::timeout_at(by, read).await.map_err(late)??
            }
        };
        if bytes == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.end += bytes;
        self.begun.get_or_insert_with(Instant::now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_protocol::geometry::{PieceIndex, PieceRange};
    use samara_protocol::wire::DataHeader;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    const FAST: Pace = Pace { stall_max: Duration::from_millis(150), bytes_per_second_min: 2 << 20 };

    /// What a peer sends, in portions; behind the last it is silent.
    struct Peer(VecDeque<Vec<u8>>);

    impl AsyncRead for Peer {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            out: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let Some(mut portion) = self.0.pop_front() else { return Poll::Pending };
            if portion.is_empty() {
                // A pause: other tasks run.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let rest = portion.split_off(portion.len().min(out.len()));
            out[..portion.len()].copy_from_slice(&portion);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
            Poll::Ready(Ok(portion.len()))
        }
    }

    fn frames(portions: impl IntoIterator<Item = Vec<u8>>) -> Frames<Peer> {
        Frames::new(Peer(portions.into_iter().collect()), Pace::MESH)
    }

    /// Without patience.
    fn hasty(bytes: Vec<u8>) -> Frames<Peer> {
        Frames::new(Peer([bytes].into()), FAST)
    }

    fn data_frame(piece: u32, bytes: usize) -> Vec<u8> {
        let range = PieceRange { piece: PieceIndex(piece), first_group: 0, groups: 16 };
        let mut frame = codec::encode_data_header(&DataHeader { channel: 1, range }, bytes);
        frame.extend((0..bytes).map(|i| i as u8));
        frame
    }

    #[tokio::test]
    async fn data_frames_arrive_whole_however_their_bytes_are_cut() {
        let sizes = [0, 1, 15_000, 16_384, 40_000, 262_144, 3];
        let bytes: Vec<u8> =
            sizes.iter().enumerate().flat_map(|(i, &size)| data_frame(i as u32, size)).collect();
        for cut in [1, 7, 1000, 16_384, 100_000, bytes.len()] {
            let drips = bytes.chunks(cut).flat_map(|chunk| [chunk.to_vec(), Vec::new()]);
            let mut frames = frames(drips);
            for (i, &size) in sizes.iter().enumerate() {
                let frame = frames.data().await.unwrap();
                assert_eq!(frame.header.range.piece, PieceIndex(i as u32));
                assert!(frame.bytes.iter().copied().eq((0..size).map(|i| i as u8)), "cut {cut}, frame {i}");
            }
        }
    }

    #[tokio::test]
    async fn control_messages_arrive_in_order_however_their_bytes_are_cut() {
        let sent: Vec<Message> = (0..50)
            .map(Message::Ping)
            .chain([Message::Document(vec![b'{'; 60_000]), Message::Pong(1)])
            .collect();
        let mut bytes = Vec::new();
        sent.iter().for_each(|message| codec::encode_control(message, &mut bytes));
        for cut in [1, 3, 4096, bytes.len()] {
            let mut frames = frames(bytes.chunks(cut).map(<[u8]>::to_vec));
            for message in &sent {
                assert_eq!(frames.control().await.unwrap().0, *message);
            }
        }
    }

    #[tokio::test]
    async fn a_claimed_length_takes_no_memory_before_its_bytes_arrive() {
        let mut frames = hasty(data_frame(0, 262_144)[..100].to_vec());
        assert!(matches!(frames.data().await, Err(End::Closed(e)) if e.kind() == io::ErrorKind::TimedOut));
        assert!(frames.buffer.capacity() <= 2 * PORTION_BYTES, "{}", frames.buffer.capacity());
        let arrived = 100_000;
        let mut half = hasty(data_frame(0, 262_144)[..arrived].to_vec());
        assert!(half.data().await.is_err());
        assert!(half.buffer.capacity() <= 2 * arrived + PORTION_BYTES, "{}", half.buffer.capacity());
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_a_fault_at_once() {
        // 4 GiB, 2 MiB, and the least that is too long.
        for prefix in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x80, 0x80, 0x80, 0x01], &[0x81, 0x80, 0x11]] {
            let end = frames([prefix.to_vec()]).data().await;
            assert!(matches!(end, Err(End::Fault(_))), "{prefix:?}");
        }
    }

    #[tokio::test]
    async fn a_frame_that_stalls_ends_and_silence_between_frames_does_not() {
        let mut bytes = data_frame(0, 1000);
        bytes.truncate(500);
        assert!(matches!(hasty(bytes).data().await, Err(End::Closed(_))));
        let mut idle = hasty(data_frame(0, 10));
        idle.data().await.unwrap();
        assert!(tokio::time::timeout(FAST.stall_max * 3, idle.data()).await.is_err());
    }
}
