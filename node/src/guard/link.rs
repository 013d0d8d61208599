//! What an agent does that a guard started.

use super::{GIVEN_UP, PROCESS};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use samara_protocol::id::DocumentId;

/// A successor that the guard gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The release that brought it.
    pub release: DocumentId,
    /// For people.
    pub why: String,
}

impl GivenUp {
    /// What the guard says, if one started this process and has something to say.
    pub fn heard() -> Option<Self> {
        Self::parse(&std::env::var(GIVEN_UP).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (release, why) = text.split_once(' ')?;
        Some(Self { release: release.parse().ok()?, why: why.into() })
    }

    pub(super) fn said(&self) -> String {
        format!("{} {}", self.release, self.why)
    }
}

/// Ends this process with the guard that started it: the next guard starts an agent of its own, and a data directory has
/// room for one. False if that guard has ended already.
pub fn tie() -> bool {
    let guard = std::env::var(PROCESS).ok().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
    let Some(guard) = guard else { return true };
    // Where the system cannot do this, the next agent waits for the lock of the state in vain, and says so.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    getppid() == Some(guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guard_says_is_what_the_agent_hears() {
        let given_up = GivenUp { release: DocumentId([7; 32]), why: "it ended with exit code 1".into() };
        assert_eq!(GivenUp::parse(&given_up.said()), Some(given_up));
        for garbage in ["", "x y", "07"] {
            assert_eq!(GivenUp::parse(garbage), None);
        }
    }
}
