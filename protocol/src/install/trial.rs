//! The steps of a state, one after the other, and the trial of a release that runs: grace, attempts, soak.

use super::machine::Install;
use super::plan::{Outcome, Step, Verdict};
use super::table::Event;
use super::{Fault, FaultCode, State};
use crate::document::RETRY_LATER;
use crate::time::Timestamp;

/// How often a hook may ask for another time: some two hours, with the waits in between.
const LATER_MAX: u32 = 20;
/// How often each artifact is tried to be kept, or brought back: some hour and a half, with the waits in between.
const TRIES_MAX: u32 = 15;
/// How often bytes that turned out damaged are fetched again without a wait.
const LOSSES_MAX: u32 = 3;
/// How often what stands beside a destination is tried to be removed; the next install does it anyway.
const CLEAR_TRIES_MAX: u32 = 2;

/// How a release that runs does so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trial {
    since: Timestamp,
    passing_since: Option<Timestamp>,
    failed_rounds: u32,
}

impl Install {
    pub(super) fn begin_trial(&mut self, now: Timestamp) {
        self.trial = Trial { since: now, ..Trial::default() };
        match self.plan.test {
            Some(_) => self.todo = [Step::Probe].into(),
            None => self.fire(now, Event::Healthy, None),
        }
    }

    /// A step ended. What is not running is no news.
    pub(super) fn on_ran(&mut self, now: Timestamp, step: Step, outcome: Outcome) {
        if self.running != Some(step) {
            return;
        }
        self.running = None;
        if matches!(step, Step::Stage(_)) {
            self.is_written = true;
        }
        if self.leaving.is_some() {
            return self.on_cleared(now, step, outcome);
        }
        if self.is_given_up(now) {
            return;
        }
        match outcome {
            Outcome::Done if step == Step::Probe => self.on_round_passed(now),
            // It ends with the agent.
            Outcome::Done if step == Step::Restart => self.todo.clear(),
            Outcome::Done => self.on_done(now),
            Outcome::RetryLater if matches!(step, Step::Hook { .. }) && self.tries < LATER_MAX => {
                self.try_later(now);
            }
            Outcome::RetryLater => {
                let why = format!("{} asked for another time once too often", name_of(step));
                self.on_failed(now, step, self.fault_of(FaultCode::Hook, Some(RETRY_LATER), why));
            }
            Outcome::ContentLost if self.state == State::Verifying => self.lose(now),
            Outcome::ContentLost => {
                let why = "a content that it needs is damaged".to_owned();
                self.on_failed(now, step, self.fault_of(FaultCode::Artifact, None, why));
            }
            Outcome::Failed(fault) => self.on_failed(now, step, Fault { phase: self.state, ..fault }),
        }
    }

    /// What is taken back while it is installed goes back at once, as long as something leads back.
    pub(super) fn is_given_up(&mut self, now: Timestamp) -> bool {
        let Verdict::Withdrawn(why) = &self.verdict else { return false };
        let may_go = matches!(self.state, State::Installing | State::Activating | State::Testing);
        if !may_go || self.running.is_some() || self.pending.is_some() {
            return false;
        }
        let fault = self.fault_of(FaultCode::Withdrawn, None, format!("it was withdrawn: {why}"));
        self.fire(now, Event::Faulted, Some(fault));
        true
    }

    /// Its bytes are damaged, and fetched again: at once the first times, then after waits, for a disk that damages all
    /// that it is given would be written to without end.
    pub(super) fn lose(&mut self, now: Timestamp) {
        self.losses += 1;
        if self.losses <= LOSSES_MAX || self.state != State::Verifying {
            return self.leave(now, Event::Lost, None);
        }
        let why =
            format!("its bytes turn out damaged each time that they were fetched ({} times)", self.losses);
        let fault = self.fault_of(FaultCode::Store, None, why);
        self.leave(now, Event::Faulted, Some(fault));
    }

    fn on_done(&mut self, now: Timestamp) {
        (self.tries, self.obstacle) = (0, None);
        self.todo.pop_front();
        self.on_all_done(now);
    }

    fn try_later(&mut self, now: Timestamp) {
        self.tries += 1;
        self.timer = Some(now + self.backoff(self.tries));
    }

    /// Goes on if no step of the state is left.
    pub(super) fn on_all_done(&mut self, now: Timestamp) {
        if !self.todo.is_empty() {
            return;
        }
        let event = match self.state {
            State::Verifying => Event::Written,
            State::Installing => Event::Ready,
            State::Activating if self.plan.restarts => Event::Restart,
            State::Activating => Event::Activated,
            State::Committing => Event::Kept,
            State::RollingBack => self.after_roll_back(),
            _ => return,
        };
        if matches!(self.state, State::Committing | State::RollingBack) {
            self.is_written = false;
        }
        self.fire(now, event, None);
    }

    fn on_failed(&mut self, now: Timestamp, step: Step, fault: Fault) {
        match (self.state, step) {
            // Whether this device can take it is what its programs are asked.
            (State::Verifying, _) if fault.code == FaultCode::Hook => {
                self.leave(now, Event::Refused, Some(fault));
            }
            (State::Verifying, _) => self.leave(now, Event::Faulted, Some(fault)),
            (State::Testing, Step::Probe) => self.on_round_failed(now, fault),
            (State::Committing, _) if self.tries < TRIES_MAX => {
                self.obstacle = Some(fault.why);
                self.try_later(now);
            }
            // It is in place and works; the next install tidies up.
            (State::Committing, _) => self.on_done(now),
            (State::RollingBack, Step::Undo(index)) if self.put_off(index) => self.tries = 0,
            (State::RollingBack, Step::Undo(_)) if self.tries < TRIES_MAX => {
                self.obstacle = Some(fault.why);
                self.try_later(now);
            }
            (State::RollingBack, Step::Undo(_)) => {
                self.give_up_on(fault);
                self.on_done(now);
            }
            // Nothing keeps the version before from coming back.
            (State::RollingBack, _) => self.on_done(now),
            _ => self.fire(now, Event::Faulted, Some(fault)),
        }
    }

    /// A step ended while the release gives way.
    fn on_cleared(&mut self, now: Timestamp, step: Step, outcome: Outcome) {
        match (step, outcome) {
            (Step::Undo(_), Outcome::Failed(_)) if self.tries < CLEAR_TRIES_MAX => self.try_later(now),
            (Step::Undo(_), _) => {
                self.tries = 0;
                self.todo.pop_front();
                if self.todo.is_empty() {
                    self.depart(now);
                }
            }
            _ => self.clear(now),
        }
    }

    fn on_round_passed(&mut self, now: Timestamp) {
        let Some(test) = self.plan.test else { return };
        self.trial.failed_rounds = 0;
        let passed_for = now.since(*self.trial.passing_since.get_or_insert(now));
        if passed_for >= test.soak {
            self.fire(now, Event::Healthy, None);
        } else {
            self.timer = Some(now + test.interval.min(test.soak - passed_for));
        }
    }

    fn on_round_failed(&mut self, now: Timestamp, fault: Fault) {
        let Some(test) = self.plan.test else { return };
        self.trial.passing_since = None;
        let tested_for = now.since(self.trial.since);
        if tested_for >= test.grace {
            self.trial.failed_rounds += 1;
        }
        let is_over = self.trial.failed_rounds > 0 && tested_for >= test.longest();
        if is_over || self.trial.failed_rounds >= test.attempts.max(1) {
            self.fire(now, Event::Faulted, Some(fault));
        } else {
            self.fault = Some(fault);
            self.timer = Some(now + test.interval);
        }
    }
}

/// For people.
fn name_of(step: Step) -> String {
    match step {
        Step::Hook { step, index } => format!("{} hook {}", step.as_str(), index + 1),
        _ => "a step".into(),
    }
}
