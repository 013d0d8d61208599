//! The Release: one signed, numbered set of artifacts for a kind of device. It names no site.

use super::lifecycle::validate_hooks;
use super::{
    Artifact, BlobRef, Document, DocumentError, Health, Hook, TEXT_MAX, When, check_critical, check_name,
    check_names, check_text,
};
use crate::wire::DocumentKind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most artifacts of one release.
pub const ARTIFACTS_MAX: usize = 64;

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
    /// What must be installed: a range of semantic versions, such as `>=1.2, <3`, by product.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, String>,
    /// Bytes that must be free where artifacts are installed, beside what the release itself needs.
    #[serde(default)]
    pub free_bytes: u64,
}

impl Compatibility {
    /// D9, D11.
    fn validate(&self) -> Result<(), DocumentError> {
        check_names("compatibility.hardware", &self.hardware)?;
        check_names("compatibility.architecture", &self.architecture)?;
        check_names(
            "compatibility.components",
            self.components.iter().flat_map(|(name, range)| [name, range]),
        )?;
        for (product, range) in &self.components {
            semver::VersionReq::parse(range).map_err(|e| {
                let problem = format!("{range:?} of {product} is no range such as \">=1.2, <3\": {e}");
                DocumentError::field("compatibility.components", problem)
            })?;
        }
        let Some(version) = &self.min_agent else { return Ok(()) };
        check_name("compatibility.min_agent", version)?;
        let wrong = |e| {
            let problem = format!("{version:?} is no version such as 0.1.0: {e}");
            DocumentError::field("compatibility.min_agent", problem)
        };
        semver::Version::parse(version).map(drop).map_err(wrong)
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
    /// Programs that run on the way, those of one step in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// When it counts as working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Fields that a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl Release {
    /// The distinct blobs of all hooks and artifacts, a tree's list before its data.
    pub fn blobs(&self) -> Vec<BlobRef> {
        let mut seen = BTreeSet::new();
        let hooks = self.hooks.iter().map(|hook| hook.data);
        let all = hooks.chain(self.artifacts.iter().flat_map(Artifact::blobs));
        all.filter(|blob| seen.insert(blob.content)).collect()
    }

    /// Whether one of the two may replace the other.
    pub fn is_of_channel(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.product == other.product && self.channel == other.channel
    }

    /// Whether it follows another release in the same channel.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.is_of_channel(other) && self.number > other.number
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
        self.compatibility.validate()?;
        self.health.iter().try_for_each(Health::validate)
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
        validate_hooks(&self.hooks)?;
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
