//! A tree becomes two blobs: its files' bytes one after another, and the list that says which byte is whose.

use super::hash::read_unchanged;
use super::{Found, FoundKind, Hashed, PackError, walk};
use crate::files::{self, FileError};
use samara_protocol::artifact::{Entry, EntryKind, FileList};
use samara_protocol::id::ContentHash;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A packed tree.
#[derive(Debug, Clone)]
pub struct PackedTree {
    /// The packed content and where it was written.
    pub data: (Hashed, PathBuf),
    /// The file list and where it was written.
    pub list: (Hashed, PathBuf),
}

/// The file list of what `walk(root)` found, with all but the content's hash. A tree that devices would refuse is
/// refused here, before a byte of it is read.
pub fn plan_tree(root: &Path, found: &[Found]) -> Result<FileList, PackError> {
    let mut size = 0_u64;
    let mut entries = Vec::with_capacity(found.len());
    for item in found {
        let kind = match &item.kind {
            FoundKind::Directory => EntryKind::Directory,
            FoundKind::Symlink { to } => EntryKind::Symlink { to: to.clone() },
            FoundKind::File { size: length } => {
                size = size.saturating_add(*length);
                EntryKind::File { size: *length }
            }
        };
        entries.push(Entry { path: item.path.clone(), kind, mode: item.mode, owner: None });
    }
    let list = FileList { content: ContentHash([0; 32]), size, entries };
    match FileList::decode(&list.encode()) {
        Ok(_) => Ok(list),
        Err(e) => Err(PackError::List { path: root.to_owned(), reason: e.to_string() }),
    }
}

/// Packs what `walk(root)` found, and `plan_tree` listed, into `blobs`, as files named by their content hash. The tree
/// is walked again at the end: one that changed meanwhile is refused.
pub fn pack_tree(
    root: &Path,
    found: &[Found],
    mut list: FileList,
    blobs: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<PackedTree, PackError> {
    // As `walk` does, so that symlinks in the path to the tree are followed and those in it are not.
    let real_root = root.canonicalize().map_err(FileError::of("read", root))?;
    let mut packed = files::beside(&blobs.join("packed"))?;
    let mut hasher = blake3::Hasher::new();
    for item in found.iter().filter(|item| matches!(item.kind, FoundKind::File { .. })) {
        // It has the length that it was seen with, or it changed.
        read_unchanged(&real_root.join(&item.path), &item.stamp, &mut |bytes| {
            hasher.update(bytes);
            progress(bytes.len() as u64);
            packed.write_all(bytes).map_err(FileError::of("write", packed.path()))
        })?;
    }
    refuse_changed(root, found, &walk(root)?)?;

    let content = ContentHash(*hasher.finalize().as_bytes());
    list.content = content;
    let size = list.size;
    let list = list.encode();
    let list_hash = ContentHash(*blake3::hash(&list).as_bytes());
    let (data_path, list_path) = (blobs.join(content.to_string()), blobs.join(list_hash.to_string()));
    files::place(packed, &data_path, 0o644)?;
    files::replace(&list_path, &list, 0o644)?;
    Ok(PackedTree {
        data: (Hashed { content, size }, data_path),
        list: (Hashed { content: list_hash, size: list.len() as u64 }, list_path),
    })
}

fn refuse_changed(root: &Path, before: &[Found], after: &[Found]) -> Result<(), PackError> {
    let differs = before.iter().zip(after).find(|(b, a)| b != a).map(|(b, _)| b);
    let path = match differs.or_else(|| before.get(after.len())).or_else(|| after.get(before.len())) {
        None => return Ok(()),
        Some(item) => root.join(&item.path),
    };
    Err(PackError::Changed { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (root, blobs) = (dir.path().join("www"), dir.path().join("blobs"));
        std::fs::create_dir_all(root.join("img")).unwrap();
        std::fs::create_dir(&blobs).unwrap();
        std::fs::write(root.join("index.html"), b"<html>").unwrap();
        std::fs::write(root.join("img/logo"), b"png").unwrap();
        std::os::unix::fs::symlink("index.html", root.join("start")).unwrap();
        (dir, root, blobs)
    }

    fn pack(
        root: &Path,
        found: &[Found],
        blobs: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<PackedTree, PackError> {
        pack_tree(root, found, plan_tree(root, found)?, blobs, progress)
    }

    #[test]
    fn a_packed_tree_lists_every_entry_and_holds_every_byte_in_order() {
        let (_dir, root, blobs) = tree();
        let found = walk(&root).unwrap();
        let packed = pack(&root, &found, &blobs, &mut |_| ()).unwrap();
        let data = std::fs::read(&packed.data.1).unwrap();
        assert_eq!(data, b"png<html>");
        assert_eq!(packed.data.0.content.0, *blake3::hash(&data).as_bytes());
        let list = FileList::decode(&std::fs::read(&packed.list.1).unwrap()).unwrap();
        assert_eq!((list.content, list.size), (packed.data.0.content, 9));
        let paths: Vec<_> = list.entries.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["img", "img/logo", "index.html", "start"]);
        let files: Vec<_> =
            list.files().map(|(entry, start, size)| (entry.path.as_str(), start, size)).collect();
        assert_eq!(files, [("img/logo", 0, 3), ("index.html", 3, 6)]);
        assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 2);
    }

    #[test]
    fn packing_twice_gives_the_same_contents() {
        let (_dir, root, blobs) = tree();
        let found = walk(&root).unwrap();
        let [a, b] = [(); 2].map(|()| pack(&root, &found, &blobs, &mut |_| ()).unwrap());
        assert_eq!((a.data.0, a.list.0), (b.data.0, b.list.0));
    }

    #[test]
    fn a_tree_that_changes_while_it_is_packed_is_refused_and_leaves_nothing() {
        type Change = fn(&Path);
        let changes: [(Change, &str); 4] = [
            (|root| std::fs::write(root.join("index.html"), b"<HTML>").unwrap(), "index.html"),
            (|root| std::fs::write(root.join("img/new"), b"").unwrap(), "img"),
            (|root| std::fs::remove_file(root.join("start")).unwrap(), "start"),
            (|root| std::fs::write(root.join("zzz"), b"").unwrap(), "zzz"),
        ];
        for (change, named) in changes {
            let (_dir, root, blobs) = tree();
            let found = walk(&root).unwrap();
            let mut once = Some(change);
            let result = pack(&root, &found, &blobs, &mut |_| {
                if let Some(change) = once.take() {
                    change(&root);
                }
            });
            let error = result.unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("changed"), "{error}");
            assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 0);
        }
    }
}
