//! What cannot be placed is refused with its reason, before anything is written.

use super::super::{InstallError, check};
use super::fixture::{DEST, Version, listing};
use std::os::unix::fs::symlink;
use std::path::Path;

/// Both the check and the install refuse, say why, and leave everything as it was.
fn refused(dir: &Path, version: &Version, words: &[&str]) {
    let before = listing(dir);
    let root = dir.join("root");
    let checked = check(&version.site(&root), &version.artifact).unwrap_err();
    let error = version.install(&root).unwrap_err().to_string();
    assert_eq!(checked.to_string(), error);
    words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in {error}"));
    assert_eq!(listing(dir), before, "{error}");
}

fn both_kinds(dir: &Path, destination: &str, words: &[&str]) {
    refused(dir, &Version::file("new").at(destination), words);
    refused(dir, &Version::tree("new").at(destination), words);
}

#[test]
fn a_destination_that_leaves_the_root_is_refused_and_the_root_is_not_even_made() {
    let dir = tempfile::tempdir().unwrap();
    for (destination, words) in [
        ("../app", "leaves the directory"),
        ("opt/../../app", "leaves the directory"),
        ("..", "leaves the directory"),
        ("/etc/passwd", "absolute"),
        ("", "empty"),
        (".", "component"),
        ("opt//app", "component"),
        ("opt/", "component"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
    ] {
        both_kinds(dir.path(), destination, &[&format!("{destination:?}"), words]);
    }
    both_kinds(dir.path(), &"x".repeat(200), &["too long"]);
    both_kinds(dir.path(), &format!("{}/app", "x".repeat(256)), &["too long"]);
}

#[test]
fn a_destination_among_samaras_own_names_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for destination in [
        ".samara",
        ".samara-x",
        "opt/app.samara-previous",
        "app.samara-new/inner",
        "app.samara-kept",
        "x/.samara/y",
    ] {
        both_kinds(dir.path(), destination, &[destination, "keeps for itself"]);
    }
}

#[test]
fn a_symlink_on_the_way_is_refused_wherever_it_leads() {
    for target in ["inside", "../outside", "/tmp", "nowhere", "."] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("inside/app")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        symlink(target, root.join("way")).unwrap();
        both_kinds(dir.path(), "way/app", &["root/way", "symbolic link"]);
        both_kinds(dir.path(), "way/deep/er/app", &["root/way", "symbolic link"]);
    }
}

#[test]
fn a_file_on_the_way_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    std::fs::write(dir.path().join("root/way"), "").unwrap();
    both_kinds(dir.path(), "way/app", &["root/way", "no directory"]);
}

#[test]
fn a_symlink_that_samara_did_not_place_is_refused_as_the_last_component() {
    let hash = "0".repeat(64);
    for target in ["file", "directory", "../file", "/etc/passwd", "nowhere", "app", "app.samara-x"]
        .into_iter()
        .map(str::to_owned)
        .chain([
            format!("other.samara-{hash}"),
            format!("../opt/app.samara-{hash}"),
            format!("app.samara-{hash}0"),
        ])
    {
        let dir = tempfile::tempdir().unwrap();
        let opt = dir.path().join("root/opt");
        std::fs::create_dir_all(opt.join("directory")).unwrap();
        std::fs::write(opt.join("file"), "precious").unwrap();
        symlink(&target, opt.join("app")).unwrap();
        both_kinds(dir.path(), DEST, &["root/opt/app", "a symbolic link that Samara did not place"]);
    }
}

#[test]
fn a_directory_or_a_special_file_that_samara_did_not_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("root/opt/app/data")).unwrap();
    both_kinds(dir.path(), DEST, &["root/opt/app", "a directory that Samara did not place", "move it away"]);
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("root/socket")).unwrap();
    both_kinds(dir.path(), "socket", &["root/socket", "a special file"]);
}

#[test]
fn a_file_list_that_could_leave_the_tree_or_stands_for_two_things_is_refused_whole() {
    let file = Some("x");
    for (entries, words) in [
        (vec![("../x", 0o644, file, "")], "leaves the directory"),
        (vec![("a/../../x", 0o644, file, "")], "leaves the directory"),
        (vec![("/etc/x", 0o644, file, "")], "absolute"),
        (vec![("a", 0o644, file, ""), ("a", 0o644, file, "")], "stands twice"),
        (vec![("b", 0o644, file, ""), ("a", 0o644, file, "")], "out of order"),
        (vec![("l", 0o777, None, "/etc")], "absolute"),
        (vec![("l", 0o777, None, "../..")], "leaves the directory"),
        (vec![("l", 0o777, None, "a"), ("l/x", 0o644, file, "")], "lies under"),
        (vec![("a", 0o4755, file, "")], "mode bits"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        refused(dir.path(), &Version::tree_of(&entries), &["file list", words]);
    }
}

#[test]
fn a_file_list_of_another_content_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (Version::tree("one"), Version::tree("two"));
    one.source.contents.append(&mut two.source.contents);
    one.artifact.representations[0].list = two.artifact.representations[0].list;
    refused(dir.path(), &one, &["file list", "it cuts"]);
    one.artifact.representations[0].list = None;
    refused(dir.path(), &one, &["file list", "missing"]);
    one.artifact.representations.clear();
    refused(dir.path(), &one, &["no plain representation"]);
}

#[test]
fn a_root_that_is_no_directory_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("root"), "").unwrap();
    let error = Version::file("new").install(&dir.path().join("root")).unwrap_err();
    assert!(matches!(&error, InstallError::Disk { path, .. } if path.ends_with("root")), "{error}");
}
