//! Devices that do harm: what they do in place of what an honest one would.

use serde::Deserialize;

/// Devices that lie, and how. They are enrolled like all others, and need not finish.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Liars {
    /// Their numbers.
    pub who: Vec<usize>,
    /// What they do.
    #[serde(default)]
    pub lie: Lie,
}

/// One way to harm a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// It sends wrong bytes in place of right ones.
    #[default]
    WrongBytes,
    /// It says that it has everything from the start.
    FalseHaves,
    /// It takes, and never sends what it was asked for.
    Silence,
    /// It sends more messages than any honest peer.
    Flood,
    /// It passes no document on.
    WithheldDocuments,
}
