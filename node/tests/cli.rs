//! `samara-node` as scripts meet it: exit codes and messages.

use std::path::Path;
use std::process::{Command, Output};

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
    let text = "trust_root = \"root.json\"\ndata_dir = \"data\"\n[install]\nroot = \"install\"\n";
    std::fs::write(&path, text).unwrap();
    assert_eq!(samara_node(&["check"], &path).status.code(), Some(3));
    std::fs::write(dir.path().join("root.json"), "{}").unwrap();
    let output = samara_node(&["check"], &path);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("root.json"), "{}", said(&output));
}

#[test]
fn an_identity_stays_the_same_and_no_daemon_answers_with_code_6() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    let text = "trust_root = \"root.json\"\ndata_dir = \"data\"\n[install]\nroot = \"install\"\n";
    std::fs::write(&path, text).unwrap();
    let first = samara_node(&["identity"], &path);
    assert_eq!(first.stdout, samara_node(&["identity"], &path).stdout);
    assert_eq!(first.stdout.len(), 65);
    assert_eq!(samara_node(&["status"], &path).status.code(), Some(6));
}
