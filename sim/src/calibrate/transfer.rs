//! One artifact from one thread to another, over a loopback connection, as the product carries it: ranges of 256 KiB in
//! bao encoding, in frames of 16 KiB that are encrypted as Noise does it.
//!
//! ```text
//!  | length, 2 bytes | encrypted: frame header, 12 bytes | up to 16 KiB of the encoding | tag, 16 bytes |
//! ```

use super::thread_ns;
use crate::plan::Rate;
use anyhow::{Context, anyhow};
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::{DecodeResponseIter, encode_ranges_validated};
use bao_tree::io::{BaoContentItem, round_up_to_chunks};
use bao_tree::{ByteRanges, ChunkRanges};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use samara_protocol::geometry::REQUEST_BYTES_MAX;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

/// Yamux writes so much of a stream at once.
const FRAME_BYTES: usize = 16 * 1024;
/// The header of a Yamux frame.
const HEADER: [u8; 12] = [0; 12];
const TAG_BYTES: usize = 16;
/// In front of each encoding.
const LENGTH_BYTES: usize = 4;
/// Of a full TCP segment on Ethernet.
const SEGMENT_BYTES: usize = 1448;
/// What the product reads from a socket at once.
const READ_BYTES: usize = 8 * 1024;

/// Processor time of the two ends, in nanoseconds.
pub(super) struct Cost {
    pub(super) send_ns: f64,
    pub(super) receive_ns: f64,
}

/// Carries `data` once.
pub(super) fn measure(data: &[u8], tree: &PreOrderMemOutboard, rate: Option<Rate>) -> anyhow::Result<Cost> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
    let address = listener.local_addr().context("cannot listen on loopback")?;
    let mut source = tempfile::tempfile().context("cannot make a file")?;
    source.write_all(data).context("cannot write a file")?;
    let sink = tempfile::tempfile().context("cannot make a file")?;
    let length = data.len() as u64;
    thread::scope(|scope| {
        let sender = scope.spawn(move || send(TcpStream::connect(address)?, &source, tree, length, rate));
        let (stream, _) = listener.accept().context("nobody connects over loopback")?;
        let receiver = scope.spawn(|| receive(stream, &sink, tree, length));
        let ended = |end: thread::Result<anyhow::Result<f64>>| end.map_err(|_| anyhow!("an end panicked"))?;
        Ok(Cost { send_ns: ended(sender.join())?, receive_ns: ended(receiver.join())? })
    })
}

fn send(
    mut stream: TcpStream,
    source: &File,
    tree: &PreOrderMemOutboard,
    length: u64,
    rate: Option<Rate>,
) -> anyhow::Result<f64> {
    stream.set_nodelay(true)?;
    let mut cipher = Cipher::new()?;
    let mut pace = rate.map(Pace::new);
    let (mut encoding, mut frame) = (Vec::new(), Vec::new());
    let before = thread_ns();
    for (_, chunks) in ranges(length) {
        encoding.clear();
        encoding.extend_from_slice(&[0; LENGTH_BYTES]);
        encode_ranges_validated(source, tree, &chunks, &mut encoding).context("cannot encode")?;
        let length = (encoding.len() as u32).to_be_bytes();
        encoding[..LENGTH_BYTES].copy_from_slice(&length);
        for part in encoding.chunks(FRAME_BYTES) {
            cipher.seal(part, &mut frame)?;
            match &mut pace {
                None => stream.write_all(&frame)?,
                Some(pace) => pace.write(&mut stream, &frame)?,
            }
        }
    }
    Ok(thread_ns() - before)
}

fn receive(stream: TcpStream, sink: &File, tree: &PreOrderMemOutboard, length: u64) -> anyhow::Result<f64> {
    let mut stream = BufReader::with_capacity(READ_BYTES, stream);
    let mut cipher = Cipher::new()?;
    let before = thread_ns();
    for (start, chunks) in ranges(length) {
        let mut encoding = Vec::new();
        cipher.open(&mut stream, &mut encoding)?;
        let length = *encoding.first_chunk::<LENGTH_BYTES>().context("a range without length")?;
        while encoding.len() < u32::from_be_bytes(length) as usize {
            cipher.open(&mut stream, &mut encoding)?;
        }
        let mut bytes = Vec::with_capacity(REQUEST_BYTES_MAX as usize);
        for item in DecodeResponseIter::new(tree.root, tree.tree, &encoding[LENGTH_BYTES..], &chunks) {
            if let BaoContentItem::Leaf(leaf) = item.context("what arrived is wrong")? {
                bytes.extend_from_slice(&leaf.data);
            }
        }
        sink.write_all_at(&bytes, start).context("cannot write a file")?;
    }
    Ok(thread_ns() - before)
}

/// Start and chunks of each request.
fn ranges(length: u64) -> impl Iterator<Item = (u64, ChunkRanges)> {
    let step = u64::from(REQUEST_BYTES_MAX);
    (0..length.div_ceil(step)).map(move |number| {
        let start = number * step;
        (start, round_up_to_chunks(&ByteRanges::from(start..(start + step).min(length))))
    })
}

/// The cipher of a Noise session after its handshake: ChaCha20-Poly1305, a counter as nonce.
struct Cipher {
    key: LessSafeKey,
    count: u64,
}

impl Cipher {
    fn new() -> anyhow::Result<Self> {
        // Both ends know it, and nothing is hidden by it: only the work is the same.
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map_err(|_| anyhow!("no cipher"))?;
        Ok(Self { key: LessSafeKey::new(key), count: 0 })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.count.to_le_bytes());
        self.count += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, part: &[u8], frame: &mut Vec<u8>) -> anyhow::Result<()> {
        let nonce = self.nonce();
        frame.clear();
        // With its header and tag a frame is far shorter than 64 KiB.
        let length = (HEADER.len() + part.len() + TAG_BYTES) as u16;
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&HEADER);
        frame.extend_from_slice(part);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut frame[2..]);
        frame.extend_from_slice(tag.map_err(|_| anyhow!("cannot encrypt"))?.as_ref());
        Ok(())
    }

    /// Appends what the next frame of `stream` carries.
    fn open(&mut self, stream: &mut impl Read, encoding: &mut Vec<u8>) -> anyhow::Result<()> {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut frame)?;
        let nonce = self.nonce();
        let opened = self.key.open_in_place(nonce, Aad::empty(), &mut frame);
        let opened = opened.map_err(|_| anyhow!("a frame was changed on its way"))?;
        encoding.extend_from_slice(opened.get(HEADER.len()..).context("a frame without header")?);
        Ok(())
    }
}

/// Writes segment by segment, no faster than a rate, so that they arrive one by one as on a slow link.
struct Pace {
    between: Duration,
    next: Instant,
}

impl Pace {
    fn new(rate: Rate) -> Self {
        let nanos = SEGMENT_BYTES as u64 * 8_000_000_000 / rate.0.max(1);
        Self { between: Duration::from_nanos(nanos), next: Instant::now() }
    }

    fn write(&mut self, stream: &mut TcpStream, frame: &[u8]) -> anyhow::Result<()> {
        for segment in frame.chunks(SEGMENT_BYTES) {
            self.next += self.between;
            thread::sleep(self.next.saturating_duration_since(Instant::now()));
            stream.write_all(segment)?;
        }
        Ok(())
    }
}
