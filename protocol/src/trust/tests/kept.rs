//! What a device accepted once and kept: it holds after a restart, unless the trust root says otherwise.

use super::*;

/// A device that has accepted all of `documents` and starts again from its disk.
fn restarted(trust: &Trust, chain: &[Vec<u8>]) -> Trust {
    let disk = serde_json::to_vec(trust.marks()).unwrap();
    Trust::restore(&signed(&root(), &[ROOT]), chain, serde_json::from_slice(&disk).unwrap()).unwrap()
}

// T4, T12: the older release may be the one that a Rollout names.
#[test]
fn an_older_release_that_was_accepted_holds_after_a_restart_and_a_new_one_is_refused() {
    let mut before = trust();
    let (one, other) = (release(1), Release { version: "1.1".into(), ..release(1) });
    accept(&mut before, &one, &[RELEASE]);
    accept(&mut before, &release(2), &[RELEASE]);
    let after = restarted(&before, &[]);
    assert!(after.check_kept(&signed(&one, &[RELEASE])).is_ok());
    assert_eq!(refusal(&after, &other, &[RELEASE]), Refusal::OlderRelease { have: 2, offered: 1 });
}

// T4
#[test]
fn an_older_release_is_accepted_if_a_rollout_in_force_names_it() {
    let mut trust = trust();
    accept(&mut trust, &release(2), &[RELEASE]);
    let one = envelope(&release(1), &[]).id();
    assert_eq!(refusal(&trust, &release(1), &[RELEASE]), Refusal::OlderRelease { have: 2, offered: 1 });
    for named in [
        Rollout { release: one, ..rollout(1, RolloutState::Paused) },
        Rollout { rollback_to: Some(one), ..rollout(2, RolloutState::Active) },
    ] {
        accept(&mut trust, &named, &[ROLLOUT]);
        assert!(trust.check(&signed(&release(1), &[RELEASE])).is_ok());
    }
    accept(&mut trust, &rollout(3, RolloutState::Active), &[ROLLOUT]);
    assert_eq!(refusal(&trust, &release(1), &[RELEASE]), Refusal::OlderRelease { have: 2, offered: 1 });
}

// T2, T12: a device that was away needs every version.
#[test]
fn every_trust_root_of_the_chain_holds_for_ever_and_only_in_its_place() {
    let mut before = trust();
    let two = next(&before, |root| root.roles.root = role(&[ROOT2], 1));
    let two = accept(&mut before, &two, &[ROOT, ROOT2]).envelope().to_vec();
    let three = next(&before, |root| root.revoked_keys = vec![id(ROOT)]);
    let three = accept(&mut before, &three, &[ROOT2]).envelope().to_vec();
    let mut after = restarted(&before, &[two.clone(), three.clone()]);
    for kept in [&signed(&root(), &[ROOT]), &two, &three] {
        for document in [after.check_kept(kept).unwrap(), after.check(kept).unwrap()] {
            after.accept(&document);
        }
    }
    assert_eq!(after.root().version, 3);
    let mut stripped = Envelope::parse(&two).unwrap();
    stripped.signatures.truncate(1);
    assert_eq!(after.check(&stripped.to_bytes()), Err(Refusal::WrongRole { role: "root (new)" }));
}

// T3, T5, T7, T12
#[test]
fn what_was_kept_is_verified_anew_by_keys_epoch_and_enrollment() {
    let mut trust = trust();
    accept(&mut trust, &enrollment(1), &[ENROLL]);
    let kept = [
        signed(&release(1), &[RELEASE]),
        signed(&rollout(1, RolloutState::Active), &[ROLLOUT]),
        signed(&report(1), &[DEVICE]),
    ];
    assert!(kept.iter().all(|envelope| trust.check_kept(envelope).is_ok()));
    let newer = next(&trust, |root| {
        root.epoch = 2;
        root.revoked_keys = vec![id(RELEASE), id(ENROLL)];
    });
    accept(&mut trust, &newer, &[ROOT]);
    let refused = kept.map(|envelope| trust.check_kept(&envelope).unwrap_err());
    let expected = [
        Refusal::RevokedKey { key: id(RELEASE) },
        Refusal::OlderEpoch { have: 2, offered: 1 },
        Refusal::NotEnrolled { device: device() },
    ];
    assert_eq!(refused, expected);
}
