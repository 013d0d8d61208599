//! What tests of several modules sign with: a site, its keys, its trust root.

use ed25519_dalek::SigningKey;
use samara_protocol::document::{Document, Envelope, MeshAccess, Role, Roles, TrustRoot};
use samara_protocol::id::{DocumentId, KeyId, SiteId};

pub const SITE: SiteId = SiteId([1; 16]);

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

pub fn public(n: u8) -> [u8; 32] {
    key(n).verifying_key().to_bytes()
}

pub fn signed<T: Document>(document: &T, signer: u8) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(document).unwrap();
    envelope.sign(&key(signer));
    envelope.to_bytes()
}

/// Version 1 has the root key 1, release 2, rollout 3, enroll 4; later versions change nothing.
pub fn root(version: u64, previous: Option<DocumentId>) -> Vec<u8> {
    let role = |n| Role { keys: vec![KeyId(public(n))], threshold: 1 };
    let roles = Roles {
        root: role(1),
        release: role(2),
        rollout: role(3),
        enroll: role(4),
        operator: Role::default(),
    };
    let root = TrustRoot {
        site: SITE,
        version,
        previous,
        epoch: 1,
        roles,
        products: [].into(),
        revoked_keys: vec![],
        revoked_devices: vec![],
        mesh: MeshAccess::Closed,
        min_protocol: 1,
        min_schema: 1,
        crit: vec![],
    };
    signed(&root, 1)
}
