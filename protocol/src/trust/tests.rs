//! Each attack by its name, with a test that refuses it.

use super::*;
use crate::document::*;
use crate::id::{ContentHash, DocumentId, RolloutId};
use ed25519_dalek::SigningKey;

const SITE: SiteId = SiteId([1; 16]);
const ROOT: u8 = 1;
const ROOT2: u8 = 2;
const RELEASE: u8 = 3;
const RELEASE2: u8 = 4;
const ROLLOUT: u8 = 5;
const ENROLL: u8 = 6;
const DEVICE: u8 = 7;
const NOBODY: u8 = 8;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn id(n: u8) -> KeyId {
    KeyId(key(n).verifying_key().to_bytes())
}

fn device() -> PeerId {
    PeerId(id(DEVICE).0)
}

fn role(keys: &[u8], threshold: u32) -> Role {
    Role { keys: keys.iter().map(|n| id(*n)).collect(), threshold }
}

fn root() -> TrustRoot {
    let roles = Roles {
        root: role(&[ROOT], 1),
        release: role(&[RELEASE, RELEASE2], 1),
        rollout: role(&[ROLLOUT], 1),
        enroll: role(&[ENROLL], 1),
        operator: Role::default(),
    };
    TrustRoot {
        site: SITE,
        version: 1,
        previous: None,
        epoch: 1,
        roles,
        products: [(id(RELEASE2), vec!["door".to_owned()])].into(),
        revoked_keys: vec![],
        revoked_devices: vec![],
        mesh: MeshAccess::Closed,
        min_protocol: 1,
        min_schema: 1,
        crit: vec![],
    }
}

fn release(number: u64) -> Release {
    let content = ContentHash([9; 32]);
    let data = BlobRef { content, size: 10, piece_size: 128 * 1024 };
    let plain = Representation {
        encoding: "plain".into(),
        encryption: None,
        base: None,
        data,
        list: None,
        crit: vec![],
    };
    let artifact = Artifact {
        name: "app".into(),
        kind: ArtifactKind::File,
        destination: "bin/app".into(),
        mode: None,
        when: When::default(),
        installed: Installed { hash: content, size: 10 },
        representations: vec![plain],
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
        crit: vec![],
    }
}

fn rollout(sequence: u64, state: RolloutState) -> Rollout {
    Rollout {
        site: SITE,
        rollout_id: RolloutId([3; 16]),
        epoch: 1,
        sequence,
        release: DocumentId([4; 32]),
        selector: Selector::All,
        state,
        rollback_to: None,
        fresh_until: None,
        crit: vec![],
    }
}

fn enrollment(sequence: u64) -> Enrollment {
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

fn report(counter: u64) -> Report {
    Report { boot: 1, counter, state: "committed".into(), ..Report::empty(SITE, device()) }
}

fn envelope<T: Document>(document: &T, signers: &[u8]) -> Envelope {
    let mut envelope = Envelope::unsigned(document).unwrap();
    signers.iter().for_each(|n| envelope.sign(&key(*n)));
    envelope
}

fn signed<T: Document>(document: &T, signers: &[u8]) -> Vec<u8> {
    envelope(document, signers).to_bytes()
}

fn trust() -> Trust {
    Trust::pin(&signed(&root(), &[ROOT])).unwrap()
}

fn accept<T: Document>(trust: &mut Trust, document: &T, signers: &[u8]) -> VerifiedDocument {
    let document = trust.check(&signed(document, signers)).unwrap();
    trust.accept(&document);
    document
}

fn refusal<T: Document>(trust: &Trust, document: &T, signers: &[u8]) -> Refusal {
    trust.check(&signed(document, signers)).unwrap_err()
}

/// The next version of `from`, changed by `change`.
fn next(trust: &Trust, change: impl FnOnce(&mut TrustRoot)) -> TrustRoot {
    let mut next = TrustRoot::clone(trust.root());
    next.version += 1;
    next.previous = Some(trust.root().id());
    change(&mut next);
    next
}

#[test]
fn what_the_right_keys_signed_is_believed_and_may_come_again() {
    let mut trust = trust();
    for _ in 0..2 {
        accept(&mut trust, &release(1), &[RELEASE]);
        accept(&mut trust, &rollout(1, RolloutState::Active), &[ROLLOUT]);
        accept(&mut trust, &enrollment(1), &[ENROLL]);
        accept(&mut trust, &report(1), &[DEVICE]);
    }
}

#[test]
fn arbitrary_software_that_is_unsigned_is_refused() {
    let refused = refusal(&trust(), &release(1), &[]);
    assert_eq!(refused, Refusal::Unsigned);
    assert!(refused.is_violation());
}

#[test]
fn a_wrong_role_is_refused() {
    assert_eq!(refusal(&trust(), &release(1), &[ROLLOUT]), Refusal::WrongRole { role: "release" });
    assert_eq!(
        refusal(&trust(), &rollout(1, RolloutState::Active), &[RELEASE, NOBODY]),
        Refusal::WrongRole { role: "rollout" }
    );
}

#[test]
fn signatures_below_the_threshold_are_refused_and_one_key_never_counts_twice() {
    let mut two = root();
    two.roles.release.threshold = 2;
    two.products.clear();
    let trust = Trust::pin(&signed(&two, &[ROOT])).unwrap();
    let below = Refusal::BelowThreshold { role: "release", have: 1, wanted: 2 };
    assert_eq!(refusal(&trust, &release(1), &[RELEASE]), below);
    let mut twice = envelope(&release(1), &[RELEASE]);
    twice.signatures.push(twice.signatures[0].clone());
    assert_eq!(trust.check(&twice.to_bytes()), Err(Refusal::DuplicateKey { key: id(RELEASE) }));
    assert!(trust.check(&signed(&release(1), &[RELEASE, RELEASE2])).is_ok());
}

#[test]
fn a_tampered_payload_or_type_is_refused_and_blamed_on_the_sender() {
    let mut payload = envelope(&release(1), &[RELEASE]);
    let json = String::from_utf8(payload.payload.clone()).unwrap();
    payload.payload = json.replace("bin/app", "bin/apq").into_bytes();
    let bad = Refusal::BadSignature { key: id(RELEASE) };
    assert!(bad.is_violation());
    assert_eq!(trust().check(&payload.to_bytes()), Err(bad));
    let rollout = rollout(1, RolloutState::Active);
    let mut other = envelope(&rollout, &[ROLLOUT]);
    other.payload_type = Withdrawal::PAYLOAD_TYPE.into();
    assert!(trust().check(&other.to_bytes()).is_err());
    other.payload_type = "application/vnd.samara.rollout.v1+json ".into();
    assert!(trust().check(&other.to_bytes()).is_err());
}

#[test]
fn a_wrong_signature_beside_the_right_ones_refuses_the_whole() {
    let mut padded = envelope(&release(1), &[RELEASE]);
    padded.add_signature(EnvelopeSignature { key: id(NOBODY), signature: [0; 64] });
    assert_eq!(trust().check(&padded.to_bytes()), Err(Refusal::BadSignature { key: id(NOBODY) }));
}

#[test]
fn endless_data_is_refused_before_it_is_parsed() {
    let refused = trust().check(&vec![b'{'; ENVELOPE_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(refused, Refusal::Document(DocumentError::TooLarge { .. })));
    assert!(refused.is_violation());
}

#[test]
fn a_replay_to_another_site_is_refused() {
    let other = SiteId([2; 16]);
    let refused = Refusal::OtherSite { have: SITE, offered: other };
    let rollout = Rollout { site: other, ..rollout(1, RolloutState::Active) };
    assert_eq!(refusal(&trust(), &rollout, &[ROLLOUT]), refused);
    assert_eq!(refusal(&trust(), &Enrollment { site: other, ..enrollment(1) }, &[ENROLL]), refused);
    assert_eq!(refusal(&trust(), &Report { site: other, ..report(1) }, &[DEVICE]), refused);
}

#[test]
fn an_older_active_replayed_after_paused_is_refused_even_after_a_restart() {
    let mut before = trust();
    accept(&mut before, &rollout(2, RolloutState::Paused), &[ROLLOUT]);
    let disk = serde_json::to_vec(before.marks()).unwrap();
    let after =
        Trust::restore(&signed(&root(), &[ROOT]), &[], serde_json::from_slice(&disk).unwrap()).unwrap();
    for trust in [before, after] {
        let refused = refusal(&trust, &rollout(1, RolloutState::Active), &[ROLLOUT]);
        assert_eq!(refused, Refusal::OlderSequence { have: 2, offered: 1 });
        assert!(!refused.is_violation());
    }
}

#[test]
fn every_device_keeps_the_same_of_two_rollouts_with_one_sequence() {
    let (a, b) = (rollout(1, RolloutState::Active), rollout(1, RolloutState::Paused));
    let ids = [&a, &b].map(|d| envelope(d, &[ROLLOUT]).id());
    let (smaller, greater) = if ids[0] < ids[1] { (a, b) } else { (b, a) };
    let mut trust = trust();
    accept(&mut trust, &smaller, &[ROLLOUT]);
    accept(&mut trust, &greater, &[ROLLOUT]);
    assert!(matches!(refusal(&trust, &smaller, &[ROLLOUT]), Refusal::SameSequence { .. }));
}

#[test]
fn a_rollback_attack_below_the_high_water_mark_or_the_security_floor_is_refused() {
    let mut trust = trust();
    let VerifiedDocument::Release(two) = accept(&mut trust, &release(2), &[RELEASE]) else { panic!() };
    assert_eq!(refusal(&trust, &release(1), &[RELEASE]), Refusal::OlderRelease { have: 2, offered: 1 });
    trust.commit(&two);
    let beta = Release { channel: "beta".into(), ..release(1) };
    assert_eq!(refusal(&trust, &beta, &[RELEASE]), Refusal::BelowSecurityFloor { have: 2, offered: 1 });
}

#[test]
fn a_fast_forward_to_an_undeclared_epoch_is_refused() {
    let ahead = Rollout { epoch: 2, ..rollout(1, RolloutState::Active) };
    assert_eq!(refusal(&trust(), &ahead, &[ROLLOUT]), Refusal::NewerEpoch { have: 1, offered: 2 });
}

#[test]
fn a_wrong_version_step_of_a_trust_root_is_refused() {
    let mut trust = trust();
    let skip = next(&trust, |root| root.version = 3);
    assert_eq!(refusal(&trust, &skip, &[ROOT]), Refusal::WrongVersionStep { have: 1, offered: 3 });
    let fork = next(&trust, |root| root.previous = Some(DocumentId([0; 32])));
    assert_eq!(refusal(&trust, &fork, &[ROOT]), Refusal::WrongVersionStep { have: 1, offered: 2 });
    let two = next(&trust, |_| {});
    accept(&mut trust, &two, &[ROOT]);
    assert_eq!(refusal(&trust, &root(), &[ROOT]), Refusal::OlderTrustRoot { have: 2, offered: 1 });
    let (one, marks) = (signed(&root(), &[ROOT]), trust.marks().clone());
    assert_eq!(
        Trust::restore(&one, &[], marks.clone()).unwrap_err(),
        Refusal::OlderTrustRoot { have: 2, offered: 1 }
    );
    assert_eq!(Trust::restore(&one, &[signed(&two, &[ROOT])], marks).unwrap().root().version, 2);
}

#[test]
fn a_rotation_needs_the_old_and_the_new_root_threshold() {
    let mut trust = trust();
    let rotated = next(&trust, |root| root.roles.root = role(&[ROOT2], 1));
    assert_eq!(refusal(&trust, &rotated, &[ROOT2]), Refusal::WrongRole { role: "root (old)" });
    assert_eq!(refusal(&trust, &rotated, &[ROOT]), Refusal::WrongRole { role: "root (new)" });
    accept(&mut trust, &rotated, &[ROOT, ROOT2]);
    assert_eq!(trust.root().version, 2);
}

#[test]
fn a_revoked_key_counts_for_nothing() {
    let mut trust = trust();
    let VerifiedDocument::Enrollment(held) = accept(&mut trust, &enrollment(1), &[ENROLL]) else { panic!() };
    assert_eq!(trust.membership(device(), Some(&held)), Membership::EnrolledDevice);
    let revoked = next(&trust, |root| root.revoked_keys = vec![id(RELEASE), id(ENROLL)]);
    accept(&mut trust, &revoked, &[ROOT]);
    assert_eq!(refusal(&trust, &release(1), &[RELEASE]), Refusal::RevokedKey { key: id(RELEASE) });
    assert_eq!(trust.membership(device(), Some(&held)), Membership::Stranger);
}

#[test]
fn a_revoked_device_is_no_member_and_not_heard() {
    let mut trust = trust();
    let VerifiedDocument::Enrollment(held) = accept(&mut trust, &enrollment(1), &[ENROLL]) else { panic!() };
    let revoked = next(&trust, |root| root.revoked_devices = vec![device()]);
    accept(&mut trust, &revoked, &[ROOT]);
    let refused = Refusal::RevokedDevice { device: device() };
    assert_eq!(refusal(&trust, &report(1), &[DEVICE]), refused);
    assert_eq!(refusal(&trust, &enrollment(2), &[ENROLL]), refused);
    assert_eq!(trust.membership(device(), Some(&held)), Membership::Revoked);
    assert!(!trust.admits(Membership::Revoked));
}

#[test]
fn a_forged_or_replayed_report_and_one_of_a_sybil_are_refused() {
    let mut trust = trust();
    assert_eq!(refusal(&trust, &report(1), &[DEVICE]), Refusal::NotEnrolled { device: device() });
    accept(&mut trust, &enrollment(1), &[ENROLL]);
    assert_eq!(refusal(&trust, &report(1), &[NOBODY]), Refusal::WrongRole { role: "device" });
    accept(&mut trust, &report(2), &[DEVICE]);
    let older = Refusal::OlderReport { have: (1, 2), offered: (1, 1) };
    assert_eq!(refusal(&trust, &report(1), &[DEVICE]), older);
}

#[test]
fn a_product_that_is_not_allowed_to_that_release_key_is_refused() {
    let refused = Refusal::ProductNotAllowed { key: id(RELEASE2), product: "pump".into() };
    assert_eq!(refusal(&trust(), &release(1), &[RELEASE2]), refused);
    assert!(trust().check(&signed(&Release { product: "door".into(), ..release(1) }, &[RELEASE2])).is_ok());
}

#[test]
fn an_operator_withdraws_for_this_site_only() {
    let all = Withdrawal {
        site: None,
        releases: vec![DocumentId([4; 32])],
        reason: "it leaks".into(),
        purge: false,
        crit: vec![],
    };
    assert_eq!(refusal(&trust(), &all, &[ROLLOUT]), Refusal::WrongRole { role: "release" });
    assert!(trust().check(&signed(&all, &[RELEASE])).is_ok());
    assert!(trust().check(&signed(&Withdrawal { site: Some(SITE), ..all }, &[ROLLOUT])).is_ok());
}

#[test]
fn a_signed_value_that_only_a_newer_version_knows_is_refused_and_blames_nobody() {
    let mut newer = envelope(&rollout(1, RolloutState::Active), &[]);
    let json = String::from_utf8(newer.payload.clone()).unwrap();
    newer.payload = json.replace(r#""all""#, r#""canary""#).into_bytes();
    newer.sign(&key(ROLLOUT));
    let refused = trust().check(&newer.to_bytes()).unwrap_err();
    assert!(matches!(refused, Refusal::Document(DocumentError::Field { field: "payload", .. })));
    assert!(!refused.is_violation());
}

#[test]
fn a_retired_schema_is_refused_but_the_next_trust_root_still_comes() {
    let mut trust = trust();
    let retired = next(&trust, |root| root.min_schema = 2);
    accept(&mut trust, &retired, &[ROOT]);
    assert_eq!(refusal(&trust, &release(1), &[RELEASE]), Refusal::OlderSchema { min: 2, offered: 1 });
    let allowed = next(&trust, |root| root.min_schema = 1);
    accept(&mut trust, &allowed, &[ROOT]);
    accept(&mut trust, &release(1), &[RELEASE]);
}
