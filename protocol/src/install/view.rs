//! What a machine says of itself.

use super::machine::Install;
use super::plan::{Hold, Step, Verdict};
use super::{Fault, State};
use std::time::Duration;

impl Install {
    /// Where the release stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it has come to its end, and that is durable: a machine that is thrown away before leaves the journal in the
    /// middle of an install, and a release that went bad would be tried again.
    pub fn has_ended(&self) -> bool {
        self.state.is_terminal() && self.pending.is_none()
    }

    /// What went wrong last, of this install.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Installs begun so far.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether what it installs is the agent itself.
    pub fn restarts(&self) -> bool {
        self.plan.restarts
    }

    /// Its number among the installs of this release, and how long it may be tested, if it replaces the agent.
    pub fn agent_trial(&self) -> Option<(u32, Duration)> {
        let test = self.plan.test.filter(|_| self.plan.restarts)?;
        Some((self.attempt, test.longest()))
    }

    /// What holds it back where it stands, if something does.
    pub fn hold(&self) -> Option<&Hold> {
        match &self.verdict {
            Verdict::Wanted { hold, .. } if !self.state.is_terminal() && !self.state.is_under_way() => {
                hold.as_ref()
            }
            _ => None,
        }
    }

    /// Bytes that must be free and bytes that are, while it waits for room.
    pub fn lacks(&self) -> Option<(u64, u64)> {
        self.lacks.filter(|_| self.state == State::WaitingForSpace)
    }

    /// The step that runs or is to be run next, and how often it was tried.
    pub fn step(&self) -> Option<(Step, u32)> {
        Some((self.running.or(self.todo.front().copied())?, self.tries))
    }

    /// Whether steps of it are left to run, or must not be mixed with those of another release. One whose hook asked for
    /// another time before anything was changed lets others go first.
    pub fn wants_turn(&self) -> bool {
        let is_put_off = self.timer.is_some() && !self.is_leaving();
        self.running.is_some() || self.state.is_under_way() || !(self.todo.is_empty() || is_put_off)
    }

    /// Whether it gives way to what was decided, once what stands beside the destinations is gone.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// What keeps what was switched from being brought back or kept, while that is tried again.
    pub fn obstacle(&self) -> Option<&str> {
        self.obstacle.as_deref()
    }
}
