//! A tree as it travels: the file list (a blob of its own) that cuts one packed content into files.
//!
//! ```text
//! byte 0      version, 1
//! then        postcard FileList: content, size, entries sorted by path
//! content     | file 0 | file 1 | ...   in the order of the list, without gaps
//! ```
//! A list from a peer is refused as a whole if one entry could leave the tree or stands for two things.

mod path;

pub use path::{DESTINATION_NAME_MAX, PathFault, RESERVED, safe_destination, safe_link, safe_path};

use crate::id::ContentHash;
use serde::{Deserialize, Serialize};

/// The largest encoded list.
pub const FILE_LIST_BYTES_MAX: usize = 64 << 20;
/// The most entries of one list.
pub const ENTRIES_MAX: usize = 1_000_000;
const VERSION: u8 = 1;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A file; its bytes follow those of the file before.
    File {
        /// Bytes.
        size: u64,
    },
    /// A directory; only those that would otherwise not exist, or have another mode than 0755, need an entry.
    Directory,
    /// A symbolic link, relative, to something inside the tree.
    Symlink {
        /// Where to.
        to: String,
    },
}

/// One file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative, components separated by `/`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, 0 to 0777.
    pub mode: u16,
    /// Owner by name; the device's default if none.
    pub owner: Option<String>,
}

/// The files of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// BLAKE3 of the packed content.
    pub content: ContentHash,
    /// Bytes of the packed content.
    pub size: u64,
    /// Sorted by path, bytewise.
    pub entries: Vec<Entry>,
}

/// Why bytes are no file list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileListError {
    /// Larger than any list may be.
    #[error("a file list of {0} bytes or entries is too large")]
    TooLarge(usize),
    /// Not a list of a known version.
    #[error("malformed, or of an unknown version")]
    Malformed,
    /// An entry that must not be.
    #[error("entry {path:?}: {fault}")]
    Entry {
        /// Its path.
        path: String,
        /// What is wrong.
        fault: PathFault,
    },
    /// The files are not the content.
    #[error("the files have {files} bytes, the content {content}")]
    Size {
        /// Sum of the entries.
        files: u64,
        /// What the list says.
        content: u64,
    },
}

impl FileList {
    /// The list as a blob.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        // Writing plain structs to memory cannot fail.
        bytes.extend(postcard::to_allocvec(self).unwrap_or_default());
        bytes
    }

    /// Reads and checks a list.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileListError> {
        if bytes.len() > FILE_LIST_BYTES_MAX {
            return Err(FileListError::TooLarge(bytes.len()));
        }
        let Some((&VERSION, payload)) = bytes.split_first() else { return Err(FileListError::Malformed) };
        // The number of entries is read alone first: small ones would take twenty times their bytes in memory.
        let ((_, _, entries), _): ((ContentHash, u64, u64), _) =
            postcard::take_from_bytes(payload).map_err(|_| FileListError::Malformed)?;
        if entries > ENTRIES_MAX as u64 {
            return Err(FileListError::TooLarge(usize::try_from(entries).unwrap_or(usize::MAX)));
        }
        let (list, rest): (Self, _) =
            postcard::take_from_bytes(payload).map_err(|_| FileListError::Malformed)?;
        if !rest.is_empty() {
            return Err(FileListError::Malformed);
        }
        list.check()?;
        Ok(list)
    }

    /// Each file with the offset of its bytes in the content.
    pub fn files(&self) -> impl Iterator<Item = (&Entry, u64, u64)> {
        let mut offset = 0;
        self.entries.iter().filter_map(move |entry| {
            let EntryKind::File { size } = entry.kind else { return None };
            let start = offset;
            offset += size;
            Some((entry, start, size))
        })
    }

    /// F1 to F3.
    fn check(&self) -> Result<(), FileListError> {
        if self.entries.len() > ENTRIES_MAX {
            return Err(FileListError::TooLarge(self.entries.len()));
        }
        let fault = |entry: &Entry, fault| FileListError::Entry { path: entry.path.clone(), fault };
        let mut files = 0_u64;
        let mut last: Option<&Entry> = None;
        // Paths of files and links: nothing may lie under them.
        let mut leaves = std::collections::BTreeSet::new();
        for entry in &self.entries {
            safe_path(&entry.path).map_err(|f| fault(entry, f))?;
            if entry.mode > 0o777 {
                return Err(fault(entry, PathFault::Mode));
            }
            match last {
                Some(last) if last.path == entry.path => return Err(fault(entry, PathFault::Duplicate)),
                Some(last) if last.path > entry.path => return Err(fault(entry, PathFault::Unsorted)),
                _ => last = Some(entry),
            }
            if path::parents(&entry.path).any(|parent| leaves.contains(parent)) {
                return Err(fault(entry, PathFault::UnderLeaf));
            }
            match &entry.kind {
                EntryKind::File { size } => {
                    files = files.checked_add(*size).ok_or(FileListError::Malformed)?;
                    leaves.insert(entry.path.as_str());
                }
                EntryKind::Directory => {}
                EntryKind::Symlink { to } => {
                    safe_link(&entry.path, to).map_err(|f| fault(entry, f))?;
                    leaves.insert(entry.path.as_str());
                }
            }
        }
        if files == self.size { Ok(()) } else { Err(FileListError::Size { files, content: self.size }) }
    }
}

/// Fuzz target: no bytes make the decoder panic, and what it accepts it encodes to the same bytes.
pub fn fuzz_file_list(data: &[u8]) {
    if let Ok(list) = FileList::decode(data) {
        assert_eq!(FileList::decode(&list.encode()), Ok(list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, owner: None }
    }

    fn list(entries: Vec<Entry>) -> FileList {
        let size = entries.iter().map(|e| if let EntryKind::File { size } = e.kind { size } else { 0 }).sum();
        FileList { content: ContentHash([7; 32]), size, entries }
    }

    fn fault_of(entries: Vec<Entry>) -> Option<PathFault> {
        match FileList::decode(&list(entries).encode()) {
            Err(FileListError::Entry { fault, .. }) => Some(fault),
            _ => None,
        }
    }

    // F3
    #[test]
    fn a_list_survives_and_cuts_the_content_without_gaps() {
        let whole = list(vec![
            entry("a", EntryKind::File { size: 3 }),
            entry("b", EntryKind::Directory),
            entry("b/c", EntryKind::File { size: 4 }),
            entry("b/d", EntryKind::Symlink { to: "../a".into() }),
        ]);
        assert_eq!(FileList::decode(&whole.encode()), Ok(whole.clone()));
        let cuts: Vec<_> = whole.files().map(|(e, at, size)| (e.path.as_str(), at, size)).collect();
        assert_eq!(cuts, [("a", 0, 3), ("b/c", 3, 4)]);
    }

    // D6, F1, F2
    #[test]
    fn every_way_out_of_the_tree_is_refused() {
        let file = EntryKind::File { size: 1 };
        for path in ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "", "a/"] {
            assert!(fault_of(vec![entry(path, file.clone())]).is_some(), "{path:?}");
        }
        let link = |to: &str| EntryKind::Symlink { to: to.into() };
        for (path, to) in
            [("l", "/etc"), ("l", ".."), ("a/l", "../../x"), ("l", ""), ("l", "a/../../x"), ("t", "a/b/s/..")]
        {
            assert!(fault_of(vec![entry(path, link(to))]).is_some(), "{path:?} -> {to:?}");
        }
        let under_link = vec![entry("l", link("a")), entry("l/x", file.clone())];
        assert_eq!(fault_of(under_link), Some(PathFault::UnderLeaf));
        let twice = vec![entry("a", file.clone()), entry("a", file.clone())];
        assert_eq!(fault_of(twice), Some(PathFault::Duplicate));
        assert_eq!(fault_of(vec![entry("b", file.clone()), entry("a", file)]), Some(PathFault::Unsorted));
    }

    // D6
    #[test]
    fn a_name_with_control_characters_or_of_samaras_own_is_refused_in_a_tree() {
        let file = EntryKind::File { size: 1 };
        for path in ["a\nb", "a\0b", "a\tb", "a\u{1b}[2J", "a\u{9b}2J", "x/a\r", "a\u{202e}gpj", "\u{2066}a"]
        {
            assert_eq!(fault_of(vec![entry(path, file.clone())]), Some(PathFault::Control), "{path:?}");
        }
        let link = EntryKind::Symlink { to: "a\nb".into() };
        assert_eq!(fault_of(vec![entry("l", link)]), Some(PathFault::Control));
        assert_eq!(safe_destination("www/\u{202e}gpj.exe"), Err(PathFault::Control));
        for path in [".samara", "a.samara-new", "x/.samara-y/z"] {
            assert_eq!(fault_of(vec![entry(path, file.clone())]), Some(PathFault::Reserved), "{path:?}");
        }
        for path in [".samar", "samara", "größe 型", &"x".repeat(255)] {
            assert_eq!(fault_of(vec![entry(path, file.clone())]), None, "{path:?}");
        }
        assert_eq!(fault_of(vec![entry(&"x".repeat(256), file)]), Some(PathFault::TooLong));
    }

    #[test]
    fn a_list_that_claims_too_many_entries_is_refused_before_they_are_read() {
        let head = (ContentHash([7; 32]), 0_u64, ENTRIES_MAX as u64 + 1);
        let bytes = [vec![VERSION], postcard::to_allocvec(&head).unwrap()].concat();
        assert_eq!(FileList::decode(&bytes), Err(FileListError::TooLarge(ENTRIES_MAX + 1)));
    }

    // F3
    #[test]
    fn a_list_that_is_not_the_content_is_refused() {
        let mut wrong = list(vec![entry("a", EntryKind::File { size: 3 })]);
        wrong.size = 4;
        assert_eq!(FileList::decode(&wrong.encode()), Err(FileListError::Size { files: 3, content: 4 }));
    }

    proptest! {
        #[test]
        fn a_damaged_list_never_panics(at in 0_usize..60, byte: u8, cut in 0_usize..60) {
            let mut bytes = list(vec![
                entry("a", EntryKind::File { size: 3 }),
                entry("b/l", EntryKind::Symlink { to: "../a".into() }),
            ])
            .encode();
            let at = at % bytes.len();
            bytes[at] = byte;
            fuzz_file_list(&bytes);
            bytes.truncate(cut);
            fuzz_file_list(&bytes);
        }

        #[test]
        fn hostile_lists_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            fuzz_file_list(&bytes);
            let mut versioned = vec![VERSION];
            versioned.extend(bytes);
            fuzz_file_list(&versioned);
        }
    }
}
