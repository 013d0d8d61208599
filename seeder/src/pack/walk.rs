//! What a tree on disk consists of, in the order in which it is packed.

use super::hash::{Stamp, kind_of};
use super::{PackError, link};
use crate::files::FileError;
use samara_protocol::artifact::safe_path;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use walkdir::WalkDir;

/// One thing in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Relative to the tree's root, components joined by `/`.
    pub path: String,
    /// Permission bits, `0o777` at most: set-id and sticky bits do not travel.
    pub mode: u16,
    /// What it is.
    pub kind: FoundKind,
    pub(super) stamp: Stamp,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symlink that stays inside the tree.
    Symlink {
        /// Its target, without what changes nothing (`./`, `//`, a `/` at the end).
        to: String,
    },
}

/// Everything below `root`, sorted by path; refuses what a tree cannot carry, naming it.
pub fn walk(root: &Path) -> Result<Vec<Found>, PackError> {
    let real_root = root.canonicalize().map_err(FileError::of("read", root))?;
    let mut found = Vec::new();
    for entry in WalkDir::new(&real_root).min_depth(1).follow_links(false) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            FileError { action: "read", path, source: error.into() }
        })?;
        found.push(look(&real_root, entry.path())?);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn look(root: &Path, path: &Path) -> Result<Found, PackError> {
    let metadata = std::fs::symlink_metadata(path).map_err(FileError::of("read", path))?;
    let kind = if metadata.is_file() {
        FoundKind::File { size: metadata.len() }
    } else if metadata.is_dir() {
        FoundKind::Directory
    } else if metadata.is_symlink() {
        let to = std::fs::read_link(path).map_err(FileError::of("read", path))?;
        FoundKind::Symlink { to: link::target(root, path, &to)? }
    } else {
        return Err(PackError::Special { path: path.to_owned(), kind: kind_of(&metadata) });
    };
    let inside = path.strip_prefix(root).unwrap_or(path);
    let mode = if metadata.is_symlink() { 0o777 } else { metadata.permissions().mode() & 0o777 };
    let name = utf8(inside, path)?;
    // A name that devices would refuse is refused before anything is read.
    safe_path(&name).map_err(|e| PackError::Name { path: path.to_owned(), reason: e.to_string() })?;
    Ok(Found { path: name, mode: mode as u16, kind, stamp: Stamp::of(&metadata) })
}

pub(super) fn utf8(text: &Path, whose: &Path) -> Result<String, PackError> {
    let name = || PackError::Name { path: whose.to_owned(), reason: "is not UTF-8".into() };
    text.to_str().map(str::to_owned).ok_or_else(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/c"), b"c").unwrap();
        std::fs::write(dir.path().join("a.txt"), b"txt").unwrap();
        dir
    }

    #[test]
    fn a_walk_is_sorted_by_path_and_sees_every_kind() {
        let dir = tree();
        symlink("../a.txt", dir.path().join("a/link")).unwrap();
        let found = walk(dir.path()).unwrap();
        let paths: Vec<_> = found.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["a", "a.txt", "a/b", "a/b/c", "a/link"]);
        assert_eq!(found[3].kind, FoundKind::File { size: 1 });
        assert_eq!(found[4].kind, FoundKind::Symlink { to: "../a.txt".into() });
    }

    #[test]
    fn a_symlink_that_leaves_the_tree_is_refused_by_name() {
        for to in ["/etc/passwd", "../x", "b/../../../x", "s/.."] {
            let dir = tree();
            symlink("../..", dir.path().join("a/b/s")).unwrap();
            let place = if to == "s/.." { "a/b/link" } else { "a/link" };
            symlink(to, dir.path().join(place)).unwrap();
            let inside_as_written = to == "../x";
            let result = walk(dir.path());
            assert_eq!(result.is_ok(), inside_as_written, "{to}");
            if let Err(error) = result {
                assert!(error.to_string().contains(place), "{error}");
            }
        }
    }

    #[test]
    fn a_socket_is_refused_by_name() {
        let dir = tree();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("a/sock")).unwrap();
        let error = walk(dir.path()).unwrap_err();
        assert!(error.to_string().contains("a/sock is a socket"), "{error}");
    }

    #[test]
    fn a_name_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = tree();
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), b"").unwrap();
        assert!(matches!(walk(dir.path()), Err(PackError::Name { .. })));
    }
}
