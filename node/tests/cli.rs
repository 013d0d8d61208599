//! `samara-node` as scripts meet it: exit codes and messages.

use samara_node::state::State;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const LEAST: &str = "trust_root = \"root.json\"\ndata_dir = \"data\"\n[install]\nroot = \"install\"\n";

fn samara_node(arguments: &[&str], config: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara-node"));
    command.args(arguments).arg("--config").arg(config).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_missing_or_wrong_configuration_ends_with_code_3_and_names_the_file_and_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    let output = samara_node(&["run"], &path);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("node.toml"), "{}", said(&output));
    std::fs::write(&path, "trust_root = \"root.json\"\ndata_dir = 7\n").unwrap();
    let output = samara_node(&["run"], &path);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("line 2") && said(&output).contains("data_dir"), "{}", said(&output));
}

#[test]
fn a_daemon_without_a_believable_trust_root_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, LEAST).unwrap();
    assert_eq!(samara_node(&["check"], &path).status.code(), Some(3));
    std::fs::write(dir.path().join("root.json"), "{}").unwrap();
    let output = samara_node(&["check"], &path);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("root.json"), "{}", said(&output));
}

#[test]
fn every_mistake_in_the_configuration_ends_with_code_3_and_names_key_value_and_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    for (text, words) in [
        (format!("{LEAST}[store]\nreserve = \"1GiB\"\n"), vec!["line 6", "reserve", "reserve_free"]),
        (format!("{LEAST}[mesh]\nmdns = \"yes\"\n"), vec!["line 6", "mdns", "yes", "boolean"]),
        (format!("{LEAST}[log]\nlevel = \"lo=ud=\"\n"), vec!["log.level", "lo=ud=", "info"]),
        (LEAST.replace("root = \"install\"", ""), vec!["line 3", "install", "root"]),
        (LEAST.replace("data_dir = \"data\"", ""), vec!["data_dir"]),
        ("trust_root".to_owned(), vec!["line 1"]),
    ] {
        std::fs::write(&path, &text).unwrap();
        let output = samara_node(&["run"], &path);
        assert_eq!(output.status.code(), Some(3), "{text}: {}", said(&output));
        for word in words.into_iter().chain(["node.toml"]) {
            assert!(said(&output).contains(word), "{word:?} is not in {}", said(&output));
        }
    }
    // Nothing was made on the way.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_the_configuration_names_and_that_is_missing_ends_with_code_3_and_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, LEAST).unwrap();
    let output = samara_node(&["run"], &path);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("root.json"), "{}", said(&output));
}

#[test]
fn a_damaged_state_file_or_identity_ends_with_code_5_and_stays_as_it_is() {
    for (name, words) in [("state.redb", "is damaged"), ("identity.key", "is no device key")] {
        for bytes in [&b""[..], b"garbage"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("node.toml");
            std::fs::write(&path, LEAST).unwrap();
            let damaged = dir.path().join("data").join(name);
            std::fs::create_dir(dir.path().join("data")).unwrap();
            std::fs::write(&damaged, bytes).unwrap();
            std::fs::set_permissions(&damaged, Permissions::from_mode(0o600)).unwrap();
            let output = samara_node(&["run"], &path);
            assert_eq!(output.status.code(), Some(5), "{}", said(&output));
            for words in [words, &format!("data/{name}"), "restore it"] {
                assert!(said(&output).contains(words), "{words:?} is not in {}", said(&output));
            }
            assert_eq!(std::fs::read(&damaged).unwrap(), bytes);
        }
    }
}

#[test]
fn an_identity_that_others_may_read_ends_with_code_5() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, LEAST).unwrap();
    assert_eq!(samara_node(&["identity"], &path).status.code(), Some(0));
    let key = dir.path().join("data/identity.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    for command in ["run", "identity"] {
        let output = samara_node(&[command], &path);
        assert_eq!(output.status.code(), Some(5), "{}", said(&output));
        assert!(said(&output).contains("identity.key has mode 644"), "{}", said(&output));
    }
}

#[test]
fn a_second_process_on_one_data_directory_ends_with_code_5_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, LEAST).unwrap();
    let identity = samara_node(&["identity"], &path);
    let _running = State::open(&dir.path().join("data/state.redb")).unwrap();
    let output = samara_node(&["run"], &path);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains("data is in use"), "{}", said(&output));
    // The id can be asked for all the same.
    assert_eq!(samara_node(&["identity"], &path).stdout, identity.stdout);
}

#[test]
fn an_identity_stays_the_same_and_no_daemon_answers_with_code_6() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, LEAST).unwrap();
    let first = samara_node(&["identity"], &path);
    assert_eq!(first.stdout, samara_node(&["identity"], &path).stdout);
    assert_eq!(first.stdout.len(), 65);
    assert_eq!(samara_node(&["status"], &path).status.code(), Some(6));
}

#[test]
fn output_that_is_lost_ends_with_code_5() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, LEAST).unwrap();
    let mut identity = Command::new(env!("CARGO_BIN_EXE_samara-node"));
    identity.arg("identity").arg("--config").arg(&path);
    let mut help = Command::new(env!("CARGO_BIN_EXE_samara-node"));
    help.arg("--help");
    for command in [&mut identity, &mut help] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{command:?}");
        assert!(said(&output).contains("standard output"), "{}", said(&output));
    }
}

/// What a program had started before it was limited from outside had no limits.
#[test]
fn a_program_that_the_daemon_starts_is_limited_before_it_begins() {
    let launch = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara-node"));
        command.arg("launch-limited").args(words).output().unwrap()
    };
    let limits = "ulimit -c; ulimit -n; ulimit -t; ulimit -d; echo $1; kill -9 $$";
    let output = launch(&["31", "/bin/sh", "-c", limits, "sh", "--an argument"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("0\n1024\n31\n{}\n--an argument\n", 1 << 20));
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&output.status),
        Some(9),
        "it is the program itself"
    );
    let output = launch(&["5", "/nonexistent/program"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(said(&output).contains("cannot run /nonexistent/program: No such file"), "{}", said(&output));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    std::fs::write(&path, "no program").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(launch(&["5", path.to_str().unwrap()]).status.code(), Some(126));
    assert_eq!(launch(&[]).status.code(), Some(126));
}
