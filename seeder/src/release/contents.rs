//! Looks at what a description names, then hashes and packs it.

use super::lifecycle::{HookDescription, Options};
use super::{ArtifactDescription, Description};
use crate::failure::{Failure, Kind};
use crate::files::FileError;
use crate::pack::{self, Found, PackError};
use crate::ui::Output;
use samara_protocol::artifact::FileList;
use samara_protocol::document::{Artifact, ArtifactKind, BlobRef, Hook, Installed, Representation};
use samara_protocol::geometry::Geometry;
use samara_protocol::id::ContentHash;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The artifacts and hooks of a release and where their bytes are.
#[derive(Debug, Default)]
pub struct Contents {
    /// For the document.
    pub artifacts: Vec<Artifact>,
    /// For the document.
    pub hooks: Vec<Hook>,
    /// For the seeder.
    pub sources: BTreeMap<ContentHash, PathBuf>,
}

/// A release before its bytes are read.
#[derive(Debug)]
pub struct Plan {
    artifacts: Vec<Planned>,
    hooks: Vec<(Hook, PathBuf)>,
}

/// An artifact before its bytes are read.
#[derive(Debug)]
struct Planned {
    /// Where it is.
    path: PathBuf,
    /// All that will be signed of it, with zeros for the hashes.
    artifact: Artifact,
    seen: Seen,
    /// The path of what takes a script back.
    undo: Option<PathBuf>,
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

/// Looks at every artifact and hook and reads none: what can be refused is refused before the first is hashed.
pub fn plan(description: &Description) -> Result<Plan, Failure> {
    let hook = |described: &HookDescription| {
        let (source, data) = look_file(&described.path)?;
        Ok((described.hook(data)?, source))
    };
    Ok(Plan {
        artifacts: description.artifacts.iter().map(Planned::look).collect::<Result<_, _>>()?,
        hooks: description.hooks.iter().map(hook).collect::<Result<_, Failure>>()?,
    })
}

/// Reads everything once, showing progress; packed trees are written to `blobs`.
pub fn gather(plan: Plan, blobs: &Path, output: &Output) -> Result<Contents, Failure> {
    let bar = output.progress("hashing", plan.bytes());
    let contents = plan.read(blobs, &mut |bytes| bar.inc(bytes));
    match contents {
        Ok(_) => bar.finish_and_clear(),
        Err(_) => bar.abandon(),
    }
    contents
}

impl Plan {
    /// What will be signed, but for the hashes, which are zero.
    pub fn outline(&self) -> (Vec<Artifact>, Vec<Hook>) {
        let artifacts = self.artifacts.iter().map(|planned| planned.artifact.clone());
        (artifacts.collect(), self.hooks.iter().map(|(hook, _)| hook.clone()).collect())
    }

    fn bytes(&self) -> u64 {
        let artifacts = self.artifacts.iter().flat_map(|planned| planned.artifact.blobs());
        artifacts.map(|blob| blob.size).sum::<u64>()
            + self.hooks.iter().map(|(hook, _)| hook.data.size).sum::<u64>()
    }

    fn read(self, blobs: &Path, progress: &mut dyn FnMut(u64)) -> Result<Contents, Failure> {
        let mut contents = Contents::default();
        for planned in self.artifacts {
            contents.add(planned, blobs, progress)?;
        }
        for (mut hook, source) in self.hooks {
            hook.data = contents.add_file(source, progress)?;
            contents.hooks.push(hook);
        }
        Ok(contents)
    }
}

/// A file, and its content with a hash that is still unknown.
fn look_file(path: &Path) -> Result<(PathBuf, BlobRef), Failure> {
    let metadata = std::fs::metadata(path).map_err(FileError::of("read", path))?;
    if metadata.is_dir() {
        return Err(Failure::configuration(format_args!(
            "{} is a directory: expected a file",
            path.display()
        )));
    }
    let source = path.canonicalize().map_err(FileError::of("read", path))?;
    if source.to_str().is_none() {
        let reason = "is not UTF-8, and the site directory could not say where its bytes are".into();
        return Err(PackError::Name { path: source, reason }.into());
    }
    Ok((source, blob(path, metadata.len())?))
}

impl Planned {
    fn look(described: &ArtifactDescription) -> Result<Self, Failure> {
        let path = &described.path;
        let metadata = std::fs::metadata(path).map_err(FileError::of("read", path))?;
        let said_mode = described.mode()?;
        let kind = described.kind(metadata.is_dir())?;
        let (seen, mode, data, list) = if kind == ArtifactKind::Tree {
            if said_mode.is_some() {
                let message = format_args!("{} is a tree: its files keep their own modes", path.display());
                return Err(Failure::configuration(message));
            }
            let found = pack::walk(path)?;
            let list = pack::plan_tree(path, &found)?;
            let (data, names) = (blob(path, list.size)?, blob(path, list.encode().len() as u64)?);
            (Seen::Tree { found, list }, None, data, Some(names))
        } else {
            let mode = said_mode.or_else(|| default_mode(kind, metadata.permissions().mode() & 0o777));
            let (source, data) = look_file(path)?;
            (Seen::File { source }, mode, data, None)
        };
        let Options { config, binary, mut script, crit } = described.options(kind)?;
        let undo = described.undo.as_deref().map(look_file).transpose()?;
        if let (Some(script), Some((_, data))) = (&mut script, &undo) {
            script.undo = Some(*data);
        }
        let mut artifact = Artifact {
            name: described.name()?,
            kind,
            destination: described.destination()?,
            mode,
            when: described.when.clone().into(),
            installed: Installed { hash: data.content, size: data.size },
            representations: Vec::new(),
            config,
            binary,
            script,
            crit,
        };
        set_hashes(&mut artifact, data, list);
        Ok(Self { path: path.clone(), artifact, seen, undo: undo.map(|(source, _)| source) })
    }
}

/// A configuration takes those of the one in its place; a program can be run; a script has none.
fn default_mode(kind: ArtifactKind, own: u32) -> Option<u32> {
    match kind {
        ArtifactKind::Config | ArtifactKind::Script => None,
        ArtifactKind::Binary => Some(own | 0o111),
        ArtifactKind::File | ArtifactKind::Tree => Some(own),
    }
}

impl Contents {
    fn add(&mut self, planned: Planned, blobs: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let Planned { path, mut artifact, seen, undo } = planned;
        match seen {
            Seen::File { source } => {
                let data = self.add_file(source, progress)?;
                set_hashes(&mut artifact, data, None);
            }
            Seen::Tree { found, list } => {
                let packed = pack::pack_tree(&path, &found, list, blobs, progress)?;
                set_hashes(
                    &mut artifact,
                    hashed_blob(&path, packed.data.0)?,
                    Some(hashed_blob(&path, packed.list.0)?),
                );
                self.sources.insert(packed.data.0.content, packed.data.1);
                self.sources.insert(packed.list.0.content, packed.list.1);
            }
        }
        if let (Some(script), Some(undo)) = (&mut artifact.script, undo) {
            script.undo = Some(self.add_file(undo, progress)?);
        }
        self.artifacts.push(artifact);
        Ok(())
    }

    fn add_file(&mut self, source: PathBuf, progress: &mut dyn FnMut(u64)) -> Result<BlobRef, Failure> {
        let hashed = pack::hash_file(&source, progress)?;
        let data = hashed_blob(&source, hashed)?;
        self.sources.insert(hashed.content, source);
        Ok(data)
    }
}

fn set_hashes(artifact: &mut Artifact, data: BlobRef, list: Option<BlobRef>) {
    // Of a tree it is the list that says what is there: it names the content too.
    let hash = list.map_or(data.content, |list| list.content);
    artifact.installed = Installed { hash, size: data.size };
    artifact.representations = vec![Representation::plain(data, list)];
}

fn hashed_blob(path: &Path, hashed: pack::Hashed) -> Result<BlobRef, PackError> {
    Ok(BlobRef { content: hashed.content, ..blob(path, hashed.size)? })
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
