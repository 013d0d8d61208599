//! An artifact of a Release: what is installed where, and how its bytes travel.

use super::lifecycle::check_script;
use super::{
    BinaryOptions, ConfigOptions, DocumentError, ScriptOptions, check_critical, check_name, check_names,
};
use crate::artifact::safe_destination;
use crate::geometry::{Geometry, GeometryError};
use crate::id::ContentHash;
use serde::{Deserialize, Serialize};

/// The most representations of one artifact.
pub const REPRESENTATIONS_MAX: usize = 8;

/// For which of those devices one artifact is; an empty list: all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct When {
    /// Hardware revisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardware: Vec<String>,
    /// Processor architectures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architecture: Vec<String>,
}

/// How an artifact is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// One file.
    File,
    /// A directory tree, switched as one.
    Tree,
    /// A configuration: validated, merged or replaced, the one before kept.
    Config,
    /// A program: each version beside the others, switched by a link, what runs it is restarted.
    Binary,
    /// A program that runs once for each release.
    Script,
}

impl ArtifactKind {
    /// The word, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Tree => "tree",
            Self::Config => "config",
            Self::Binary => "binary",
            Self::Script => "script",
        }
    }
}

/// What is there after the install: of a file its bytes, of a tree its file list (which names the content).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// BLAKE3.
    pub hash: ContentHash,
    /// Bytes of all files.
    pub size: u64,
}

/// A content that is swarmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// BLAKE3.
    pub content: ContentHash,
    /// Bytes.
    pub size: u64,
    /// Bytes of a piece.
    pub piece_size: u32,
}

impl BlobRef {
    /// Its shape.
    pub fn geometry(&self) -> Result<Geometry, GeometryError> {
        Geometry::new(self.size, self.piece_size)
    }
}

/// One way in which an artifact travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Representation {
    /// `plain` in this version.
    pub encoding: String,
    /// None in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// What a delta starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ContentHash>,
    /// The bytes: of a tree, all its files one after the other.
    pub data: BlobRef,
    /// A tree's file list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<BlobRef>,
    /// Fields that a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl Representation {
    /// The bytes as they are, and a tree's file list.
    pub fn plain(data: BlobRef, list: Option<BlobRef>) -> Self {
        Self { encoding: "plain".into(), encryption: None, base: None, data, list, crit: Vec::new() }
    }
}

/// One file or tree of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// For people.
    pub name: String,
    /// How it is installed.
    pub kind: ArtifactKind,
    /// Where, under the device's install root; belongs wholly to the release.
    pub destination: String,
    /// Permissions of a file; 0644 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// For which devices.
    #[serde(default)]
    pub when: When,
    /// What is there afterwards.
    pub installed: Installed,
    /// How it travels.
    pub representations: Vec<Representation>,
    /// Of a configuration only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigOptions>,
    /// Of a binary only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<BinaryOptions>,
    /// Of a script only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptOptions>,
    /// Fields that a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl Artifact {
    /// The representation that this version can use.
    pub fn plain(&self) -> Option<&Representation> {
        self.representations
            .iter()
            .find(|r| r.encoding == "plain" && r.encryption.is_none() && r.base.is_none())
    }

    pub(super) fn validate(&self) -> Result<(), DocumentError> {
        check_critical::<Self>(&self.crit)?;
        check_name("artifacts.name", &self.name)?;
        check_names("artifacts.when", self.when.hardware.iter().chain(&self.when.architecture))?;
        safe_destination(&self.destination).map_err(|fault| {
            DocumentError::field("artifacts.destination", format!("{:?} {fault}", self.destination))
        })?;
        if self.mode.is_some_and(|mode| mode > 0o777) {
            return Err(DocumentError::field("artifacts.mode", "beyond 0777"));
        }
        if self.representations.len() > REPRESENTATIONS_MAX {
            return Err(DocumentError::field("artifacts.representations", "more than 8"));
        }
        let Some(plain) = self.plain() else {
            return Err(DocumentError::field("artifacts.representations", "none is plain"));
        };
        check_critical::<Representation>(&plain.crit)?;
        if plain.list.is_some() != (self.kind == ArtifactKind::Tree) {
            return Err(DocumentError::field(
                "artifacts.representations.list",
                "a tree has one, a file has none",
            ));
        }
        if plain.data.size != self.installed.size {
            return Err(DocumentError::field("artifacts.installed.size", "differs from the plain bytes"));
        }
        // Of a tree it is the list that says what is there: it names the content, too.
        if self.installed.hash != plain.list.map_or(plain.data.content, |list| list.content) {
            return Err(DocumentError::field(
                "artifacts.installed.hash",
                "is not that of the plain bytes, or of a tree's file list",
            ));
        }
        for blob in plain.list.iter().chain([&plain.data]) {
            blob.geometry().map_err(|e| DocumentError::field("artifacts.representations", e.to_string()))?;
        }
        self.validate_options(plain)
    }

    /// D13: options are those of the artifact's own kind.
    fn validate_options(&self, plain: &Representation) -> Result<(), DocumentError> {
        let given = [
            (self.config.is_some(), ArtifactKind::Config, "artifacts.config"),
            (self.binary.is_some(), ArtifactKind::Binary, "artifacts.binary"),
            (self.script.is_some(), ArtifactKind::Script, "artifacts.script"),
        ];
        if let Some((_, kind, field)) = given.into_iter().find(|(is, kind, _)| *is && *kind != self.kind) {
            let problem = format!("is for kind {}, this is a {}", kind.as_str(), self.kind.as_str());
            return Err(DocumentError::field(field, problem));
        }
        if self.kind == ArtifactKind::Script {
            check_script("artifacts.representations", &plain.data)?;
        }
        self.config.iter().try_for_each(ConfigOptions::validate)?;
        self.binary.iter().try_for_each(BinaryOptions::validate)?;
        self.script.iter().try_for_each(ScriptOptions::validate)
    }

    /// What must be fetched to install it, a tree's list before its data.
    pub fn blobs(&self) -> impl Iterator<Item = BlobRef> {
        let plain = self.plain().into_iter().flat_map(|plain| plain.list.into_iter().chain([plain.data]));
        plain.chain(self.undo())
    }

    /// What takes back what a script did, if it has such.
    pub fn undo(&self) -> Option<BlobRef> {
        self.script.as_ref().and_then(|script| script.undo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(kind: ArtifactKind, installed: u8, list: Option<u8>) -> Artifact {
        let blob = |n: u8| BlobRef { content: ContentHash([n; 32]), size: 10, piece_size: 128 * 1024 };
        let plain = Representation::plain(blob(1), list.map(blob));
        Artifact {
            name: "app".into(),
            kind,
            destination: "app".into(),
            mode: None,
            when: When::default(),
            installed: Installed { hash: ContentHash([installed; 32]), size: 10 },
            representations: vec![plain],
            config: None,
            binary: None,
            script: None,
            crit: vec![],
        }
    }

    fn field(artifact: &Artifact) -> String {
        artifact.validate().unwrap_err().to_string()
    }

    // D7
    #[test]
    fn what_is_installed_of_a_file_are_its_bytes_and_of_a_tree_its_file_list() {
        assert!(artifact(ArtifactKind::File, 1, None).validate().is_ok());
        assert!(artifact(ArtifactKind::Tree, 2, Some(2)).validate().is_ok());
        for wrong in [artifact(ArtifactKind::File, 2, None), artifact(ArtifactKind::Tree, 1, Some(2))] {
            assert!(field(&wrong).contains("artifacts.installed.hash"), "{}", field(&wrong));
        }
        let mut wrong = artifact(ArtifactKind::Tree, 2, Some(2));
        wrong.installed.size = 11;
        assert!(field(&wrong).contains("artifacts.installed.size"), "{}", field(&wrong));
    }

    // D13
    #[test]
    fn options_stand_only_beside_the_kind_that_they_are_for() {
        let with = |kind| Artifact {
            config: (kind == ArtifactKind::Config).then(ConfigOptions::default),
            binary: (kind == ArtifactKind::Binary).then(BinaryOptions::default),
            script: (kind == ArtifactKind::Script).then(ScriptOptions::default),
            ..artifact(ArtifactKind::File, 1, None)
        };
        for kind in [ArtifactKind::Config, ArtifactKind::Binary, ArtifactKind::Script] {
            assert_eq!(Artifact { kind, ..with(kind) }.validate(), Ok(()));
            assert!(field(&with(kind)).contains(&format!("artifacts.{}", kind.as_str())));
        }
    }
}
