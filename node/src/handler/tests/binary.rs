//! Programs: the link to a version, and what runs the program takes up each switch, forth and back.

use super::super::{Evidence, InstallError, activate, commit, evidence, fuse, stage, undo};
use super::fixture::{DEST, Version, listing, names, scratch};
use samara_protocol::document::{BinaryOptions, Restart};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command};

const PROGRAM: &str = "#!/bin/sh\nwhile :; do sleep 0.05; done\n";

fn restarting(version: &str) -> Version {
    let mut version = Version::binary(&format!("{PROGRAM}# {version}\n"));
    let restart = Restart::Process { pid_file: "run/app.pid".into() };
    version.artifact.binary = Some(BinaryOptions { restart });
    version
}

/// The program as its supervisor started it.
fn start(root: &Path, program: &str) -> Child {
    let child = Command::new(root.join(program)).spawn().unwrap();
    // The kernel lets the parent go on a moment before it shows what the child runs.
    while fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().is_empty() {
        std::thread::yield_now();
    }
    fs::create_dir_all(root.join("run")).unwrap();
    fs::write(root.join("run/app.pid"), format!("{}\n", child.id())).unwrap();
    child
}

/// Ends it, and says whether a signal to stop had come before.
fn was_stopped(mut child: Child) -> bool {
    if child.try_wait().unwrap().is_none() {
        child.kill().unwrap();
    }
    child.wait().unwrap().signal() == Some(15)
}

fn is_marked(root: &Path) -> bool {
    root.join("opt/app.samara-restart").exists()
}

#[test]
fn a_program_is_a_link_to_its_own_directory_and_keeps_its_name() {
    let dir = scratch();
    let one = Version::binary("one");
    one.install(dir.path()).unwrap();
    let to = fs::read_link(dir.path().join(DEST)).unwrap();
    assert_eq!(to, Path::new(&format!("app.samara-{}/app", one.artifact.installed.hash)));
    assert!(listing(dir.path()).contains("/app 0755 \"one\""));
    fs::write(dir.path().join(DEST), "0ne").unwrap();
    assert_eq!(evidence(&one.site(dir.path()), &one.artifact), Evidence::Other);
    one.install(dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join(DEST)).unwrap(), b"one");
}

#[test]
fn the_process_that_runs_it_is_stopped_at_each_switch_wherever_power_failed_before() {
    for points in 0..100 {
        let dir = scratch();
        let root = dir.path();
        let (one, two) = (restarting("1"), restarting("2"));
        one.install(root).unwrap();
        let old = start(root, DEST);
        let site = two.site(root);
        stage(&site, &two.artifact).unwrap();
        fuse::on(points);
        let cut = activate(&site, &two.artifact);
        fuse::on(u32::MAX);
        activate(&site, &two.artifact).unwrap();
        assert!(was_stopped(old) && !is_marked(root), "{points}");

        let new = start(root, DEST);
        fuse::on(points);
        let cut_back = undo(&site, &two.artifact);
        fuse::on(u32::MAX);
        undo(&site, &two.artifact).unwrap();
        assert!(was_stopped(new) && !is_marked(root), "{points}");
        assert_eq!(evidence(&site, &one.artifact), Evidence::New);
        if cut.is_ok() && cut_back.is_ok() {
            assert!(points > 5);
            return;
        }
    }
    panic!("a roll back never ended");
}

#[test]
fn what_is_in_place_already_is_not_restarted_and_neither_is_what_was_never_switched() {
    let dir = scratch();
    let (one, two) = (restarting("1"), restarting("2"));
    one.install(dir.path()).unwrap();
    let old = start(dir.path(), DEST);
    one.install(dir.path()).unwrap();
    stage(&two.site(dir.path()), &two.artifact).unwrap();
    undo(&two.site(dir.path()), &two.artifact).unwrap();
    commit(&one.site(dir.path()), &one.artifact).unwrap();
    assert!(!was_stopped(old));
}

#[test]
fn another_process_that_has_got_the_number_is_left_alone() {
    let dir = scratch();
    let (one, two) = (restarting("1"), restarting("2"));
    one.install(dir.path()).unwrap();
    fs::write(dir.path().join("other"), PROGRAM).unwrap();
    fs::set_permissions(dir.path().join("other"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let other = start(dir.path(), "other");
    two.install(dir.path()).unwrap();
    assert!(!was_stopped(other));
    // Nobody has it any more.
    restarting("3").install(dir.path()).unwrap();
    fs::remove_file(dir.path().join("run/app.pid")).unwrap();
    restarting("4").install(dir.path()).unwrap();
}

#[test]
fn a_restart_that_fails_is_an_error_and_all_goes_back() {
    let dir = scratch();
    let (one, two) = (restarting("1"), restarting("2"));
    one.install(dir.path()).unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::write(dir.path().join("run/app.pid"), "no number").unwrap();
    let error = two.install(dir.path()).unwrap_err();
    assert!(matches!(error, InstallError::Restart { .. }), "{error}");
    assert!(error.to_string().contains("run/app.pid holds no process id: \"no number\""), "{error}");
    fs::remove_file(dir.path().join("run/app.pid")).unwrap();
    undo(&two.site(dir.path()), &two.artifact).unwrap();
    assert_eq!(evidence(&one.site(dir.path()), &one.artifact), Evidence::New);
    assert!(!names(dir.path()).iter().any(|name| name.ends_with("-restart")));
}
