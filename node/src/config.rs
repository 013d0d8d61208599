//! `node.toml`: read once, checked as a whole; an error names file, line, key, value and what was expected.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A rate of a link, in bits per second: `20mbit`, `500kbit`, `1gbit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    bits: u64,
}

impl Rate {
    /// Bits per second.
    pub fn bits_per_second(self) -> u64 {
        self.bits
    }

    /// Bytes per second.
    pub fn bytes_per_second(self) -> u64 {
        self.bits / 8
    }
}

/// A size: `64MiB`, `1GiB`, `512KiB`, `1000B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

fn parse_unit(text: &str, units: &[(&str, u64)], expected: &str) -> Result<u64, String> {
    let bad = || format!("{text:?}: expected {expected}");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let number: u64 = text[..digits].parse().map_err(|_| bad())?;
    let unit =
        units.iter().find(|(name, _)| name.eq_ignore_ascii_case(text[digits..].trim())).ok_or_else(bad)?;
    number.checked_mul(unit.1).filter(|value| *value > 0).ok_or_else(bad)
}

fn print_unit(value: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor));
    unit.map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}

const RATES: [(&str, u64); 4] = [("bit", 1), ("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_unit(text, &RATES, "a rate such as 20mbit (bit, kbit, mbit, gbit)").map(|bits| Self { bits })
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_unit(text, &SIZES, "a size such as 64MiB (B, KiB, MiB, GiB, TiB)").map(Self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_unit(self.bits, &RATES))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_unit(self.0, &SIZES))
    }
}

macro_rules! through_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
through_text!(Rate);
through_text!(Size);

/// A device's configuration, paths made absolute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version 1 of the site's trust root.
    pub trust_root: PathBuf,
    /// Identity key, store, state and the local API's socket.
    pub data_dir: PathBuf,
    /// What the device is.
    #[serde(default)]
    pub device: DeviceConfig,
    /// Where artifacts go.
    pub install: InstallConfig,
    /// The network.
    #[serde(default)]
    pub mesh: MeshSection,
    /// Artifact bytes.
    #[serde(default)]
    pub store: StoreConfig,
    /// What is logged.
    #[serde(default)]
    pub log: LogConfig,
}

/// `[device]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// Hardware revision.
    pub hardware: String,
    /// Processor architecture; the machine's own by default.
    pub architecture: String,
    /// The device's Enrollment; it may also come over an open mesh.
    pub enrollment: Option<PathBuf>,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self { hardware: "generic".into(), architecture: std::env::consts::ARCH.into(), enrollment: None }
    }
}

/// `[install]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallConfig {
    /// Every destination lies under it.
    pub root: PathBuf,
}

/// `[mesh]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeshSection {
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Whether to find peers by multicast.
    pub mdns: bool,
    /// Multiaddresses to dial.
    pub peers: Vec<String>,
    /// Most connections at once, 2 to 1024; each costs memory and a descriptor.
    pub connections_max: u32,
    /// Cap on artifact data sent.
    pub uplink_limit: Option<Rate>,
}

impl Default for MeshSection {
    fn default() -> Self {
        Self {
            listen: vec!["/ip4/0.0.0.0/tcp/4810".into()],
            mdns: true,
            peers: Vec::new(),
            connections_max: 64,
            uplink_limit: None,
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Bytes of the disk that are never used.
    pub reserve_free: Size,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { reserve_free: Size(64 << 20) }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// How.
    pub format: LogFormat,
    /// A level or a filter such as `info,samara_node=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A line says what cannot be.
    #[error("{path}:\n{message}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Line, key, value and what was expected.
        message: String,
    },
    /// A value is out of bounds.
    #[error("{path}: {key} = {value}: expected {expected}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
}

impl Config {
    /// Reads a file; relative paths in it are relative to it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|e| ConfigError::Line { path: path.into(), message: e.to_string() })?;
        let base =
            std::path::absolute(path).ok().and_then(|p| p.parent().map(Path::to_owned)).unwrap_or_default();
        config.trust_root = base.join(&config.trust_root);
        config.data_dir = base.join(&config.data_dir);
        config.install.root = base.join(&config.install.root);
        config.device.enrollment = config.device.enrollment.map(|p| base.join(p));
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let value = |key, value: String, expected| {
            Err(ConfigError::Value { path: path.into(), key, value, expected })
        };
        if !(2..=1024).contains(&self.mesh.connections_max) {
            return value("mesh.connections_max", self.mesh.connections_max.to_string(), "2 to 1024");
        }
        if let Some(peer) = self.mesh.peers.iter().find(|p| !p.starts_with('/')) {
            return value("mesh.peers", format!("{peer:?}"), "a multiaddress such as /ip4/10.0.0.7/tcp/4810");
        }
        if let Some(listen) = self.mesh.listen.iter().find(|l| !l.starts_with('/')) {
            return value(
                "mesh.listen",
                format!("{listen:?}"),
                "a multiaddress such as /ip4/0.0.0.0/tcp/4810",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|e| e.to_string())
    }

    const LEAST: &str = "trust_root = \"root.json\"\ndata_dir = \"data\"\n[install]\nroot = \"install\"\n";

    #[test]
    fn the_least_configuration_has_working_defaults_and_absolute_paths() {
        let config = load(LEAST).unwrap();
        assert!(config.data_dir.is_absolute() && config.mesh.mdns);
        assert_eq!(config.store.reserve_free, Size(64 << 20));
    }

    #[test]
    fn every_mistake_names_the_line_the_key_and_what_was_expected() {
        for (text, words) in [
            ("", vec!["trust_root"]),
            ("trust_root = 1", vec!["line 1", "string", "1"]),
            ("trust_root = \"root.json\"\ndata_dir = \"data\"\n", vec!["install"]),
            (&LEAST.replace("root = \"install\"", ""), vec!["line 3", "install", "root"]),
            (&LEAST.replace("data_dir", "datadir"), vec!["line 2", "datadir", "data_dir"]),
            (&format!("{LEAST}mode = 7\n"), vec!["line 5", "mode", "root"]),
            (&format!("{LEAST}[instal]\n"), vec!["line 5", "instal", "install"]),
            (&format!("{LEAST}[install]\n"), vec!["line 5", "install", "duplicate"]),
            (
                &format!("{LEAST}[mesh]\nlisten = \"/ip4/0.0.0.0/tcp/1\"\n"),
                vec!["line 6", "listen", "sequence"],
            ),
            (
                &format!("{LEAST}[mesh]\nlisten = [\"0.0.0.0:1\"]\n"),
                vec!["mesh.listen", "0.0.0.0:1", "/ip4/"],
            ),
            (
                &format!("{LEAST}[mesh]\nconnections_max = -1\n"),
                vec!["line 6", "connections_max", "-1", "u32"],
            ),
            (
                &format!("{LEAST}[mesh]\nconnections_max = 1025\n"),
                vec!["connections_max = 1025", "2 to 1024"],
            ),
            (&format!("{LEAST}[device]\nhardware = 3\n"), vec!["line 6", "hardware", "3", "string"]),
            (&format!("{LEAST}[mesh]\nmdns = \"yes\"\n"), vec!["line 6", "mdns", "boolean"]),
            (&format!("{LEAST}[mesh]\nmnds = true\n"), vec!["line 6", "mnds", "mdns"]),
            (&format!("{LEAST}[mesh]\nuplink_limit = \"fast\"\n"), vec!["line 6", "fast", "20mbit"]),
            (&format!("{LEAST}[mesh]\npeers = [\"10.0.0.1\"]\n"), vec!["mesh.peers", "10.0.0.1", "/ip4/"]),
            (&format!("{LEAST}[mesh]\nconnections_max = 1\n"), vec!["mesh.connections_max", "2 to 1024"]),
            (&format!("{LEAST}[store]\nreserve_free = \"64\"\n"), vec!["line 6", "64MiB"]),
            (&format!("{LEAST}[log]\nformat = \"xml\"\n"), vec!["line 6", "xml", "json"]),
        ] {
            let error = load(text).unwrap_err();
            words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in {error}"));
            assert!(error.contains("node.toml"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_no_text_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        let error = || Config::load(&path).unwrap_err().to_string();
        assert!(error().contains("cannot read") && error().contains("node.toml"), "{}", error());
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(error().contains("UTF-8") && error().contains("node.toml"), "{}", error());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(error().contains("directory") && error().contains("node.toml"), "{}", error());
    }

    #[test]
    fn relative_paths_start_at_the_file_not_at_the_working_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, format!("{LEAST}[device]\nenrollment = \"enrollment.json\"\n")).unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.trust_root, dir.path().join("root.json"));
        assert_eq!(config.install.root, dir.path().join("install"));
        assert_eq!(config.device.enrollment, Some(dir.path().join("enrollment.json")));
    }

    #[test]
    fn units_survive_text() {
        for text in ["20mbit", "1gbit", "1500kbit", "7bit"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["64MiB", "1GiB", "1000B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert!("99999999999TiB".parse::<Size>().is_err() && "0mbit".parse::<Rate>().is_err());
    }
}
