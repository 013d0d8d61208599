//! A running `samara-node`: signals, a daemon that does not answer, a directory of another site.

use ed25519_dalek::SigningKey;
use samara_node::state::State;
use samara_protocol::document::{Enrollment, Envelope, TrustRoot};
use samara_protocol::id::{PeerId, SiteId};
use samara_protocol::trust::Trust;
use serde_json::json;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A trust root of a site with one key for every role.
fn trust_root(site: u8) -> Vec<u8> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let id = data_encoding::HEXLOWER.encode(key.verifying_key().as_bytes());
    let role = json!({ "keys": [id], "threshold": 1 });
    let root: TrustRoot = serde_json::from_value(json!({
        "site": SiteId([site; 16]), "version": 1, "epoch": 0, "mesh": "open",
        "roles": { "root": role, "release": role, "rollout": role, "enroll": role },
    }))
    .unwrap();
    let mut envelope = Envelope::unsigned(&root).unwrap();
    envelope.sign(&key);
    envelope.to_bytes()
}

/// A device's directory, with what runs in it.
struct Device {
    dir: TempDir,
    child: Option<Child>,
}

impl Device {
    fn new(mesh: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("root.json"), trust_root(1)).unwrap();
        let text = format!(
            "trust_root = \"root.json\"\ndata_dir = \"data\"\n[install]\nroot = \"install\"\n[mesh]\nmdns = false\n{mesh}\n"
        );
        std::fs::write(dir.path().join("node.toml"), text).unwrap();
        Self { dir, child: None }
    }

    /// Something of its site that its state holds.
    fn hold_an_enrollment(&self) {
        let enrollment: Enrollment = serde_json::from_value(json!({
            "site": SiteId([1; 16]), "device": PeerId([3; 32]), "sequence": 1, "name": "", "product": "",
            "hardware": "", "tags": [], "area": "", "criticality": "normal",
        }))
        .unwrap();
        let mut envelope = Envelope::unsigned(&enrollment).unwrap();
        envelope.sign(&SigningKey::from_bytes(&[7; 32]));
        let trust = Trust::pin(&trust_root(1)).unwrap();
        let document = trust.check(&envelope.to_bytes()).unwrap();
        let state = State::open(&self.path("data/state.redb")).unwrap();
        state.put_document(&document, &trust.marks_with(&document)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara-node"));
        command.arg(verb).arg("--config").arg(self.path("node.toml"));
        command
    }

    fn output(&self, verb: &str) -> Output {
        self.command(verb).output().unwrap()
    }

    /// Starts the daemon and waits until it answers.
    fn start(&mut self) {
        let log = File::create(self.path("log")).unwrap();
        self.child = Some(self.command("run").stderr(log).stdout(Stdio::null()).spawn().unwrap());
        wait_for("the daemon's answer", || self.output("status").status.success());
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn sighup_is_ignored_and_said_and_sigterm_ends_the_daemon() {
    let mut device = Device::new("listen = [\"/ip4/127.0.0.1/tcp/0\"]");
    device.start();
    device.signal("-HUP");
    wait_for("a word about the signal", || device.log().contains("SIGHUP ignored"));
    assert!(device.output("status").status.success());
    device.signal("-TERM");
    assert_eq!(device.child.as_mut().unwrap().wait().unwrap().code(), Some(0));
}

#[test]
fn a_stopped_daemon_ends_status_with_code_6_and_says_so() {
    let mut device = Device::new("listen = []");
    device.start();
    device.signal("-STOP");
    let output = device.output("status");
    assert_eq!(output.status.code(), Some(6));
    assert!(said(&output).contains("does not answer within 5 s"), "{}", said(&output));
    device.signal("-CONT");
    assert!(device.output("status").status.success());
}

#[test]
fn a_listen_address_that_is_taken_or_not_local_ends_with_code_6_and_is_named() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("/ip4/127.0.0.1/tcp/{}", other.local_addr().unwrap().port());
    for (address, verbs) in [(&*taken, &["run"][..]), ("/ip4/192.0.2.1/tcp/1", &["run", "check"])] {
        let device = Device::new(&format!("listen = [{address:?}]"));
        for verb in verbs {
            let output = device.output(verb);
            assert_eq!(output.status.code(), Some(6), "{}", said(&output));
            assert_eq!(said(&output).matches(address).count(), 1, "{}", said(&output));
        }
    }
}

#[test]
fn a_data_directory_of_another_site_is_refused_with_code_5_by_check_and_run() {
    let mut device = Device::new("listen = []");
    device.hold_an_enrollment();
    device.start();
    // While the daemon has its state, the rest is checked.
    assert_eq!(device.output("check").status.code(), Some(0));
    device.signal("-TERM");
    device.child.take().unwrap().wait().unwrap();
    std::fs::write(device.path("root.json"), trust_root(2)).unwrap();
    for verb in ["check", "run"] {
        let output = device.output(verb);
        assert_eq!(output.status.code(), Some(5), "{}", said(&output));
        for words in ["data/state.redb belongs to site 0101", "of site 0202", "data_dir of its own"] {
            assert!(said(&output).contains(words), "{words:?} is not in {}", said(&output));
        }
    }
    std::fs::write(device.path("root.json"), trust_root(1)).unwrap();
    assert_eq!(device.output("check").status.code(), Some(0));
}

#[test]
fn check_says_what_run_would_say_and_changes_nothing() {
    let damage = |device: &Device, path: &str, bytes: &[u8]| {
        std::fs::create_dir_all(device.path("data")).unwrap();
        std::fs::write(device.path(path), bytes).unwrap();
    };
    let enrollment = |device: &Device| {
        let config = std::fs::read_to_string(device.path("node.toml")).unwrap();
        let config = format!("device.enrollment = \"enrollment.json\"\n{config}");
        std::fs::write(device.path("node.toml"), config).unwrap();
    };
    let mut cases: Vec<(Device, u8, &str)> = Vec::new();
    let mut case = |code, words, make: &dyn Fn(&Device)| {
        let device = Device::new("listen = []");
        make(&device);
        cases.push((device, code, words));
    };
    case(5, "state.redb is damaged", &|device| damage(device, "data/state.redb", b"torn"));
    case(3, "cannot read", &|device| enrollment(device));
    case(3, "is no enrollment of this device: not acceptable JSON", &|device| {
        enrollment(device);
        std::fs::write(device.path("enrollment.json"), "no JSON").unwrap();
    });
    case(3, "another kind of document", &|device| {
        enrollment(device);
        std::fs::write(device.path("enrollment.json"), trust_root(1)).unwrap();
    });
    case(3, "/install\": expected a directory", &|device| {
        std::fs::write(device.path("install"), "a file").unwrap();
    });
    case(3, "/install\": expected a directory", &|device| {
        let config = std::fs::read_to_string(device.path("node.toml")).unwrap();
        std::fs::write(device.path("node.toml"), config.replace("\"install\"", "\"root.json/install\""))
            .unwrap();
    });
    for (device, code, words) in cases {
        let before = listing(device.dir.path());
        let outputs = ["check", "run"].map(|verb| {
            let output = device.output(verb);
            assert_eq!(output.status.code(), Some(i32::from(code)), "{verb}: {}", said(&output));
            assert!(said(&output).contains(words), "{words:?} is not in {}", said(&output));
            if verb == "check" && words != "state.redb is damaged" {
                assert_eq!(listing(device.dir.path()), before);
            }
            said(&output)
        });
        assert_eq!(outputs[0], outputs[1]);
    }
}

fn listing(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}
