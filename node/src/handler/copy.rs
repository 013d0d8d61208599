//! The bytes of an artifact on their way to the disk, hashed once more while they are written.

use super::{InstallError, fuse};
use crate::mesh::store::StoreError;
use samara_protocol::id::ContentHash;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Bytes written at a time.
const BUFFER_BYTES: usize = 1 << 18;

/// Where the bytes of contents come from.
pub trait Source {
    /// Writes a run of a content to `out`.
    fn copy(
        &self,
        content: ContentHash,
        offset: u64,
        len: u64,
        out: &mut dyn Write,
    ) -> Result<(), StoreError>;
}

/// Copies one content, in one run or several, and knows at the end whether it was the right one.
pub(super) struct Copier<'a> {
    source: &'a dyn Source,
    content: ContentHash,
    offset: u64,
    hasher: blake3::Hasher,
}

impl<'a> Copier<'a> {
    pub(super) fn new(source: &'a dyn Source, content: ContentHash) -> Self {
        Self { source, content, offset: 0, hasher: blake3::Hasher::new() }
    }

    /// Writes the next `len` bytes to a file, known to people as `shown`.
    pub(super) fn write(&mut self, len: u64, file: &File, shown: &Path) -> Result<(), InstallError> {
        let disk = |source| InstallError::Disk { path: shown.into(), source };
        fuse::point().map_err(disk)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        self.run(len, &mut out).map_err(|stopped| stopped.at(shown))?;
        out.flush().map_err(disk)
    }

    /// Reads the next `len` bytes into memory.
    pub(super) fn read(&mut self, len: u64) -> Result<Vec<u8>, InstallError> {
        let mut bytes = Vec::new();
        self.run(len, &mut bytes).map_err(|stopped| stopped.at(Path::new("memory")))?;
        Ok(bytes)
    }

    fn run(&mut self, len: u64, out: &mut dyn Write) -> Result<(), Stopped> {
        if len == 0 {
            return Ok(());
        }
        let mut hashed = Hashed { out, hasher: &mut self.hasher, left: len, failed: None };
        let copied = self.source.copy(self.content, self.offset, len, &mut hashed);
        self.offset += len;
        // An error of the disk reaches the source, too, and comes back as one of its own.
        match (hashed.failed, copied) {
            (Some(error), _) => Err(Stopped::Disk(error)),
            (None, Err(error)) => Err(Stopped::Install(InstallError::Store(error))),
            (None, Ok(())) if hashed.left > 0 => {
                Err(Stopped::Install(InstallError::WrongBytes { content: self.content }))
            }
            (None, Ok(())) => Ok(()),
        }
    }

    /// Whether all of it was what its hash says.
    pub(super) fn finish(self) -> Result<(), InstallError> {
        if self.hasher.finalize().as_bytes() == &self.content.0 {
            return Ok(());
        }
        Err(InstallError::WrongBytes { content: self.content })
    }
}

enum Stopped {
    Disk(io::Error),
    Install(InstallError),
}

impl Stopped {
    fn at(self, shown: &Path) -> InstallError {
        match self {
            Self::Disk(source) => InstallError::Disk { path: shown.into(), source },
            Self::Install(error) => error,
        }
    }
}

/// Writes on, counts and hashes.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hasher: &'a mut blake3::Hasher,
    left: u64,
    failed: Option<io::Error>,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(io::Error::other("the source has more bytes than it should"));
        };
        if let Err(error) = self.out.write_all(bytes) {
            let kind = error.kind();
            self.failed = Some(error);
            return Err(kind.into());
        }
        self.left = left;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
