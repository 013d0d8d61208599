//! `samara-guard` with scripts in the place of agents: what it starts, what it counts, and when it gives up.

use samara_node::guard::{Trial, TrialFiles};
use samara_protocol::id::DocumentId;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A device with an agent at its place, the one before and the packaged one.
struct Device {
    dir: TempDir,
    files: TrialFiles,
}

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = TrialFiles::new(&dir.path().join("data"));
        let device = Self { dir, files };
        device.script("packaged", "exit 0");
        device
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that says that it was started, then does this; `$1` is the data directory, `$2` the test's.
    fn script(&self, name: &str, then: &str) {
        let text = format!("#!/bin/sh\necho {name} \"$SAMARA_GUARD_GIVEN_UP\" >> \"$2/starts\"\n{then}\n");
        self.write(name, text.as_bytes(), 0o755);
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) {
        // Another test's fork may hold a file open that is written to: it could not be started.
        let new = self.path("new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::set_permissions(&new, PermissionsExt::from_mode(mode)).unwrap();
        assert!(Command::new("cp").arg("-p").arg(new).arg(self.path(name)).status().unwrap().success());
    }

    fn try_agent(&self, seconds: u64) {
        let (release, before) = (DocumentId([7; 32]), Some(self.path("before")));
        self.files.begin(&Trial { release, attempt: 1, before, neighbours: 0, seconds }).unwrap();
    }

    fn start(&self, ready_within: u64) -> Guard {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara-guard"));
        command.arg("--data-dir").arg(self.path("data")).arg("--program").arg(self.path("agent"));
        command
            .arg("--packaged")
            .arg(self.path("packaged"))
            .args(["--ready-within", &ready_within.to_string()]);
        command.arg("--").arg(self.path("data")).arg(self.dir.path());
        Guard(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn run(&self, ready_within: u64) -> Option<i32> {
        self.start(ready_within).wait().code()
    }

    fn starts(&self) -> Vec<String> {
        let starts = std::fs::read_to_string(self.path("starts")).unwrap_or_default();
        starts.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn wait_for_starts(&self, count: usize) {
        wait_for("starts", || (self.starts().len() >= count).then_some(()));
    }
}

struct Guard(Child);

impl Guard {
    fn wait(&mut self) -> ExitStatus {
        wait_for("the guard to end", || self.0.try_wait().unwrap())
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.0.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the agent before does: it takes the release back, and ends the trial.
const TAKE_BACK: &str = "rm -f \"$1/guard/\"*; exit 0";

fn given_up(why: &str) -> String {
    format!("before {} {why}", DocumentId([7; 32]))
}

#[test]
fn without_a_trial_an_agents_exit_code_is_the_guards_and_one_that_was_replaced_is_started_again() {
    let device = Device::new();
    assert_eq!((device.run(1), device.starts()), (Some(0), vec!["packaged".to_owned()]));
    device.script("agent", "test -e \"$2/again\" && exit 5; touch \"$2/again\"; exit 10");
    assert_eq!(device.run(1), Some(5));
    assert_eq!(device.starts(), ["packaged", "agent", "agent"]);
    std::fs::remove_file(device.path("packaged")).unwrap();
    std::fs::remove_file(device.path("agent")).unwrap();
    assert_eq!(device.run(1), Some(1), "there is nothing to start");
}

#[test]
fn a_new_agent_that_ends_is_started_five_times_and_then_the_one_before_hears_why() {
    let device = Device::new();
    device.script("agent", "exit 3");
    device.script("before", TAKE_BACK);
    device.try_agent(60);
    assert_eq!(device.run(10), Some(0));
    let starts = device.starts();
    assert_eq!(starts[..5], ["agent"; 5]);
    let why =
        "the new samara-node was started 5 times and did not show that it works; it ended with exit code 3";
    assert_eq!(starts[5..], [given_up(why)]);
    // The trial is over: whatever is at the place is started.
    device.script("agent", "exit 0");
    assert_eq!(device.run(10), Some(0));
    assert_eq!(device.starts().last().unwrap(), "agent");
}

#[test]
fn a_new_agent_that_cannot_be_started_is_given_up_as_well() {
    for (bytes, mode, words) in
        [(&b"\x7fELF no program"[..], 0o755, "it "), (b"#!/bin/sh\n", 0o644, "permission")]
    {
        let device = Device::new();
        device.write("agent", bytes, mode);
        device.script("before", TAKE_BACK);
        device.try_agent(60);
        assert_eq!(device.run(10), Some(0));
        let starts = device.starts();
        let said = starts.last().unwrap().to_lowercase();
        assert!(said.starts_with("before") && said.contains(words), "{starts:?}");
    }
}

#[test]
fn a_new_agent_that_does_not_come_up_or_is_tested_for_ever_is_ended_and_not_started_again() {
    for (script, ready_within, seconds, words) in [
        ("exec sleep 1000", 1, 60, "did not come up within 1 s"),
        ("touch \"$1/guard/ready\"; exec sleep 1000", 1, 3, "did not show that it works within 3 s"),
    ] {
        let device = Device::new();
        device.script("agent", script);
        device.script("before", TAKE_BACK);
        device.try_agent(seconds);
        assert_eq!(device.run(ready_within), Some(0));
        assert_eq!(device.starts(), ["agent".to_owned(), given_up(&format!("the new samara-node {words}"))]);
    }
}

#[test]
fn a_new_agent_whose_trial_ended_well_may_run_as_long_as_it_likes() {
    let device = Device::new();
    device.script("agent", "sleep 0.3; rm \"$1/guard/trial.json\"; sleep 2; exit 4");
    device.try_agent(1);
    assert_eq!((device.run(1), device.starts()), (Some(4), vec!["agent".to_owned()]));
}

#[test]
fn starts_are_counted_over_power_cuts_and_what_was_given_up_stays_so() {
    let device = Device::new();
    device.script("agent", "exec sleep 5");
    device.script("before", "exec sleep 5");
    device.try_agent(600);
    for start in 1..=7 {
        let guard = device.start(600);
        device.wait_for_starts(start);
        guard.kill();
    }
    let starts = device.starts();
    let why = given_up("the new samara-node was started 5 times and did not show that it works");
    assert_eq!((&starts[..5], &starts[5..]), (&["agent"; 5].map(String::from)[..], &[why.clone(), why][..]));
}

#[test]
fn a_guard_that_is_told_to_end_ends_its_agent_and_counts_nothing() {
    let device = Device::new();
    device.script("agent", "trap 'exit 0' TERM; while :; do sleep 0.05; done");
    device.try_agent(600);
    for start in 1..=7 {
        let mut guard = device.start(600);
        device.wait_for_starts(start);
        guard.terminate();
        // Before its trap stands it is ended by the signal itself.
        assert!(matches!(guard.wait().code(), Some(0 | 1)));
    }
    assert_eq!(device.starts(), ["agent"; 7]);
}

#[test]
fn a_full_or_broken_disk_does_not_keep_an_agent_from_starting() {
    let device = Device::new();
    device.script("agent", "exit 6");
    std::fs::create_dir_all(device.path("data/guard")).unwrap();
    std::fs::write(device.path("data/guard/trial.json"), "{").unwrap();
    assert_eq!(device.run(10), Some(6));
    // Where nothing can be counted on disk it is in memory.
    device.try_agent(60);
    std::fs::create_dir(device.path("data/guard/tally.new")).unwrap();
    device.script("before", TAKE_BACK);
    assert_eq!(device.run(10), Some(0));
    assert_eq!(device.starts().iter().filter(|start| *start == "agent").count(), 6);
    assert!(device.starts().last().unwrap().starts_with("before"));
}

#[test]
fn a_wrong_command_line_is_said_with_exit_code_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_samara-guard")).arg("--program").arg("x").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--data-dir"));
}
