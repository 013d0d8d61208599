//! The trust root of a site: keys, roles, thresholds, who is shut out.

use super::{Document, DocumentError, check_critical, check_key, check_names};
use crate::id::{DocumentId, KeyId, PeerId, SiteId};
use crate::wire::DocumentKind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most keys of one role.
pub const ROLE_KEYS_MAX: usize = 32;

/// Keys, roles and thresholds of a site; version 1 is pinned on its devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRoot {
    /// The site.
    pub site: SiteId,
    /// Exactly one more than the version before.
    pub version: u64,
    /// The version before; none in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<DocumentId>,
    /// Raised after a compromise: orders Rollouts before their sequence does.
    pub epoch: u64,
    /// Who may sign what.
    pub roles: Roles,
    /// The products that a release key may sign; a key that is not named may sign all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub products: BTreeMap<KeyId, Vec<String>>,
    /// Keys that count in no role any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<KeyId>,
    /// Devices that may not join.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_devices: Vec<PeerId>,
    /// Who may join.
    pub mesh: MeshAccess,
    /// The oldest wire protocol that the site allows: devices that speak none so new install nothing (T19).
    #[serde(default)]
    pub min_protocol: u16,
    /// The oldest document schema that the site allows.
    #[serde(default)]
    pub min_schema: u16,
    /// Fields that a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

/// Who may join the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeshAccess {
    /// Everybody who is not revoked; only enrolled devices count.
    Open,
    /// Enrolled devices and operators.
    Closed,
}

/// The signing duties of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Signs the next trust root.
    pub root: Role,
    /// Signs Releases and Withdrawals.
    pub release: Role,
    /// Signs Rollouts and Withdrawals.
    pub rollout: Role,
    /// Signs Enrollments.
    pub enroll: Role,
    /// Mesh identities of operators' laptops: they may join a closed mesh and sign no document.
    #[serde(default)]
    pub operator: Role,
}

/// Keys of a duty, and how many distinct ones must sign.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Role {
    /// Ed25519 public keys.
    pub keys: Vec<KeyId>,
    /// At least 1 where there are keys.
    pub threshold: u32,
}

impl Role {
    fn validate(&self, field: &'static str) -> Result<(), DocumentError> {
        if self.keys.len() > ROLE_KEYS_MAX {
            return Err(DocumentError::field(field, format!("more than {ROLE_KEYS_MAX} keys")));
        }
        if self.keys.iter().collect::<BTreeSet<_>>().len() != self.keys.len() {
            return Err(DocumentError::field(field, "names a key twice"));
        }
        self.keys.iter().try_for_each(|key| check_key(field, *key))?;
        if self.threshold == 0 || self.threshold as usize > self.keys.len() {
            let problem = format!("threshold {} with {} keys", self.threshold, self.keys.len());
            return Err(DocumentError::field(field, problem));
        }
        Ok(())
    }
}

impl TrustRoot {
    /// Version 1 for these roles, with nothing restricted or revoked.
    pub fn first(site: SiteId, roles: Roles, mesh: MeshAccess) -> Self {
        Self {
            site,
            version: 1,
            previous: None,
            epoch: 0,
            roles,
            products: BTreeMap::new(),
            revoked_keys: Vec::new(),
            revoked_devices: Vec::new(),
            mesh,
            min_protocol: 0,
            min_schema: 0,
            crit: Vec::new(),
        }
    }
}

impl Document for TrustRoot {
    const KIND: DocumentKind = DocumentKind::TrustRoot;
    const PAYLOAD_TYPE: &'static str = "application/vnd.samara.trust-root.v1+json";

    fn validate(&self) -> Result<(), DocumentError> {
        check_critical::<Self>(&self.crit)?;
        if self.version == 0 || (self.version == 1) != self.previous.is_none() {
            return Err(DocumentError::field("previous", "version 1 has none, every later version has one"));
        }
        self.roles.root.validate("roles.root")?;
        self.roles.release.validate("roles.release")?;
        self.roles.rollout.validate("roles.rollout")?;
        self.roles.enroll.validate("roles.enroll")?;
        check_names("products", self.products.values().flatten())
    }
}
