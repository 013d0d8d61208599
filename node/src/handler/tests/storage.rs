//! Power fails on a recorded disk: whatever it kept of the changes that were not made durable, a whole version is in
//! place, and the step that was cut ends right.
//!
//! The changes that a step makes in the destination's directory are recorded with copies of what it made durable. For
//! each moment of it, and for each choice of the changes since the last fsync of the directory, what a disk would then
//! hold is built anew and looked at. A new file or directory that was not fsynced has lost its bytes.

use super::super::fuse::{self, Change};
use super::super::{InstallError, activate, commit, stage, undo};
use super::crash::{Story, active, look, previous, stories};
use super::fixture::{Version, listing, scratch};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// The versions before the step, and for `activated` the new one on top, not committed.
fn before(story: &Story, is_activated: bool) -> tempfile::TempDir {
    let dir = scratch();
    fs::create_dir(dir.path().join("opt")).unwrap();
    for version in story[..2].iter().flatten() {
        version.install(dir.path()).unwrap();
    }
    if is_activated {
        place(new(story), dir.path()).unwrap();
    }
    dir
}

fn new(story: &Story) -> &Version {
    story[2].as_ref().unwrap()
}

fn place(version: &Version, root: &Path) -> Result<(), InstallError> {
    let site = version.site(root);
    stage(&site, &version.artifact)?;
    activate(&site, &version.artifact)
}

/// Records a step, then hands each state in which a disk can be found to `then`, with the changes that it kept.
fn at_every_state(
    story: &Story,
    is_activated: bool,
    step: impl Fn(&Version, &Path) -> Result<(), InstallError>,
    then: impl Fn(&Path, &[&Change]),
) -> usize {
    let copies = scratch();
    let dir = before(story, is_activated);
    fuse::on(u32::MAX);
    fuse::record(copies.path());
    step(new(story), dir.path()).unwrap();
    let changes = fuse::recorded();
    let mut states = 0;
    for end in 0..=changes.len() {
        let done = &changes[..end];
        let durable = done.iter().rposition(|change| change.verb == "sync").map_or(0, |at| at + 1);
        let (durable, open) = done.split_at(durable);
        let open_names =
            open.iter().filter(|change| !matches!(change.verb, "synced" | "other" | "sync")).count();
        assert!(open_names <= 6, "too much is not durable: {open:?}");
        for choice in 0..1_u32 << open_names {
            let mut at = 0;
            let kept = open.iter().filter(|change| {
                if matches!(change.verb, "synced" | "other" | "sync") {
                    return true;
                }
                at += 1;
                choice & 1 << (at - 1) != 0
            });
            let kept: Vec<&Change> = durable.iter().chain(kept).collect();
            let disk = before(story, is_activated);
            replay(&disk.path().join("opt"), &kept);
            then(disk.path(), &kept);
            states += 1;
        }
    }
    states
}

/// Makes the changes that a disk kept. One whose object it has not kept has no effect.
fn replay(dir: &Path, changes: &[&Change]) {
    let mut torn = BTreeSet::new();
    for change in changes {
        let [one, two] = change.names.each_ref().map(|name| dir.join(name));
        match change.verb {
            "create" => {
                fs::write(&one, "").unwrap();
                torn.insert(one);
            }
            "synced" if torn.remove(&one) => {
                fs::remove_file(&one).unwrap();
                let copied =
                    Command::new("cp").arg("-a").arg(change.copy.as_ref().unwrap()).arg(&one).status();
                assert!(copied.unwrap().success());
            }
            "symlink" => drop(symlink(&change.names[0], &two)),
            "link" => drop(fs::hard_link(&one, &two)),
            "rename" => drop(fs::rename(&one, &two)),
            "remove" => {
                let removed = Command::new("rm").arg("-rf").arg(&one).status();
                assert!(removed.unwrap().success());
            }
            _ => {}
        }
    }
}

fn has_renamed(changes: &[&Change], from: &str) -> bool {
    changes.iter().any(|change| change.verb == "rename" && change.names[0].ends_with(from))
}

#[test]
fn an_install_of_which_a_disk_kept_any_part_is_undone_or_repeated() {
    let mut states = 0;
    for story in stories() {
        let [first, second, third] = story.each_ref().map(|version| look(version.as_ref()));
        let expected = listing(before(&story, false).path());
        states += at_every_state(&story, false, place, |root, kept| {
            let there = active(root);
            let is_switched = has_renamed(kept, ".samara-new");
            assert_eq!(there, if is_switched { third.clone() } else { second.clone() }, "{}", listing(root));
            assert_eq!(previous(root), first);
            let site = new(&story).site(root);
            undo(&site, &new(&story).artifact).unwrap();
            assert_eq!(listing(root), expected, "{kept:?}");
            new(&story).install(root).unwrap();
            assert_eq!((active(root), previous(root)), (third.clone(), second.clone()));
        });
    }
    assert!(states > 400, "{states}");
}

#[test]
fn a_roll_back_of_which_a_disk_kept_any_part_ends_at_what_was_there() {
    for story in stories() {
        let [_, second, third] = story.each_ref().map(|version| look(version.as_ref()));
        let expected = listing(before(&story, false).path());
        let back = |version: &Version, root: &Path| undo(&version.site(root), &version.artifact);
        at_every_state(&story, true, back, |root, kept| {
            let there = active(root);
            assert!(there == second || there == third, "{}", listing(root));
            undo(&new(&story).site(root), &new(&story).artifact).unwrap();
            assert_eq!(listing(root), expected, "{kept:?}");
        });
    }
}

#[test]
fn a_commit_of_which_a_disk_kept_any_part_keeps_the_new_version_and_ends() {
    for story in stories() {
        let [_, second, third] = story.each_ref().map(|version| look(version.as_ref()));
        let keep = |version: &Version, root: &Path| commit(&version.site(root), &version.artifact);
        at_every_state(&story, true, keep, |root, kept| {
            assert_eq!(active(root), third);
            commit(&new(&story).site(root), &new(&story).artifact).unwrap();
            assert_eq!((active(root), previous(root)), (third.clone(), second.clone()), "{kept:?}");
        });
    }
}
