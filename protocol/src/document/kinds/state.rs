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
    /// It runs, and must show that it works.
    Testing,
    /// It is in place, and works.
    Installed,
    /// It did not work; what was there before comes back.
    RollingBack,
    /// It did not work; what was there before is back, and it is not tried again.
    RolledBack,
    /// What was there before could not be brought back: somebody must look.
    Inconsistent,
    /// The install failed, or its bytes cannot be kept for another reason than a full disk; tried again.
    Failed,
    /// It is for devices like this one, which refuses it as it is now.
    Rejected,
    /// It is not for this device, or cannot be used by it.
    NotApplicable,
    /// Its rollout was ended before it was installed.
    Aborted,
    /// It was taken back.
    Withdrawn,
    /// A later release of its channel is wanted instead.
    Superseded,
}

impl ReleaseState {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Waiting,
        Self::Downloading,
        Self::WaitingForSpace,
        Self::Installing,
        Self::Testing,
        Self::Installed,
        Self::RollingBack,
        Self::RolledBack,
        Self::Inconsistent,
        Self::Failed,
        Self::Rejected,
        Self::NotApplicable,
        Self::Aborted,
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
            Self::Testing => "testing",
            Self::Installed => "installed",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Inconsistent => "inconsistent",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::NotApplicable => "not_applicable",
            Self::Aborted => "aborted",
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
            Self::Waiting | Self::Superseded | Self::Aborted => 0,
            Self::NotApplicable => 1,
            Self::Installed => 2,
            Self::Withdrawn => 3,
            Self::Downloading => 4,
            Self::Installing => 5,
            Self::Testing => 6,
            Self::RollingBack => 7,
            Self::Rejected => 8,
            Self::WaitingForSpace => 9,
            Self::Failed => 10,
            Self::RolledBack => 11,
            Self::Inconsistent => 12,
        }
    }
}

impl fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
