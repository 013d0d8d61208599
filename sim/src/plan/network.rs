//! How the links of a plan behave, and how its devices find and keep each other.

use super::Discovery;
use serde::Deserialize;

/// TCP congestion controls of Linux; whether this machine has the one of a plan shows when it runs.
const CONGESTION_CONTROLS: [&str; 16] = [
    "bbr",
    "bic",
    "cdg",
    "cubic",
    "dctcp",
    "highspeed",
    "htcp",
    "hybla",
    "illinois",
    "lp",
    "nv",
    "reno",
    "scalable",
    "vegas",
    "westwood",
    "yeah",
];

/// Connections that a device keeps if a plan does not say, as in its configuration.
const NEIGHBOURS_MAX: usize = 64;

/// How the links behave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The kernel's TCP congestion control in every namespace.
    pub congestion_control: String,
    /// How devices find each other.
    pub discovery: Discovery,
    /// Connections that a device keeps at most.
    pub neighbours: usize,
}

impl Default for Network {
    fn default() -> Self {
        Self { congestion_control: "cubic".into(), discovery: Discovery::Mdns, neighbours: NEIGHBOURS_MAX }
    }
}

impl Network {
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let algorithm = self.congestion_control.as_str();
        if !CONGESTION_CONTROLS.contains(&algorithm) {
            let known = CONGESTION_CONTROLS.join(", ");
            return Err(("network.congestion_control", format!("is {algorithm:?}, expected one of {known}")));
        }
        if !(2..=1024).contains(&self.neighbours) {
            return Err(("network.neighbours", format!("is {}, expected 2 to 1024", self.neighbours)));
        }
        Ok(())
    }
}
