//! Right bytes over wrong ones, in the files that iroh-blobs keeps: it takes nothing more of a content that it believes
//! complete, and so the repair costs what is damaged and not the whole content.
//!
//! ```text
//! CONTENT/data/CONTENT.data    the bytes
//! CONTENT/data/CONTENT.obao4   hash pairs of 64 bytes in pre-order; without the file they lie in the records
//! ```
//! A crash leaves a group wrong or right; the next start finds out which.

use super::encoding::{PAIR_BYTES, Received};
use bao_tree::BaoTree;
use iroh_blobs::Hash;
use iroh_blobs::store::IROH_BLOCK_SIZE;
use iroh_blobs::store::fs::options::PathOptions;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Writes what was verified into the files of the copy at `path`, as far as they are there.
pub(super) fn overwrite(path: &Path, hash: Hash, length: u64, received: &Received) -> io::Result<()> {
    let files = PathOptions::new(path);
    if let Some(data) = existing(files.data_path(&hash))? {
        data.write_all_at(received.data(), received.span().0)?;
    }
    if let Some(pairs) = existing(files.outboard_path(&hash))? {
        let tree = BaoTree::new(length, IROH_BLOCK_SIZE);
        for parent in received.parents() {
            let Some(index) = tree.pre_order_offset(parent.node) else { continue };
            let (left, right) = &parent.pair;
            let pair = [*left.as_bytes(), *right.as_bytes()].concat();
            pairs.write_all_at(&pair, index * PAIR_BYTES as u64)?;
        }
    }
    Ok(())
}

fn existing(path: PathBuf) -> io::Result<Option<File>> {
    match File::options().write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}
