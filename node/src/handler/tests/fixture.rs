//! Artifacts to install, a source that can fail, and pictures of what is on disk.

use super::super::{InstallError, Site, Source, activate, commit, fuse, stage};
use crate::mesh::store::StoreError;
use samara_protocol::artifact::{Entry, EntryKind, FileList};
use samara_protocol::document::{Artifact, ArtifactKind, BlobRef, Installed, Representation, When};
use samara_protocol::id::{ContentHash, DocumentId};
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub const DEST: &str = "opt/app";

pub fn hash(bytes: &[u8]) -> ContentHash {
    ContentHash(*blake3::hash(bytes).as_bytes())
}

pub fn blob(bytes: &[u8]) -> BlobRef {
    BlobRef { content: hash(bytes), size: bytes.len() as u64, piece_size: 128 * 1024 }
}

/// What a source does instead of copying a content, after half of the bytes.
#[derive(Clone, Copy)]
pub enum Fault {
    Damaged,
    NoSpace,
    FlippedBit,
    Short,
    Long,
}

/// Contents in memory.
#[derive(Default)]
pub struct Memory {
    pub contents: BTreeMap<ContentHash, Vec<u8>>,
    pub fault: RefCell<Option<(ContentHash, Fault)>>,
}

impl Source for Memory {
    fn copy(
        &self,
        content: ContentHash,
        offset: u64,
        len: u64,
        out: &mut dyn Write,
    ) -> Result<(), StoreError> {
        let (offset, len) = (offset as usize, len as usize);
        let whole = self.contents.get(&content).ok_or(StoreError::Damaged { group: 0 })?;
        let mut bytes = whole[offset..offset + len].to_vec();
        let put = |out: &mut dyn Write, bytes: &[u8]| {
            let failed = |e: std::io::Error| StoreError::Io { path: "out".into(), message: e.to_string() };
            out.write_all(bytes).map_err(failed)
        };
        let fault = self.fault.borrow().filter(|(of, _)| *of == content).map(|(_, fault)| fault);
        match fault {
            None => {}
            Some(Fault::FlippedBit) => bytes[len / 2] ^= 1,
            Some(Fault::Long) => bytes.push(0),
            Some(fault) => {
                put(out, &bytes[..len / 2])?;
                return match fault {
                    Fault::Damaged => Err(StoreError::Damaged { group: 0 }),
                    Fault::NoSpace => Err(StoreError::NoSpace { needed: len as u64, available: 0 }),
                    _ => Ok(()),
                };
            }
        }
        put(out, &bytes)
    }
}

/// One version of an artifact, and where its bytes come from.
pub struct Version {
    pub artifact: Artifact,
    pub source: Memory,
    pub data: ContentHash,
    picture: OnceCell<String>,
}

impl Version {
    fn new(kind: ArtifactKind, mode: Option<u32>, data: &[u8], list: Option<&[u8]>) -> Self {
        let plain = Representation::plain(blob(data), list.map(blob));
        let artifact = Artifact {
            name: "app".into(),
            kind,
            destination: DEST.into(),
            mode,
            when: When::default(),
            installed: Installed { hash: hash(list.unwrap_or(data)), size: data.len() as u64 },
            representations: vec![plain],
            config: None,
            binary: None,
            script: None,
            crit: Vec::new(),
        };
        let contents = list.into_iter().chain([data]).map(|bytes| (hash(bytes), bytes.to_vec())).collect();
        let source = Memory { contents, fault: RefCell::default() };
        Self { artifact, source, data: hash(data), picture: OnceCell::new() }
    }

    pub fn file(text: &str) -> Self {
        Self::new(ArtifactKind::File, None, text.as_bytes(), None)
    }

    pub fn file_with_mode(text: &str, mode: u32) -> Self {
        Self::new(ArtifactKind::File, Some(mode), text.as_bytes(), None)
    }

    /// A tree that differs in its bytes only.
    pub fn tree(text: &str) -> Self {
        let bin = format!("#!/bin/sh\necho {text}\n");
        Self::tree_of(&[
            ("bin/run", 0o755, Some(&bin), ""),
            ("etc", 0o750, None, ""),
            ("etc/deep/er/conf", 0o640, Some(text), ""),
            ("etc/empty", 0o600, Some(""), ""),
            ("run", 0o777, None, "bin/run"),
            ("sealed", 0o555, None, ""),
        ])
    }

    /// Path, mode, bytes of a file, target of a link; neither: a directory.
    pub fn tree_of(entries: &[(&str, u16, Option<&str>, &str)]) -> Self {
        let data: String = entries.iter().filter_map(|(_, _, text, _)| *text).collect();
        let entries = entries.iter().map(|(path, mode, text, to)| {
            let kind = match text {
                Some(text) => EntryKind::File { size: text.len() as u64 },
                None if to.is_empty() => EntryKind::Directory,
                None => EntryKind::Symlink { to: (*to).into() },
            };
            Entry { path: (*path).into(), kind, mode: *mode, owner: None }
        });
        let size = data.len() as u64;
        let list = FileList { content: hash(data.as_bytes()), size, entries: entries.collect() }.encode();
        Self::new(ArtifactKind::Tree, None, data.as_bytes(), Some(&list))
    }

    pub fn config(text: &str) -> Self {
        Self::new(ArtifactKind::Config, None, text.as_bytes(), None)
    }

    pub fn binary(text: &str) -> Self {
        Self::new(ArtifactKind::Binary, None, text.as_bytes(), None)
    }

    /// A script that says something.
    pub fn script(text: &str) -> Self {
        Self::new(ArtifactKind::Script, None, format!("#!/bin/sh\necho {text}\n").as_bytes(), None)
    }

    pub fn at(mut self, destination: &str) -> Self {
        self.artifact.destination = destination.into();
        self
    }

    pub fn failing(self, fault: Fault) -> Self {
        *self.source.fault.borrow_mut() = Some((self.data, fault));
        self
    }

    /// Installs it with the power on throughout.
    pub fn install(&self, root: &Path) -> Result<(), InstallError> {
        fuse::on(u32::MAX);
        self.install_on(root)
    }

    /// Installs it until the power fails.
    pub fn install_on(&self, root: &Path) -> Result<(), InstallError> {
        let site = self.site(root);
        stage(&site, &self.artifact)?;
        activate(&site, &self.artifact)?;
        commit(&site, &self.artifact)
    }

    pub fn site<'a>(&'a self, root: &'a Path) -> Site<'a> {
        let release = DocumentId(self.artifact.installed.hash.0);
        Site { root, source: &self.source, private: programs(), release, version: "2", version_before: "1" }
    }

    /// What this version looks like when it is installed alone.
    pub fn picture(&self) -> String {
        let alone = || {
            let dir = scratch();
            self.install(dir.path()).unwrap();
            picture(&dir.path().join(&self.artifact.destination)).unwrap()
        };
        self.picture.get_or_init(alone).clone()
    }
}

/// Where programs of all tests lie while they run; they are of distinct names.
fn programs() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    DIR.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// A directory in memory where there is one: thousands of installs make hundreds of thousands of fsyncs.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Everything below a directory, a line each: kind, mode, path, content.
pub fn listing(dir: &Path) -> String {
    let mut lines = Vec::new();
    collect(dir, Path::new(""), &mut lines);
    lines.sort();
    lines.join("\n")
}

fn collect(dir: &Path, below: &Path, lines: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let shown = below.join(path.file_name().unwrap());
        lines.push(line(&path, &shown));
        if path.symlink_metadata().unwrap().is_dir() {
            collect(&path, &shown, lines);
        }
    }
}

fn line(path: &Path, shown: &Path) -> String {
    let meta = path.symlink_metadata().unwrap();
    let what = if meta.is_symlink() {
        format!("-> {}", path.read_link().unwrap().display())
    } else if meta.is_file() {
        format!("{:04o} {:?}", meta.permissions().mode() & 0o7777, std::fs::read_to_string(path).unwrap())
    } else {
        format!("{:04o} {}", meta.permissions().mode() & 0o7777, if meta.is_dir() { "/" } else { "special" })
    };
    format!("{} {what}", shown.display())
}

/// What somebody sees who uses a path: a file's mode and bytes, or a tree; `None` if it names nothing.
pub fn picture(path: &Path) -> Option<String> {
    let real: PathBuf = path.canonicalize().ok()?;
    if real.is_dir() {
        Some(format!("tree\n{}", listing(&real)))
    } else {
        Some(line(&real, Path::new("file")))
    }
}

/// What is beside the destination, that of a tree's version without its hash.
pub fn names(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("opt")).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = entries.map(name).collect();
    for name in &mut names {
        if name.len() > 64 {
            name.truncate("app.samara-".len());
            name.push_str("HASH");
        }
    }
    names.sort();
    names
}
