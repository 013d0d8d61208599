//! What is installed and taken back while power is cut, from what state it begins, and what must be true afterwards.
//!
//! Every version has one artifact of each kind. A device is prepared with real programs over a real mesh: its pre-check
//! hook asks for another time as long as a file named `hold` is in the install root, so that the device can be stopped
//! with all bytes arrived and nothing installed. Copies of it go on from there alone.

use super::support::{Device, Site, noise, ok, samara, wait_for};
use samara_node::state::State;
use samara_protocol::trust::HighWaterMarks;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of the file and of the largest file of the tree: more than one group, more than one buffer.
const FILE_BYTES: usize = 300_000;
/// A daemon that has just been started does not hear yet.
const ORDER_EVERY: Duration = Duration::from_millis(500);

/// What happens to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// Version 2 replaces version 1.
    Install,
    /// Version 3 replaces version 2, fails its health check, and goes.
    RollBack,
    /// Somebody at the device wants version 1 back.
    ByHand,
}

impl Story {
    /// The version in place at first, and the one that is tried.
    fn versions(self) -> (&'static str, &'static str) {
        match self {
            Self::Install => ("1", "2"),
            Self::RollBack => ("2", "3"),
            Self::ByHand => ("2", "1"),
        }
    }

    /// Versions of which one must be in place in the end.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Install => &["2"],
            Self::RollBack => &["2"],
            // An order that was not taken down is given again, or not.
            Self::ByHand => &["1", "2"],
        }
    }

    /// What the daemon says last.
    fn last_event(self) -> &'static str {
        if self == Self::Install { "release_installed" } else { "release_rolled_back" }
    }
}

/// Devices as they stand before each story.
pub struct Bases {
    site: Site,
}

impl Bases {
    /// Prepares them, each a directory.
    pub fn new() -> Self {
        let mut site = Site::new("closed", 1);
        let root = site.devices[0].dir.join("install");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/app.toml"), "name = 'press 4'\n").unwrap();
        publish(&site, "1");
        site.start_devices();
        let _seeder = site.serve(&[]);
        wait_in_place(&site, "1");
        for (version, story) in [("2", Story::Install), ("3", Story::RollBack)] {
            fs::write(root.join("hold"), "").unwrap();
            let held_before = held(&site.devices[0]);
            publish(&site, version);
            wait_for("the pre-check hook to hold it", || {
                (held(&site.devices[0]) > held_before).then_some(())
            });
            site.devices[0].stop();
            fs::remove_file(root.join("hold")).unwrap();
            keep(&site, story);
            site.devices[0].start();
            if story == Story::Install {
                wait_in_place(&site, version);
                site.devices[0].stop();
                keep(&site, Story::ByHand);
                site.devices[0].start();
            }
        }
        site.devices[0].stop();
        Self { site }
    }

    /// The device before a story.
    pub fn of(&self, story: Story) -> PathBuf {
        kept(&self.site, story)
    }
}

/// How often its pre-check hook asked for another time.
fn held(device: &Device) -> usize {
    let is_later = |line: &&Value| line["outcome"].as_str().is_some_and(|said| said.contains("later"));
    device.events("hook").iter().filter(is_later).count()
}

fn kept(site: &Site, story: Story) -> PathBuf {
    site.scratch.path().join(format!("{story:?}"))
}

/// Keeps the stopped device as it is now, for a daemon that is alone and listens anywhere.
fn keep(site: &Site, story: Story) {
    let device = &site.devices[0];
    copy(&device.dir, &kept(site, story));
    let copied = device_at(&kept(site, story));
    copied.configure(&device.address, "/ip4/127.0.0.1/tcp/0");
    fs::remove_file(copied.dir.join("log.jsonl")).unwrap();
}

/// Copies a device's directory with all that a file system knows of it.
pub fn copy(from: &Path, to: &Path) {
    ok(Command::new("cp").arg("-a").arg("--").arg(from).arg(to));
}

/// A device that is known by its directory alone.
fn device_at(dir: &Path) -> Device {
    Device { id: String::new(), dir: dir.into(), address: String::new(), child: None }
}

/// Writes a version and signs it.
fn publish(site: &Site, version: &str) {
    let dir = site.scratch.path().join(format!("version-{version}"));
    for part in parts(version) {
        let path = dir.join(part.source);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, part.bytes).unwrap();
    }
    symlink("deep/text", dir.join("www/link")).unwrap();
    fs::write(dir.join("hold.sh"), "#!/bin/sh\n[ ! -e \"$SAMARA_ROOT/hold\" ] || exit 21\n").unwrap();
    fs::write(dir.join("migrate.sh"), "#!/bin/sh\necho \"$SAMARA_VERSION\" >\"$SAMARA_ROOT/schema\"\n")
        .unwrap();
    let back = "#!/bin/sh\necho \"$SAMARA_VERSION_BEFORE\" >\"$SAMARA_ROOT/schema\"\n";
    fs::write(dir.join("back.sh"), back).unwrap();
    fs::write(dir.join("release.toml"), describe(version)).unwrap();
    let mut command = samara();
    ok(command
        .args(["publish", "--yes", "--site"])
        .arg(site.dir())
        .arg("--from")
        .arg(dir.join("release.toml")));
}

fn describe(version: &str) -> String {
    format!(
        "version = '{version}'
security_counter = 5
[[artifact]]
path = 'blob.bin'
[[artifact]]
path = 'www'
[[artifact]]
path = 'app.toml'
destination = 'etc/app.toml'
kind = 'config'
merge = 'toml'
[[artifact]]
path = 'app'
destination = 'bin/app'
kind = 'binary'
[[artifact]]
path = 'migrate.sh'
destination = 'migration'
kind = 'script'
undo = 'back.sh'
[[hook]]
path = 'hold.sh'
step = 'pre_check'
[health]
grace_seconds = 0
interval_seconds = 1
[[health.check]]
name = 'starts'
probe = 'command'
command = ['bin/app']
"
    )
}

/// A file of a version: where it is published from, where it is found when it is in place, and its bytes there.
struct Part {
    source: &'static str,
    place: &'static str,
    bytes: Vec<u8>,
}

fn parts(version: &str) -> Vec<Part> {
    let seed: u64 = version.parse().unwrap();
    let code = if version == "3" { 1 } else { 0 };
    let part = |source, place, bytes: Vec<u8>| Part { source, place, bytes };
    vec![
        part("blob.bin", "blob.bin", noise(FILE_BYTES, seed)),
        part("www/large", "www/large", noise(FILE_BYTES, seed + 10)),
        part("www/deep/text", "www/link", format!("version {version}\n").into()),
        part("app.toml", "etc/app.toml", format!("version = {version}\n").into()),
        part("app", "bin/app", format!("#!/bin/sh\n# version {version}\nexit {code}\n").into()),
    ]
}

/// The version that each part in place is of, all bytes compared; the script by its record and by what it did.
fn in_place(dir: &Path) -> BTreeMap<&'static str, String> {
    let root = dir.join("install");
    let mut found = BTreeMap::new();
    for version in ["1", "2", "3"] {
        for part in parts(version) {
            let mut expected = part.bytes;
            if part.source == "app.toml" {
                expected = [b"name = 'press 4'\n", expected.as_slice()].concat();
            }
            if fs::read(root.join(part.place)).is_ok_and(|bytes| bytes == expected) {
                found.insert(part.source, version.to_owned());
            }
        }
        let record = fs::read_to_string(root.join("migration")).unwrap_or_default();
        if record.contains(&format!("\nversion {version}\n")) && record.contains("\noutcome passed\n") {
            found.insert("migration", version.to_owned());
        }
        let schema = fs::read_to_string(root.join("schema")).unwrap_or_default();
        if schema == format!("{version}\n") {
            found.insert("schema", version.to_owned());
        }
    }
    found
}

const PARTS: usize = 7;

fn wait_in_place(site: &Site, version: &str) {
    let device = &site.devices[0];
    wait_for(&format!("version {version} to be installed"), || {
        let installed = device.events("release_installed").len();
        let is_all = in_place(&device.dir).into_values().filter(|there| there == version).count() == PARTS;
        (is_all && installed > 0 && device.release()?["state"] == "installed").then_some(())
    });
}

/// One device, before, while and after its power is cut.
pub struct Patient {
    story: Story,
    device: Device,
    marks_before: HighWaterMarks,
    /// When the order was given last.
    ordered: Cell<Option<Instant>>,
}

impl Patient {
    pub fn new(story: Story, dir: &Path) -> Self {
        let device = device_at(dir);
        let marks_before = marks_of(dir).unwrap();
        Self { story, device, marks_before, ordered: Cell::new(None) }
    }

    /// The same device where its disk is found after the cut.
    pub fn at(self, dir: &Path) -> Self {
        Self { device: device_at(dir), ..self }
    }

    /// Bytes of its log, which nobody syncs.
    pub fn said_bytes(&self) -> u64 {
        fs::metadata(self.device.dir.join("log.jsonl")).map_or(0, |log| log.len())
    }

    /// The daemon, as it is started.
    pub fn command(&self) -> Command {
        let mut command = Command::new(super::support::node_program());
        command
            .args(["run", "--config"])
            .arg(self.device.dir.join("node.toml"))
            .current_dir(&self.device.dir);
        command
    }

    /// Where its calls count.
    pub fn roots(&self) -> [PathBuf; 2] {
        ["data", "install"].map(|name| self.device.dir.join(name))
    }

    /// Whether the story is over. Where somebody wants something, it is given as an order until it has begun.
    pub fn is_over(&self) -> bool {
        let has_begun = || self.device.events("transition").iter().any(|line| line["to"] == "rolling_back");
        let is_due = || self.ordered.get().is_none_or(|at| at.elapsed() > ORDER_EVERY);
        if self.story == Story::ByHand && is_due() && !has_begun() {
            self.ordered.set(Some(Instant::now()));
            let mut order = Command::new(super::support::node_program());
            order.args(["rollback", "--config"]).arg(self.device.dir.join("node.toml"));
            // The tracer waits for it, as for all children of its thread. Whether it was heard the log says.
            drop(order.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        }
        !self.device.events(self.story.last_event()).is_empty()
    }

    /// Nothing is half after the cut, and by itself it ends as it must.
    pub fn ends_right(mut self) -> Result<(), String> {
        self.look()?;
        self.recover()
    }

    /// Right after the cut: each destination has the old version or the new one, whole, and the journal can be read,
    /// with all marks.
    fn look(&self) -> Result<(), String> {
        let (old, new) = self.story.versions();
        let there = in_place(&self.device.dir);
        // What a script does to the device is not switched at once.
        let whole = there.iter().filter(|(part, _)| !matches!(**part, "migration" | "schema"));
        let whole = whole.filter(|(_, version)| [old, new].contains(&version.as_str())).count();
        if whole != PARTS - 2 {
            return Err(format!("after the cut neither the old nor the new version is whole: {there:?}"));
        }
        self.look_at_journal()
    }

    /// Started again, alone: in the end one version is in place, all of it, and the journal says so.
    fn recover(&mut self) -> Result<(), String> {
        // What it says now is not what it said then.
        let _ = fs::remove_file(self.device.dir.join("log.jsonl"));
        self.device.start();
        let endings = self.story.endings();
        let start = Instant::now();
        loop {
            let state = self.device.status().map(|status| states(&status)).unwrap_or_default();
            let versions = in_place(&self.device.dir);
            let ended = endings
                .iter()
                .find(|version| versions.len() == PARTS && versions.values().all(|there| there == *version));
            if let Some(version) = ended
                && self.is_at_rest(&state, version)
            {
                break;
            }
            if start.elapsed() > super::support::PATIENCE {
                return Err(format!("it does not end: {state:?}, in place {versions:?}"));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        self.device.kill();
        self.look_at_journal()
    }

    /// Whether nothing is left to be done.
    fn is_at_rest(&self, states: &BTreeMap<String, String>, version: &str) -> bool {
        let of = |version: &str| states.get(version).map(String::as_str).unwrap_or_default();
        match self.story {
            Story::Install => of("2") == "installed",
            Story::RollBack => of("3") == "rolled_back",
            Story::ByHand if version == "2" => of("2") == "installed",
            Story::ByHand => of("2") == "rolled_back",
        }
    }

    /// No mark fell, and the log can be followed.
    fn look_at_journal(&self) -> Result<(), String> {
        let marks = marks_of(&self.device.dir)?;
        if marks.clone().max(&self.marks_before) == marks {
            return Ok(());
        }
        Err(format!("a mark fell: {:?} became {marks:?}", self.marks_before))
    }
}

/// The marks of a device whose daemon does not run. Its journal is left as it is.
fn marks_of(dir: &Path) -> Result<HighWaterMarks, String> {
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("state.redb");
    fs::copy(dir.join("data/state.redb"), &path).unwrap();
    let state = State::look(&path).map_err(|error| error.to_string())?.expect("a journal");
    let log = state.log().map_err(|error| error.to_string())?;
    if !log.is_unbroken() {
        return Err("the log is broken".into());
    }
    state.marks().map_err(|error| error.to_string())
}

/// Where each version stands.
fn states(status: &Value) -> BTreeMap<String, String> {
    let releases = status["releases"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    releases.map(|release| (text(&release["version"]), text(&release["state"]))).collect()
}
