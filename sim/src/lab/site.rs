//! A site for one run, made with the product's own commands as an operator would: keys, configurations, identities,
//! enrollments, and the published artifact.

use super::netns::Net;
use super::process::Launch;
use super::{Interrupt, files, held, tools};
use crate::plan::{Discovery, Plan, device_name};
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every party listens here; each has a namespace of its own.
const PORT: u16 = 4810;
/// Of a device, beside its configuration.
const DATA_DIR: &str = "data";
/// Seconds that any command of the product may take before it counts as hung.
const COMMAND_SECONDS_MAX: &str = "60";

/// The product's programs.
#[derive(Debug)]
pub struct Programs {
    /// The operator's tool.
    pub samara: PathBuf,
    /// The device daemon.
    pub node: PathBuf,
}

/// The files of a run.
#[derive(Debug)]
pub struct Site {
    root: PathBuf,
    programs: Programs,
    ids: Vec<String>,
    addresses: Vec<String>,
    /// Connections that a device keeps at most.
    neighbours: usize,
}

/// What a device says about itself at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Received {
    /// Verified bytes from peers that are no devices.
    pub from_seeder: u64,
    /// Verified bytes from devices.
    pub from_peers: u64,
    /// Bytes that it had already.
    pub duplicate: u64,
}

impl Site {
    /// Makes everything below `root`.
    pub fn prepare(
        plan: &Plan,
        net: &Net,
        root: &Path,
        programs: Programs,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let count = plan.devices.count;
        let addresses = match plan.network.discovery {
            Discovery::Mdns => Vec::new(),
            Discovery::Static => (0..count).map(|d| format!("/ip4/{}/tcp/{PORT}", net.address(d))).collect(),
        };
        let neighbours = plan.network.neighbours;
        let mut site = Self { root: root.to_path_buf(), programs, ids: Vec::new(), addresses, neighbours };
        let dir = site.dir();
        site.samara(&["site", "init", &dir, "--name", "lab", "--product", "lab", "--no-passphrase"])?;
        for device in 0..count {
            interrupt.check()?;
            site.add_device(device).with_context(|| format!("cannot prepare {}", device_name(device)))?;
        }
        let artifact = files::create(&plan.artifact, root)?;
        let artifact = artifact.to_string_lossy();
        interrupt.check()?;
        site.samara(&[
            "publish",
            "--site",
            &dir,
            "--product",
            "lab",
            "--channel",
            "stable",
            "--version",
            "1.0.0",
            "--number",
            "1",
            "--destination",
            "artifact",
            "--yes",
            &artifact,
        ])?;
        Ok(site)
    }

    /// How to run a device.
    pub fn device(&self, device: usize, net: &Net) -> Launch {
        Launch {
            namespace: net.device(device),
            program: self.programs.node.clone(),
            args: ["run".into(), "--config".into(), self.config(device)].to_vec(),
            log: self.root.join(device_name(device)).join("log.json"),
        }
    }

    /// How to run the seeder.
    pub fn seeder(&self, net: &Net) -> Launch {
        let mut args: Vec<String> =
            ["serve", "--json", "--site", &self.dir(), "--listen", &format!("/ip4/0.0.0.0/tcp/{PORT}")]
                .map(String::from)
                .to_vec();
        if !self.addresses.is_empty() {
            args.push("--no-mdns".into());
        }
        args.extend(self.addresses.iter().flat_map(|address| ["--peer".to_owned(), address.clone()]));
        Launch {
            namespace: net.seeder(),
            program: self.programs.samara.clone(),
            args,
            log: self.root.join("seeder.log"),
        }
    }

    /// Asks a running device where its bytes came from.
    pub fn received(&self, device: usize) -> anyhow::Result<Received> {
        let text = self.node(&["status", "--json", "--config", &self.config(device)])?;
        received(&text, &self.ids)
    }

    /// How much of an artifact of so many bytes is on a device's disk, whether it runs or not.
    pub fn held_bytes(&self, device: usize, all: u64) -> u64 {
        held::held_bytes(&self.root.join(device_name(device)).join(DATA_DIR), all)
    }

    fn add_device(&mut self, device: usize) -> anyhow::Result<()> {
        let name = device_name(device);
        let home = self.root.join(&name);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        fs::copy(Path::new(&self.dir()).join("trust-root.json"), home.join("trust-root.json"))
            .context("the site has no trust-root.json")?;
        let config = self.config(device);
        fs::write(&config, node_toml(&self.addresses, self.neighbours, None))?;
        let id = self.node(&["identity", "--config", &config])?.trim().to_owned();
        ensure!(
            !id.is_empty() && !id.contains(char::is_whitespace),
            "samara-node printed no identity: {id:?}"
        );

        let before = self.enrollments()?;
        self.samara(&["enroll", "--site", &self.dir(), &id, "--name", &name, "--yes"])?;
        let made = self.enrollments()?.into_iter().find(|path| !before.contains(path));
        fs::copy(made.context("samara enroll wrote no enrollment")?, home.join("enrollment.json"))?;
        fs::write(&config, node_toml(&self.addresses, self.neighbours, Some("enrollment.json")))?;
        self.ids.push(id);
        Ok(())
    }

    fn enrollments(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let documents = Path::new(&self.dir()).join("documents");
        let listing =
            fs::read_dir(&documents).with_context(|| format!("cannot list {}", documents.display()))?;
        let paths = listing.filter_map(|entry| Some(entry.ok()?.path()));
        let is_enrollment = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("enrollment-"))
        };
        Ok(paths.filter(is_enrollment).collect())
    }

    fn dir(&self) -> String {
        self.root.join("site").to_string_lossy().into_owned()
    }

    fn config(&self, device: usize) -> String {
        self.root.join(device_name(device)).join("node.toml").to_string_lossy().into_owned()
    }

    fn samara(&self, args: &[&str]) -> anyhow::Result<String> {
        bounded(&self.programs.samara, args)
    }

    fn node(&self, args: &[&str]) -> anyhow::Result<String> {
        bounded(&self.programs.node, args)
    }
}

fn bounded(program: &Path, args: &[&str]) -> anyhow::Result<String> {
    let program = program.to_string_lossy();
    tools::run("timeout", &[&["-k", "5", COMMAND_SECONDS_MAX, &program], args].concat())
}

fn node_toml(peers: &[String], neighbours: usize, enrollment: Option<&str>) -> String {
    let enrollment = enrollment.map_or(String::new(), |file| format!("enrollment = {file:?}\n"));
    format!(
        "trust_root = \"trust-root.json\"\ndata_dir = {DATA_DIR:?}\n\n\
         [device]\nhardware = \"generic\"\n{enrollment}\n\
         [install]\nroot = \"install\"\n\n\
         [mesh]\nlisten = [\"/ip4/0.0.0.0/tcp/{PORT}\"]\nmdns = {}\npeers = {peers:?}\nconnections_max = {neighbours}\n\n\
         [log]\nformat = \"json\"\n",
        peers.is_empty()
    )
}

fn received(status: &str, devices: &[String]) -> anyhow::Result<Received> {
    #[derive(serde::Deserialize)]
    struct Status {
        #[serde(default)]
        releases: Vec<Release>,
    }
    #[derive(serde::Deserialize)]
    struct Release {
        #[serde(default)]
        sources: BTreeMap<String, u64>,
        #[serde(default)]
        duplicate_bytes: u64,
    }
    let status: Status = serde_json::from_str(status).context("samara-node status printed no JSON")?;
    let mut sum = Received::default();
    for release in status.releases {
        for (peer, bytes) in release.sources {
            let from = if devices.contains(&peer) { &mut sum.from_peers } else { &mut sum.from_seeder };
            *from += bytes;
        }
        sum.duplicate += release.duplicate_bytes;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_no_device_is_the_seeder() {
        let status =
            r#"{"device":"a","releases":[{"id":"r","sources":{"b":5,"s":7},"duplicate_bytes":2}],"x":1}"#;
        let ids = ["a".to_owned(), "b".to_owned()];
        let expected = Received { from_seeder: 7, from_peers: 5, duplicate: 2 };
        assert_eq!(received(status, &ids).unwrap(), expected);
    }

    #[test]
    fn a_configuration_names_its_peers_or_uses_mdns() {
        let table: toml::Table = toml::from_str(&node_toml(&[], 64, Some("enrollment.json"))).unwrap();
        assert_eq!(table["mesh"]["mdns"].as_bool(), Some(true));
        assert_eq!(table["device"]["enrollment"].as_str(), Some("enrollment.json"));
        let table: toml::Table = toml::from_str(&node_toml(&["/ip4/1.2.3.4/tcp/1".into()], 4, None)).unwrap();
        assert_eq!(table["mesh"]["mdns"].as_bool(), Some(false));
        assert_eq!(table["mesh"]["peers"][0].as_str(), Some("/ip4/1.2.3.4/tcp/1"));
        assert_eq!(table["mesh"]["connections_max"].as_integer(), Some(4));
    }
}
