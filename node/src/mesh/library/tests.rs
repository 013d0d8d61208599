//! What is held, what waits, and what is still there after a restart.

use super::*;
use crate::fixture::{self, SITE, key, public, root, signed};
use samara_protocol::document::*;
use samara_protocol::id::{ContentHash, KeyId};
use samara_protocol::trust::Awaits;

const PEER: PeerId = PeerId([9; 32]);

fn id_of(envelope: &[u8]) -> DocumentId {
    Envelope::parse(envelope).unwrap().id()
}

fn release(number: u64) -> Vec<u8> {
    let data = BlobRef { content: ContentHash([9; 32]), size: 10, piece_size: 128 * 1024 };
    signed(&fixture::release(number, data), 2)
}

fn rollout(sequence: u64, release: DocumentId) -> Vec<u8> {
    fixture::rollout(sequence, release, RolloutState::Paused)
}

fn enrollment() -> Vec<u8> {
    let enrollment = Enrollment {
        site: SITE,
        device: PeerId(public(5)),
        sequence: 1,
        name: String::new(),
        product: String::new(),
        hardware: String::new(),
        tags: vec![],
        area: String::new(),
        criticality: Criticality::Normal,
        crit: vec![],
    };
    signed(&enrollment, 4)
}

fn report(counter: u64, signer: u8) -> Vec<u8> {
    let device = PeerId(public(5));
    signed(&Report { counter, state: "committed".into(), ..Report::empty(SITE, device) }, signer)
}

/// Opens what lies in `dir`, as a start of the daemon does.
fn open(dir: &std::path::Path, fresh: Vec<Vec<u8>>) -> (Library, Vec<VerifiedDocument>) {
    let state = Arc::new(State::open(&dir.join("state.redb")).unwrap());
    let (chain, marks) = (state.trust_chain().unwrap(), state.marks().unwrap());
    let trust = Trust::restore(&root(1, None), &chain, marks).unwrap();
    Library::open(trust, state, fresh).unwrap()
}

/// What a check brings: the documents held, in order, and the verdict.
fn check(library: &mut Library, envelope: Vec<u8>) -> (Vec<DocumentId>, Option<Verdict>) {
    let mut outcomes = library.serve(Job::Check { peer: PEER, envelope });
    assert!(matches!(outcomes.pop(), Some(Outcome::Checked { peer: PEER })));
    let (mut held, mut refused) = (Vec::new(), None);
    for outcome in outcomes {
        match outcome {
            Outcome::Held { document, from, is_new, .. } => {
                assert_eq!(from, Some(PEER));
                held.extend(is_new.then(|| document.id()));
            }
            Outcome::Refused { verdict, .. } => refused = Some(verdict),
            Outcome::Checked { .. }
            | Outcome::Read { .. }
            | Outcome::Member { .. }
            | Outcome::Dropped(_)
            | Outcome::DevicesEnrolled(_) => panic!("not asked for"),
        }
    }
    (held, refused)
}

// T4, T12
#[test]
fn all_that_was_accepted_is_still_held_after_a_restart_older_numbers_and_trust_roots_too() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (release(1), release(2));
    let second = root(2, Some(id_of(&root(1, None))));
    let third = root(3, Some(id_of(&second)));
    let all = [second, third, one.clone(), two, rollout(1, id_of(&one)), enrollment(), report(1, 5)];
    {
        let (mut library, held) = open(dir.path(), vec![]);
        assert!(held.is_empty());
        for envelope in &all {
            assert_eq!(check(&mut library, envelope.clone()), (vec![id_of(envelope)], None));
        }
    }
    let (mut library, held) = open(dir.path(), vec![]);
    let mut expected: Vec<_> = all.iter().map(|envelope| id_of(envelope)).collect();
    let mut ids: Vec<_> = held.iter().map(VerifiedDocument::id).collect();
    expected.sort();
    ids.sort();
    assert_eq!(ids, expected);
    assert!(all.iter().all(|envelope| library.read(&id_of(envelope)).as_ref() == Some(envelope)));
    assert_eq!(check(&mut library, rollout(0, id_of(&one))), (vec![], Some(Verdict::Final)));
}

// T14
#[test]
fn what_waits_is_taken_with_what_it_waited_for_and_asked_of_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (mut library, _) = open(dir.path(), vec![]);
    let (early, device) = (report(1, 5), PeerId(public(5)));
    let not_enrolled = Verdict::Awaits(Awaits::Enrollment(device));
    assert_eq!(check(&mut library, early.clone()), (vec![], Some(not_enrolled)));
    let held = vec![id_of(&enrollment()), id_of(&early)];
    assert_eq!(check(&mut library, enrollment()), (held, None));

    let second = root(2, Some(id_of(&root(1, None))));
    let third = root(3, Some(id_of(&second)));
    let too_early = Verdict::Awaits(Awaits::TrustRoot);
    assert_eq!(check(&mut library, third.clone()), (vec![], Some(too_early)));
    assert_eq!(check(&mut library, second.clone()), (vec![id_of(&second), id_of(&third)], None));

    let one = release(1);
    check(&mut library, release(2));
    assert_eq!(check(&mut library, one.clone()), (vec![], Some(Verdict::Awaits(Awaits::Rollout))));
    let named = rollout(1, id_of(&one));
    assert_eq!(check(&mut library, named.clone()), (vec![id_of(&named), id_of(&one)], None));
}

/// A next trust root that revokes the release key and the device.
fn revoking() -> Vec<u8> {
    let next = Envelope::parse(&root(2, Some(id_of(&root(1, None))))).unwrap();
    let next: TrustRoot = next.unverified_payload().unwrap();
    let revoked_keys = vec![KeyId(public(2))];
    signed(&TrustRoot { revoked_keys, revoked_devices: vec![PeerId(public(5))], ..next }, 1)
}

// T12
#[test]
fn what_a_new_trust_root_revokes_is_dropped_at_once_and_not_only_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let one = release(1);
    let (stays, mut goes) = (rollout(1, id_of(&one)), [one, enrollment(), report(1, 5)]);
    goes.sort_by_key(|envelope| id_of(envelope));
    {
        let (mut library, _) = open(dir.path(), vec![]);
        for envelope in [&release(1), &stays, &enrollment(), &report(1, 5)] {
            assert_eq!(check(&mut library, envelope.clone()), (vec![id_of(envelope)], None));
        }
        let outcomes = library.serve(Job::Check { peer: PEER, envelope: revoking() });
        let dropped: Vec<DocumentId> = outcomes
            .iter()
            .filter_map(|outcome| if let Outcome::Dropped(id) = outcome { Some(*id) } else { None })
            .collect();
        assert_eq!(dropped, goes.each_ref().map(|envelope| id_of(envelope)));
        assert!(matches!(&outcomes[..], [Outcome::Held { is_new: true, .. }, .., Outcome::Checked { .. }]));
        for gone in &goes {
            assert_eq!(library.read(&id_of(gone)), None);
            assert!(check(&mut library, gone.clone()).1.is_some(), "not taken again");
        }
        assert_eq!(library.read(&id_of(&stays)), Some(stays.clone()));
    }
    let mut held: Vec<_> = open(dir.path(), vec![]).1.iter().map(VerifiedDocument::id).collect();
    held.sort();
    let mut expected = vec![id_of(&revoking()), id_of(&stays)];
    expected.sort();
    assert_eq!(held, expected);
}

// T12
#[test]
fn an_operators_directory_offers_nothing_that_its_newest_trust_root_revokes() {
    let dir = tempfile::tempdir().unwrap();
    let (_, held) = open(dir.path(), vec![release(1), revoking()]);
    assert_eq!(held.iter().map(VerifiedDocument::id).collect::<Vec<_>>(), [id_of(&revoking())]);
}

// T8, T11
#[test]
fn a_report_that_another_key_signed_blames_who_sent_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut library, _) = open(dir.path(), vec![]);
    check(&mut library, enrollment());
    assert_eq!(check(&mut library, report(1, 6)), (vec![], Some(Verdict::Violation)));
    assert_eq!(check(&mut library, b"{".to_vec()), (vec![], Some(Verdict::Violation)));
    assert_eq!(check(&mut library, report(1, 5)), (vec![id_of(&report(1, 5))], None));
}

#[test]
fn an_operators_directory_is_taken_in_whatever_order_its_files_come() {
    let dir = tempfile::tempdir().unwrap();
    let second = root(2, Some(id_of(&root(1, None))));
    let one = release(1);
    let files = vec![report(1, 5), enrollment(), rollout(1, id_of(&one)), release(2), one, second];
    let (_, held) = open(dir.path(), files.clone());
    assert_eq!(held.len(), files.len());
}

#[test]
fn a_copy_of_what_is_held_replaces_nothing_whatever_was_added_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut library, _) = open(dir.path(), vec![]);
    let one = release(1);
    assert_eq!(check(&mut library, one.clone()), (vec![id_of(&one)], None));
    let mut padded = Envelope::parse(&one).unwrap();
    padded.sign(&key(6));
    for copy in [one.clone(), padded.to_bytes()] {
        assert_eq!(check(&mut library, copy), (vec![], None));
        assert_eq!(library.read(&id_of(&one)), Some(one.clone()));
    }
}

#[test]
fn an_enrollment_tells_how_many_devices_the_site_has_and_a_repeated_one_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (library, _) = open(dir.path(), vec![]);
    assert_eq!(library.devices_enrolled(), 0);
    let (jobs, waiting) = mpsc::channel(8);
    let (answers, mut outcomes) = mpsc::channel(8);
    for _ in 0..2 {
        jobs.try_send(Job::Check { peer: PEER, envelope: enrollment() }).ok().unwrap();
    }
    drop(jobs);
    std::thread::spawn(move || library.run(waiting, &answers)).join().unwrap();
    let told = std::iter::from_fn(|| outcomes.try_recv().ok());
    let told: Vec<usize> = told
        .filter_map(|outcome| match outcome {
            Outcome::DevicesEnrolled(count) => Some(count),
            _ => None,
        })
        .collect();
    assert_eq!(told, [1]);
    assert_eq!(open(dir.path(), vec![]).0.devices_enrolled(), 1, "after a restart as well");
}

#[test]
fn a_report_that_comes_too_soon_is_left_out_not_refused_and_is_taken_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut library, _) = open(dir.path(), vec![enrollment()]);
    let exhaust = |library: &mut Library| {
        let later = Instant::now() + std::time::Duration::from_secs(3600);
        while library.reports.take(PeerId(public(5)), later) {}
    };
    exhaust(&mut library);
    let newest = report(1, 5);
    assert_eq!(check(&mut library, newest.clone()), (vec![], None));
    library.reports = Paces::default();
    assert_eq!(check(&mut library, newest.clone()), (vec![id_of(&newest)], None));
    // What this device itself says is not held up.
    exhaust(&mut library);
    assert_eq!(library.settle(None, report(2, 5)).0.len(), 1);
}
