//! A site with its keys, and what they sign; each rule in its file.

mod attacks;
mod kept;
pub(crate) mod order;
mod verdicts;

use super::*;
use crate::document::*;
use crate::id::ContentHash;
use ed25519_dalek::SigningKey;

pub(crate) const SITE: SiteId = SiteId([1; 16]);
pub(crate) const ROOT: u8 = 1;
pub(crate) const ROOT2: u8 = 2;
pub(crate) const RELEASE: u8 = 3;
pub(crate) const RELEASE2: u8 = 4;
pub(crate) const ROLLOUT: u8 = 5;
pub(crate) const ENROLL: u8 = 6;
pub(crate) const DEVICE: u8 = 7;
pub(crate) const NOBODY: u8 = 8;

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

pub(crate) fn id(n: u8) -> KeyId {
    KeyId(key(n).verifying_key().to_bytes())
}

pub(crate) fn device() -> PeerId {
    PeerId(id(DEVICE).0)
}

pub(crate) fn role(keys: &[u8], threshold: u32) -> Role {
    Role { keys: keys.iter().map(|n| id(*n)).collect(), threshold }
}

pub(crate) fn root() -> TrustRoot {
    let roles = Roles {
        root: role(&[ROOT], 1),
        release: role(&[RELEASE, RELEASE2], 1),
        rollout: role(&[ROLLOUT], 1),
        enroll: role(&[ENROLL], 1),
        operator: Role::default(),
    };
    let products = [(id(RELEASE2), vec!["door".to_owned()])].into();
    TrustRoot { epoch: 1, products, min_schema: 1, ..TrustRoot::first(SITE, roles, MeshAccess::Closed) }
}

pub(crate) fn release(number: u64) -> Release {
    let content = ContentHash([9; 32]);
    let data = BlobRef { content, size: 10, piece_size: 128 * 1024 };
    let plain = Representation::plain(data, None);
    let artifact = Artifact {
        name: "app".into(),
        kind: ArtifactKind::File,
        destination: "bin/app".into(),
        mode: None,
        when: When::default(),
        installed: Installed { hash: content, size: 10 },
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
        version: "1".into(),
        number,
        security_counter: number,
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

pub(crate) fn rollout(sequence: u64, state: RolloutState) -> Rollout {
    Rollout {
        site: SITE,
        rollout_id: RolloutId([3; 16]),
        epoch: 1,
        sequence,
        release: DocumentId([4; 32]),
        selector: Selector::All,
        state,
        rollback_to: None,
        retry: false,
        attempts_max: 1,
        fresh_until: None,
        crit: vec![],
    }
}

pub(crate) fn enrollment(sequence: u64) -> Enrollment {
    Enrollment {
        site: SITE,
        device: device(),
        sequence,
        name: "pump 1".into(),
        product: "pump".into(),
        hardware: "a".into(),
        tags: vec![],
        area: String::new(),
        criticality: Criticality::Normal,
        crit: vec![],
    }
}

pub(crate) fn report(counter: u64) -> Report {
    Report { boot: 1, counter, state: "committed".into(), ..Report::empty(SITE, device()) }
}

pub(crate) fn envelope<T: Document>(document: &T, signers: &[u8]) -> Envelope {
    let mut envelope = Envelope::unsigned(document).unwrap();
    signers.iter().for_each(|n| envelope.sign(&key(*n)));
    envelope
}

pub(crate) fn signed<T: Document>(document: &T, signers: &[u8]) -> Vec<u8> {
    envelope(document, signers).to_bytes()
}

pub(crate) fn trust() -> Trust {
    Trust::pin(&signed(&root(), &[ROOT])).unwrap()
}

/// Checked and acted upon, as a device does with what it is offered.
pub(crate) fn accept<T: Document>(trust: &mut Trust, document: &T, signers: &[u8]) -> VerifiedDocument {
    let document = trust.check(&signed(document, signers)).unwrap();
    trust.accept(&document);
    document
}

pub(crate) fn refusal<T: Document>(trust: &Trust, document: &T, signers: &[u8]) -> Refusal {
    trust.check(&signed(document, signers)).unwrap_err()
}

/// The next version of `from`, changed by `change`.
pub(crate) fn next(trust: &Trust, change: impl FnOnce(&mut TrustRoot)) -> TrustRoot {
    let mut next = TrustRoot::clone(trust.root());
    next.version += 1;
    next.previous = Some(trust.root().id());
    change(&mut next);
    next
}

pub(crate) fn withdrawal(site: Option<SiteId>, product: Option<&str>, release: DocumentId) -> Withdrawal {
    Withdrawal {
        site,
        product: product.map(str::to_owned),
        releases: vec![release],
        reason: "it leaks".into(),
        purge: false,
        crit: vec![],
    }
}
