//! Single rules of `docs/STATES.md`, each with its number.

use super::*;

/// A machine, what is answered of itself, and what it asked for so far.
struct Story {
    machine: Install,
    now: Timestamp,
    records: Vec<Record>,
}

impl Story {
    fn new(plan: Plan, verdict: Verdict) -> Self {
        Self::of(Install::new(plan, verdict, Timestamp::ZERO, 7))
    }

    fn of(machine: Install) -> Self {
        let mut story = Self { machine, now: Timestamp::ZERO, records: Vec::new() };
        story.settle();
        story
    }

    /// Every record is durable at once, there is room, and bytes come.
    fn settle(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            let input = match action {
                Action::Record { id, record } => {
                    self.records.push(record);
                    Input::Persisted(id)
                }
                Action::CheckSpace => Input::Space(Space::Fits),
                Action::Fetch => Input::Complete,
            };
            self.machine.handle(self.now, input);
        }
    }

    fn tell(&mut self, input: Input) -> State {
        self.machine.handle(self.now, input);
        self.settle();
        self.machine.state()
    }

    /// Answers steps as `answer` says, up to the first that it does not want to answer.
    fn run(&mut self, mut answer: impl FnMut(Step) -> Option<Outcome>) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = self.machine.poll_step() {
            steps.push(step);
            let Some(outcome) = answer(step) else { break };
            self.tell(Input::Ran(step, outcome));
        }
        steps
    }

    fn run_well(&mut self) -> Vec<Step> {
        self.run(|_| Some(Outcome::Done))
    }

    fn pass(&mut self, seconds: u64) -> State {
        self.now = self.now + Duration::from_secs(seconds);
        self.tell(Input::Tick)
    }

    /// Brings it to a state, everything going well.
    fn at(state: State) -> Self {
        let mut story = Self::new(plan(), wanted(1));
        for _ in 0..100 {
            if story.machine.state() == state {
                return story;
            }
            let step = story.machine.poll_step();
            match step {
                Some(step) => story.tell(Input::Ran(step, Outcome::Done)),
                None => story.pass(5),
            };
        }
        panic!("it never comes to {state}");
    }
}

fn hook(step: HookStep) -> Step {
    Step::Hook { step, index: 0 }
}

// S1
#[test]
fn a_release_goes_through_its_steps_in_the_declared_order() {
    let mut story = Story::new(plan(), wanted(1));
    let steps = story.run_well();
    use HookStep::*;
    let before = [Step::Check, hook(PreCheck), Step::Stage(0), Step::Stage(1), hook(PreInstall)];
    let after = [Step::Activate(0), Step::Activate(1), hook(PostInstall), Step::Probe];
    assert_eq!(steps, before.into_iter().chain(after).collect::<Vec<_>>());
    for _ in 0..4 {
        assert_eq!(story.machine.state(), State::Testing);
        story.pass(5);
        story.run(|step| Some(if step == Step::Probe { Outcome::Done } else { return None }));
    }
    assert_eq!(story.machine.state(), State::Committing);
    story.tell(Input::Ran(Step::Commit(0), Outcome::Done));
    assert_eq!(story.run_well(), [Step::Commit(1)]);
    assert_eq!((story.machine.state(), story.machine.attempt()), (State::Committed, 1));
}

// S2
#[test]
fn nothing_is_done_before_its_record_is_durable() {
    let mut machine = Story::at(State::Verifying).machine;
    while let Some(step) = machine.poll_step() {
        machine.handle(Timestamp::ZERO, Input::Ran(step, Outcome::Done));
    }
    // Installing was recorded, and the record is not answered.
    assert_eq!((machine.state(), machine.poll_step()), (State::Installing, None));
    let Some(Action::Record { .. }) = machine.poll_action() else { panic!() };
    let Some(Action::Record { id, record }) = machine.poll_action() else { panic!() };
    assert_eq!((record.state, record.effect()), (State::Installing, Effect::Begin));
    machine.handle(Timestamp::ZERO, Input::Persisted(RecordId(id.0 + 1)));
    assert_eq!(machine.poll_step(), None);
    machine.handle(Timestamp::ZERO, Input::Persisted(id));
    assert_eq!(machine.poll_step(), Some(hook(HookStep::PreInstall)));
}

// S2
#[test]
fn a_release_has_not_ended_before_that_is_durable() {
    // A driver threw a machine away while the disk did not take its last record: nothing was remembered of the roll back,
    // and the bad release was installed once more.
    let mut story = Story::at(State::Activating);
    let step = story.machine.poll_step().unwrap();
    story.tell(Input::Ran(step, Outcome::Failed(fault())));
    let mut last = None;
    while last.is_none() {
        match story.machine.poll_step() {
            Some(step) => story.machine.handle(story.now, Input::Ran(step, Outcome::Done)),
            None => last = story.machine.poll_action(),
        }
    }
    let Some(Action::Record { id, record }) = last else { panic!("{last:?}") };
    assert_eq!((record.state, record.is_bad()), (State::RolledBack, true));
    assert_eq!((story.machine.state(), story.machine.has_ended()), (State::RolledBack, false));
    story.machine.handle(story.now, Input::Persisted(id));
    assert!(story.machine.has_ended());
}

// S3
#[test]
fn what_fails_after_the_install_began_is_undone_in_reverse_order_and_remembered() {
    for failing in [hook(HookStep::PreInstall), Step::Activate(1), hook(HookStep::PostInstall)] {
        let mut story = Story::new(plan(), wanted(1));
        let steps =
            story.run(|step| Some(if step == failing { Outcome::Failed(fault()) } else { Outcome::Done }));
        let back = [hook(HookStep::PreRollback), Step::Undo(1), Step::Undo(0), hook(HookStep::PostRollback)];
        assert!(steps.ends_with(&back), "{steps:?}");
        let last = story.records.last().unwrap();
        assert_eq!((last.state, last.effect(), last.is_bad()), (State::RolledBack, Effect::Restore, true));
        let kept = last.fault.as_ref().unwrap();
        assert_eq!((kept.code, kept.exit, kept.why.as_str()), (FaultCode::Hook, Some(3), "exit code 3"));
        assert!(kept.phase.is_under_way());
    }
}

// S4
#[test]
fn an_install_is_tried_as_often_as_the_rollout_says() {
    let mut story = Story::new(plan(), wanted(3));
    let fail = |step| Some(if step == Step::Activate(0) { Outcome::Failed(fault()) } else { Outcome::Done });
    for attempt in 1..3 {
        story.run(fail);
        assert_eq!((story.machine.state(), story.machine.attempt()), (State::Failed, attempt));
        story.pass(600);
    }
    story.run(fail);
    assert_eq!((story.machine.state(), story.machine.attempt()), (State::RolledBack, 3));
}

// S5
#[test]
fn a_hook_that_wants_another_time_is_asked_again_with_longer_waits_and_not_for_ever() {
    let mut story = Story::at(State::Installing);
    let (mut asked, mut waited) = (0, Duration::ZERO);
    while story.machine.state() == State::Installing {
        let step = story.machine.poll_step().unwrap();
        asked += 1;
        story.tell(Input::Ran(step, Outcome::RetryLater));
        let Some(at) = story.machine.poll_timeout() else { break };
        waited += at.since(story.now);
        assert_eq!(story.machine.poll_step(), None, "it waits");
        story.now = at;
        story.tell(Input::Tick);
    }
    assert_eq!((story.machine.state(), asked), (State::RollingBack, 21));
    assert!(waited > Duration::from_secs(3600) && waited < Duration::from_secs(4 * 3600), "{waited:?}");
    assert_eq!(story.machine.fault().unwrap().exit, Some(21));
}

// S6
#[test]
fn a_check_may_fail_in_the_grace_and_must_pass_for_the_whole_soak() {
    let mut story = Story::at(State::Testing);
    let fail = Some(Outcome::Failed(Fault { code: FaultCode::Health, ..fault() }));
    for _ in 0..10 {
        assert_eq!(story.run(|_| fail.clone()), [Step::Probe]);
        assert_eq!(story.pass(5), State::Testing);
    }
    // Passes and fails in turn: the soak begins anew, and one failure of two allowed is not the end.
    for _ in 0..3 {
        story.run_well();
        story.pass(5);
        story.run(|_| fail.clone());
        assert_eq!(story.pass(5), State::Testing);
    }
    story.run(|step| fail.clone().filter(|_| step == Step::Probe));
    assert_eq!(story.machine.state(), State::RollingBack, "two in a row after the grace");
    assert_eq!(story.machine.fault().unwrap().phase, State::Testing);
}

#[test]
fn a_release_that_works_now_and_then_is_not_tested_for_ever() {
    let mut story = Story::at(State::Testing);
    let mut is_well = false;
    for _ in 0..1000 {
        is_well = !is_well;
        let outcome = if is_well { Outcome::Done } else { Outcome::Failed(fault()) };
        let Some(step @ Step::Probe) = story.machine.poll_step() else { break };
        story.tell(Input::Ran(step, outcome));
        story.pass(5);
    }
    assert_eq!(story.machine.state(), State::RollingBack);
    assert!(story.now.since(Timestamp::ZERO) < Duration::from_secs(300));
}

// S7
#[test]
fn what_is_decided_before_the_install_begins_ends_it_and_later_changes_nothing() {
    let verdicts = [
        (Verdict::Aborted, State::Aborted),
        (Verdict::Withdrawn("it leaks".into()), State::Withdrawn),
        (Verdict::Superseded, State::Superseded),
        (Verdict::NotApplicable("for a door".into()), State::NotApplicable),
        (Verdict::Rejected("needs base 2".into()), State::Rejected),
    ];
    for (verdict, end) in verdicts {
        let mut story = Story::new(plan(), held(HoldBy::Pause));
        story.run_well();
        assert_eq!(story.machine.state(), State::Staged);
        story.tell(Input::Decided(verdict.clone()));
        assert_eq!(story.run_well(), [Step::Undo(1), Step::Undo(0)], "what was written beside goes");
        assert_eq!(story.machine.state(), end);
        for state in
            [State::Installing, State::Activating, State::Testing, State::Committing, State::Committed]
        {
            let mut story = Story::at(state);
            let is_taken_back = matches!(verdict, Verdict::Withdrawn(_))
                && matches!(state, State::Installing | State::Activating | State::Testing);
            let expected = if is_taken_back { State::RollingBack } else { state };
            assert_eq!(story.tell(Input::Decided(verdict.clone())), expected);
        }
    }
}

/// A release that was known to break devices was tested to its end, committed, and its security floor with it.
#[test]
fn what_is_withdrawn_while_it_is_installed_goes_back_as_soon_as_its_step_has_ended() {
    for (state, step) in [(State::Installing, hook(HookStep::PreInstall)), (State::Testing, Step::Probe)] {
        let mut story = Story::at(state);
        assert_eq!(story.machine.poll_step(), Some(step));
        assert_eq!(story.tell(Input::Decided(Verdict::Withdrawn("it leaks".into()))), state);
        story.tell(Input::Ran(step, Outcome::Done));
        assert_eq!(story.machine.state(), State::RollingBack);
        let fault = story.machine.fault().unwrap();
        assert_eq!((fault.code, fault.why.as_str()), (FaultCode::Withdrawn, "it was withdrawn: it leaks"));
        story.run_well();
        assert_eq!(story.machine.state(), State::RolledBack);
    }
}

#[test]
fn a_step_that_runs_is_waited_for_before_what_was_decided_is_done() {
    let mut story = Story::at(State::Verifying);
    story.run(|step| Some(Outcome::Done).filter(|_| step != Step::Stage(1)));
    assert_eq!(story.tell(Input::Decided(Verdict::Aborted)), State::Verifying);
    assert!(story.machine.is_leaving() && story.machine.wants_turn());
    assert_eq!(story.machine.poll_step(), None);
    story.tell(Input::Ran(Step::Stage(1), Outcome::Done));
    assert_eq!(story.run_well(), [Step::Undo(1), Step::Undo(0)]);
    assert_eq!((story.machine.state(), story.machine.wants_turn()), (State::Aborted, false));
}

// S8
#[test]
fn what_holds_a_release_back_holds_it_where_it_says() {
    let waits = [
        (HoldBy::Window, State::WaitingForWindow),
        (HoldBy::Confirmation, State::WaitingForConfirmation),
        (HoldBy::Interlock, State::WaitingForInterlock),
        (HoldBy::Pause, State::Staged),
    ];
    for (by, state) in waits {
        let mut story = Story::new(plan(), held(by));
        story.run_well();
        assert_eq!(story.machine.state(), state);
        assert_eq!(story.machine.hold().unwrap().by, by);
        assert!(!story.machine.wants_turn(), "others may go first");
        assert_eq!(story.tell(Input::Decided(wanted(1))), State::Installing);
        assert_eq!(story.machine.hold(), None);
    }
    let mut story = Story::new(plan(), held(HoldBy::Wave));
    assert_eq!(story.machine.state(), State::WaitingForWave);
    assert_eq!(story.tell(Input::Decided(wanted(1))), State::Verifying);
    for by in [HoldBy::Window, HoldBy::Confirmation, HoldBy::Interlock] {
        let mut story = Story::new(plan(), held(by));
        story.run_well();
        story.tell(Input::Lost);
        story.run_well();
        assert!(story.machine.state().is_staged(), "it was fetched and written again");
    }
}

#[test]
fn a_release_that_does_not_fit_waits_with_both_numbers_and_one_that_never_will_is_refused() {
    let mut machine = Install::new(plan(), wanted(1), Timestamp::ZERO, 7);
    machine.handle(Timestamp::ZERO, Input::Space(Space::Lacks { needed: 9, available: 4 }));
    assert_eq!((machine.state(), machine.lacks()), (State::WaitingForSpace, Some((9, 4))));
    let at = machine.poll_timeout().unwrap();
    machine.handle(at, Input::Tick);
    while machine.poll_action().is_some_and(|action| action != Action::CheckSpace) {}
    machine.handle(at, Input::Space(Space::Lacks { needed: 9, available: 5 }));
    assert_eq!((machine.state(), machine.lacks()), (State::WaitingForSpace, Some((9, 5))));
    assert!(machine.poll_timeout().unwrap() > at);
    machine.handle(at, Input::Space(Space::Never { needed: 9, capacity: 8 }));
    assert_eq!((machine.state(), machine.lacks()), (State::Rejected, None));
    assert_eq!(machine.fault().unwrap().why, "it needs 9 bytes, there is room for 8 in all");
}

/// What follows from a record in a state and from what the file system says.
fn resumed(state: State, is_new: bool, cuts: u32) -> (State, u32) {
    let machine = found_in(state, if is_new { Found::New } else { Found::Other }, cuts);
    (machine.state(), machine.cuts)
}

fn found_in(state: State, found: Found, cuts: u32) -> Install {
    let record = Record { from: state, state, attempt: 1, cuts, fault: None };
    Install::resume(plan(), record, (found, Ended::Cut), wanted(1), Timestamp::ZERO, 7)
}

// S9
#[test]
fn after_a_cut_the_record_and_the_file_system_say_how_it_goes_on() {
    use State::*;
    assert_eq!(resumed(Installing, false, 0), (RollingBack, 1));
    assert_eq!(resumed(Activating, false, 0), (RollingBack, 1));
    assert_eq!(resumed(Activating, true, 0), (Activating, 1));
    assert_eq!(resumed(Rebooting, true, 0), (Testing, 0));
    assert_eq!(resumed(Rebooting, false, 0), (RollingBack, 0));
    assert_eq!(resumed(Testing, true, 0), (Testing, 1));
    assert_eq!(resumed(Testing, false, 0), (RollingBack, 0));
    assert_eq!(resumed(Testing, true, 5), (RollingBack, 6));
    assert_eq!(resumed(Committing, true, 9), (Committing, 9));
    assert_eq!(resumed(RollingBack, false, 9), (RollingBack, 10));
    assert_eq!(resumed(Committed, true, 0), (Committed, 0));
}

// S14
#[test]
fn an_agent_that_was_given_up_goes_with_all_of_its_release() {
    use State::*;
    for (state, then) in [
        (Installing, RollingBack),
        (Activating, RollingBack),
        (Rebooting, RollingBack),
        (Testing, RollingBack),
        (Committing, Committing),
        (RollingBack, RollingBack),
    ] {
        let machine = found_in(state, Found::GivenUp("it does not start".into()), 0);
        assert_eq!(machine.state(), then);
        if matches!(state, Activating | Rebooting | Testing) {
            let mut story = Story::of(machine);
            story.run_well();
            let fault = story.machine.fault().unwrap().clone();
            assert_eq!(
                (story.machine.state(), fault.phase, fault.code),
                (RolledBack, state, FaultCode::Agent)
            );
            assert_eq!(fault.why, "it does not start");
        }
    }
}

// S10
#[test]
fn an_agent_that_was_told_to_end_cuts_nothing() {
    let mut cuts = 0;
    for _ in 0..20 {
        let record = Record { from: State::Testing, state: State::Testing, attempt: 1, cuts, fault: None };
        let found = (Found::New, Ended::Told);
        let machine = Install::resume(plan(), record, found, wanted(1), Timestamp::ZERO, 7);
        assert_eq!(machine.state(), State::Testing);
        cuts = machine.cuts;
    }
    assert_eq!(cuts, 0);
}

// S10
#[test]
fn a_cut_is_nobodys_fault_unless_there_are_too_many() {
    for (cuts, end) in [(0, State::Failed), (4, State::Failed), (5, State::RolledBack)] {
        let record = Record { from: State::Staged, state: State::Installing, attempt: 1, cuts, fault: None };
        let mut story = Story::of(Install::resume(
            plan(),
            record,
            (Found::Other, Ended::Cut),
            wanted(1),
            Timestamp::ZERO,
            7,
        ));
        story.run_well();
        assert_eq!(story.machine.state(), end, "{cuts}");
    }
}

// S11
#[test]
fn what_cannot_be_brought_back_is_tried_long_and_said_and_the_others_come_back() {
    let mut story = Story::at(State::Activating);
    let mut steps = Vec::new();
    for _ in 0..100 {
        let outcome = |step| match step {
            Step::Activate(1) | Step::Undo(1) => Outcome::Failed(fault_of(step)),
            _ => Outcome::Done,
        };
        steps.extend(story.run(|step| Some(outcome(step))));
        story.pass(700);
    }
    assert_eq!(story.machine.state(), State::Inconsistent);
    assert_eq!(steps.iter().filter(|step| **step == Step::Undo(1)).count(), 17);
    assert!(steps.contains(&Step::Undo(0)));
    assert_eq!(story.records.last().unwrap().effect(), Effect::None);
    // Somebody looked, and wants it tried once more.
    story.tell(Input::ByHand);
    story.run_well();
    assert_eq!(story.machine.state(), State::RolledBack);
}

#[test]
fn what_was_committed_comes_back_when_it_is_gone_and_goes_when_somebody_wants_it() {
    let mut story = Story::at(State::Committed);
    assert_eq!(story.tell(Input::Gone), State::Verifying);
    let mut story = Story::at(State::Committed);
    assert_eq!(story.tell(Input::ByHand), State::RollingBack);
    story.run_well();
    assert_eq!(story.machine.state(), State::RolledBack);
    let mut story = Story::of(Install::in_place(plan(), wanted(1), 7));
    assert_eq!((story.records.len(), story.tell(Input::Gone)), (1 - 1, State::Verifying));
}

#[test]
fn a_pre_check_that_says_no_rejects_the_release_and_other_failures_before_the_install_are_tried_again() {
    let mut story = Story::at(State::Verifying);
    story.run(|step| {
        Some(if step == hook(HookStep::PreCheck) { Outcome::Failed(fault()) } else { Outcome::Done })
    });
    assert_eq!(story.machine.state(), State::Rejected);
    let mut story = Story::at(State::Verifying);
    story.run(|step| {
        Some(if step == Step::Stage(1) { Outcome::Failed(fault_of(step)) } else { Outcome::Done })
    });
    assert_eq!((story.machine.state(), story.machine.attempt()), (State::Failed, 0));
    assert_eq!(story.pass(600), State::Verifying);
}

#[test]
fn a_content_that_cannot_be_kept_is_tried_again_later() {
    let mut machine = Install::new(plan(), wanted(1), Timestamp::ZERO, 7);
    machine.handle(Timestamp::ZERO, Input::Space(Space::Fits));
    machine.handle(Timestamp::ZERO, Input::Unkept("no permission".into()));
    let mut story = Story::of(machine);
    assert_eq!(story.machine.state(), State::Failed);
    assert_eq!(story.machine.fault().unwrap().code, FaultCode::Store);
    assert_eq!(story.pass(600), State::Verifying);
}

// S4
#[test]
fn waits_between_tries_grow_to_ten_minutes_and_no_further() {
    let mut story = Story::new(plan(), wanted(1));
    let fail =
        |step| Some(if step == Step::Stage(0) { Outcome::Failed(fault_of(step)) } else { Outcome::Done });
    let mut waits = Vec::new();
    for _ in 0..20 {
        story.run(fail);
        assert_eq!((story.machine.state(), story.machine.attempt()), (State::Failed, 0));
        let at = story.machine.poll_timeout().unwrap();
        waits.push(at.since(story.now).as_secs_f64());
        story.now = at;
        story.tell(Input::Tick);
    }
    for (n, wait) in waits.iter().enumerate() {
        let full = (5.0 * 2_f64.powi(n as i32)).min(600.0);
        assert!((full * 0.74..=full * 1.26).contains(wait), "wait {n}: {wait} s");
    }
    assert!(waits.windows(2).any(|pair| pair[0] > 400.0 && pair[0] != pair[1]), "without jitter");
}

// S4
#[test]
fn bytes_that_turn_out_damaged_each_time_are_fetched_at_once_three_times_and_after_waits_from_then_on() {
    let mut story = Story::new(plan(), wanted(1));
    let lose = |step| Some(if step == Step::Stage(0) { Outcome::ContentLost } else { Outcome::Done });
    let stages = |steps: Vec<Step>| steps.into_iter().filter(|step| *step == Step::Stage(0)).count();
    assert_eq!(stages(story.run(lose)), 4);
    for _ in 0..5 {
        assert_eq!(story.machine.state(), State::Failed);
        assert_eq!(story.machine.fault().unwrap().code, FaultCode::Store);
        story.pass(800);
        assert_eq!(stages(story.run(lose)), 1);
    }
    story.pass(800);
    story.run_well();
    assert_eq!((story.machine.state(), story.machine.attempt()), (State::Testing, 1));
}
