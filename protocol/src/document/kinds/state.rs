//! The words for where a release stands on a device: a Report's `state`, and what the device's own status says.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a release stands on a device. A Report carries the word as text: a later version may know more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// Its rollout holds it back.
    Waiting,
    /// Its bytes come.
    Downloading,
    /// The disk is full; tried again.
    WaitingForSpace,
    /// All its bytes are verified; it is being placed.
    Installing,
    /// It is in place.
    Installed,
    /// The install failed; tried again.
    Failed,
    /// It is not for this device, or cannot be used by it.
    NotApplicable,
    /// It was taken back.
    Withdrawn,
    /// A later release of its channel is wanted instead.
    Superseded,
}

impl ReleaseState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Downloading,
        Self::WaitingForSpace,
        Self::Installing,
        Self::Installed,
        Self::Failed,
        Self::NotApplicable,
        Self::Withdrawn,
        Self::Superseded,
    ];

    /// The word, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Downloading => "downloading",
            Self::WaitingForSpace => "waiting_for_space",
            Self::Installing => "installing",
            Self::Installed => "installed",
            Self::Failed => "failed",
            Self::NotApplicable => "not_applicable",
            Self::Withdrawn => "withdrawn",
            Self::Superseded => "superseded",
        }
    }

    /// The state that a word stands for, if this version knows it.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether people have to do something before the device comes to the release.
    pub fn needs_people(self) -> bool {
        matches!(self, Self::WaitingForSpace | Self::Failed | Self::NotApplicable)
    }
}

impl fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
