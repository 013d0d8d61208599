//! Power is cut at every call with which a daemon changes its disk, in a whole install and in whole roll backs.
//!
//! Real daemons: one is killed (SIGKILL) at its n-th such call and started again, for each n. After each cut each
//! destination has the old or the new version, whole; in the end one version is in place, all of it, by itself; no mark
//! fell. The tests that cargo runs take a part of the n; all of them: see docs/STORAGE.md.

#[path = "../support/mod.rs"]
mod support;

mod image;
mod story;
mod tracer;

use image::Mounted;
use samara_protocol::rng::Prng;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use story::{Bases, Patient, Story};
use tracer::Life;

/// Devices whose power is cut at the same time: most of the time they wait.
const SIDE_BY_SIDE: usize = 4;

/// Which of the calls.
#[derive(Clone, Copy)]
enum Cuts {
    /// So many, chosen by this seed.
    Some {
        count: usize,
        rng_seed: u64,
    },
    All,
}

/// What a device's disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Disk {
    /// A directory: all that was written is there after a cut.
    Directory,
    /// An ext4 image: what had not reached the disk is gone after a cut. Cut right after each sync, for nothing else
    /// reaches it at a known moment.
    Image,
}

/// One story, and the directory in which its devices live and die.
struct Play<'a> {
    bases: &'a Bases,
    story: Story,
    disk: Disk,
    dir: &'a Path,
    /// Cuts after which even what nobody synced was there: the system writes it by itself after some seconds.
    lossless: AtomicUsize,
}

impl Play<'_> {
    /// Runs the story whole, then once for each cut.
    fn play(&self, cuts: Cuts) {
        let start = Instant::now();
        let whole = self.dir.join("whole");
        story::copy(&self.bases.of(self.story), &whole);
        let life =
            match live(&Patient::new(self.story, &whole), usize::MAX).and_then(|life| self.prepare(life)) {
                Err(why) => return say(&format!("SKIPPED: {:?} on {:?}: {why}", self.story, self.disk)),
                Ok(life) => life,
            };
        let calls = life.calls.len();
        let syncs = life.calls.iter().filter(|call| **call == "sync").count();
        assert!(calls > 100 && syncs > 20, "{calls} calls and {syncs} syncs are no whole story");
        // The number of calls differs a little from run to run.
        let all = 1..=calls + calls / 10;
        let is_wanted = |n: &usize| {
            self.disk == Disk::Directory
                || life.calls.get(n.wrapping_sub(2)).is_some_and(|call| *call == "sync")
        };
        let all: Vec<_> = all.filter(is_wanted).collect();
        let wanted = match cuts {
            Cuts::All => all,
            Cuts::Some { count, rng_seed } => drawn(all, count, rng_seed),
        };
        let (failures, cut) = self.cut_at_all(&wanted);
        let (story, disk, failed) = (self.story, self.disk, failures.len());
        let took = start.elapsed().as_secs();
        say(&format!(
            "{story:?} on {disk:?}: {calls} calls, {syncs} of them syncs; {cut} cuts, {failed} failures, {took} s"
        ));
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        let lossless = self.lossless.load(Ordering::Relaxed);
        assert!(lossless * 2 <= cut, "{lossless} of {cut} cuts lost nothing: they are none");
        // A report more or less moves the end by dozens of calls.
        assert!(cut * 4 >= wanted.len(), "only {cut} of {} daemons were cut", wanted.len());
    }

    fn cut_at_all(&self, wanted: &[usize]) -> (Vec<String>, usize) {
        let (next, cut) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            let mut failures = Vec::new();
            while let Some(last) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                let dir = self.dir.join(last.to_string());
                match self.cut_at(&dir, *last) {
                    Ok(true) => drop(cut.fetch_add(1, Ordering::Relaxed)),
                    Ok(false) => {}
                    Err(why) => failures.push(format!("cut at call {last}: {why}")),
                }
                let _ = fs::remove_dir_all(dir);
            }
            failures
        };
        let failures = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        (failures, cut.into_inner())
    }

    /// Makes the image that each cut begins with.
    fn prepare(&self, life: Life) -> Result<Life, String> {
        if self.disk == Disk::Image {
            image::make(&self.dir.join("base.img"), &self.bases.of(self.story))?;
        }
        Ok(life)
    }

    /// Whether there was such a call, and power was cut at it.
    fn cut_at(&self, dir: &Path, last: usize) -> Result<bool, String> {
        if self.disk == Disk::Directory {
            story::copy(&self.bases.of(self.story), dir);
            let patient = Patient::new(self.story, dir);
            let life = live(&patient, last)?;
            return patient.ends_right().map(|()| life.is_cut);
        }
        fs::create_dir(dir).unwrap();
        let (before, after) = (dir.join("before.img"), dir.join("after.img"));
        image::copy(&self.dir.join("base.img"), &before);
        let mounted = Mounted::new(&before)?;
        let patient = Patient::new(self.story, &mounted.device());
        let life = live(&patient, last)?;
        image::copy(&before, &after);
        let said = patient.said_bytes();
        drop(mounted);
        let mounted = Mounted::new(&after)?;
        let patient = patient.at(&mounted.device());
        if said > 0 && patient.said_bytes() == said {
            self.lossless.fetch_add(1, Ordering::Relaxed);
        }
        patient.ends_right().map(|()| life.is_cut)
    }
}

/// Says it to whoever runs the tests, even when all is well.
fn say(text: &str) {
    use std::io::Write as _;
    // Not by the macro: what it prints is shown of failed tests only.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Calls of which each is as likely as any other, none twice, in their order.
fn drawn(mut all: Vec<usize>, count: usize, rng_seed: u64) -> Vec<usize> {
    let mut rng = Prng::new(rng_seed);
    while all.len() > count {
        all.remove(rng.below(all.len()));
    }
    say(&format!("seed {rng_seed}: {all:?}"));
    all
}

/// The story up to a call.
fn live(patient: &Patient, last: usize) -> Result<Life, String> {
    tracer::run(&patient.command(), &patient.roots(), last, || patient.is_over())
}

/// All stories, so many cuts of each, or all.
fn play_all(disk: Disk, cuts: impl Fn(u64) -> Cuts) {
    let bases = Bases::new();
    for (n, story) in (1..).zip([Story::Install, Story::RollBack, Story::ByHand]) {
        let scratch = tempfile::tempdir().unwrap();
        let lossless = AtomicUsize::new(0);
        Play { bases: &bases, story, disk, dir: scratch.path(), lossless }.play(cuts(n));
    }
}

#[test]
fn a_daemon_that_is_killed_in_an_install_or_a_roll_back_ends_right() {
    play_all(Disk::Directory, |rng_seed| Cuts::Some { count: 8, rng_seed });
}

#[test]
fn a_disk_that_loses_what_was_not_synced_in_an_install_or_a_roll_back_lets_it_end_right() {
    play_all(Disk::Image, |rng_seed| Cuts::Some { count: 4, rng_seed });
}

#[test]
#[ignore = "half an hour: each call of three whole stories"]
fn a_daemon_that_is_killed_at_any_call_of_an_install_or_a_roll_back_ends_right() {
    play_all(Disk::Directory, |_| Cuts::All);
}

#[test]
#[ignore = "half an hour: each sync of three whole stories"]
fn a_disk_that_loses_what_was_not_synced_at_any_sync_of_an_install_or_a_roll_back_lets_it_end_right() {
    play_all(Disk::Image, |_| Cuts::All);
}
