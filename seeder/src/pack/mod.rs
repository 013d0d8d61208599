//! Artifacts on disk become contents: one file as it is, a tree as one packed content and a file list.
//!
//! What is signed must be what is served: a file or tree that changes while it is read is refused, with its path.

mod hash;
mod link;
mod tree;
mod walk;

pub use hash::{Hashed, Stamp, hash_file};
pub use tree::{PackedTree, pack_tree, plan_tree};
pub use walk::{Found, FoundKind, walk};

use crate::files::FileError;
use samara_protocol::geometry::GeometryError;
use std::path::PathBuf;

/// Why something on disk cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Neither file, directory nor symlink.
    #[error("{} is a {kind}; only files, directories and symlinks can be published", path.display())]
    Special {
        /// Where.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A symlink that would point elsewhere on every device.
    #[error("{} points to {}, outside the tree; make it relative and inside, or leave it out", path.display(), to.display())]
    Escape {
        /// The symlink.
        path: PathBuf,
        /// Its target.
        to: PathBuf,
    },
    /// A symlink inside the tree whose target a file list cannot carry.
    #[error("{} points to {to:?}, and this target {reason}", path.display())]
    Link {
        /// The symlink.
        path: PathBuf,
        /// Its target.
        to: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A name that a file list cannot carry.
    #[error("{path:?} cannot be published: its name {reason}")]
    Name {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It was written to meanwhile.
    #[error("{} changed while it was read; publish when nothing writes to it", path.display())]
    Changed {
        /// Where.
        path: PathBuf,
    },
    /// Too many bytes or pieces.
    #[error("{} cannot be published: {source}", path.display())]
    Geometry {
        /// What.
        path: PathBuf,
        /// Which limit.
        source: GeometryError,
    },
    /// The file list refuses the tree.
    #[error("{} cannot be published: {reason}", path.display())]
    List {
        /// The tree.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
