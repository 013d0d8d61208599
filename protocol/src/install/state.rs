//! The states of one release on a device, what leads from one to the next, and what is written down of it.

use crate::document::ReleaseState;
use crate::rollout::BadMark;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Where a release stands. A device without any is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A Rollout names it.
    Offered,
    /// Whether there is room for it.
    Checking,
    /// Its turn has not come.
    WaitingForWave,
    /// There is no room; looked at again.
    WaitingForSpace,
    /// Its bytes come.
    Downloading,
    /// All bytes are here and durable; each artifact is checked and written beside its destination.
    Verifying,
    /// It stands beside what is in place.
    Staged,
    /// It may be installed at certain times only.
    WaitingForWindow,
    /// Somebody must agree.
    WaitingForConfirmation,
    /// The device is in use.
    WaitingForInterlock,
    /// The last things before the first switch.
    Installing,
    /// Its artifacts are switched, one after the other.
    Activating,
    /// What runs it starts again.
    Rebooting,
    /// It runs, and must show that it works.
    Testing,
    /// It works; what is no longer needed for the way back goes.
    Committing,
    /// It stays.
    Committed,
    /// What was there before comes back.
    RollingBack,
    /// What was there before is back; it is not tried again here.
    RolledBack,
    /// What was there before could not be brought back: somebody must look.
    Inconsistent,
    /// The device refuses it.
    Rejected,
    /// It was not made for this device.
    NotApplicable,
    /// It was in place when it was offered.
    AlreadyInstalled,
    /// It did not work out; nothing of it is in place, and it is tried again.
    Failed,
    /// Its Rollout was ended.
    Aborted,
    /// It was taken back.
    Withdrawn,
    /// A later release is wanted.
    Superseded,
}

impl State {
    /// All of them, in the order of a release's life.
    pub const ALL: [Self; 26] = [
        Self::Offered,
        Self::Checking,
        Self::WaitingForWave,
        Self::WaitingForSpace,
        Self::Downloading,
        Self::Verifying,
        Self::Staged,
        Self::WaitingForWindow,
        Self::WaitingForConfirmation,
        Self::WaitingForInterlock,
        Self::Installing,
        Self::Activating,
        Self::Rebooting,
        Self::Testing,
        Self::Committing,
        Self::Committed,
        Self::RollingBack,
        Self::RolledBack,
        Self::Inconsistent,
        Self::Rejected,
        Self::NotApplicable,
        Self::AlreadyInstalled,
        Self::Failed,
        Self::Aborted,
        Self::Withdrawn,
        Self::Superseded,
    ];

    /// Whether it ends here until somebody wants something else.
    pub fn is_terminal(self) -> bool {
        use State::*;
        matches!(
            self,
            Committed
                | RolledBack
                | Inconsistent
                | Rejected
                | NotApplicable
                | AlreadyInstalled
                | Aborted
                | Withdrawn
                | Superseded
        )
    }

    /// Whether something of the device may be half-way: it goes on to its end, whatever is decided meanwhile.
    pub fn is_under_way(self) -> bool {
        use State::*;
        matches!(self, Installing | Activating | Rebooting | Testing | Committing | RollingBack)
    }

    /// Whether it stands beside what is in place, ready, and waits.
    pub fn is_staged(self) -> bool {
        use State::*;
        matches!(self, Staged | WaitingForWindow | WaitingForConfirmation | WaitingForInterlock)
    }

    /// Whether all of it is in place and stays.
    pub fn is_in_place(self) -> bool {
        matches!(self, Self::Committed | Self::AlreadyInstalled)
    }

    /// Whether nothing that the state asks for may happen before its record is durable. What comes before an install
    /// is found again from documents and contents.
    pub fn needs_record(self) -> bool {
        self.is_under_way()
            || matches!(self, Self::Committed | Self::RolledBack | Self::Inconsistent | Self::Failed)
    }

    /// The word for it in status and reports.
    pub fn word(self) -> ReleaseState {
        use State::*;
        match self {
            Offered | WaitingForWave | Staged => ReleaseState::Waiting,
            WaitingForWindow | WaitingForConfirmation | WaitingForInterlock => ReleaseState::Waiting,
            WaitingForSpace => ReleaseState::WaitingForSpace,
            Checking | Downloading => ReleaseState::Downloading,
            Verifying | Installing | Activating | Rebooting => ReleaseState::Installing,
            Testing | Committing => ReleaseState::Testing,
            Committed | AlreadyInstalled => ReleaseState::Installed,
            RollingBack => ReleaseState::RollingBack,
            RolledBack => ReleaseState::RolledBack,
            Inconsistent => ReleaseState::Inconsistent,
            Rejected => ReleaseState::Rejected,
            NotApplicable => ReleaseState::NotApplicable,
            Failed => ReleaseState::Failed,
            Aborted => ReleaseState::Aborted,
            Withdrawn => ReleaseState::Withdrawn,
            Superseded => ReleaseState::Superseded,
        }
    }

    /// The word, as in JSON.
    pub fn as_str(self) -> &'static str {
        use State::*;
        match self {
            Offered => "offered",
            Checking => "checking",
            WaitingForWave => "waiting_for_wave",
            WaitingForSpace => "waiting_for_space",
            Downloading => "downloading",
            Verifying => "verifying",
            Staged => "staged",
            WaitingForWindow => "waiting_for_window",
            WaitingForConfirmation => "waiting_for_confirmation",
            WaitingForInterlock => "waiting_for_interlock",
            Installing => "installing",
            Activating => "activating",
            Rebooting => "rebooting",
            Testing => "testing",
            Committing => "committing",
            Committed => "committed",
            RollingBack => "rolling_back",
            RolledBack => "rolled_back",
            Inconsistent => "inconsistent",
            Rejected => "rejected",
            NotApplicable => "not_applicable",
            AlreadyInstalled => "already_installed",
            Failed => "failed",
            Aborted => "aborted",
            Withdrawn => "withdrawn",
            Superseded => "superseded",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCode {
    /// A hook failed, or asked for another time too often.
    Hook,
    /// It did not show that it works.
    Health,
    /// An artifact could not be checked, staged, switched or kept.
    Artifact,
    /// A content could not be kept, for another reason than a full disk.
    Store,
    /// There is no room and never will be.
    Space,
    /// Power failed or the agent ended in the middle.
    Cut,
    /// After a restart something else was in place.
    Evidence,
    /// The new agent did not start, or did not find back to its neighbours.
    Agent,
    /// Somebody at the device wanted it so.
    ByHand,
    /// It was taken back while it was installed.
    Withdrawn,
}

impl FaultCode {
    /// The word, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Health => "health",
            Self::Artifact => "artifact",
            Self::Store => "store",
            Self::Space => "space",
            Self::Cut => "cut",
            Self::Evidence => "evidence",
            Self::Agent => "agent",
            Self::ByHand => "by_hand",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// What went wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// In which state.
    pub phase: State,
    /// What kind of thing.
    pub code: FaultCode,
    /// How the program ended, if it was one: its exit code, or minus the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// For people.
    pub why: String,
}

/// One transition, as it is kept: all that is needed to go on after a cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it stood.
    pub from: State,
    /// Where it stands.
    pub state: State,
    /// Installs begun so far.
    pub attempt: u32,
    /// How often power failed in the middle of one.
    pub cuts: u32,
    /// What went wrong last, of this install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What a record changes of what is known to be in place; in one commit with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Its destinations are about to change: they may hold anything from now on.
    Begin,
    /// It is in place at all of them, and security floors rise.
    Keep,
    /// What was there before is there again.
    Restore,
}

impl Record {
    /// What it changes of what is in place.
    pub fn effect(&self) -> Effect {
        match (self.from, self.state) {
            (_, State::Installing) => Effect::Begin,
            (_, State::Committed) => Effect::Keep,
            (State::RollingBack, State::RolledBack | State::Failed) => Effect::Restore,
            _ => Effect::None,
        }
    }

    /// Whether the release is not to be tried again without a newer Rollout that says so.
    pub fn is_bad(&self) -> bool {
        matches!(self.state, State::RolledBack | State::Inconsistent)
    }

    /// What is remembered of a release that is bad; `seen`: the place in their order of the Rollouts that name it.
    pub fn mark(&self, seen: BTreeMap<String, (u64, u64)>) -> BadMark {
        let fault = self.fault.as_ref();
        BadMark {
            state: self.state.word(),
            why: fault.map(|fault| fault.why.clone()).unwrap_or_default(),
            exit: fault.and_then(|fault| fault.exit),
            phase: fault.map(|fault| fault.phase.to_string()).unwrap_or_default(),
            code: fault.map(|fault| fault.code.as_str().to_owned()).unwrap_or_default(),
            seen,
        }
    }
}
