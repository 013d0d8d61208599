//! Looks at what a description names, then hashes and packs it.

use super::{ArtifactDescription, Description};
use crate::failure::{Failure, Kind};
use crate::files::FileError;
use crate::pack::{self, Found, PackError};
use crate::ui::Output;
use samara_protocol::artifact::FileList;
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

/// An artifact before its bytes are read.
#[derive(Debug)]
pub struct Planned {
    /// Where it is.
    path: PathBuf,
    /// All that will be signed of it, with zeros for the hashes.
    artifact: Artifact,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    /// The path that the seeder will read.
    File {
        source: PathBuf,
    },
    Tree {
        found: Vec<Found>,
        list: FileList,
    },
}

/// Looks at every artifact and reads none: what can be refused is refused before the first is hashed.
pub fn plan(description: &Description) -> Result<Vec<Planned>, Failure> {
    description.artifacts.iter().map(Planned::look).collect()
}

/// Reads every artifact once, showing progress; packed trees are written to `blobs`.
pub fn gather(planned: Vec<Planned>, blobs: &Path, output: &Output) -> Result<Contents, Failure> {
    let bar = output.progress("hashing", planned.iter().map(|p| p.artifact.installed.size).sum());
    let mut contents = Contents::default();
    for artifact in planned {
        let hashed = contents.add(artifact, blobs, &mut |bytes| bar.inc(bytes));
        if hashed.is_err() {
            bar.abandon();
        }
        hashed?;
    }
    bar.finish_and_clear();
    Ok(contents)
}

impl Planned {
    fn look(described: &ArtifactDescription) -> Result<Self, Failure> {
        let path = &described.path;
        let metadata = std::fs::metadata(path).map_err(FileError::of("read", path))?;
        let said_mode = described.mode()?;
        let (seen, kind, mode, data, list) = if metadata.is_dir() {
            if said_mode.is_some() {
                let message = format_args!("{} is a tree: its files keep their own modes", path.display());
                return Err(Failure::configuration(message));
            }
            let found = pack::walk(path)?;
            let list = pack::plan_tree(path, &found)?;
            let (data, names) = (blob(path, list.size)?, blob(path, list.encode().len() as u64)?);
            (Seen::Tree { found, list }, ArtifactKind::Tree, None, data, Some(names))
        } else {
            let mode = said_mode.unwrap_or(metadata.permissions().mode() & 0o777);
            let source = path.canonicalize().map_err(FileError::of("read", path))?;
            if source.to_str().is_none() {
                let reason = "is not UTF-8, and the site directory could not say where its bytes are".into();
                return Err(PackError::Name { path: source, reason }.into());
            }
            let data = blob(path, metadata.len())?;
            (Seen::File { source }, ArtifactKind::File, Some(mode), data, None)
        };
        let mut artifact = Artifact {
            name: described.name()?,
            kind,
            destination: described.destination()?,
            mode,
            when: described.when.clone().into(),
            installed: Installed { hash: data.content, size: data.size },
            representations: Vec::new(),
            config: None,
            binary: None,
            script: None,
            crit: Vec::new(),
        };
        set_hashes(&mut artifact, data, list);
        Ok(Self { path: path.clone(), artifact, seen })
    }

    /// What will be signed, but for the hashes, which are zero.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }
}

impl Contents {
    fn add(&mut self, planned: Planned, blobs: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let Planned { path, mut artifact, seen } = planned;
        let of = |hashed: pack::Hashed| {
            blob(&path, hashed.size).map(|blob| BlobRef { content: hashed.content, ..blob })
        };
        match seen {
            Seen::File { source } => {
                let hashed = pack::hash_file(&path, progress)?;
                set_hashes(&mut artifact, of(hashed)?, None);
                self.sources.insert(hashed.content, source);
            }
            Seen::Tree { found, list } => {
                let packed = pack::pack_tree(&path, &found, list, blobs, progress)?;
                set_hashes(&mut artifact, of(packed.data.0)?, Some(of(packed.list.0)?));
                self.sources.insert(packed.data.0.content, packed.data.1);
                self.sources.insert(packed.list.0.content, packed.list.1);
            }
        }
        self.artifacts.push(artifact);
        Ok(())
    }
}

fn set_hashes(artifact: &mut Artifact, data: BlobRef, list: Option<BlobRef>) {
    // Of a tree it is the list that says what is there: it names the content too.
    let hash = list.map_or(data.content, |list| list.content);
    artifact.installed = Installed { hash, size: data.size };
    artifact.representations = vec![Representation {
        encoding: "plain".into(),
        encryption: None,
        base: None,
        data,
        list,
        crit: Vec::new(),
    }];
}

/// A content of this size, its hash still unknown.
fn blob(path: &Path, size: u64) -> Result<BlobRef, PackError> {
    let geometry =
        Geometry::for_length(size).map_err(|source| PackError::Geometry { path: path.to_owned(), source })?;
    Ok(BlobRef { content: ContentHash([0; 32]), size, piece_size: geometry.piece_bytes() })
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
