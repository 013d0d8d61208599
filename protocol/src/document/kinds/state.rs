//! The words for where a release stands on a device: a Report's `state`, and what the device's own status says.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a Report says of a release beside the one that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseWord {
    /// A word of [`ReleaseState`].
    pub state: String,
    /// Why, for people; empty where there was no room.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

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
    /// The install failed, or its bytes cannot be kept for another reason than a full disk; tried again.
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

    /// How much the site must know it: of several releases the state with the highest weight is a device's last word.
    pub fn weight(self) -> u8 {
        match self {
            Self::Waiting | Self::Superseded => 0,
            Self::NotApplicable => 1,
            Self::Installed => 2,
            Self::Withdrawn => 3,
            Self::Downloading => 4,
            Self::Installing => 5,
            Self::WaitingForSpace => 6,
            Self::Failed => 7,
        }
    }
}

impl fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
