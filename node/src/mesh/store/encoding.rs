//! Bao encodings of ranges: verified when they come in, collected when they go out.
//!
//! ```text
//!  hash pairs and chunk groups of the range in pre-order; no length in front, the receiver knows it:
//!  | pair 64 B | pair | ... | group 16 KiB | group | pair | group | ...
//! ```
//! A received encoding is verified here and not inside iroh-blobs: so the exact wrong group is known, and what
//! iroh-blobs then reports is the disk's fault. It gets all pairs first and the bytes as one run: one write.

use bao_tree::io::mixed::EncodedItem;
use bao_tree::io::sync::DecodeResponseIter;
use bao_tree::io::{BaoContentItem, EncodeError, Leaf, Parent};
use bao_tree::{BaoTree, ChunkRanges};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use iroh_blobs::Hash;
use iroh_blobs::api::Store as Blobs;
use iroh_blobs::api::blobs::ExportBaoOptions;
use iroh_blobs::store::IROH_BLOCK_SIZE;
use std::io;
use std::num::NonZeroU64;

/// Items of an export that may wait for us: more than a request of 256 KiB has (16 groups and their pairs), so that
/// one range costs one wake-up and not one for each item.
const ITEMS_MAX: usize = 64;
/// Bytes of one hash pair.
pub(super) const PAIR_BYTES: usize = 64;
/// Hash pairs for which room is made in advance beside those between the groups: the path to the root.
const PATH_PAIRS: usize = 26;

/// The verified part of a received encoding.
pub(super) struct Received {
    parents: Vec<Parent>,
    offset: u64,
    data: Bytes,
    is_whole: bool,
}

impl Received {
    /// Verifies the encoding of one run of whole groups: what is good of it from its start on.
    ///
    /// `span` is the run's first byte and length. Memory is bounded by the span, whatever the encoding says.
    pub(super) fn verify(hash: Hash, length: u64, span: (u64, u64), encoding: &[u8]) -> Self {
        let (offset, len) = span;
        let chunks = super::held::span_chunks(offset, len);
        let tree = BaoTree::new(length, IROH_BLOCK_SIZE);
        let mut rest = encoding;
        let mut data = BytesMut::with_capacity(encoding.len().min(len as usize));
        let mut parents = Vec::new();
        let mut is_whole = true;
        for item in DecodeResponseIter::new(hash.into(), tree, &mut rest, &chunks) {
            match item {
                Ok(BaoContentItem::Parent(parent)) => parents.push(parent),
                Ok(BaoContentItem::Leaf(leaf)) => data.extend_from_slice(&leaf.data),
                Err(_) => is_whole = false,
            }
        }
        // Bytes behind the last group belong to nothing that was asked for.
        let is_whole = is_whole && rest.is_empty();
        Self { parents, offset, data: data.freeze(), is_whole }
    }

    /// First byte and length of the good part.
    pub(super) fn span(&self) -> (u64, u64) {
        (self.offset, self.data.len() as u64)
    }

    /// The good part.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// The hash pairs above it.
    pub(super) fn parents(&self) -> &[Parent] {
        &self.parents
    }

    /// Whether nothing was wrong.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Writes the good part.
    pub(super) async fn import(self, blobs: &Blobs, hash: Hash, length: u64) -> io::Result<()> {
        let Some(size) = NonZeroU64::new(length).filter(|_| !self.data.is_empty()) else { return Ok(()) };
        let items = self.parents.len() + 1;
        let import = blobs.blobs().import_bao(hash, size, items).await.map_err(io::Error::other)?;
        let leaf = Leaf { offset: self.offset, data: self.data };
        let items = self.parents.into_iter().map(BaoContentItem::Parent);
        for item in items.chain([BaoContentItem::Leaf(leaf)]) {
            if import.tx.send(item).await.is_err() {
                // The answer below says why.
                break;
            }
        }
        drop(import.tx);
        let answer = import.rx.await.map_err(io::Error::other)?;
        answer.map_err(|iroh_blobs::api::Error::Io(error)| error)
    }
}

/// The encoding of some chunks, each group verified before it is in it.
pub(super) async fn export(
    blobs: &Blobs,
    hash: Hash,
    chunks: ChunkRanges,
    len: u64,
) -> Result<Bytes, EncodeError> {
    let groups = len.div_ceil(samara_protocol::geometry::GROUP_BYTES) as usize;
    let mut encoding = Vec::with_capacity(len as usize + (groups + PATH_PAIRS) * PAIR_BYTES);
    each(blobs, hash, chunks, |item| match item {
        EncodedItem::Parent(Parent { pair: (left, right), .. }) => {
            encoding.extend_from_slice(left.as_bytes());
            encoding.extend_from_slice(right.as_bytes());
        }
        EncodedItem::Leaf(leaf) => encoding.extend_from_slice(&leaf.data),
        _ => {}
    })
    .await?;
    Ok(encoding.into())
}

/// The plain bytes of some chunks, each group verified before it is in them.
pub(super) async fn plain(
    blobs: &Blobs,
    hash: Hash,
    chunks: ChunkRanges,
    len: u64,
) -> Result<Bytes, EncodeError> {
    let mut bytes = Vec::with_capacity(len as usize);
    each(blobs, hash, chunks, |item| {
        if let EncodedItem::Leaf(leaf) = item {
            bytes.extend_from_slice(&leaf.data);
        }
    })
    .await?;
    Ok(bytes.into())
}

/// Whether some chunks are on disk as their hashes say.
pub(super) async fn is_good(blobs: &Blobs, hash: Hash, chunks: ChunkRanges) -> io::Result<bool> {
    match each(blobs, hash, chunks, |_| {}).await {
        Ok(()) => Ok(true),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a failed export means that the bytes are wrong or gone, and not that they could not be read just now.
pub(super) fn is_damage(error: &EncodeError) -> bool {
    let EncodeError::Io(error) = error else { return true };
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound)
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

async fn each(
    blobs: &Blobs,
    hash: Hash,
    ranges: ChunkRanges,
    mut take: impl FnMut(EncodedItem),
) -> Result<(), EncodeError> {
    let options = ExportBaoOptions { hash, ranges };
    let mut items = std::pin::pin!(blobs.blobs().export_bao_with_opts(options, ITEMS_MAX).stream());
    while let Some(item) = items.next().await {
        match item {
            EncodedItem::Error(error) => return Err(error),
            item => take(item),
        }
    }
    Ok(())
}
