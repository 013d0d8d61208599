//! Hashes and packs what a description names.

use super::{ArtifactDescription, Description};
use crate::failure::{Failure, Kind};
use crate::pack::{self, Found, FoundKind, Hashed, PackError};
use crate::ui::Output;
use samara_protocol::document::{Artifact, ArtifactKind, BlobRef, Installed, Representation};
use samara_protocol::geometry::Geometry;
use samara_protocol::id::ContentHash;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The artifacts of a release and where their bytes are.
#[derive(Debug, Default)]
pub struct Contents {
    /// For the document.
    pub artifacts: Vec<Artifact>,
    /// For the seeder.
    pub sources: BTreeMap<ContentHash, PathBuf>,
}

// What an artifact turned out to be, before its bytes are read.
enum Seen {
    File { mode: u32, size: u64 },
    Tree { found: Vec<Found>, size: u64 },
}

impl Seen {
    fn look(path: &Path) -> Result<Self, Failure> {
        let metadata = std::fs::metadata(path).map_err(crate::files::FileError::of("read", path))?;
        if metadata.is_dir() {
            let found = pack::walk(path)?;
            let bytes = |f: &Found| if let FoundKind::File { size } = f.kind { size } else { 0 };
            let size = found.iter().map(bytes).sum();
            return Ok(Self::Tree { found, size });
        }
        Ok(Self::File { mode: metadata.permissions().mode() & 0o777, size: metadata.len() })
    }

    fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } | Self::Tree { size, .. } => *size,
        }
    }
}

/// Reads every artifact once, showing progress; packed trees are written to `blobs`.
pub fn gather(description: &Description, blobs: &Path, output: &Output) -> Result<Contents, Failure> {
    // All are looked at first: a mistake in the last one is found before the first is hashed.
    let seen = description.artifacts.iter().map(|a| {
        a.destination()?;
        Ok((a, Seen::look(&a.path)?))
    });
    let seen: Vec<_> = seen.collect::<Result<_, Failure>>()?;
    let bar = output.progress("hashing", seen.iter().map(|(_, s)| s.size()).sum());
    let mut contents = Contents::default();
    for (artifact, seen) in seen {
        let hashed = contents.add(artifact, seen, blobs, &mut |bytes| bar.inc(bytes));
        if hashed.is_err() {
            bar.abandon();
        }
        hashed?;
    }
    bar.finish_and_clear();
    Ok(contents)
}

impl Contents {
    fn add(
        &mut self,
        described: &ArtifactDescription,
        seen: Seen,
        blobs: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let path = &described.path;
        let said_mode = described.mode()?;
        let (kind, mode, data, list) = match seen {
            Seen::File { mode, .. } => {
                let hashed = pack::hash_file(path, progress)?;
                let source = path.canonicalize().map_err(crate::files::FileError::of("read", path))?;
                self.sources.insert(hashed.content, source);
                (ArtifactKind::File, Some(said_mode.unwrap_or(mode)), blob(path, hashed)?, None)
            }
            Seen::Tree { .. } if said_mode.is_some() => {
                let message = format_args!("{} is a tree: its files keep their own modes", path.display());
                return Err(Failure::configuration(message));
            }
            Seen::Tree { found, .. } => {
                let packed = pack::pack_tree(path, &found, blobs, progress)?;
                self.sources.insert(packed.data.0.content, packed.data.1);
                self.sources.insert(packed.list.0.content, packed.list.1);
                (ArtifactKind::Tree, None, blob(path, packed.data.0)?, Some(blob(path, packed.list.0)?))
            }
        };
        let name = described.name()?;
        let destination = described.destination()?;
        // Of a tree it is the list that says what is there: it names the content too.
        let hash = list.map_or(data.content, |list: BlobRef| list.content);
        let installed = Installed { hash, size: data.size };
        let plain = Representation {
            encoding: "plain".into(),
            encryption: None,
            base: None,
            data,
            list,
            crit: Vec::new(),
        };
        self.artifacts.push(Artifact {
            name,
            kind,
            destination,
            mode,
            when: described.when.clone().into(),
            installed,
            representations: vec![plain],
            crit: Vec::new(),
        });
        Ok(())
    }
}

fn blob(path: &Path, hashed: Hashed) -> Result<BlobRef, PackError> {
    let geometry = Geometry::for_length(hashed.size)
        .map_err(|source| PackError::Geometry { path: path.to_owned(), source })?;
    Ok(BlobRef { content: hashed.content, size: hashed.size, piece_size: geometry.piece_bytes() })
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        let kind = match error {
            PackError::File(_) | PackError::Changed { .. } => Kind::Storage,
            _ => Kind::Configuration,
        };
        Self::new(kind, error)
    }
}
