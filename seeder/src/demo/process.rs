//! The demo's processes: where their programs are, how they are configured, started, watched and ended.

use super::storage;
use crate::failure::{Failure, Kind};
use crate::ui::Output;
use samara_node::api::{StatusView, client};
use samara_node::config::Rate;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long a process may take to end after SIGTERM before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The signal of a daemon that had no chance to tidy up.
const KILLED: i32 = 9;

/// Makes the system send SIGTERM to a process when its parent dies; the program's name follows.
const TIED: [&str; 3] = ["--pdeathsig", "TERM", "--"];

/// Samara's own programs.
pub(super) struct Programs {
    samara: PathBuf,
    node: PathBuf,
    /// Whether processes can be started so that the system ends them with us, even when we are killed.
    has_setpriv: bool,
}

impl Programs {
    /// `samara` is this process's program; `samara-node` lies beside it, and is built first when cargo runs the demo.
    pub(super) async fn find(output: &Output) -> Result<Self, Failure> {
        let samara = std::env::current_exe().map_err(storage)?;
        let node = samara.with_file_name("samara-node");
        if let Some(cargo) = std::env::var_os("CARGO") {
            output.note("building samara-node");
            let mut build = Command::new(cargo);
            // Both packages, so that their dependencies keep the features with which they were just built.
            build.args(["build", "--quiet", "--package", "samara-seeder", "--package", "samara-node"]);
            build.args(["--bin", "samara-node"]);
            build.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            let status = build.kill_on_drop(true).status().await.map_err(storage)?;
            if !status.success() {
                return Err(Failure::new(Kind::Failed, anyhow::anyhow!("cargo could not build samara-node")));
            }
        }
        if node.exists() {
            let probe = Command::new("setpriv").args(TIED).arg("true").stderr(Stdio::null()).status().await;
            return Ok(Self { samara, node, has_setpriv: probe.is_ok_and(|status| status.success()) });
        }
        Err(Failure::new(
            Kind::Failed,
            anyhow::anyhow!(
                "{} is missing; build it with: cargo build --release --workspace",
                node.display()
            ),
        ))
    }

    /// A directory that holds copies of the programs: the default artifact.
    pub(super) fn as_tree(&self, dir: &Path) -> Result<PathBuf, Failure> {
        std::fs::create_dir_all(dir.join("bin")).map_err(storage)?;
        for program in [&self.samara, &self.node] {
            let name = program.file_name().unwrap_or_default();
            std::fs::copy(program, dir.join("bin").join(name)).map_err(storage)?;
        }
        Ok(dir.into())
    }

    /// A long-lived process that does not outlive us where the system's tools allow it.
    fn tied(&self, program: &Path) -> Command {
        let mut command = Command::new(if self.has_setpriv { Path::new("setpriv") } else { program });
        if self.has_setpriv {
            command.args(TIED).arg(program);
        }
        command.kill_on_drop(true);
        command
    }

    /// Runs one of the operator's verbs to its end; what it printed.
    pub(super) async fn operator(&self, arguments: Vec<String>) -> Result<String, Failure> {
        let result = Command::new(&self.samara)
            .args(&arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        let result = result.map_err(storage)?;
        if result.status.success() {
            return Ok(String::from_utf8_lossy(&result.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&result.stderr).trim().to_owned();
        let kind = Kind::of_code(result.status.code());
        Err(Failure::new(kind, anyhow::anyhow!("samara {} failed: {said}", arguments.join(" "))))
    }
}

/// One device.
pub(super) struct Device {
    pub(super) id: String,
    pub(super) dir: PathBuf,
    address: String,
    child: Option<Child>,
    log: Option<BufReader<File>>,
    /// Time from the seeder's start until all bytes were verified.
    pub(super) verified_after: Option<f64>,
    /// Time from the seeder's start until the release was in place.
    pub(super) installed_after: Option<f64>,
}

impl Device {
    /// Makes the directories, configurations and identities of `count` devices.
    pub(super) async fn prepare(
        count: u16,
        scratch: &Path,
        site: &Path,
        programs: &Programs,
    ) -> Result<Vec<Self>, Failure> {
        // The listeners stay open until all ports are drawn, so that none is drawn twice.
        let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>();
        let listeners = listeners.map_err(storage)?;
        let ports = listeners.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<Vec<_>, _>>();
        let ports = ports.map_err(storage)?;
        drop(listeners);
        let mut devices = Vec::new();
        for (i, port) in ports.iter().enumerate() {
            let dir = scratch.join(format!("device-{:02}", i + 1));
            std::fs::create_dir_all(&dir).map_err(storage)?;
            std::fs::copy(site.join("trust-root.json"), dir.join("trust-root.json")).map_err(storage)?;
            let address = format!("/ip4/127.0.0.1/tcp/{port}");
            // The first two devices are everybody's introduction; the rest learn of each other from them.
            let peers: Vec<_> = ports
                .iter()
                .take(2)
                .filter(|p| *p != port)
                .map(|p| format!("/ip4/127.0.0.1/tcp/{p}"))
                .collect();
            let config = format!(
                "trust_root = \"trust-root.json\"\ndata_dir = \"data\"\n[device]\nenrollment = \"enrollment.json\"\n[install]\nroot = \"install\"\n\
                 [mesh]\nlisten = [{address:?}]\nmdns = false\npeers = {peers:?}\n[log]\nformat = \"json\"\n"
            );
            std::fs::write(dir.join("node.toml"), config).map_err(storage)?;
            let mut device = Self {
                id: String::new(),
                dir,
                address,
                child: None,
                log: None,
                verified_after: None,
                installed_after: None,
            };
            let shown = device.command(programs, "identity").output().await.map_err(storage)?;
            device.id = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
            if !shown.status.success() {
                return Err(device.failure(String::from_utf8_lossy(&shown.stderr).trim()));
            }
            devices.push(device);
        }
        Ok(devices)
    }

    /// Takes its enrollment from the site, as an installer would.
    pub(super) fn take_enrollment(&self, site: &Path) -> Result<(), Failure> {
        let file = format!("enrollment-{}.json", self.id.get(..10).unwrap_or_default());
        std::fs::copy(site.join("documents").join(file), self.dir.join("enrollment.json"))
            .map_err(storage)?;
        Ok(())
    }

    fn command(&self, programs: &Programs, verb: &str) -> Command {
        let mut command = programs.tied(&programs.node);
        command.args([verb, "--config"]).arg(self.dir.join("node.toml")).stdin(Stdio::null());
        command
    }

    /// Starts its daemon.
    pub(super) fn start(&mut self, programs: &Programs) -> Result<(), Failure> {
        let log_path = self.dir.join("log.jsonl");
        let log = File::create(&log_path).map_err(storage)?;
        let mut command = self.command(programs, "run");
        command.stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().map_err(storage)?);
        self.log = Some(BufReader::new(File::open(log_path).map_err(storage)?));
        Ok(())
    }

    /// Reads what the daemon logged since the last look.
    pub(super) fn look(&mut self, start: Instant) -> Result<(), Failure> {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            let log = std::fs::read_to_string(self.dir.join("log.jsonl")).unwrap_or_default();
            let last = log.lines().last().unwrap_or_default().to_owned();
            return Err(self.failure(&format!("ended with {status}: {last}")));
        }
        let Some(log) = &mut self.log else { return Ok(()) };
        let mut line = String::new();
        while log.read_line(&mut line).map_err(storage)? > 0 {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let after = start.elapsed().as_secs_f64();
            match event["event"].as_str() {
                Some("release_verified") => self.verified_after = self.verified_after.or(Some(after)),
                Some("release_installed") => self.installed_after = self.installed_after.or(Some(after)),
                _ => {}
            }
            line.clear();
        }
        Ok(())
    }

    /// Starts its daemon again if it was killed; whether it was.
    pub(super) fn revive(&mut self, programs: &Programs) -> Result<bool, Failure> {
        let Some(child) = &mut self.child else { return Ok(false) };
        match child.try_wait().map_err(storage)? {
            None => Ok(false),
            Some(status) if status.signal() == Some(KILLED) => self.start(programs).map(|()| true),
            Some(status) => Err(self.failure(&format!("ended with {status}"))),
        }
    }

    /// What its local API says.
    pub(super) async fn status(&self) -> Option<StatusView> {
        client::status(&self.dir.join("data").join("api.sock")).await.ok()
    }

    /// Ends its daemon.
    pub(super) async fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            stop(&mut child).await;
        }
    }

    pub(super) fn failure(&self, what: &str) -> Failure {
        Failure::new(Kind::Failed, anyhow::anyhow!("the device in {}: {what}", self.dir.display()))
    }
}

/// The operator's laptop.
pub(super) struct Seeder {
    child: Child,
    events: BufReader<File>,
    said: PathBuf,
    /// When it was started: the demo's clock begins here.
    pub(super) started: Instant,
    pub(super) artifact_bytes: Option<u64>,
    pub(super) sent_bytes: u64,
    pub(super) repair_bytes: u64,
    have: BTreeMap<String, u64>,
}

impl Seeder {
    /// Starts `samara serve` beside the devices.
    pub(super) async fn start(
        programs: &Programs,
        site: &Path,
        devices: &[Device],
        uplink: Rate,
    ) -> Result<Self, Failure> {
        let (out, said) = (site.join("serve.jsonl"), site.join("serve.log"));
        let mut command = programs.tied(&programs.samara);
        command
            .args(["--json", "serve", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--site"])
            .arg(site);
        command.arg("--uplink-limit").arg(uplink.to_string());
        for device in devices.iter().take(2) {
            command.args(["--peer", &device.address]);
        }
        command.stdin(Stdio::null()).stdout(File::create(&out).map_err(storage)?);
        command.stderr(File::create(&said).map_err(storage)?);
        let started = Instant::now();
        let child = command.spawn().map_err(storage)?;
        let events = BufReader::new(File::open(out).map_err(storage)?);
        Ok(Self {
            child,
            events,
            said,
            started,
            artifact_bytes: None,
            sent_bytes: 0,
            repair_bytes: 0,
            have: BTreeMap::new(),
        })
    }

    /// Reads what it said since the last look.
    pub(super) fn read_events(&mut self) -> Result<(), Failure> {
        let mut line = String::new();
        while self.events.read_line(&mut line).map_err(storage)? > 0 {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["event"] == "progress" {
                self.sent_bytes = event["sent_bytes"].as_u64().unwrap_or_default();
                self.repair_bytes = event["repair_bytes"].as_u64().unwrap_or_default();
                for device in event["devices"].as_array().into_iter().flatten() {
                    self.artifact_bytes = device["total_bytes"].as_u64().or(self.artifact_bytes);
                    let id = device["device"].as_str().unwrap_or_default().to_owned();
                    self.have.insert(id, device["have_bytes"].as_u64().unwrap_or_default());
                }
            }
            line.clear();
        }
        if let Ok(Some(status)) = self.child.try_wait() {
            let said = std::fs::read_to_string(&self.said).unwrap_or_default();
            return Err(Failure::new(
                Kind::Failed,
                anyhow::anyhow!("samara serve ended with {status}: {}", said.trim()),
            ));
        }
        Ok(())
    }

    /// Bytes that all devices hold together.
    pub(super) fn have_bytes(&self) -> u64 {
        self.have.values().sum()
    }

    /// Copies of the artifact that left the seeder.
    pub(super) fn copies(&self) -> f64 {
        self.artifact_bytes
            .filter(|bytes| *bytes > 0)
            .map_or(0.0, |bytes| self.sent_bytes as f64 / bytes as f64)
    }

    /// Ends it.
    pub(super) async fn stop(&mut self) {
        stop(&mut self.child).await;
    }
}

async fn stop(child: &mut Child) {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(STOP_MAX, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
