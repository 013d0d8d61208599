//! Configurations: what comes and what is there become one, and the device's own command has the last word.

use super::super::{Evidence, InstallError, activate, commit, evidence, fuse, stage, undo};
use super::fixture::{DEST, Version, listing, names, scratch};
use samara_protocol::document::{CommandLine, ConfigOptions, Merge};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

fn merging(text: &str, merge: Merge) -> Version {
    let mut version = Version::config(text);
    version.artifact.config = Some(ConfigOptions { merge, validate: None });
    version
}

fn checked_by(text: &str, command: &[&str]) -> Version {
    let mut version = Version::config(text);
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let validate = Some(CommandLine { command, timeout_seconds: 10 });
    version.artifact.config = Some(ConfigOptions { merge: Merge::Replace, validate });
    version
}

fn with(text: &str) -> tempfile::TempDir {
    let dir = scratch();
    fs::create_dir(dir.path().join("opt")).unwrap();
    fs::write(dir.path().join(DEST), text).unwrap();
    dir
}

fn there(dir: &Path) -> String {
    fs::read_to_string(dir.join(DEST)).unwrap()
}

#[test]
fn a_configuration_is_merged_into_what_is_there_which_is_kept_with_its_mode() {
    let dir = with("name = 'press 4' # painted on it\nrate = 5\n");
    fs::set_permissions(dir.path().join(DEST), Permissions::from_mode(0o640)).unwrap();
    let version = merging("rate = 7\n", Merge::Toml);
    version.install(dir.path()).unwrap();
    let expected = "opt 0755 /
opt/app 0640 \"name = 'press 4' # painted on it\\nrate = 7\\n\"
opt/app.samara-previous 0640 \"name = 'press 4' # painted on it\\nrate = 5\\n\"";
    assert_eq!(listing(dir.path()), expected);
    // What the site changes elsewhere in it does not make it another configuration.
    fs::write(dir.path().join(DEST), "name = 'press 5'\nrate = 7\n").unwrap();
    assert_eq!(evidence(&version.site(dir.path()), &version.artifact), Evidence::New);
    fs::write(dir.path().join(DEST), "name = 'press 5'\nrate = 8\n").unwrap();
    assert_eq!(evidence(&version.site(dir.path()), &version.artifact), Evidence::Other);
}

/// A program that runs as another user could not read its configuration any more.
#[test]
fn a_configuration_keeps_its_owner() {
    let dir = with("rate = 5\n");
    let place = dir.path().join(DEST);
    fs::set_permissions(&place, Permissions::from_mode(0o600)).unwrap();
    // Only root may give files away.
    let _ = chown(&place, Some(1234), Some(4321));
    let owner =
        |path: &Path| fs::metadata(path).map(|meta| (meta.uid(), meta.gid(), meta.mode() & 0o777)).unwrap();
    let before = owner(&place);
    let version = merging("rate = 7\n", Merge::Toml);
    version.install(dir.path()).unwrap();
    assert_eq!((there(dir.path()).as_str(), owner(&place)), ("rate = 7\n", before));
}

#[test]
fn what_a_program_writes_between_stage_and_activate_is_not_lost() {
    let dir = with("{\"count\": 1}");
    let version = merging("{\"rate\": 7}", Merge::Json);
    let site = version.site(dir.path());
    fuse::on(u32::MAX);
    stage(&site, &version.artifact).unwrap();
    fs::write(dir.path().join(DEST), "{\"count\": 2}").unwrap();
    activate(&site, &version.artifact).unwrap();
    assert_eq!(there(dir.path()), "{\n  \"count\": 2,\n  \"rate\": 7\n}\n");
    undo(&site, &version.artifact).unwrap();
    assert_eq!(there(dir.path()), "{\"count\": 2}");
}

#[test]
fn after_a_restart_an_activated_configuration_is_known_without_the_bytes_of_the_release() {
    let dir = with("rate = 5\n");
    let mut version = merging("rate = 7\n", Merge::Toml);
    let look = |version: &Version| evidence(&version.site(dir.path()), &version.artifact);
    fuse::on(u32::MAX);
    stage(&version.site(dir.path()), &version.artifact).unwrap();
    assert_eq!(look(&version), Evidence::Other);
    activate(&version.site(dir.path()), &version.artifact).unwrap();
    // The program that runs now writes into its configuration.
    fs::write(dir.path().join(DEST), "rate = 6\n").unwrap();
    let data = version.data;
    let bytes = version.source.contents.insert(data, b"damaged!!".to_vec()).unwrap();
    assert_eq!(look(&version), Evidence::New);
    undo(&version.site(dir.path()), &version.artifact).unwrap();
    version.source.contents.insert(data, bytes);
    assert_eq!((look(&version), there(dir.path()).as_str()), (Evidence::Other, "rate = 5\n"));
}

#[test]
fn the_command_sees_the_new_file_and_what_it_refuses_changes_nothing() {
    let command = ["/bin/sh", "-c", "grep good \"$1\" || { echo no good; exit 3; }", "look", "{file}"];
    let dir = with("old");
    let before = listing(dir.path());
    let error = checked_by("bad", &command).install(dir.path()).unwrap_err();
    assert!(matches!(error, InstallError::Refused { .. }), "{error}");
    assert!(error.to_string().ends_with("/bin/sh ended with exit code 3: no good"), "{error}");
    assert_eq!(listing(dir.path()), before);
    checked_by("good", &command).install(dir.path()).unwrap();
    assert_eq!(there(dir.path()), "good");
    let error = checked_by("other", &["/nonexistent/check", "{file}"]).install(dir.path()).unwrap_err();
    assert!(matches!(&error, InstallError::Program { path, .. } if path.ends_with("check")), "{error}");
    assert_eq!((there(dir.path()).as_str(), names(dir.path()).len()), ("good", 2));
}

#[test]
fn a_configuration_that_cannot_be_merged_is_refused_with_the_reason() {
    for (there, coming, merge, words) in [
        ("a = [", "b = 1", Merge::Toml, "that is there"),
        ("a = 1", "b = ", Merge::Toml, "of the release"),
        ("", "{}", Merge::Json, "that is there"),
    ] {
        let dir = with(there);
        let before = listing(dir.path());
        let error = merging(coming, merge).install(dir.path()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(DEST), "{error}");
        assert_eq!(listing(dir.path()), before);
    }
}

#[test]
fn where_none_is_there_the_one_of_the_release_is_placed_and_undone() {
    for (merge, text, expected) in [
        (Merge::Replace, "anything", "anything"),
        (Merge::Toml, "# of the release\na = 1\n", "# of the release\na = 1\n"),
        (Merge::Json, "{\"a\": 1, \"b\": null}", "{\n  \"a\": 1\n}\n"),
    ] {
        let dir = scratch();
        let version = merging(text, merge);
        let site = version.site(dir.path());
        fuse::on(u32::MAX);
        stage(&site, &version.artifact).unwrap();
        activate(&site, &version.artifact).unwrap();
        assert_eq!(there(dir.path()), expected);
        assert_eq!(evidence(&site, &version.artifact), Evidence::New);
        undo(&site, &version.artifact).unwrap();
        assert!(names(dir.path()).is_empty());
        version.install(dir.path()).unwrap();
        commit(&site, &version.artifact).unwrap();
        assert_eq!(names(dir.path()), ["app"]);
    }
}
