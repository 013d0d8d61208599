//! What tests of several modules sign with, and what they sign: a site, its keys, its trust root, a release.

use ed25519_dalek::SigningKey;
use samara_protocol::document::*;
use samara_protocol::id::{DocumentId, KeyId, RolloutId, SiteId};

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
    let first = TrustRoot::first(SITE, roles, MeshAccess::Closed);
    signed(&TrustRoot { version, previous, epoch: 1, min_schema: 1, ..first }, 1)
}

/// A release of one file for every device.
pub fn release(number: u64, data: BlobRef) -> Release {
    let plain = Representation::plain(data, None);
    let artifact = Artifact {
        name: "app".into(),
        kind: ArtifactKind::File,
        destination: "app".into(),
        mode: None,
        when: When::default(),
        installed: Installed { hash: data.content, size: data.size },
        representations: vec![plain],
        config: None,
        binary: None,
        script: None,
        crit: vec![],
    };
    Release {
        issuer: "acme".into(),
        product: "pump".into(),
        channel: "stable".into(),
        version: number.to_string(),
        number,
        security_counter: 0,
        severity: Severity::Normal,
        notes: [].into(),
        impact: Impact::default(),
        compatibility: Compatibility::default(),
        min_protocol: 1,
        artifacts: vec![artifact],
        hooks: vec![],
        health: None,
        crit: vec![],
    }
}

pub fn rollout(sequence: u64, release: DocumentId, state: RolloutState) -> Vec<u8> {
    let rollout = Rollout {
        site: SITE,
        rollout_id: RolloutId([3; 16]),
        epoch: 1,
        sequence,
        release,
        selector: Selector::All,
        state,
        rollback_to: None,
        retry: false,
        attempts_max: 1,
        fresh_until: None,
        crit: vec![],
    };
    signed(&rollout, 3)
}
