//! Scripts: once for each release, with a record, and back by a script of their own.

use super::super::{Evidence, InstallError, activate, commit, evidence, fuse, stage, undo};
use super::fixture::{DEST, Version, blob, hash, listing, scratch};
use crate::hook::Outcome;
use samara_protocol::document::ScriptOptions;
use std::fs;
use std::path::Path;

/// Writes a line into a log, and takes it back.
fn logging(line: &str) -> Version {
    let script = format!("{line} >> $SAMARA_ROOT/log; echo \"$1 of $SAMARA_STEP\"");
    let mut version = Version::script(&script);
    let back = "#!/bin/sh\nsed -i '$d' $SAMARA_ROOT/log\n";
    version.source.contents.insert(hash(back.as_bytes()), back.into());
    let undo = Some(blob(back.as_bytes()));
    version.artifact.script = Some(ScriptOptions { args: vec!["word".into()], timeout_seconds: 20, undo });
    version
}

fn log(root: &Path) -> String {
    fs::read_to_string(root.join("log")).unwrap_or_default()
}

#[test]
fn a_script_runs_once_for_its_release_and_leaves_a_record() {
    let dir = scratch();
    let one = logging("one");
    for _ in 0..3 {
        one.install(dir.path()).unwrap();
    }
    assert_eq!(log(dir.path()), "one\n");
    let record = fs::read_to_string(dir.path().join(DEST)).unwrap();
    let site = one.site(dir.path());
    let expected = format!(
        "release {}\nversion 2\nscript {}\noutcome passed\n\nword of script\n",
        site.release, one.artifact.installed.hash
    );
    assert_eq!(record, expected);
    assert_eq!(evidence(&site, &one.artifact), Evidence::New);
    // The same script in the next release is another one.
    let mut next = one.site(dir.path());
    next.release = samara_protocol::id::DocumentId([9; 32]);
    assert_eq!(evidence(&next, &one.artifact), Evidence::Other);
    stage(&next, &one.artifact).unwrap();
    activate(&next, &one.artifact).unwrap();
    commit(&next, &one.artifact).unwrap();
    assert_eq!(log(dir.path()), "one\none\n");
}

#[test]
fn what_a_script_did_is_taken_back_and_a_script_that_never_ran_is_not() {
    let dir = scratch();
    let (one, two) = (logging("one"), logging("two"));
    one.install(dir.path()).unwrap();
    let before = listing(dir.path());
    let site = two.site(dir.path());
    stage(&site, &two.artifact).unwrap();
    undo(&site, &two.artifact).unwrap();
    assert_eq!(listing(dir.path()), before);
    stage(&site, &two.artifact).unwrap();
    activate(&site, &two.artifact).unwrap();
    assert_eq!(log(dir.path()), "one\ntwo\n");
    undo(&site, &two.artifact).unwrap();
    undo(&site, &two.artifact).unwrap();
    assert_eq!(listing(dir.path()), before);
}

#[test]
fn a_script_that_fails_says_how_and_leaves_no_record_of_success() {
    let dir = scratch();
    let (one, two) = (logging("one"), logging("two; echo not today >&2; exit 21"));
    one.install(dir.path()).unwrap();
    let error = two.install(dir.path()).unwrap_err();
    assert!(
        matches!(&error, InstallError::Script { outcome: Outcome::RetryLater, output, .. } if output.contains("not today")),
        "{error}"
    );
    assert_eq!(evidence(&two.site(dir.path()), &two.artifact), Evidence::Other);
    undo(&two.site(dir.path()), &two.artifact).unwrap();
    assert_eq!(evidence(&one.site(dir.path()), &one.artifact), Evidence::New);
}

#[test]
fn a_script_that_has_run_does_not_run_again_because_power_failed_afterwards() {
    for points in 0..100 {
        let dir = scratch();
        let one = logging("one");
        let site = one.site(dir.path());
        fuse::on(u32::MAX);
        stage(&site, &one.artifact).unwrap();
        fuse::on(points);
        let cut = activate(&site, &one.artifact);
        fuse::on(u32::MAX);
        let has_run_before = !log(dir.path()).is_empty();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        let has_record =
            [DEST, "opt/app.samara-new"].map(read).iter().any(|record| record.contains("passed"));
        activate(&site, &one.artifact).unwrap();
        // Between its end and the record nobody knows that it ran.
        let runs = log(dir.path()).lines().count();
        assert_eq!(runs, if has_run_before && !has_record { 2 } else { 1 });
        undo(&site, &one.artifact).unwrap();
        if cut.is_ok() {
            return;
        }
    }
    panic!("an activation never ended");
}
