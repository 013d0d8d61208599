//! Reads a file once, hashes it, and notices when it changes meanwhile.

use super::PackError;
use crate::files::FileError;
use rustix::fs::OFlags;
use samara_protocol::id::ContentHash;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

// Large enough that system calls do not count, small enough for the cache.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    /// BLAKE3 of its bytes.
    pub content: ContentHash,
    /// How many.
    pub size: u64,
}

/// What changes when a file is written to. Access time is left out: reading moves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp([i64; 7]);

impl Stamp {
    /// Of what was seen now.
    pub fn of(m: &Metadata) -> Self {
        Self([
            m.dev() as i64,
            m.ino() as i64,
            m.size() as i64,
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec(),
        ])
    }

    fn size(&self) -> u64 {
        self.0[2] as u64
    }
}

/// Hashes a regular file; `progress` hears how many bytes came since the last call.
pub fn hash_file(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<Hashed, PackError> {
    // A symlink that the operator names is followed; what it names must be a file.
    let path = path.canonicalize().map_err(FileError::of("read", path))?;
    let before = std::fs::metadata(&path).map_err(FileError::of("read", &path))?;
    if !before.is_file() {
        return Err(PackError::Special { kind: kind_of(&before), path });
    }
    let mut hasher = blake3::Hasher::new();
    let size = read_unchanged(&path, &Stamp::of(&before), &mut |bytes| {
        hasher.update(bytes);
        progress(bytes.len() as u64);
        Ok(())
    })?;
    Ok(Hashed { content: ContentHash(*hasher.finalize().as_bytes()), size })
}

/// Feeds a file's bytes to `sink` and returns their number, or [`PackError::Changed`] unless the file is the one
/// that was `seen`, before and after.
pub(super) fn read_unchanged(
    path: &Path,
    seen: &Stamp,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
) -> Result<u64, PackError> {
    let io = |e| FileError::of("read", path)(e);
    let changed = || PackError::Changed { path: path.to_owned() };
    // A file that became a symlink or a pipe since it was seen neither leads away nor blocks.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut file = File::options().read(true).custom_flags(flags).open(path).map_err(io)?;
    if Stamp::of(&file.metadata().map_err(io)?) != *seen {
        return Err(changed());
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer).map_err(io)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        sink(&buffer[..count])?;
    }
    let inside = Stamp::of(&file.metadata().map_err(io)?);
    let is_in_place = std::fs::symlink_metadata(path).is_ok_and(|m| Stamp::of(&m) == *seen);
    if inside != *seen || !is_in_place || size != seen.size() {
        return Err(changed());
    }
    Ok(size)
}

pub(super) fn kind_of(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "device file"
    } else {
        "special file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERESTING_SIZES: [usize; 8] =
        [0, 1, 1024, 16_384, 16_385, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1];

    #[test]
    fn the_content_hash_is_blake3_of_the_bytes_at_every_size() {
        let dir = tempfile::tempdir().unwrap();
        for size in INTERESTING_SIZES {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let path = dir.path().join("a");
            std::fs::write(&path, &bytes).unwrap();
            let mut counted = 0;
            let hashed = hash_file(&path, &mut |n| counted += n).unwrap();
            assert_eq!((hashed.size, counted), (size as u64, size as u64));
            assert_eq!(hashed.content.0, *blake3::hash(&bytes).as_bytes());
        }
    }

    #[test]
    fn a_file_that_grows_or_is_replaced_while_it_is_read_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for replace in [true, false] {
            std::fs::write(&path, vec![1; 3 * BUFFER_BYTES]).unwrap();
            let mut calls = 0;
            let error = hash_file(&path, &mut |_| {
                calls += 1;
                if calls != 2 {
                    return;
                }
                if replace {
                    std::fs::rename(&path, dir.path().join("log.1")).unwrap();
                    std::fs::write(&path, vec![2; 3 * BUFFER_BYTES]).unwrap();
                } else {
                    use std::io::Write as _;
                    File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
                }
            })
            .unwrap_err();
            assert!(matches!(&error, PackError::Changed { path: p } if *p == path), "{error}");
        }
    }

    #[test]
    fn a_device_file_and_a_directory_are_no_file() {
        for (path, kind) in [("/dev/null", "device file"), ("/", "directory")] {
            let error = hash_file(Path::new(path), &mut |_| ()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{path} is a {kind}")), "{error}");
        }
    }
}
