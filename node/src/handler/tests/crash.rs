//! Power fails at every point of an install: old or new is in place, whole, and the real predecessor is kept.
//!
//! An install of `versions[n]` over those before it is cut at its first, second, ... point until one is whole. After
//! each cut the state is looked at, and the install is repeated, replaced by another one, or taken back.

use super::super::{
    Evidence, InstallError, Site, activate, commit, evidence, forget, fuse, give_back, is_taken_away,
    put_back, stage, take_away, undo,
};
use super::fixture::{DEST, Version, listing, names, picture, scratch};
use samara_protocol::document::Artifact;
use std::path::Path;

/// Three versions: what is there before (the first may be missing), and what is installed when power fails.
pub type Story = [Option<Version>; 3];

/// More points than any install here has.
const POINTS_MAX: u32 = 100;

pub fn active(root: &Path) -> Option<String> {
    picture(&root.join(DEST))
}

pub fn previous(root: &Path) -> Option<String> {
    picture(&root.join("opt/app.samara-previous"))
}

/// What is installed in these tests.
pub fn stories() -> Vec<Story> {
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
fn at_every_point([first, second, third]: &Story, then: impl Fn(&Path, [Option<&Version>; 3])) -> u32 {
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

/// The disk before a step, and how it was before the newest version came.
struct Before {
    dir: tempfile::TempDir,
    listing: String,
}

/// The versions before the newest are in place.
fn installed(story: &Story) -> Before {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("opt")).unwrap();
    for version in story[..2].iter().flatten() {
        version.install(dir.path()).unwrap();
    }
    let listing = listing(dir.path());
    Before { dir, listing }
}

/// The newest version is about to be committed or undone.
fn activated(story: &Story) -> Before {
    let before = installed(story);
    let new = story[2].as_ref().unwrap();
    stage(&new.site(before.dir.path()), &new.artifact).unwrap();
    activate(&new.site(before.dir.path()), &new.artifact).unwrap();
    before
}

fn committed(story: &Story) -> Before {
    let before = activated(story);
    let new = story[2].as_ref().unwrap();
    commit(&new.site(before.dir.path()), &new.artifact).unwrap();
    before
}

/// Cuts a step of every story at its first, second, ... point until it is whole. Power is on again for `then`.
fn at_every_cut(
    before: impl Fn(&Story) -> Before,
    step: impl Fn(&Site, &Story) -> Result<(), InstallError>,
    then: impl Fn(&Site, &Story, &Before),
) {
    for story in stories() {
        let is_whole = |points: u32| {
            fuse::on(u32::MAX);
            let before = before(&story);
            let site = story[2].as_ref().unwrap().site(before.dir.path());
            fuse::on(points);
            let cut = step(&site, &story);
            fuse::on(u32::MAX);
            then(&site, &story, &before);
            cut.is_ok()
        };
        assert!((0..POINTS_MAX).any(is_whole), "a step never ended");
    }
}

fn new(story: &Story) -> &Artifact {
    &story[2].as_ref().unwrap().artifact
}

fn looks(story: &Story) -> [Option<String>; 3] {
    story.each_ref().map(|version| look(version.as_ref()))
}

fn place(site: &Site, story: &Story) -> Result<(), InstallError> {
    stage(site, new(story))?;
    activate(site, new(story))
}

#[test]
fn what_is_undone_after_a_crash_at_any_point_leaves_exactly_what_was_there() {
    at_every_cut(installed, place, |site, story, before| {
        for _ in 0..2 {
            undo(site, new(story)).unwrap();
            assert_eq!(listing(site.root), before.listing);
        }
    });
}

#[test]
fn a_roll_back_that_is_cut_at_any_point_has_old_or_new_in_place_and_ends_when_it_is_repeated() {
    let back = |site: &Site, story: &Story| undo(site, new(story));
    at_every_cut(activated, back, |site, story, before| {
        let (there, [_, old, new_one]) = (active(site.root), looks(story));
        assert!(there == old || there == new_one, "{}", listing(site.root));
        undo(site, new(story)).unwrap();
        assert_eq!(listing(site.root), before.listing);
    });
}

#[test]
fn a_commit_that_is_cut_at_any_point_never_leaves_the_new_version_and_ends_when_it_is_repeated() {
    let keep = |site: &Site, story: &Story| commit(site, new(story));
    at_every_cut(activated, keep, |site, story, _| {
        let [_, old, new_one] = looks(story);
        assert_eq!(active(site.root), new_one);
        assert_eq!(evidence(site, new(story)), Evidence::New);
        commit(site, new(story)).unwrap();
        assert_eq!((active(site.root), previous(site.root)), (new_one, old));
    });
}

#[test]
fn each_step_of_an_install_may_be_repeated_alone_after_it_was_cut() {
    let staged = |story: &Story| {
        let before = installed(story);
        let version = story[2].as_ref().unwrap();
        stage(&version.site(before.dir.path()), new(story)).unwrap();
        before
    };
    let switch = |site: &Site, story: &Story| activate(site, new(story));
    at_every_cut(staged, switch, |site, story, before| {
        activate(site, new(story)).unwrap();
        assert_eq!(active(site.root), looks(story)[2]);
        undo(site, new(story)).unwrap();
        assert_eq!(listing(site.root), before.listing);
    });
}

#[test]
fn a_committed_version_that_gives_way_to_the_one_before_may_be_cut_at_any_point_and_repeated() {
    let back = |site: &Site, story: &Story| {
        give_back(site, new(story), story[1].as_ref().map(|version| &version.artifact))
    };
    at_every_cut(committed, back, |site, story, _| {
        let (there, [_, old, new_one]) = (active(site.root), looks(story));
        assert!(there == old || there == new_one, "{}", listing(site.root));
        for _ in 0..2 {
            back(site, story).unwrap();
            assert_eq!(active(site.root), old, "{}", listing(site.root));
        }
        let half = |name: &String| ["-part", "-new", "-kept"].iter().any(|end| name.ends_with(end));
        assert!(!names(site.root).iter().any(half), "{}", listing(site.root));
    });
}

#[test]
fn a_committed_version_that_is_taken_away_is_back_or_gone_wherever_that_was_cut() {
    for is_restored in [false, true] {
        let has_something = |story: &Story| story[1].is_some() && is_restored;
        let go = |site: &Site, story: &Story| take_away(site, new(story), has_something(story));
        let expected = |story: &Story| looks(story)[1].clone().filter(|_| is_restored);
        at_every_cut(committed, go, |site, story, _| {
            let (there, [.., new_one]) = (active(site.root), looks(story));
            assert!(there == new_one || there == expected(story), "{}", listing(site.root));
            put_back(site, new(story)).unwrap();
            assert_eq!((active(site.root), evidence(site, new(story))), (new_one, Evidence::New));
            go(site, story).unwrap();
            assert_eq!((active(site.root), is_taken_away(site, new(story))), (expected(story), true));
            forget(site, new(story)).unwrap();
        });
        let gone = |story: &Story| {
            let before = committed(story);
            go(&story[2].as_ref().unwrap().site(before.dir.path()), story).unwrap();
            before
        };
        let forget = |site: &Site, story: &Story| forget(site, new(story));
        at_every_cut(gone, forget, |site, story, _| {
            forget(site, story).unwrap();
            assert_eq!(active(site.root), expected(story));
            assert!(!names(site.root).iter().any(|name| name.ends_with("-kept")), "{}", listing(site.root));
        });
    }
}
