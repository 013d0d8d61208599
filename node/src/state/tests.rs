//! What survives a reopening, what never falls, and what is said of a file that is damaged.

mod cuts;

use super::*;
use crate::fixture::{SITE, public, release, root, signed};
use proptest::prelude::*;
use samara_protocol::document::{BlobRef, Criticality, Enrollment, Release, Report};
use samara_protocol::install::{Record, State as Stands};
use samara_protocol::rollout::BadMark;
use samara_protocol::trust::{SecurityFloors, Trust, Verified};
use std::collections::BTreeMap;
use std::path::Path;

fn trust() -> Trust {
    Trust::pin(&root(1, None)).unwrap()
}

fn device(n: u8) -> PeerId {
    PeerId(public(n))
}

fn enrollment(n: u8, sequence: u64) -> Vec<u8> {
    let enrollment = Enrollment {
        site: SITE,
        device: device(n),
        sequence,
        name: "pump".into(),
        product: String::new(),
        hardware: String::new(),
        tags: vec![],
        area: String::new(),
        criticality: Criticality::Normal,
        crit: vec![],
    };
    signed(&enrollment, 4)
}

/// Keeps a document as the library does.
fn take(state: &State, trust: &mut Trust, envelope: &[u8]) {
    let document = trust.check(envelope).unwrap();
    state.put_document(&document, &trust.marks_with(&document)).unwrap();
    trust.accept(&document);
}

/// A program that a test beside this one has just started may hold the lock for a moment more.
fn open(dir: &Path) -> State {
    let start = std::time::Instant::now();
    loop {
        match State::open(&file(dir)) {
            Err(StateError::InUse { .. }) if start.elapsed().as_secs() < 30 => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("state.redb")
}

#[test]
fn documents_and_marks_survive_a_reopening_and_come_back_in_the_order_in_which_they_judge() {
    let dir = tempfile::tempdir().unwrap();
    let mut trust = trust();
    let report = Report { boot: 3, counter: 4, state: "installed".into(), ..Report::empty(SITE, device(7)) };
    let envelopes = [enrollment(7, 5), enrollment(8, 6), signed(&report, 7)];
    {
        let state = open(dir.path());
        envelopes.iter().for_each(|envelope| take(&state, &mut trust, envelope));
        take(&state, &mut trust, &enrollment(8, 9));
    }
    let state = open(dir.path());
    let kept = state.documents().unwrap();
    assert_eq!(kept.len(), 3);
    assert_eq!(kept.last(), Some(&envelopes[2]));
    assert_eq!(state.enrollment_of(device(7)).unwrap(), Some(enrollment(7, 5)));
    assert_eq!(state.enrollment_of(device(8)).unwrap(), Some(enrollment(8, 9)));
    assert_eq!(state.enrollment_of(device(9)).unwrap(), None);
    assert_eq!(&state.marks().unwrap(), trust.marks());
    assert_eq!(state.trust_chain().unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn every_opening_is_a_later_boot_and_reports_only_rise() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = (0, 0);
    for boot in 1..4 {
        let state = open(dir.path());
        assert_eq!(state.boot(), boot);
        for _ in 0..3 {
            let next = state.next_report();
            assert!(next > last);
            last = next;
        }
    }
}

#[test]
fn the_ledger_of_grants_survives_and_holds_each_content_apart() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = [ContentHash([0; 32]), ContentHash([255; 32])];
    let pieces = |of: &[u32]| of.iter().copied().map(PieceIndex).collect::<Vec<_>>();
    {
        let state = open(dir.path());
        state.add_granted(one, &pieces(&[0, 7, 9])).unwrap();
        state.add_granted(two, &pieces(&[1])).unwrap();
        state.add_granted(one, &pieces(&[7, 8])).unwrap();
        state.add_granted(one, &[]).unwrap();
    }
    let state = open(dir.path());
    let ledger = |content| state.granted(content, 9).unwrap().iter().collect::<Vec<_>>();
    // Piece 9 is beyond a content of nine pieces.
    assert_eq!((ledger(one), ledger(two)), (pieces(&[0, 7, 8]), pieces(&[1])));
    assert_eq!(ledger(ContentHash([7; 32])), []);
}

#[test]
fn the_next_boot_knows_how_the_one_before_ended_and_what_neighbours_the_last_ones_had() {
    let dir = tempfile::tempdir().unwrap();
    let next = |is_told: bool| {
        let state = open(dir.path());
        let found = (state.was_told().unwrap(), state.neighbours_kept().unwrap());
        if is_told {
            state.mark_told().unwrap();
        }
        found
    };
    assert_eq!(next(true), (false, 0));
    assert_eq!(next(false), (true, 0));
    open(dir.path()).keep_neighbours(3).unwrap();
    let found: Vec<_> = (0..6).map(|_| next(false)).collect();
    assert_eq!(found[..5], [(false, 3); 5]);
    assert_eq!(found[5], (false, 0), "that is long ago");
}

#[test]
fn the_journal_names_a_release_only_after_all_its_destinations_are_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = [counted(1, 0), counted(2, 0)];
    {
        let state = open(dir.path());
        assert_eq!(state.installed("a").unwrap(), None);
        go(&state, &one, &["a", "b", "c"], Stands::Committing, Stands::Committed);
        go(&state, &two, &["b", "c", "never there"], Stands::Staged, Stands::Installing);
        assert_eq!(state.rows().unwrap()[&two.id()].release.as_ref(), Some(&*two), "it can be undone");
        go(&state, &two, &["c"], Stands::Committing, Stands::Committed);
    }
    let state = open(dir.path());
    let there = ["a", "b", "c"].map(|destination| state.installed(destination).unwrap());
    assert_eq!(there, [Some(one.id()), None, Some(two.id())]);
    let journal = [("a".to_owned(), one.id()), ("c".to_owned(), two.id())];
    assert_eq!(state.journal().unwrap(), journal.into());
}

/// A transition of a release.
fn go(state: &State, release: &Verified<Release>, destinations: &[&str], from: Stands, to: Stands) {
    let record = Record { from, state: to, attempt: 1, cuts: 0, fault: None };
    let (at, rollout) = (7, DocumentId([8; 32]));
    let line = LogLine {
        at,
        boot: state.boot(),
        release: release.id(),
        name: "pump 1".into(),
        from,
        to,
        attempt: 1,
        fault: None,
        took_ms: 0,
        bytes_written: None,
    };
    let bad = record.is_bad().then(|| BadMark {
        state: record.state.word(),
        why: "exit code 1".into(),
        exit: Some(1),
        phase: from.to_string(),
        code: "hook".into(),
        seen: BTreeMap::new(),
    });
    let transition = Transition {
        id: release.id(),
        release,
        destinations: &destinations.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>(),
        row: Row {
            record,
            at,
            order: state.next_transition(),
            activated_ms: 0,
            rollout,
            release: None,
            surplus: Vec::new(),
        },
        bad,
        lines: &[line],
    };
    state.transit(&transition).unwrap();
}

#[test]
fn a_roll_back_gives_every_destination_back_to_the_release_that_had_it_and_remembers_the_bad_one() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path());
    let [one, two] = [counted(1, 0), counted(2, 5)];
    let both = ["a", "b"];
    go(&state, &one, &["a"], Stands::Committing, Stands::Committed);
    for _ in 0..2 {
        go(&state, &two, &both, Stands::Staged, Stands::Installing);
        assert_eq!(state.journal().unwrap(), BTreeMap::new());
        assert_eq!(state.previous().unwrap(), [("a".to_owned(), one.id())].into());
        go(&state, &two, &both, Stands::RollingBack, Stands::Failed);
        assert_eq!(state.journal().unwrap(), [("a".to_owned(), one.id())].into());
        assert!(state.bad().unwrap().is_empty(), "it is tried again");
    }
    go(&state, &two, &both, Stands::Staged, Stands::Installing);
    go(&state, &two, &both, Stands::RollingBack, Stands::RolledBack);
    drop(state);
    let state = open(dir.path());
    assert_eq!(state.journal().unwrap(), [("a".to_owned(), one.id())].into());
    assert_eq!(state.bad().unwrap()[&two.id()].why, "exit code 1");
    assert!(state.marks().unwrap().security_floors.check(&one).is_ok(), "it was never kept");
    go(&state, &two, &both, Stands::Staged, Stands::Installing);
    go(&state, &two, &both, Stands::Committing, Stands::Committed);
    assert!(state.bad().unwrap().is_empty());
    assert_eq!(state.rows().unwrap()[&two.id()].release, None, "it is under way no longer");
}

/// The previous version lies beside its destination whatever went wrong since, but the journal had forgotten whose it is:
/// `samara-node rollback` said that nothing was in place before.
#[test]
fn what_was_in_place_before_is_known_again_after_a_later_release_was_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path());
    let [one, two, three] = [counted(1, 0), counted(2, 0), counted(3, 0)];
    for release in [&one, &two] {
        go(&state, release, &["a"], Stands::Staged, Stands::Installing);
        go(&state, release, &["a"], Stands::Committing, Stands::Committed);
    }
    let before = [("a".to_owned(), one.id())].into();
    assert_eq!(state.previous().unwrap(), before);
    for end in [Stands::Failed, Stands::RolledBack] {
        go(&state, &three, &["a", "b"], Stands::Staged, Stands::Installing);
        assert_eq!(state.previous().unwrap(), [("a".to_owned(), two.id())].into(), "while it is installed");
        go(&state, &three, &["a", "b"], Stands::RollingBack, end);
        assert_eq!(state.previous().unwrap(), before);
        assert_eq!(state.journal().unwrap(), [("a".to_owned(), two.id())].into());
    }
    // By hand: there is one way back.
    go(&state, &two, &["a"], Stands::RollingBack, Stands::RolledBack);
    assert_eq!(state.journal().unwrap(), before);
    assert_eq!(state.previous().unwrap(), BTreeMap::new());
}

/// The clock jumped back after the first release was installed.
#[test]
fn rows_are_in_the_order_of_their_transitions_over_a_reopening_whatever_the_clock_said() {
    let dir = tempfile::tempdir().unwrap();
    let releases = [1, 2, 3].map(|number| counted(number, 0));
    for release in &releases {
        let state = open(dir.path());
        go(&state, release, &["a"], Stands::Committing, Stands::Committed);
    }
    let mut rows = open(dir.path()).rows().unwrap();
    rows.get_mut(&releases[0].id()).unwrap().at += 31_536_000;
    let ages = releases.each_ref().map(|release| rows[&release.id()].age());
    assert!(ages.is_sorted());
    let mut older = serde_json::to_value(&rows[&releases[2].id()]).unwrap();
    older.as_object_mut().unwrap().remove("order");
    let older: Row = serde_json::from_value(older).unwrap();
    assert!(older.age() < ages[0], "what was kept before there was an order");
}

#[test]
fn the_log_is_a_chain_that_survives_a_reopening_and_shows_a_line_that_was_changed_or_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let one = counted(1, 0);
    let mut state = open(dir.path());
    let log = state.log().unwrap();
    assert_eq!((&log.lines, state.log_head().unwrap().len), (&vec![], 0));
    assert!(log.is_unbroken());
    for (from, to) in [(Stands::Staged, Stands::Installing), (Stands::Committing, Stands::Committed)] {
        go(&state, &one, &["a"], from, to);
        drop(state);
        state = open(dir.path());
    }
    let log = state.log().unwrap();
    let head = state.log_head().unwrap();
    assert_eq!((log.lines.len(), head.len, head.hash), (2, 2, log.lines[1].hash));
    assert!(log.is_unbroken() && log.head == head);
    let last = log.lines[1].line().unwrap();
    assert_eq!((last.to, last.boot), (Stands::Committed, 2));
    let mut changed = log.clone();
    changed.lines[0].text = changed.lines[0].text.replace("pump 1", "pump 2");
    assert!(!changed.is_unbroken());
    go(&state, &one, &["a"], Stands::Committed, Stands::RollingBack);
    for taken in 0..3 {
        let mut cut = state.log().unwrap();
        assert!(cut.is_unbroken());
        cut.lines.remove(taken);
        assert!(!cut.is_unbroken(), "line {taken} is gone");
    }
}

#[test]
fn the_log_keeps_its_last_lines_and_counts_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path());
    go(&state, &counted(1, 0), &["a"], Stands::Committing, Stands::Committed);
    let line = state.log().unwrap().lines[0].line().unwrap();
    state.add_to_log(&vec![line; LINES_MAX as usize + 5]).unwrap();
    let log = state.log().unwrap();
    assert_eq!((log.lines.len() as u64, log.lines[0].n), (LINES_MAX, 6));
    assert_eq!(log.head.len, LINES_MAX + 6);
    assert!(log.is_unbroken());
}

/// A release with a security counter.
fn counted(number: u64, security_counter: u64) -> Verified<Release> {
    let data = BlobRef { content: ContentHash([9; 32]), size: 10, piece_size: 128 * 1024 };
    let release = Release { security_counter, ..release(number, data) };
    let VerifiedDocument::Release(release) = trust().check(&signed(&release, 2)).unwrap() else { panic!() };
    release
}

#[test]
fn the_security_floor_rises_with_what_is_installed_never_falls_and_survives_a_reopening_and_new_documents() {
    let dir = tempfile::tempdir().unwrap();
    let mut trust = trust();
    let mut state = open(dir.path());
    for (sequence, counter, floor) in [(1, 3, 3), (2, 2, 3), (3, 5, 5), (4, 0, 5)] {
        go(&state, &counted(counter, counter), &["app"], Stands::Committing, Stands::Committed);
        // Trust in the documents' thread knows no floor: what it writes takes none away.
        take(&state, &mut trust, &enrollment(7, sequence));
        drop(state);
        state = open(dir.path());
        let floors = state.marks().unwrap().security_floors;
        assert!(floors.check(&counted(9, floor)).is_ok() && floors.check(&counted(9, floor - 1)).is_err());
    }
}

#[test]
fn a_directory_belongs_to_one_process_until_that_ends() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path());
    let error = State::open(&file(dir.path())).unwrap_err();
    assert!(matches!(error, StateError::InUse { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(&dir.path().display().to_string()) && said.contains("in use"), "{said}");
    drop(state);
    open(dir.path());
}

#[test]
fn what_a_crash_left_of_the_first_start_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state.redb.new"), "torn").unwrap();
    assert_eq!(open(dir.path()).boot(), 1);
    assert!(!dir.path().join("state.redb.new").exists());
}

#[test]
fn a_file_of_a_later_format_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path());
    let later = |transaction: &redb::WriteTransaction| {
        transaction.open_table(VALUES)?.insert("format", 2_u64.to_le_bytes().as_slice())?;
        Ok(())
    };
    state.write(later).unwrap();
    drop(state);
    let error = State::open(&file(dir.path())).unwrap_err();
    assert!(matches!(error, StateError::Format { found: 2, known: 1, .. }), "{error}");
}

/// A state file with something in it, and its marks.
fn grown() -> (Vec<u8>, HighWaterMarks) {
    let dir = tempfile::tempdir().unwrap();
    let mut trust = trust();
    let state = open(dir.path());
    (10..40).for_each(|n| take(&state, &mut trust, &enrollment(n, u64::from(n))));
    let marks = state.marks().unwrap();
    drop(state);
    (std::fs::read(file(dir.path())).unwrap(), marks)
}

/// Opens damaged bytes: they are refused with a name and a remedy, or every mark is still there.
fn check_damaged(bytes: &[u8], marks: &HighWaterMarks, how: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(file(dir.path()), bytes).unwrap();
    match State::open(&file(dir.path())) {
        Ok(state) => {
            assert_eq!(&state.marks().unwrap(), marks, "{how}");
            assert_eq!(state.documents().unwrap().len(), 30, "{how}");
            false
        }
        Err(error) => {
            let said = error.to_string();
            assert!(matches!(error, StateError::Damaged { .. }), "{how}: {said}");
            for words in ["state.redb", "is damaged", "backup", "move it away"] {
                assert!(said.contains(words), "{how}: {said}");
            }
            true
        }
    }
}

#[test]
fn a_state_file_that_is_empty_short_or_garbage_is_refused_and_not_begun_anew() {
    let (whole, marks) = grown();
    for length in [0, 1, 8, 9, 63, 64, 320, 511, 4095, 4096, 8192, whole.len() / 2, whole.len() - 1] {
        assert!(check_damaged(&whole[..length], &marks, &format!("cut to {length}")));
    }
    for garbage in [vec![0; 4096], vec![0xff; 100_000], b"not a database".to_vec()] {
        assert!(check_damaged(&garbage, &marks, "garbage"));
    }
    let mut headless = whole.clone();
    headless[..4096].fill(0);
    assert!(check_damaged(&headless, &marks, "without its header"));
    // The byte says of which format the file is.
    let mut older = whole.clone();
    older[64] ^= 1;
    assert!(check_damaged(&older, &marks, "of an older format"));
    let mut torn = whole;
    torn[4096..].fill(0);
    assert!(check_damaged(&torn, &marks, "without its pages"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_flipped_bit_anywhere_is_refused_or_changes_no_mark(at in 0_usize..1 << 20, bit in 0_u8..8) {
        static GROWN: std::sync::LazyLock<(Vec<u8>, HighWaterMarks)> = std::sync::LazyLock::new(grown);
        let (whole, marks) = &*GROWN;
        let mut flipped = whole.clone();
        // Half of them hit the header and the first pages, where it hurts.
        let at = if bit % 2 == 0 { at % 8192 } else { at % whole.len() };
        flipped[at] ^= 1 << bit;
        check_damaged(&flipped, marks, &format!("bit {bit} of byte {at}"));
    }

    #[test]
    fn marks_never_fall_whatever_is_asked_and_however_often_the_file_is_opened(
        steps in prop::collection::vec(step(), 1..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let document = trust().check(&enrollment(7, 1)).unwrap();
        let mut state = open(dir.path());
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                None => {
                    drop(state);
                    state = open(dir.path());
                }
                Some(marks) => {
                    state.put_document(&document, &marks).unwrap();
                    for (key, value) in flat(&marks) {
                        let mark = model.entry(key).or_insert(value);
                        *mark = value.max(*mark);
                    }
                }
            }
            let mut now = flat(&state.marks().unwrap());
            now.retain(|key, value| model.contains_key(key) || *value != Mark::default());
            prop_assert_eq!(&now, &model);
        }
    }
}

type Mark = (u64, u64, [u8; 32]);

/// All marks under one kind of name.
fn flat(marks: &HighWaterMarks) -> BTreeMap<String, Mark> {
    let one = |kind: &str, of: &BTreeMap<String, u64>| {
        of.iter().map(|(key, n)| (format!("{kind} {key}"), (*n, 0, [0; 32]))).collect::<Vec<_>>()
    };
    let mut all = vec![
        ("root".to_owned(), (marks.root_version, 0, [0; 32])),
        ("epoch".to_owned(), (marks.epoch, 0, [0; 32])),
    ];
    all.extend(one("release", &marks.releases));
    all.extend(one("floor", &marks.security_floors.0));
    for (kind, of) in
        [("enrollment", &marks.enrollments), ("rollout", &marks.rollouts), ("report", &marks.reports)]
    {
        all.extend(of.iter().map(|(key, ((a, b), id))| (format!("{kind} {key}"), (*a, *b, id.0))));
    }
    all.into_iter().collect()
}

/// Marks to ask for, or a reopening.
fn step() -> impl Strategy<Value = Option<HighWaterMarks>> {
    let number = || 0_u64..5;
    let numbers = || prop::collection::btree_map("[ab]", 0_u64..5, 0..3);
    let marks = (number(), number(), numbers(), numbers(), number(), number()).prop_map(
        |(root_version, epoch, releases, security_floors, one, two)| {
            let mark =
                |key: &str, a: u64, b: u64| [(key.to_owned(), ((a, b), DocumentId([one as u8; 32])))].into();
            HighWaterMarks {
                root_version,
                epoch,
                releases,
                security_floors: SecurityFloors(security_floors),
                enrollments: mark("e", one, 0),
                rollouts: mark("r", one, two),
                reports: mark("d", two, one),
            }
        },
    );
    prop_oneof![4 => marks.prop_map(Some), 1 => Just(None)]
}
