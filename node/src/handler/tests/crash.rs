//! Power fails at every point of an install: old or new is in place, whole, and the real predecessor is kept.
//!
//! An install of `versions[n]` over those before it is cut at its first, second, ... point until one is whole. After
//! each cut the state is looked at, and the install is repeated, replaced by another one, or taken back.

use super::super::{Evidence, activate, commit, evidence, fuse, stage, undo};
use super::fixture::{DEST, Version, listing, names, picture, scratch};
use std::path::Path;

/// More points than any install here has.
const POINTS_MAX: u32 = 100;

pub fn active(root: &Path) -> Option<String> {
    picture(&root.join(DEST))
}

pub fn previous(root: &Path) -> Option<String> {
    picture(&root.join("opt/app.samara-previous"))
}

/// Three versions: what is there before (the first may be missing), and what is installed when power fails.
pub fn stories() -> Vec<[Option<Version>; 3]> {
    let file = |text: &str| Some(Version::file(text));
    let tree = |text: &str| Some(Version::tree(text));
    vec![
        [None, None, file("c")],
        [None, None, tree("c")],
        [None, file("b"), file("c")],
        [None, tree("b"), tree("c")],
        [file("a"), file("b"), file("c")],
        [tree("a"), tree("b"), tree("c")],
        [file("a"), tree("b"), file("c")],
        [tree("a"), file("b"), tree("c")],
        [Some(Version::config("a")), Some(Version::config("b")), Some(Version::config("c"))],
        [None, file("b"), Some(Version::config("c"))],
        [None, None, Some(Version::binary("c"))],
        [Some(Version::binary("a")), Some(Version::binary("b")), Some(Version::binary("c"))],
        [file("a"), tree("b"), Some(Version::binary("c"))],
        [None, None, Some(Version::script("c"))],
        [Some(Version::script("a")), Some(Version::script("b")), Some(Version::script("c"))],
        // The previous version comes back.
        [Some(Version::binary("a")), Some(Version::binary("b")), Some(Version::binary("a"))],
        [file("a"), file("b"), file("a")],
        [tree("a"), tree("b"), tree("a")],
    ]
}

/// Runs `then` on what a crash at each point leaves, with old, new and before-old versions; returns the points.
fn at_every_point(
    [first, second, third]: &[Option<Version>; 3],
    then: impl Fn(&Path, [Option<&Version>; 3]),
) -> u32 {
    let new = third.as_ref().unwrap();
    for points in 0..POINTS_MAX {
        let dir = scratch();
        for version in [first, second].into_iter().flatten() {
            version.install(dir.path()).unwrap();
        }
        fuse::on(points);
        let cut = new.install_on(dir.path());
        let passed = fuse::points_passed();
        fuse::on(u32::MAX);
        then(dir.path(), [first.as_ref(), second.as_ref(), Some(new)]);
        if cut.is_ok() {
            assert!(passed > 5, "the points are not where the changes are");
            return passed;
        }
    }
    panic!("an install never ended");
}

pub fn look(version: Option<&Version>) -> Option<String> {
    version.map(Version::picture)
}

#[test]
fn after_a_crash_old_or_new_is_in_place_whole_and_the_previous_version_is_a_real_one() {
    for story in stories() {
        at_every_point(&story, |root, [first, second, third]| {
            let (there, before) = (active(root), previous(root));
            if there == look(third) {
                assert!(before == look(first) || before == look(second), "{}", listing(root));
            } else {
                assert_eq!((there, before), (look(second), look(first)), "{}", listing(root));
            }
        });
    }
}

#[test]
fn an_install_that_is_repeated_after_a_crash_ends_as_if_there_had_been_none() {
    for story in stories() {
        let expected = std::cell::RefCell::new(Vec::new());
        at_every_point(&story, |root, [_, second, third]| {
            let new = third.unwrap();
            new.install(root).unwrap();
            assert_eq!((active(root), previous(root)), (look(third), look(second)), "{}", listing(root));
            expected.borrow_mut().push(listing(root));
        });
        // The last one was not cut.
        let endings = expected.into_inner();
        assert!(endings.iter().all(|ending| Some(ending) == endings.last()));
    }
}

#[test]
fn an_install_that_is_cut_again_and_again_ends_right() {
    for story in stories() {
        at_every_point(&story, |root, [_, second, third]| {
            let new = third.unwrap();
            // Each try gets further than the one before; the first ones do not even tidy up.
            for points in [1, 4, 12] {
                fuse::on(points);
                let _ = new.install_on(root);
            }
            new.install(root).unwrap();
            assert_eq!((active(root), previous(root)), (look(third), look(second)), "{}", listing(root));
        });
    }
}

#[test]
fn another_version_after_a_crash_follows_what_was_committed_last() {
    for next in [Version::file("next"), Version::tree("next")] {
        for story in stories() {
            at_every_point(&story, |root, [_, second, third]| {
                let is_committed = root.join("opt/app.samara-kept").symlink_metadata().is_err();
                let there = if is_committed { active(root) } else { look(second) };
                assert!(there == look(second) || there == look(third), "{}", listing(root));
                next.install(root).unwrap();
                assert_eq!((active(root), previous(root)), (look(Some(&next)), there), "{}", listing(root));
                let leftover =
                    |name: &String| ["-part", "-new", "-kept"].iter().any(|end| name.ends_with(end));
                assert!(!names(root).iter().any(leftover), "{}", listing(root));
            });
        }
    }
}

/// The state of a whole install that is about to be committed or undone.
fn activated([first, second, third]: &[Option<Version>; 3]) -> (tempfile::TempDir, String) {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("opt")).unwrap();
    for version in [first, second].into_iter().flatten() {
        version.install(dir.path()).unwrap();
    }
    let before = listing(dir.path());
    let new = third.as_ref().unwrap();
    stage(&new.site(dir.path()), &new.artifact).unwrap();
    activate(&new.site(dir.path()), &new.artifact).unwrap();
    (dir, before)
}

#[test]
fn what_is_undone_after_a_crash_at_any_point_leaves_exactly_what_was_there() {
    for story in stories() {
        let new = story[2].as_ref().unwrap();
        for points in 0..POINTS_MAX {
            let dir = scratch();
            std::fs::create_dir(dir.path().join("opt")).unwrap();
            for version in story[..2].iter().flatten() {
                version.install(dir.path()).unwrap();
            }
            let before = listing(dir.path());
            let site = new.site(dir.path());
            fuse::on(points);
            let cut = stage(&site, &new.artifact).and_then(|_| activate(&site, &new.artifact));
            for _ in 0..2 {
                fuse::on(u32::MAX);
                undo(&site, &new.artifact).unwrap();
                assert_eq!(listing(dir.path()), before);
            }
            if cut.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn a_roll_back_that_is_cut_at_any_point_has_old_or_new_in_place_and_ends_when_it_is_repeated() {
    for story in stories() {
        for points in 0..POINTS_MAX {
            let new = story[2].as_ref().unwrap();
            let (dir, before) = activated(&story);
            let site = new.site(dir.path());
            fuse::on(points);
            let cut = undo(&site, &new.artifact);
            let there = active(dir.path());
            let old = look(story[1].as_ref());
            assert!(there == old || there == look(Some(new)), "{}", listing(dir.path()));
            fuse::on(u32::MAX);
            undo(&site, &new.artifact).unwrap();
            assert_eq!(listing(dir.path()), before);
            if cut.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn a_commit_that_is_cut_at_any_point_never_leaves_the_new_version_and_ends_when_it_is_repeated() {
    for story in stories() {
        for points in 0..POINTS_MAX {
            let new = story[2].as_ref().unwrap();
            let (dir, _) = activated(&story);
            let site = new.site(dir.path());
            fuse::on(points);
            let cut = commit(&site, &new.artifact);
            assert_eq!(active(dir.path()), look(Some(new)));
            assert_eq!(evidence(&site, &new.artifact), Evidence::New);
            fuse::on(u32::MAX);
            commit(&site, &new.artifact).unwrap();
            let expected = (look(Some(new)), look(story[1].as_ref()));
            assert_eq!((active(dir.path()), previous(dir.path())), expected);
            if cut.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn each_step_of_an_install_may_be_repeated_alone_after_it_was_cut() {
    for story in stories() {
        for points in 0..POINTS_MAX {
            let new = story[2].as_ref().unwrap();
            let (dir, before) = activated(&story);
            let site = new.site(dir.path());
            undo(&site, &new.artifact).unwrap();
            assert_eq!(listing(dir.path()), before);
            stage(&site, &new.artifact).unwrap();
            fuse::on(points);
            let cut = activate(&site, &new.artifact);
            fuse::on(u32::MAX);
            activate(&site, &new.artifact).unwrap();
            assert_eq!(active(dir.path()), look(Some(new)));
            undo(&site, &new.artifact).unwrap();
            assert_eq!(listing(dir.path()), before);
            if cut.is_ok() {
                break;
            }
        }
    }
}
