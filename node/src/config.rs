//! `node.toml`: read once, checked as a whole; an error names file, line, key, value and what was expected.

mod check;
mod unit;

pub use unit::{Rate, Size};

use crate::mesh::net::{DialAddress, ListenAddress};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

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
    /// Whether somebody at the device may bring the version before back (`samara-node rollback`).
    #[serde(default = "yes")]
    pub local_rollback: bool,
}

fn yes() -> bool {
    true
}

/// `[mesh]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeshSection {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// Whether to find peers by multicast.
    pub mdns: bool,
    /// Peers to dial whatever else is known.
    pub peers: Vec<DialAddress>,
    /// Most connections at once, 2 to 1024; each costs memory and a descriptor.
    pub connections_max: u32,
    /// Cap on artifact data sent.
    pub uplink_limit: Option<Rate>,
}

impl Default for MeshSection {
    fn default() -> Self {
        Self {
            listen: "/ip4/0.0.0.0/tcp/4810".parse().into_iter().collect(),
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
    /// Bytes on disk that all copies of contents together may take; as much as there is by default.
    pub quota: Option<Size>,
}

impl StoreConfig {
    /// The quota in bytes.
    pub fn quota_bytes(&self) -> Option<u64> {
        self.quota.map(|quota| quota.0)
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { reserve_free: Size(64 << 20), quota: None }
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
    #[error("cannot read {path}: {cause}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        cause: std::io::Error,
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
        expected: String,
    },
}

impl Config {
    /// Reads a file; relative paths in it are relative to it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.into(), cause })?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|e| ConfigError::Line { path: path.into(), message: e.to_string() })?;
        config.check_texts(path)?;
        let base =
            std::path::absolute(path).ok().and_then(|p| p.parent().map(Path::to_owned)).unwrap_or_default();
        config.trust_root = base.join(&config.trust_root);
        config.data_dir = base.join(&config.data_dir);
        config.install.root = base.join(&config.install.root);
        config.device.enrollment = config.device.enrollment.map(|p| base.join(p));
        config.check(path)?;
        Ok(config)
    }

    /// The local API's socket.
    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("api.sock")
    }

    /// Where copies of contents are.
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    /// The state's file.
    pub fn state_file(&self) -> PathBuf {
        self.data_dir.join("state.redb")
    }

    /// Where programs of a release lie while they run.
    pub fn programs(&self) -> PathBuf {
        self.data_dir.join("programs")
    }

    /// What is logged.
    pub fn log_filter(&self) -> Result<EnvFilter, String> {
        let level = &self.log.level;
        // A misspelt level would be taken for the name of a module, and nothing would be logged.
        let mut words = level.split(',').filter(|part| !part.contains(['=', '[', '{']));
        if let Some(word) = words.find(|word| word.trim().parse::<LevelFilter>().is_err()) {
            return Err(format!("{word:?} is no level"));
        }
        EnvFilter::try_new(level).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests;
