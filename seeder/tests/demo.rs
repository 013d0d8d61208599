//! The demo as a person runs it: it ends well, and leaves no process behind when it is killed.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{noise, ok, samara, wait_for};

fn demo(artifact: &Path) -> Command {
    let mut command = samara();
    // With cargo at hand the demo builds its programs first; here they are there.
    command.args(["--json", "demo", "--devices", "2"]).arg(artifact).env_remove("CARGO");
    command
}

fn artifact(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("artifact.bin");
    std::fs::write(&path, noise(2 * 1024 * 1024, 1)).unwrap();
    path
}

#[test]
fn the_demo_carries_a_file_to_every_device_and_reports() {
    let dir = tempfile::tempdir().unwrap();
    let output = ok(demo(&artifact(dir.path())).args(["--uplink", "100mbit"]));
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let installed = events.find(|event| event["event"] == "installed").unwrap();
    assert!(installed["last_device_seconds"].as_f64() >= report["last_device_seconds"].as_f64());
    assert!(report["seeder_copies"].as_f64().unwrap() >= 0.99, "{report}");
}

#[test]
fn devices_live_through_bad_releases_pauses_and_kills_at_every_step() {
    let mut command = samara();
    command.args(["--json", "demo", "--lifecycle", "--devices", "3"]).env_remove("CARGO");
    let output = ok(&mut command);
    let text = String::from_utf8(output.stdout).unwrap();
    let outcome: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(outcome["event"], "lifecycle");
    let devices = outcome["devices"].as_array().unwrap();
    let mut killed_at = Vec::new();
    for device in devices {
        assert_eq!(device["in_place"], "4", "{device}");
        let outcomes = json!({"1": "installed", "2": "installed", "3": "rolled_back", "4": "installed"});
        assert_eq!(device["outcomes"], outcomes, "{device}");
        killed_at.extend(device["killed_at"].as_array().unwrap().iter().filter_map(Value::as_str));
        assert!(device["restarts"].as_u64() >= Some(1), "{device}");
    }
    killed_at.sort_unstable();
    let steps =
        ["health", "post_install", "post_rollback", "pre_check", "pre_install", "pre_rollback", "script"];
    assert_eq!((devices.len(), killed_at), (3, [&steps[..], &["undo", "validate"]].concat()));
}

#[test]
fn a_demo_that_is_killed_takes_its_processes_with_it() {
    if !Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "--", "true"])
        .status()
        .is_ok_and(|s| s.success())
    {
        // Without that tool the system cannot be asked to.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = demo(&artifact(dir.path()));
    // The demo's scratch directory goes with the test.
    command.args(["--uplink", "1mbit"]).env("TMPDIR", dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let children = wait_for("two devices and a seeder", || {
        let text = std::fs::read_to_string(&children).ok()?;
        let pids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        (pids.len() == 3).then_some(pids)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    for pid in children {
        let path = format!("/proc/{pid}/stat");
        wait_for("a process of the demo to end", || {
            let stat = std::fs::read_to_string(&path).unwrap_or_default();
            // One that nobody has waited for yet has ended too.
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    }
}
