//! The machine: what it knows, and its one way from a state to the next.

use super::plan::{Action, HoldBy, Input, Plan, RecordId, Space, Step, Verdict};
use super::table::{self, Event};
use super::trial::Trial;
use super::{Fault, FaultCode, Record, State};
use crate::document::HookStep;
use crate::rng::Prng;
use crate::time::Timestamp;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// The first wait after something failed; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_secs(5);
/// The longest wait after something failed.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(600);
/// How often room is looked at.
const SPACE_EVERY: Duration = Duration::from_secs(5);

/// One release on one device.
#[derive(Debug, Clone)]
pub struct Install {
    pub(super) plan: Plan,
    pub(super) state: State,
    pub(super) attempt: u32,
    pub(super) cuts: u32,
    pub(super) fault: Option<Fault>,
    pub(super) verdict: Verdict,
    /// Of the last verdict that wanted it.
    pub(super) attempts_max: u32,
    /// Steps of the state, in order; the first may be running.
    pub(super) todo: VecDeque<Step>,
    pub(super) running: Option<Step>,
    /// Tries of the first step so far.
    pub(super) tries: u32,
    /// What happens when all that stands beside the destinations is gone.
    pub(super) leaving: Option<(Event, Option<Fault>)>,
    /// Something may stand beside the destinations.
    pub(super) is_written: bool,
    /// An artifact could not be brought back.
    pub(super) is_stuck: bool,
    /// Artifacts that others came back before, because they did not.
    pub(super) is_put_off: BTreeSet<usize>,
    pub(super) trial: Trial,
    /// Failures in a row, for the back-off.
    failures: u32,
    /// How often its bytes turned out damaged since the last install.
    pub(super) losses: u32,
    /// Room that it lacks.
    pub(super) lacks: Option<(u64, u64)>,
    /// What went wrong with the step that is tried again, where that is not the fault of the release.
    pub(super) obstacle: Option<String>,
    /// The record on which all else waits.
    pub(super) pending: Option<RecordId>,
    records: u64,
    actions: VecDeque<Action>,
    pub(super) timer: Option<Timestamp>,
    prng: Prng,
}

impl Install {
    /// A release that a Rollout names from now on.
    pub fn new(plan: Plan, verdict: Verdict, now: Timestamp, rng_seed: u64) -> Self {
        let mut install = Self::still(plan, State::Offered, rng_seed);
        install.record(State::Offered);
        install.handle(now, Input::Decided(verdict));
        install
    }

    /// A machine that does nothing yet.
    pub(super) fn still(plan: Plan, state: State, rng_seed: u64) -> Self {
        Self {
            plan,
            state,
            attempt: 0,
            cuts: 0,
            fault: None,
            verdict: Verdict::Superseded,
            attempts_max: 1,
            todo: VecDeque::new(),
            running: None,
            tries: 0,
            leaving: None,
            is_written: false,
            is_stuck: false,
            is_put_off: BTreeSet::new(),
            trial: Trial::default(),
            failures: 0,
            losses: 0,
            lacks: None,
            obstacle: None,
            pending: None,
            records: 0,
            actions: VecDeque::new(),
            timer: None,
            prng: Prng::new(rng_seed),
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Decided(verdict) => {
                // A pause says nothing of it.
                if let Verdict::Wanted { attempts_max, hold: None } = verdict {
                    self.attempts_max = attempts_max;
                }
                self.verdict = verdict;
                if !self.is_given_up(now) {
                    self.obey(now);
                }
            }
            Input::Space(space) => self.on_space(now, space),
            Input::Complete => self.fire(now, Event::Complete, None),
            Input::Lost => self.on_lost(now),
            Input::Unkept(why) => {
                let fault = self.fault_of(FaultCode::Store, None, why);
                self.fire(now, Event::Faulted, Some(fault).filter(|_| self.state == State::Downloading));
            }
            Input::Persisted(id) if self.pending == Some(id) => {
                self.pending = None;
                self.enter(now);
            }
            Input::Persisted(_) => {}
            Input::Ran(step, outcome) => self.on_ran(now, step, outcome),
            Input::Gone => self.fire(now, Event::Gone, None),
            Input::ByHand => {
                let why = "the version before was wanted at the device".to_owned();
                let fault = self.fault_of(FaultCode::ByHand, None, why);
                self.fire(now, Event::ByHand, Some(fault));
            }
            Input::Tick => self.on_tick(now),
        }
    }

    /// The next thing to be done at once.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next thing to be done to the device; one at a time, answered by [`Input::Ran`].
    pub fn poll_step(&mut self) -> Option<Step> {
        if self.pending.is_some() || self.running.is_some() || self.timer.is_some() {
            return None;
        }
        self.running = self.todo.front().copied();
        self.running
    }

    /// When [`Input::Tick`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timer
    }

    /// The one way from a state to the next; an event that cannot happen here changes nothing.
    pub(super) fn fire(&mut self, now: Timestamp, event: Event, fault: Option<Fault>) {
        let Some(to) = table::next(self.state, event) else { return };
        let from = std::mem::replace(&mut self.state, to);
        (self.timer, self.tries, self.obstacle) = (None, 0, None);
        self.todo.clear();
        match to {
            State::Installing => (self.attempt, self.losses) = (self.attempt + 1, 0),
            State::Checking if from.is_in_place() => (self.attempt, self.cuts, self.fault) = (0, 0, None),
            State::Committed => (self.fault, self.failures) = (None, 0),
            State::RollingBack => {
                self.is_stuck = false;
                self.is_put_off.clear();
            }
            _ => {}
        }
        if fault.is_some() {
            self.fault = fault;
        }
        self.record(from);
        if self.pending.is_none() {
            self.enter(now);
        }
    }

    fn record(&mut self, from: State) {
        let id = RecordId(self.records);
        self.records += 1;
        let record = Record {
            from,
            state: self.state,
            attempt: self.attempt,
            cuts: self.cuts,
            fault: self.fault.clone(),
        };
        if self.state.needs_record() {
            self.pending = Some(id);
        }
        self.actions.push_back(Action::Record { id, record });
    }

    /// Begins what a state asks for.
    fn enter(&mut self, now: Timestamp) {
        let plan = &self.plan;
        match self.state {
            State::Checking => self.actions.push_back(Action::CheckSpace),
            State::WaitingForSpace => self.timer = Some(now + SPACE_EVERY),
            State::Downloading => self.actions.push_back(Action::Fetch),
            State::Verifying => {
                let stage = (0..plan.artifacts).map(Step::Stage);
                self.todo =
                    [Step::Check].into_iter().chain(plan.hooks(HookStep::PreCheck)).chain(stage).collect();
            }
            State::Installing => {
                self.todo = plan.hooks(HookStep::PreInstall).collect();
                self.on_all_done(now);
            }
            State::Activating => {
                let activate = (0..plan.artifacts).map(Step::Activate);
                self.todo = activate.chain(plan.hooks(HookStep::PostInstall)).collect();
                self.on_all_done(now);
            }
            State::Rebooting => self.todo = [Step::Restart].into(),
            State::Testing => self.begin_trial(now),
            State::Committing => {
                self.todo = (0..plan.artifacts).map(Step::Commit).collect();
                self.on_all_done(now);
            }
            State::RollingBack => {
                self.todo = self.way_back();
                self.on_all_done(now);
            }
            State::Failed => {
                self.is_written = false;
                self.failures += 1;
                self.timer = Some(now + self.backoff(self.failures));
            }
            _ => {}
        }
        self.obey(now);
    }

    pub(super) fn backoff(&mut self, tries: u32) -> Duration {
        let doubled = BACKOFF_MIN * (1 << tries.saturating_sub(1).min(10));
        self.prng.jitter(doubled.min(BACKOFF_MAX))
    }

    pub(super) fn fault_of(&self, code: FaultCode, exit: Option<i32>, why: String) -> Fault {
        Fault { phase: self.state, code, exit, why }
    }

    /// Does what was decided last, where that still counts.
    fn obey(&mut self, now: Timestamp) {
        if self.pending.is_some() || self.state.is_terminal() || self.state.is_under_way() {
            return;
        }
        let event = match &self.verdict {
            Verdict::Wanted { hold, .. } => {
                let by = hold.as_ref().map(|hold| hold.by);
                return self.go_on(now, by);
            }
            Verdict::Rejected(_) => Event::Refused,
            Verdict::NotApplicable(_) => Event::Unsuited,
            Verdict::Aborted => Event::Aborted,
            Verdict::Withdrawn(_) => Event::Withdrawn,
            Verdict::Superseded => Event::Superseded,
        };
        self.leave(now, event, None);
    }

    fn go_on(&mut self, now: Timestamp, held: Option<HoldBy>) {
        if self.leaving.is_some() {
            return;
        }
        let event = match (self.state, held) {
            (State::Offered, Some(HoldBy::Wave)) => Event::Wave,
            (State::Offered, _) => Event::Clear,
            (State::WaitingForWave, by) if by != Some(HoldBy::Wave) => Event::Clear,
            (State::WaitingForWindow, by) if by != Some(HoldBy::Window) => Event::Clear,
            (State::WaitingForConfirmation, by) if by != Some(HoldBy::Confirmation) => Event::Clear,
            (State::WaitingForInterlock, by) if by != Some(HoldBy::Interlock) => Event::Clear,
            (State::Staged, None) => Event::Clear,
            (State::Staged, Some(HoldBy::Window)) => Event::Window,
            (State::Staged, Some(HoldBy::Confirmation)) => Event::Confirmation,
            (State::Staged, Some(HoldBy::Interlock)) => Event::Interlock,
            _ => return,
        };
        self.fire(now, event, None);
    }

    /// Goes to another state once nothing of it stands beside the destinations; a step that runs is waited for. The
    /// last thing decided counts.
    pub(super) fn leave(&mut self, now: Timestamp, event: Event, fault: Option<Fault>) {
        let is_clearing = self.leaving.replace((event, fault)).is_some();
        if self.running.is_none() && !is_clearing {
            self.clear(now);
        }
    }

    pub(super) fn clear(&mut self, now: Timestamp) {
        (self.timer, self.tries) = (None, 0);
        self.todo = if self.is_written { self.plan.undo().collect() } else { VecDeque::new() };
        if self.todo.is_empty() {
            self.depart(now);
        }
    }

    pub(super) fn depart(&mut self, now: Timestamp) {
        self.is_written = false;
        if let Some((event, fault)) = self.leaving.take() {
            self.fire(now, event, fault);
        }
    }

    fn on_space(&mut self, now: Timestamp, space: Space) {
        match space {
            Space::Fits => self.fire(now, Event::Fits, None),
            Space::Full => self.on_no_space(now, None),
            Space::Lacks { needed, available } => self.on_no_space(now, Some((needed, available))),
            Space::Never { needed, capacity } if !self.state.is_under_way() && !self.state.is_terminal() => {
                let why = format!("it needs {needed} bytes, there is room for {capacity} in all");
                let fault = self.fault_of(FaultCode::Space, None, why);
                self.leave(now, Event::Refused, Some(fault));
            }
            Space::Never { .. } => {}
        }
    }

    fn on_no_space(&mut self, now: Timestamp, lacks: Option<(u64, u64)>) {
        self.lacks = lacks;
        if self.state == State::WaitingForSpace {
            self.timer = Some(now + SPACE_EVERY);
        }
        self.fire(now, Event::Lacks, None);
    }

    fn on_lost(&mut self, now: Timestamp) {
        if self.state == State::Verifying || self.state.is_staged() {
            // What was decided meanwhile counts more.
            if self.leaving.is_none() {
                self.lose(now);
            }
        }
    }

    fn on_tick(&mut self, now: Timestamp) {
        if self.timer.is_none_or(|at| at > now) {
            return;
        }
        self.timer = None;
        match self.state {
            State::WaitingForSpace => self.actions.push_back(Action::CheckSpace),
            State::Failed => self.fire(now, Event::Due, None),
            _ => {}
        }
    }
}
