//! The Release: one signed, numbered set of artifacts for a kind of device. It names no site.

use super::{Document, DocumentError, TEXT_MAX, check_critical, check_name, check_names, check_text};
use crate::artifact::safe_destination;
use crate::geometry::{Geometry, GeometryError};
use crate::id::ContentHash;
use crate::wire::DocumentKind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most artifacts of one release.
pub const ARTIFACTS_MAX: usize = 64;
/// The most representations of one artifact.
pub const REPRESENTATIONS_MAX: usize = 8;

/// How urgent a release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// In its time.
    #[default]
    Normal,
    /// Soon.
    Important,
    /// It closes a hole.
    Security,
}

/// What an install does to a device's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Impact {
    /// It restarts.
    pub reboot: bool,
    /// It is away for so long.
    pub downtime_seconds: u64,
}

/// For which devices a release was made; an empty list: all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Compatibility {
    /// Hardware revisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardware: Vec<String>,
    /// Processor architectures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architecture: Vec<String>,
    /// The oldest agent that can install it: a version of semantic versioning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_agent: Option<String>,
}

impl Compatibility {
    /// D9, D11.
    fn validate(&self) -> Result<(), DocumentError> {
        check_names("compatibility.hardware", &self.hardware)?;
        check_names("compatibility.architecture", &self.architecture)?;
        let Some(version) = &self.min_agent else { return Ok(()) };
        check_name("compatibility.min_agent", version)?;
        let wrong = |e| {
            let problem = format!("{version:?} is no version such as 0.1.0: {e}");
            DocumentError::field("compatibility.min_agent", problem)
        };
        semver::Version::parse(version).map(drop).map_err(wrong)
    }
}

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

    fn validate(&self) -> Result<(), DocumentError> {
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
        Ok(())
    }
}

/// One signed, numbered set of artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Who made it.
    pub issuer: String,
    /// For what kind of device.
    pub product: String,
    /// Such as stable or beta.
    pub channel: String,
    /// For people.
    pub version: String,
    /// For machines: strictly rises within issuer, product and channel.
    pub number: u64,
    /// Rises when older releases must never come back.
    #[serde(default)]
    pub security_counter: u64,
    /// How urgent.
    #[serde(default)]
    pub severity: Severity,
    /// Words for people, by language.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
    /// What an install does to a device's work.
    #[serde(default)]
    pub impact: Impact,
    /// For which devices.
    #[serde(default)]
    pub compatibility: Compatibility,
    /// The oldest wire protocol that can carry it.
    #[serde(default)]
    pub min_protocol: u16,
    /// In the order of install.
    pub artifacts: Vec<Artifact>,
    /// Fields that a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl Release {
    /// The distinct blobs of all artifacts, a tree's list before its data.
    pub fn blobs(&self) -> Vec<BlobRef> {
        let mut seen = BTreeSet::new();
        let plain = self.artifacts.iter().filter_map(Artifact::plain);
        plain
            .flat_map(|r| r.list.into_iter().chain([r.data]))
            .filter(|blob| seen.insert(blob.content))
            .collect()
    }

    /// Whether one of the two may replace the other.
    pub fn is_of_channel(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.product == other.product && self.channel == other.channel
    }

    /// Bytes of all blobs.
    pub fn bytes_total(&self) -> u64 {
        self.blobs().iter().map(|blob| blob.size).sum()
    }

    /// All that is checked of a release but its artifacts: what can be said before their bytes are hashed.
    pub fn validate_description(&self) -> Result<(), DocumentError> {
        check_critical::<Self>(&self.crit)?;
        check_name("issuer", &self.issuer)?;
        check_name("product", &self.product)?;
        check_name("channel", &self.channel)?;
        check_name("version", &self.version)?;
        check_names("notes", self.notes.keys())?;
        self.notes.values().try_for_each(|note| check_text("notes", note, 8 * TEXT_MAX))?;
        self.compatibility.validate()
    }
}

impl Document for Release {
    const KIND: DocumentKind = DocumentKind::Release;
    const PAYLOAD_TYPE: &'static str = "application/vnd.samara.release.v1+json";

    fn validate(&self) -> Result<(), DocumentError> {
        self.validate_description()?;
        if self.artifacts.is_empty() || self.artifacts.len() > ARTIFACTS_MAX {
            return Err(DocumentError::field("artifacts", format!("there must be 1 to {ARTIFACTS_MAX}")));
        }
        self.artifacts.iter().try_for_each(Artifact::validate)?;
        // A destination belongs to one artifact, wholly.
        for (i, a) in self.artifacts.iter().enumerate() {
            for b in &self.artifacts[i + 1..] {
                let everywhere = When::default();
                let apart = a.when != b.when && a.when != everywhere && b.when != everywhere;
                if !apart && overlap(&a.destination, &b.destination) {
                    let problem = format!("{:?} and {:?} overlap", a.destination, b.destination);
                    return Err(DocumentError::field("artifacts.destination", problem));
                }
            }
        }
        Ok(())
    }
}

/// Whether two destinations are one place, or one lies in the other.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let is_in =
        |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    a == b || is_in(a, b) || is_in(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(kind: ArtifactKind, installed: u8, list: Option<u8>) -> Artifact {
        let blob = |n: u8| BlobRef { content: ContentHash([n; 32]), size: 10, piece_size: 128 * 1024 };
        let plain = Representation {
            encoding: "plain".into(),
            encryption: None,
            base: None,
            data: blob(1),
            list: list.map(blob),
            crit: vec![],
        };
        Artifact {
            name: "app".into(),
            kind,
            destination: "app".into(),
            mode: None,
            when: When::default(),
            installed: Installed { hash: ContentHash([installed; 32]), size: 10 },
            representations: vec![plain],
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

    // D9
    #[test]
    fn the_oldest_agent_is_a_version_or_nothing() {
        let of = |version: &str| {
            let min_agent = Some(version.to_owned());
            Compatibility { min_agent, ..Compatibility::default() }.validate().map_err(|e| e.to_string())
        };
        assert_eq!(Compatibility::default().validate(), Ok(()));
        for version in ["0.1.0", "10.20.30", "1.0.0-rc.1", "1.0.0+build.7"] {
            assert_eq!(of(version), Ok(()));
        }
        for version in
            ["", "1", "0.9", "v0.9.0", "01.0.0", "latest", "1.0.0 ", "1.0.0\n", "18446744073709551616.0.0"]
        {
            assert!(of(version).unwrap_err().starts_with("compatibility.min_agent: "), "{version:?}");
        }
    }
}
