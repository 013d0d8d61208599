//! What is placed, what is kept, and what an install that fails leaves: nothing.

use super::super::{InstallError, check, fuse};
use super::fixture::{DEST, Fault, Version, hash, listing, names, picture};
use crate::mesh::store::StoreError;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const PREVIOUS: &str = "opt/app.samara-previous";

fn active(root: &Path) -> Option<String> {
    picture(&root.join(DEST))
}

fn previous(root: &Path) -> Option<String> {
    picture(&root.join(PREVIOUS))
}

fn kinds() -> [fn(&str) -> Version; 4] {
    [Version::file, Version::tree, Version::config, Version::binary]
}

#[test]
fn a_file_is_placed_with_its_mode_below_a_root_that_was_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("srv/root");
    Version::file("one").install(&root).unwrap();
    assert_eq!(active(&root).unwrap(), "file 0644 \"one\"");
    Version::file_with_mode("one", 0o751).install(&root).unwrap();
    assert_eq!(active(&root).unwrap(), "file 0751 \"one\"");
    Version::file("").at("empty").install(&root).unwrap();
    assert_eq!(picture(&root.join("empty")).unwrap(), "file 0644 \"\"");
}

#[test]
fn a_tree_is_placed_as_its_list_says_whatever_the_umask() {
    let dir = tempfile::tempdir().unwrap();
    Version::tree("one").install(dir.path()).unwrap();
    let expected = "tree
bin 0755 /
bin/run 0755 \"#!/bin/sh\\necho one\\n\"
etc 0750 /
etc/deep 0755 /
etc/deep/er 0755 /
etc/deep/er/conf 0640 \"one\"
etc/empty 0600 \"\"
run -> bin/run
sealed 0555 /";
    assert_eq!(active(dir.path()).unwrap(), expected);
    assert_eq!(names(dir.path()), ["app", "app.samara-HASH"]);
}

#[test]
fn the_previous_version_is_kept_and_a_third_one_drops_the_first() {
    for new in kinds() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, three] = ["one", "two", "three"].map(new);
        one.install(dir.path()).unwrap();
        assert_eq!(previous(dir.path()), None);
        two.install(dir.path()).unwrap();
        assert_eq!((active(dir.path()), previous(dir.path())), (Some(two.picture()), Some(one.picture())));
        three.install(dir.path()).unwrap();
        assert_eq!((active(dir.path()), previous(dir.path())), (Some(three.picture()), Some(two.picture())));
        let versions = names(dir.path()).iter().filter(|name| name.ends_with("HASH")).count();
        assert!(versions <= 2 && !listing(dir.path()).contains("\"one"), "{}", listing(dir.path()));
    }
}

#[test]
fn a_file_may_become_a_tree_and_a_tree_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (file, tree) = (Version::file("file"), Version::tree("tree"));
    file.install(dir.path()).unwrap();
    tree.install(dir.path()).unwrap();
    assert_eq!((active(dir.path()), previous(dir.path())), (Some(tree.picture()), Some(file.picture())));
    file.install(dir.path()).unwrap();
    assert_eq!((active(dir.path()), previous(dir.path())), (Some(file.picture()), Some(tree.picture())));
}

#[test]
fn what_is_in_place_is_left_alone_and_does_not_become_its_own_previous_version() {
    for new in kinds() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(new);
        one.install(dir.path()).unwrap();
        two.install(dir.path()).unwrap();
        let inode = || std::fs::metadata(dir.path().join(DEST)).unwrap().ino();
        let (before, inode_before) = (listing(dir.path()), inode());
        two.install(dir.path()).unwrap();
        assert_eq!((listing(dir.path()), inode()), (before, inode_before));
    }
}

#[test]
fn a_file_that_somebody_changed_is_placed_again() {
    let dir = tempfile::tempdir().unwrap();
    let one = Version::file("one");
    one.install(dir.path()).unwrap();
    std::fs::write(dir.path().join(DEST), "0ne").unwrap();
    one.install(dir.path()).unwrap();
    assert_eq!(active(dir.path()), Some(one.picture()));
}

#[test]
fn the_previous_tree_comes_back_as_it_was_published_not_as_it_was_used() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(Version::tree);
    one.install(dir.path()).unwrap();
    std::fs::write(dir.path().join(DEST).join("etc/state"), "left by the program").unwrap();
    two.install(dir.path()).unwrap();
    assert!(previous(dir.path()).unwrap().contains("left by the program"));
    one.install(dir.path()).unwrap();
    assert_eq!((active(dir.path()), previous(dir.path())), (Some(one.picture()), Some(two.picture())));
}

#[test]
fn a_file_that_was_there_before_samara_is_kept_as_the_previous_version() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("opt")).unwrap();
    std::fs::write(dir.path().join(DEST), "from the factory").unwrap();
    Version::tree("one").install(dir.path()).unwrap();
    assert!(previous(dir.path()).unwrap().contains("from the factory"));
}

#[test]
fn a_previous_version_that_somebody_linked_back_does_not_stop_the_next_install() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two, three] = ["one", "two", "three"].map(Version::file);
    one.install(dir.path()).unwrap();
    two.install(dir.path()).unwrap();
    std::fs::remove_file(dir.path().join(DEST)).unwrap();
    std::fs::hard_link(dir.path().join(PREVIOUS), dir.path().join(DEST)).unwrap();
    three.install(dir.path()).unwrap();
    assert_eq!((active(dir.path()), previous(dir.path())), (Some(three.picture()), Some(one.picture())));
    assert_eq!(names(dir.path()), ["app", "app.samara-previous"]);
}

#[test]
fn an_install_that_fails_changes_nothing_and_leaves_nothing_and_can_be_repeated() {
    for new in kinds() {
        for fault in [Fault::Damaged, Fault::NoSpace, Fault::FlippedBit, Fault::Short, Fault::Long] {
            for before in [&["zero", "one"][..], &[]] {
                let dir = tempfile::tempdir().unwrap();
                std::fs::create_dir(dir.path().join("opt")).unwrap();
                before.iter().for_each(|text| new(text).install(dir.path()).unwrap());
                let seen = listing(dir.path());
                let two = new("two, with some more bytes").failing(fault);
                let error = two.install(dir.path()).unwrap_err();
                match (fault, &error) {
                    (Fault::Damaged, InstallError::Store(StoreError::Damaged { group: 0 })) => {}
                    (Fault::NoSpace | Fault::Long, InstallError::Store(_)) => {}
                    (Fault::FlippedBit | Fault::Short, InstallError::WrongBytes { .. }) => {}
                    _ => panic!("{error}"),
                }
                assert_eq!(listing(dir.path()), seen);
                new("two, with some more bytes").install(dir.path()).unwrap();
                assert_eq!(active(dir.path()), Some(two_picture(new)));
            }
        }
    }
}

fn two_picture(new: fn(&str) -> Version) -> String {
    new("two, with some more bytes").picture()
}

#[test]
fn a_damaged_file_list_is_said_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let one = Version::tree("one");
    let list = one.artifact.plain().unwrap().list.unwrap().content;
    *one.source.fault.borrow_mut() = Some((list, Fault::Damaged));
    let error = check(&one.site(dir.path()), &one.artifact).unwrap_err();
    assert!(matches!(error, InstallError::Store(StoreError::Damaged { .. })), "{error}");
    assert_eq!(listing(dir.path()), "");
}

#[test]
fn an_error_of_the_disk_names_the_path_and_is_not_taken_for_one_of_the_store() {
    // /dev/full stands for a disk that is full.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let bytes = vec![7; 1 << 20];
    let mut source = super::fixture::Memory::default();
    source.contents.insert(hash(&bytes), bytes.clone());
    fuse::on(u32::MAX);
    let mut copier = super::super::copy::Copier::new(&source, hash(&bytes));
    let error = copier.write(bytes.len() as u64, &full, Path::new("/opt/app")).unwrap_err();
    assert!(matches!(error, InstallError::Disk { .. }), "{error}");
    assert!(error.to_string().contains("/opt/app") && error.to_string().contains("No space"), "{error}");
}
