//! After a cut: what the last record and the file system say, and what follows from both.
//!
//! A cut is nobody's fault: what it ended is tried again without counting as an attempt, but not for ever, for a
//! release may be what ends the power.

use super::machine::Install;
use super::plan::{Ended, Found, Plan, Verdict};
use super::table::Event;
use super::{Fault, FaultCode, Record, State};
use crate::time::Timestamp;

/// Cuts of one install after which it counts as gone wrong.
pub const CUTS_MAX: u32 = 5;

impl Install {
    /// The machine as it goes on from its last record and from what is found. `ended` tells how the agent ended.
    pub fn resume(
        plan: Plan,
        record: Record,
        (found, ended): (Found, Ended),
        verdict: Verdict,
        now: Timestamp,
        rng_seed: u64,
    ) -> Self {
        let cut = u32::from(ended == Ended::Cut);
        let mut install = Self::still(plan, record.state, rng_seed);
        (install.attempt, install.cuts, install.fault) = (record.attempt, record.cuts, record.fault);
        if let Verdict::Wanted { attempts_max, .. } = verdict {
            install.attempts_max = attempts_max;
        }
        install.verdict = verdict;
        install.is_written = install.state.is_under_way();
        match (install.state, found) {
            (State::Installing, _) => install.on_cut(now),
            (State::Activating | State::Rebooting | State::Testing, Found::GivenUp(why)) => {
                let fault = install.fault_of(FaultCode::Agent, None, why);
                install.fire(now, Event::Faulted, Some(fault));
            }
            (State::Activating | State::Testing, found) => install.on_evidence(now, found == Found::New, cut),
            (State::Rebooting, Found::New) => install.fire(now, Event::Restarted, None),
            (State::Rebooting, _) => {
                let fault = install.not_there();
                install.fire(now, Event::Faulted, Some(fault));
            }
            (State::Committing, _) => install.fire(now, Event::Resumed, None),
            (State::RollingBack, _) => {
                install.cuts += cut;
                install.fire(now, Event::Resumed, None);
            }
            _ => {}
        }
        install
    }

    /// A release that is in place already.
    pub fn in_place(plan: Plan, verdict: Verdict, rng_seed: u64) -> Self {
        let mut install = Self::still(plan, State::AlreadyInstalled, rng_seed);
        install.verdict = verdict;
        install
    }

    /// A release that was tried before and is offered once more, with what counts of the tries so far.
    pub fn again(plan: Plan, record: Record, verdict: Verdict, now: Timestamp, rng_seed: u64) -> Self {
        let mut install = Self::new(plan, verdict, now, rng_seed);
        (install.attempt, install.cuts, install.fault) = (record.attempt, record.cuts, record.fault);
        install
    }

    fn on_cut(&mut self, now: Timestamp) {
        self.cuts += 1;
        let why = format!("power failed, or the agent ended, in the middle ({} times)", self.cuts);
        let fault = self.fault_of(FaultCode::Cut, None, why);
        self.fire(now, Event::Cut, Some(fault));
    }

    fn on_evidence(&mut self, now: Timestamp, is_new: bool, cut: u32) {
        if is_new && self.cuts + cut <= CUTS_MAX {
            self.cuts += cut;
            return self.fire(now, Event::Resumed, None);
        }
        if self.state == State::Testing && !is_new {
            let fault = self.not_there();
            return self.fire(now, Event::Faulted, Some(fault));
        }
        self.on_cut(now);
    }

    fn not_there(&self) -> Fault {
        let why = "after a restart another version was found in place".to_owned();
        self.fault_of(FaultCode::Evidence, None, why)
    }

    /// How a roll back ends that brought everything back, or not.
    pub(super) fn after_roll_back(&self) -> Event {
        let code = self.fault.as_ref().map(|fault| fault.code);
        match code {
            _ if self.is_stuck => Event::Stuck,
            Some(FaultCode::ByHand) => Event::Undone,
            Some(FaultCode::Cut) if self.cuts <= CUTS_MAX => Event::Again,
            Some(FaultCode::Cut) => Event::Undone,
            _ if self.attempt < self.attempts_max => Event::Again,
            _ => Event::Undone,
        }
    }
}
