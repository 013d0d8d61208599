//! A site with real processes on loopback, for stories: directories, daemons, a seeder, and how to look at them.

#![allow(dead_code)] // each story uses its own part

pub mod disk;
pub mod hostile;
pub mod liar;

use serde_json::Value;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that any story waits for one thing.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The operator's program.
pub fn samara() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
    command.stdin(Stdio::null());
    command
}

/// The device's program. Its package has tests of its own, so that cargo builds it beside ours.
pub fn node_program() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_samara")).with_file_name("samara-node");
    assert!(path.exists(), "{} is missing: run the tests of the whole workspace", path.display());
    path
}

/// Runs to the end and insists on success.
pub fn ok(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Waits until `look` finds something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes that no compression and no luck makes equal.
pub fn noise(bytes: usize, rng_seed: u64) -> Vec<u8> {
    let mut rng = samara_protocol::rng::Prng::new(rng_seed);
    std::iter::repeat_with(|| rng.next_u64().to_le_bytes()).flatten().take(bytes).collect()
}

/// A site directory and its devices.
pub struct Site {
    pub scratch: TempDir,
    pub devices: Vec<Device>,
}

impl Site {
    /// A site with `count` enrolled devices that are not running yet.
    pub fn new(mesh: &str, count: usize) -> Self {
        Self::with(&["--mesh", mesh], count)
    }

    /// The same, `init` being more arguments of `samara site init`.
    pub fn with(init: &[&str], count: usize) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut site = Self { scratch, devices: Vec::new() };
        ok(samara().args(["site", "init", "--name", "Test", "--no-passphrase"]).args(init).arg(site.dir()));
        (0..count).for_each(|_| site.add_device());
        if count > 0 {
            site.enroll();
        }
        for device in &site.devices {
            let file = format!("documents/enrollment-{}.json", &device.id[..10]);
            std::fs::copy(site.dir().join(file), device.dir.join("enrollment.json")).unwrap();
            device.configure("[install]", "[device]\nenrollment = \"enrollment.json\"\n[install]");
        }
        site
    }

    /// Signs an enrollment of every device.
    pub fn enroll(&self) {
        let ids = self.devices.iter().map(|device| &device.id);
        ok(samara().args(["enroll", "--site"]).arg(self.dir()).args(ids));
    }

    pub fn dir(&self) -> PathBuf {
        self.scratch.path().join("site")
    }

    /// A device that is not enrolled yet; all but the first know the first's address.
    pub fn add_device(&mut self) {
        let dir = self.scratch.path().join(format!("device-{}", self.devices.len()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::copy(self.dir().join("trust-root.json"), dir.join("trust-root.json")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("/ip4/127.0.0.1/tcp/{port}");
        let peers: Vec<_> = self.devices.first().map(|d| d.address.clone()).into_iter().collect();
        let config = format!(
            "trust_root = \"trust-root.json\"\ndata_dir = \"data\"\n[install]\nroot = \"install\"\n\
             [mesh]\nlisten = [{address:?}]\nmdns = false\npeers = {peers:?}\n[log]\nformat = \"json\"\n"
        );
        std::fs::write(dir.join("node.toml"), config).unwrap();
        let shown =
            ok(Command::new(node_program()).args(["identity", "--config"]).arg(dir.join("node.toml")));
        let id = String::from_utf8(shown.stdout).unwrap().trim().to_owned();
        self.devices.push(Device { id, dir, address, child: None });
    }

    /// Signs a release of `path` as `version` to be installed at `app`.
    pub fn publish(&self, path: &Path, version: &str) {
        let mut command = samara();
        command
            .args(["publish", "--yes", "--destination", "app", "--version", version, "--site"])
            .arg(self.dir());
        ok(command.arg(path));
    }

    /// A file of noise, published as version 1.
    pub fn publish_noise(&self, bytes: usize) -> Vec<u8> {
        let content = noise(bytes, 1);
        let path = self.scratch.path().join("artifact.bin");
        std::fs::write(&path, &content).unwrap();
        self.publish(&path, "1");
        content
    }

    pub fn start_devices(&mut self) {
        self.devices.iter_mut().for_each(Device::start);
    }

    /// Starts `samara serve`.
    pub fn serve(&self, arguments: &[&str]) -> Seeder {
        let out = self.scratch.path().join("serve.jsonl");
        let mut command = samara();
        command
            .args(["--json", "serve", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--site"])
            .arg(self.dir());
        command.args(["--peer", &self.devices[0].address]).args(arguments);
        command.stdout(File::create(&out).unwrap());
        command.stderr(File::create(self.scratch.path().join("serve.log")).unwrap());
        Seeder { child: command.spawn().unwrap(), out }
    }

    /// What `samara status` says of a device: its row, as soon as `is_right`.
    pub fn wait_reported(&self, device: &Device, is_right: impl Fn(&Value) -> bool) -> Value {
        let mut status = samara();
        status.args(["--json", "status", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        status.args(["--peer", &self.devices[0].address, "--site"]).arg(self.dir());
        wait_for(&format!("the site's status of {}", device.dir.display()), || {
            let output = status.output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let mut rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            rows.find(|row| row["device"] == device.id.as_str() && is_right(row))
        })
    }

    /// Waits until every running device has `content` in place.
    pub fn wait_installed(&self, content: &[u8]) {
        for device in self.devices.iter().filter(|d| d.child.is_some()) {
            wait_for(&format!("{} to install", device.dir.display()), || {
                (std::fs::read(device.dir.join("install/app")).ok()? == content).then_some(())
            });
        }
    }
}

/// One device.
pub struct Device {
    pub id: String,
    pub dir: PathBuf,
    pub address: String,
    pub child: Option<Child>,
}

impl Device {
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.join("log.jsonl")).unwrap();
        let mut command = Command::new(node_program());
        command.args(["run", "--config"]).arg(self.dir.join("node.toml")).stdin(Stdio::null());
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        wait_for("a daemon to answer", || self.status());
    }

    /// Changes its configuration for the next start.
    pub fn configure(&self, from: &str, to: &str) {
        let path = self.dir.join("node.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        assert!(config.contains(from), "{config}");
        std::fs::write(path, config.replace(from, to)).unwrap();
    }

    /// The secret that makes it this device.
    pub fn secret(&self) -> [u8; 32] {
        std::fs::read(self.dir.join("data/identity.key")).unwrap().try_into().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and a clean end within the test's patience.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        terminate(&child);
        let status = wait_for("a daemon to end", || child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }

    pub fn status(&self) -> Option<Value> {
        let mut command = Command::new(node_program());
        let output =
            command.args(["status", "--json", "--config"]).arg(self.dir.join("node.toml")).output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The first release in its status.
    pub fn release(&self) -> Option<Value> {
        self.status()?["releases"].get(0).cloned()
    }

    /// The most memory that its process ever had.
    pub fn peak_memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.as_ref().unwrap().id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Lines of its log with this event.
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.log().into_iter().filter(|line| line["event"] == name).collect()
    }

    /// Lines of its log with this message.
    pub fn lines(&self, message: &str) -> Vec<Value> {
        self.log().into_iter().filter(|line| line["message"] == message).collect()
    }

    fn log(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.dir.join("log.jsonl")).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn installed(&self) -> Option<Vec<u8>> {
        std::fs::read(self.dir.join("install/app")).ok()
    }

    /// The largest file of its store: the artifact's bytes.
    pub fn stored_file(&self) -> PathBuf {
        let files = walkdir::WalkDir::new(self.dir.join("data/store")).into_iter().filter_map(Result::ok);
        let files =
            files.filter(|f| f.file_type().is_file() && f.path().extension().is_some_and(|e| e == "data"));
        files.max_by_key(|f| f.metadata().unwrap().len()).expect("a data file").into_path()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running `samara serve`.
pub struct Seeder {
    child: Child,
    out: PathBuf,
}

impl Seeder {
    pub fn events(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["event"] == name).collect()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// SIGTERM; its exit code.
    pub fn stop(&mut self) -> i32 {
        terminate(&self.child);
        self.wait()
    }

    /// Its exit code when it ends by itself.
    pub fn wait(&mut self) -> i32 {
        wait_for("the seeder to end", || self.child.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

impl Drop for Seeder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}
