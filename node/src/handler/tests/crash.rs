//! Power fails at every point of an install: old or new is in place, whole, and the real predecessor is kept.
//!
//! An install of `versions[n]` over those before it is cut at its first, second, ... point until one is whole. After
//! each cut the state is looked at, and the install is repeated, replaced by another one, or taken back.

use super::super::{fuse, install};
use super::fixture::{DEST, Version, listing, names, picture, scratch};
use std::path::Path;

/// More points than any install here has.
const POINTS_MAX: u32 = 100;

fn active(root: &Path) -> Option<String> {
    picture(&root.join(DEST))
}

fn previous(root: &Path) -> Option<String> {
    picture(&root.join("opt/app.samara-previous"))
}

/// Three versions: what is there before (the first may be missing), and what is installed when power fails.
fn stories() -> Vec<[Option<Version>; 3]> {
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
        // The previous version comes back.
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
        let cut = install(dir.path(), &new.artifact, &new.source);
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

fn look(version: Option<&Version>) -> Option<String> {
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
                let _ = install(root, &new.artifact, &new.source);
            }
            new.install(root).unwrap();
            assert_eq!((active(root), previous(root)), (look(third), look(second)), "{}", listing(root));
        });
    }
}

#[test]
fn another_version_after_a_crash_keeps_what_was_really_in_place() {
    for next in [Version::file("next"), Version::tree("next")] {
        for story in stories() {
            at_every_point(&story, |root, _| {
                let there = active(root);
                next.install(root).unwrap();
                assert_eq!((active(root), previous(root)), (look(Some(&next)), there), "{}", listing(root));
                assert!(names(root).iter().all(|name| !name.ends_with("-new") && !name.ends_with("-kept")));
            });
        }
    }
}

#[test]
fn an_install_that_is_taken_back_after_a_crash_leaves_the_old_version_and_its_own_predecessor() {
    for story in stories() {
        at_every_point(&story, |root, [first, second, third]| {
            let Some(old) = second else { return };
            let was_switched = active(root) == look(third);
            old.install(root).unwrap();
            let expected = if was_switched { look(third) } else { look(first) };
            assert_eq!((active(root), previous(root)), (look(second), expected), "{}", listing(root));
        });
    }
}
