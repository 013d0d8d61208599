//! Power fails at every write of the state file, whatever the disk kept of what was not made durable: the file opens, and
//! holds what was known before the call that was cut, or after it. No mark falls, no line of the log is missing.
//!
//! redb runs on a recorded disk. For each moment what a disk may hold is built anew: all that was synced, and of the
//! writes since then none, all, or any choice of their sectors.

use super::super::open::builder;
use super::*;
use redb::StorageBackend;
use samara_protocol::rng::Prng;
use std::io;
use std::sync::{Arc, Mutex};

/// A disk writes so many bytes at once, or none of them.
const SECTOR_BYTES: usize = 512;
/// Choices of sectors for each moment, beside none and all.
const CHOICES: u64 = 4;

/// What was done to the disk.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
    Sync,
}

/// A disk that remembers each change.
#[derive(Debug, Clone)]
struct Recorded(Arc<Mutex<(Vec<u8>, Vec<Change>)>>);

impl Recorded {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new((bytes, Vec::new()))))
    }

    fn add(&self, change: Change) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        apply(&mut disk.0, &change, &mut |_| true);
        disk.1.push(change);
        Ok(())
    }

    fn changes(&self) -> Vec<Change> {
        self.0.lock().unwrap().1.clone()
    }
}

impl StorageBackend for Recorded {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let there = disk.0.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.add(Change::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.add(Change::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.add(Change::Write { offset: offset as usize, bytes: data.to_vec() })
    }
}

/// Makes a change, as far as its sectors, or its length, are kept.
fn apply(disk: &mut Vec<u8>, change: &Change, keeps: &mut dyn FnMut(usize) -> bool) {
    match change {
        Change::Sync => {}
        Change::Length(length) if keeps(0) => disk.resize(*length, 0),
        Change::Length(_) => {}
        Change::Write { offset, bytes } => {
            let mut at = 0;
            while at < bytes.len() {
                let from = offset + at;
                let end = bytes.len().min(at + SECTOR_BYTES - from % SECTOR_BYTES);
                if keeps(from / SECTOR_BYTES) {
                    disk.resize(disk.len().max(offset + end), 0);
                    disk[from..offset + end].copy_from_slice(&bytes[at..end]);
                }
                at = end;
            }
        }
    }
}

/// All that must not be forgotten.
#[derive(Debug, PartialEq)]
struct Known {
    documents: Vec<Vec<u8>>,
    marks: BTreeMap<String, Mark>,
    installed: BTreeMap<String, DocumentId>,
    previous: BTreeMap<String, DocumentId>,
    rows: BTreeMap<DocumentId, Row>,
    bad: Vec<DocumentId>,
    log: Log,
}

fn known(state: &State) -> Known {
    Known {
        documents: state.documents().unwrap(),
        marks: flat(&state.marks().unwrap()),
        installed: state.journal().unwrap(),
        previous: state.previous().unwrap(),
        rows: state.rows().unwrap(),
        bad: state.bad().unwrap().into_keys().collect(),
        log: state.log().unwrap(),
    }
}

/// A life of documents, an install that is kept and one that is taken back; after each call, what is known and how many
/// changes of the disk were made.
fn live(state: &State, disk: &Recorded, trust: &mut Trust) -> Vec<(usize, Known)> {
    let [one, two, three] = [counted(1, 1), counted(2, 3), counted(3, 5)];
    let both = ["a", "b"];
    let mut history = vec![(disk.changes().len(), known(state))];
    let mut then = |call: &mut dyn FnMut()| {
        call();
        history.push((disk.changes().len(), known(state)));
    };
    for sequence in 1..4 {
        then(&mut || take(state, trust, &enrollment(7, sequence)));
    }
    then(&mut || go(state, &one, &["a"], Stands::Committing, Stands::Committed));
    for (release, steps) in [
        (&two, [Stands::Activating, Stands::Testing, Stands::Committing, Stands::Committed]),
        (&three, [Stands::Activating, Stands::Testing, Stands::RollingBack, Stands::RolledBack]),
    ] {
        let mut from = Stands::Staged;
        for to in [Stands::Installing].into_iter().chain(steps) {
            then(&mut || go(state, release, &both, from, to));
            from = to;
        }
        // Larger than a page, so that the file grows and pages are freed.
        let line = state.log().unwrap().lines[0].line().unwrap();
        then(&mut || state.add_to_log(&vec![line.clone(); 40]).unwrap());
        then(&mut || take(state, trust, &enrollment(8, release.number)));
    }
    history
}

/// What a disk holds that lost power after so many changes: all that is durable, and of the rest what `keeps` says of a
/// change and a sector.
fn disk_after(base: &[u8], changes: &[Change], mut keeps: impl FnMut(usize, usize) -> bool) -> Vec<u8> {
    let durable = changes.iter().rposition(|change| matches!(change, Change::Sync)).unwrap_or(0);
    let mut disk = base.to_vec();
    for (n, change) in changes.iter().enumerate() {
        apply(&mut disk, change, &mut |sector| n < durable || keeps(n, sector));
    }
    disk
}

#[test]
fn a_power_cut_at_any_write_of_the_state_file_leaves_what_was_known_before_the_call_or_after_it() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let base = std::fs::read(file(dir.path())).unwrap();
    let disk = Recorded::new(base.clone());
    let database = builder().create_with_backend(disk.clone()).unwrap();
    let state = State {
        path: file(dir.path()),
        database: Handle::new(database),
        boot: 1,
        reports: AtomicU64::new(0),
        transitions: AtomicU64::new(0),
        _lock: DirLock::take(dir.path()).unwrap(),
    };
    let history = live(&state, &disk, &mut trust());
    let changes = disk.changes();
    drop(state);

    let (mut disks, mut before) = (0, 0);
    for moment in history[0].0..=changes.len().min(history[history.len() - 1].0) {
        let done = &changes[..moment];
        let last = history.iter().rposition(|(at, _)| *at <= moment).unwrap();
        for choice in 0..CHOICES + 2 {
            let mut rng = Prng::new(moment as u64 * CHOICES + choice);
            let torn = disk_after(&base, done, |_, _| match choice {
                0 => false,
                1 => true,
                _ => rng.below(2) == 0,
            });
            let left = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            std::fs::write(file(left.path()), torn).unwrap();
            let state = open(left.path());
            let now = known(&state);
            let after = history.get(last + 1);
            assert!(
                now == history[last].1 || after.is_some_and(|(_, after)| now == *after),
                "after {moment} changes, choice {choice}: {now:?}"
            );
            assert!(now.log.is_unbroken());
            before += usize::from(now == history[last].1);
            disks += 1;
            // It goes on from there.
            go(&state, &counted(9, 9), &["c"], Stands::Committing, Stands::Committed);
        }
    }
    assert!(disks > 1000 && before < disks, "{} changes, {disks} disks, {before} as before", changes.len());
}
