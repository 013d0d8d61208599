//! Each attack by its name, with a test that refuses it.

use super::*;

// T9
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

// T11
#[test]
fn arbitrary_software_that_is_unsigned_is_refused() {
    let refused = refusal(&trust(), &release(1), &[]);
    assert_eq!(refused, Refusal::Unsigned);
    assert_eq!(refused.verdict(), Verdict::Violation);
}

// T4, T5
#[test]
fn a_wrong_role_is_refused() {
    assert_eq!(refusal(&trust(), &release(1), &[ROLLOUT]), Refusal::WrongRole { role: "release" });
    assert_eq!(
        refusal(&trust(), &rollout(1, RolloutState::Active), &[RELEASE, NOBODY]),
        Refusal::WrongRole { role: "rollout" }
    );
}

// T3
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

// D3, T3
#[test]
fn a_tampered_payload_or_type_is_refused_and_blamed_on_the_sender() {
    let mut payload = envelope(&release(1), &[RELEASE]);
    let json = String::from_utf8(payload.payload.clone()).unwrap();
    payload.payload = json.replace("bin/app", "bin/apq").into_bytes();
    let bad = Refusal::BadSignature { key: id(RELEASE) };
    assert_eq!(bad.verdict(), Verdict::Violation);
    assert_eq!(trust().check(&payload.to_bytes()), Err(bad));
    let rollout = rollout(1, RolloutState::Active);
    let mut other = envelope(&rollout, &[ROLLOUT]);
    other.payload_type = Withdrawal::PAYLOAD_TYPE.into();
    assert!(trust().check(&other.to_bytes()).is_err());
    other.payload_type = "application/vnd.samara.rollout.v1+json ".into();
    assert!(trust().check(&other.to_bytes()).is_err());
}

// T3
#[test]
fn a_wrong_signature_beside_the_right_ones_refuses_the_whole() {
    let mut padded = envelope(&release(1), &[RELEASE]);
    padded.add_signature(EnvelopeSignature { key: id(NOBODY), signature: [0; 64] });
    assert_eq!(trust().check(&padded.to_bytes()), Err(Refusal::BadSignature { key: id(NOBODY) }));
}

// D1
#[test]
fn endless_data_is_refused_before_it_is_parsed() {
    let refused = trust().check(&vec![b'{'; ENVELOPE_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(refused, Refusal::Document(DocumentError::TooLarge { .. })));
    assert_eq!(refused.verdict(), Verdict::Violation);
}

// T5, T7, T8
#[test]
fn a_replay_to_another_site_is_refused() {
    let other = SiteId([2; 16]);
    let refused = Refusal::OtherSite { have: SITE, offered: other };
    let rollout = Rollout { site: other, ..rollout(1, RolloutState::Active) };
    assert_eq!(refusal(&trust(), &rollout, &[ROLLOUT]), refused);
    assert_eq!(refusal(&trust(), &Enrollment { site: other, ..enrollment(1) }, &[ENROLL]), refused);
    assert_eq!(refusal(&trust(), &Report { site: other, ..report(1) }, &[DEVICE]), refused);
}

// T5, T9
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
        assert_ne!(refused.verdict(), Verdict::Violation);
    }
}

// T13
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

// T4, T18: the floor is one for all channels of a product, of its issuer.
#[test]
fn a_rollback_attack_below_the_high_water_mark_or_the_security_floor_is_refused() {
    let mut trust = trust();
    let VerifiedDocument::Release(two) = accept(&mut trust, &release(2), &[RELEASE]) else { panic!() };
    assert_eq!(refusal(&trust, &release(1), &[RELEASE]), Refusal::OlderRelease { have: 2, offered: 1 });
    let mut floors = SecurityFloors::default();
    assert_eq!(floors.check(&release(1)), Ok(()));
    floors.raise(&two);
    let below = Err(BelowSecurityFloor { have: 2, offered: 1 });
    let beta = Release { channel: "beta".into(), ..release(1) };
    assert_eq!((floors.check(&release(1)), floors.check(&beta), floors.check(&two)), (below, below, Ok(())));
    let one = accept(&mut trust, &beta, &[RELEASE]);
    let VerifiedDocument::Release(one) = one else { panic!() };
    floors.raise(&one);
    assert_eq!(floors.check(&release(1)), below, "it never falls");
    for other in
        [Release { product: "door".into(), ..release(1) }, Release { issuer: "other".into(), ..release(1) }]
    {
        assert_eq!(floors.check(&other), Ok(()));
    }
}

// T5
#[test]
fn a_fast_forward_to_an_undeclared_epoch_is_refused() {
    let ahead = Rollout { epoch: 2, ..rollout(1, RolloutState::Active) };
    assert_eq!(refusal(&trust(), &ahead, &[ROLLOUT]), Refusal::NewerEpoch { have: 1, offered: 2 });
}

// T1
#[test]
fn a_pinned_trust_root_is_version_1_and_signed_to_its_own_threshold() {
    let pin = |root: &TrustRoot, signers: &[u8]| {
        Trust::pin(&signed(root, signers)).map(|trust| trust.root().version)
    };
    assert_eq!(pin(&root(), &[ROOT]), Ok(1));
    assert_eq!(pin(&root(), &[RELEASE]), Err(Refusal::WrongRole { role: "root (new)" }));
    let mut two_keys = root();
    two_keys.roles.root = role(&[ROOT, ROOT2], 2);
    let below = Refusal::BelowThreshold { role: "root (new)", have: 1, wanted: 2 };
    assert_eq!(pin(&two_keys, &[ROOT]), Err(below));
    let second = next(&trust(), |_| {});
    assert_eq!(pin(&second, &[ROOT]), Err(Refusal::WrongVersionStep { have: 0, offered: 2 }));
}

// T2
#[test]
fn a_wrong_version_step_of_a_trust_root_is_refused() {
    let mut trust = trust();
    let skip = next(&trust, |root| root.version = 3);
    assert_eq!(refusal(&trust, &skip, &[ROOT]), Refusal::WrongVersionStep { have: 1, offered: 3 });
    let fork = next(&trust, |root| root.previous = Some(DocumentId([0; 32])));
    assert_eq!(refusal(&trust, &fork, &[ROOT]), Refusal::WrongVersionStep { have: 1, offered: 2 });
    let two = next(&trust, |_| {});
    accept(&mut trust, &two, &[ROOT]);
    let other = TrustRoot { mesh: MeshAccess::Open, ..root() };
    assert_eq!(refusal(&trust, &other, &[ROOT]), Refusal::OlderTrustRoot { have: 2, offered: 1 });
    let (one, marks) = (signed(&root(), &[ROOT]), trust.marks().clone());
    assert_eq!(
        Trust::restore(&one, &[], marks.clone()).unwrap_err(),
        Refusal::OlderTrustRoot { have: 2, offered: 1 }
    );
    assert_eq!(Trust::restore(&one, &[signed(&two, &[ROOT])], marks).unwrap().root().version, 2);
}

// T2
#[test]
fn a_rotation_needs_the_old_and_the_new_root_threshold() {
    let mut trust = trust();
    let rotated = next(&trust, |root| root.roles.root = role(&[ROOT2], 1));
    assert_eq!(refusal(&trust, &rotated, &[ROOT2]), Refusal::WrongRole { role: "root (old)" });
    assert_eq!(refusal(&trust, &rotated, &[ROOT]), Refusal::WrongRole { role: "root (new)" });
    accept(&mut trust, &rotated, &[ROOT, ROOT2]);
    assert_eq!(trust.root().version, 2);
}

// T3, T7
#[test]
fn a_revoked_key_counts_for_nothing() {
    let mut trust = trust();
    let held = accept(&mut trust, &enrollment(1), &[ENROLL]);
    assert_eq!(trust.membership(device(), held.envelope()), Membership::EnrolledDevice);
    let revoked = next(&trust, |root| root.revoked_keys = vec![id(RELEASE), id(ENROLL)]);
    accept(&mut trust, &revoked, &[ROOT]);
    assert_eq!(refusal(&trust, &release(1), &[RELEASE]), Refusal::RevokedKey { key: id(RELEASE) });
    assert_eq!(trust.membership(device(), held.envelope()), Membership::Stranger);
}

// T7, T8
#[test]
fn a_revoked_device_is_no_member_and_not_heard() {
    let mut trust = trust();
    let held = accept(&mut trust, &enrollment(1), &[ENROLL]);
    let revoked = next(&trust, |root| root.revoked_devices = vec![device()]);
    accept(&mut trust, &revoked, &[ROOT]);
    let refused = Refusal::RevokedDevice { device: device() };
    assert_eq!(refusal(&trust, &report(1), &[DEVICE]), refused);
    assert_eq!(refusal(&trust, &enrollment(2), &[ENROLL]), refused);
    assert_eq!(trust.membership(device(), held.envelope()), Membership::Revoked);
    assert!(!trust.admits(Membership::Revoked));
}

// T8
#[test]
fn a_forged_or_replayed_report_and_one_of_a_sybil_are_refused() {
    let mut trust = trust();
    assert_eq!(refusal(&trust, &report(1), &[DEVICE]), Refusal::NotEnrolled { device: device() });
    accept(&mut trust, &enrollment(1), &[ENROLL]);
    assert_eq!(refusal(&trust, &report(1), &[NOBODY]), Refusal::ForgedReport { device: device() });
    accept(&mut trust, &report(2), &[DEVICE]);
    let older = Refusal::OlderReport { have: (1, 2), offered: (1, 1) };
    assert_eq!(refusal(&trust, &report(1), &[DEVICE]), older);
}

// T4, T6
#[test]
fn a_product_that_is_not_allowed_to_that_release_key_is_refused() {
    let refused = Refusal::ProductNotAllowed { key: id(RELEASE2), product: "pump".into() };
    assert_eq!(refusal(&trust(), &release(1), &[RELEASE2]), refused);
    assert!(trust().check(&signed(&Release { product: "door".into(), ..release(1) }, &[RELEASE2])).is_ok());
    let withdraws = |product| refusal(&trust(), &withdrawal(None, product, DocumentId([4; 32])), &[RELEASE2]);
    assert_eq!(withdraws(Some("pump")), refused);
    assert_eq!(withdraws(None), Refusal::ProductNotAllowed { key: id(RELEASE2), product: String::new() });
    let door = withdrawal(None, Some("door"), DocumentId([4; 32]));
    assert!(trust().check(&signed(&door, &[RELEASE2])).is_ok());
}

// T3: whoever passes a document on can add a signature; it must not become unacceptable by that.
#[test]
fn signatures_that_do_not_count_take_nothing_from_those_that_do() {
    let mut trust = trust();
    assert!(trust.check(&signed(&release(1), &[RELEASE, RELEASE2, NOBODY])).is_ok());
    let revoked = next(&trust, |root| root.revoked_keys = vec![id(RELEASE2)]);
    accept(&mut trust, &revoked, &[ROOT]);
    assert!(trust.check(&signed(&release(1), &[RELEASE, RELEASE2])).is_ok());
}

// T2
#[test]
fn of_two_next_trust_roots_the_first_accepted_is_kept() {
    let mut trust = trust();
    let fork = next(&trust, |root| root.mesh = MeshAccess::Open);
    let two = next(&trust, |_| {});
    let have = accept(&mut trust, &two, &[ROOT]).id();
    let offered = envelope(&fork, &[]).id();
    assert_eq!(refusal(&trust, &fork, &[ROOT]), Refusal::ForkedTrustRoot { have, offered });
    assert_eq!(refusal(&trust, &fork, &[ROOT2]), Refusal::WrongRole { role: "root (old)" });
}

// T13
#[test]
fn of_two_enrollments_or_reports_with_one_sequence_the_greater_id_holds() {
    let (a, b) = (enrollment(1), Enrollment { name: "pump 2".into(), ..enrollment(1) });
    let (smaller, greater) = if envelope(&a, &[]).id() < envelope(&b, &[]).id() { (a, b) } else { (b, a) };
    let mut trust = trust();
    accept(&mut trust, &smaller, &[ENROLL]);
    accept(&mut trust, &greater, &[ENROLL]);
    assert!(matches!(refusal(&trust, &smaller, &[ENROLL]), Refusal::SameSequence { .. }));
    let (a, b) = (report(1), Report { reason: "a second".into(), ..report(1) });
    let (smaller, greater) = if envelope(&a, &[]).id() < envelope(&b, &[]).id() { (a, b) } else { (b, a) };
    accept(&mut trust, &greater, &[DEVICE]);
    assert!(matches!(refusal(&trust, &smaller, &[DEVICE]), Refusal::SameSequence { .. }));
}

// D5
#[test]
fn what_was_signed_is_passed_on_byte_for_byte_however_it_was_written() {
    let mut loose = envelope(&release(1), &[]);
    loose.payload = [b" \n".as_slice(), &loose.payload, b" "].concat();
    loose.sign(&key(RELEASE));
    let mut bytes = loose.to_bytes();
    bytes.push(b'\n');
    let document = trust().check(&bytes).unwrap();
    assert_eq!((document.envelope(), document.id()), (bytes.as_slice(), loose.id()));
}

// T6
#[test]
fn an_operator_withdraws_for_this_site_only() {
    let all = withdrawal(None, None, DocumentId([4; 32]));
    assert_eq!(refusal(&trust(), &all, &[ROLLOUT]), Refusal::WrongRole { role: "release" });
    assert!(trust().check(&signed(&all, &[RELEASE])).is_ok());
    assert!(trust().check(&signed(&Withdrawal { site: Some(SITE), ..all }, &[ROLLOUT])).is_ok());
}

// T11
#[test]
fn a_signed_value_that_only_a_newer_version_knows_is_refused_and_blames_nobody() {
    let mut newer = envelope(&rollout(1, RolloutState::Active), &[]);
    let json = String::from_utf8(newer.payload.clone()).unwrap();
    newer.payload = json.replace(r#""all""#, r#""canary""#).into_bytes();
    newer.sign(&key(ROLLOUT));
    let refused = trust().check(&newer.to_bytes()).unwrap_err();
    assert!(matches!(refused, Refusal::Document(DocumentError::Field { field: "payload", .. })));
    assert_ne!(refused.verdict(), Verdict::Violation);
}

// T10
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
