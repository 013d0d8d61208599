//! A device made of dice: steps fail, hooks ask for another time, power fails before and after every record and in the
//! middle of every step. Whatever happens, the machine ends by itself, and what it leaves is one version, whole.

use super::*;
use crate::rng::Prng;
use std::collections::BTreeSet;

/// What stands at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Old,
    New,
}

/// How likely things go wrong, in percent.
#[derive(Debug, Clone, Copy)]
struct Odds {
    fails: usize,
    later: usize,
    cut: usize,
    /// Nothing can be brought back.
    is_stuck: bool,
}

struct World {
    dice: Prng,
    odds: Odds,
    plan: Plan,
    attempts_max: u32,
    now: Timestamp,
    machine: Install,
    /// What is on disk.
    journal: Option<Record>,
    there: Vec<There>,
    /// What is committed is undone no more.
    is_kept: Vec<bool>,
    undone: Vec<usize>,
    /// Those that did not come back at once.
    failed: BTreeSet<usize>,
    /// A program of the release that ends the power each time.
    killer: Option<Step>,
    /// Power fails no more after so many cuts.
    cuts_left: u32,
    edges: BTreeSet<(State, State)>,
}

impl World {
    fn new(seed: u64, odds: Odds) -> Self {
        let mut dice = Prng::new(seed);
        let attempts_max = 1 + dice.below(3) as u32;
        let restarts = dice.below(4) == 0;
        let test = plan().test.filter(|_| dice.below(3) > 0);
        let plan = Plan { restarts, test, artifacts: 1 + dice.below(3), ..plan() };
        let cuts_left = dice.below(40) as u32;
        let machine = Install::new(plan.clone(), wanted(attempts_max), Timestamp::ZERO, seed);
        Self {
            dice,
            odds,
            there: vec![There::Old; plan.artifacts],
            is_kept: vec![false; plan.artifacts],
            plan,
            attempts_max,
            now: Timestamp::ZERO,
            machine,
            journal: None,
            undone: Vec::new(),
            failed: BTreeSet::new(),
            killer: None,
            cuts_left,
            edges: BTreeSet::new(),
        }
    }

    fn is(&mut self, percent: usize) -> bool {
        self.dice.below(100) < percent
    }

    fn is_cut(&mut self) -> bool {
        let is_cut = self.cuts_left > 0 && self.is(self.odds.cut);
        self.cuts_left -= u32::from(is_cut);
        is_cut
    }

    fn tell(&mut self, input: Input) {
        self.machine.handle(self.now, input);
    }

    /// Power fails and comes back.
    fn cut(&mut self) {
        let found = match self.there.iter().all(|there| *there == There::New) {
            true if self.plan.restarts && self.is(self.odds.fails) => Found::GivenUp("it is mute".into()),
            true => Found::New,
            false => Found::Other,
        };
        let (plan, seed, verdict) = (self.plan.clone(), self.dice.next_u64(), wanted(self.attempts_max));
        self.forget_undone();
        self.machine = match self.journal.clone() {
            Some(record) if record.state.is_under_way() || record.state.is_terminal() => {
                Install::resume(plan, record, (found, Ended::Cut), verdict, self.now, seed)
            }
            Some(record) => Install::again(plan, record, verdict, self.now, seed),
            None => Install::new(plan, verdict, self.now, seed),
        };
    }

    /// Carries out what the machine wants; `false` when it wants nothing more.
    fn go(&mut self) -> bool {
        while let Some(action) = self.machine.poll_action() {
            if self.is_cut() {
                self.cut();
                return true;
            }
            self.act(action);
        }
        if let Some(step) = self.machine.poll_step() {
            self.run(step);
            return true;
        }
        let Some(at) = self.machine.poll_timeout() else { return self.machine.wants_turn() };
        self.now = self.now.max(at);
        self.tell(Input::Tick);
        true
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Record { id, record } => {
                self.check_record(&record);
                if record.state.needs_record() {
                    self.journal = Some(record);
                    if self.is_cut() {
                        return self.cut();
                    }
                }
                self.tell(Input::Persisted(id));
            }
            Action::CheckSpace => {
                let lacks = Space::Lacks { needed: 2, available: 1 };
                let space = if self.is(self.odds.fails) { lacks } else { Space::Fits };
                self.tell(Input::Space(space));
            }
            Action::Fetch if self.is(self.odds.fails) => self.tell(Input::Unkept("no permission".into())),
            Action::Fetch => self.tell(Input::Complete),
        }
    }

    fn check_record(&mut self, record: &Record) {
        self.edges.insert((record.from, record.state));
        assert!(record.attempt <= self.attempts_max + record.cuts, "{record:?}");
        match record.state {
            State::Installing => assert!(self.there.iter().all(|there| *there == There::Old), "{record:?}"),
            State::RollingBack => self.forget_undone(),
            _ => {}
        }
    }

    fn run(&mut self, step: Step) {
        self.check_step(step);
        let is_cut = self.is_cut() || self.killer == Some(step);
        let is_half = is_cut && self.is(50);
        let fails = match step {
            Step::Undo(_) => self.odds.is_stuck || self.is(self.odds.fails),
            // Power fails now and then in it, as it does elsewhere.
            Step::Restart => false,
            _ => self.is(self.odds.fails),
        };
        if !fails && !is_half {
            match step {
                Step::Activate(index) => self.there[index] = There::New,
                Step::Undo(index) if !self.is_kept[index] => self.there[index] = There::Old,
                Step::Commit(index) => self.is_kept[index] = true,
                _ => {}
            }
        }
        if let (true, Step::Undo(index)) = (fails, step) {
            self.failed.insert(index);
        }
        if is_cut || step == Step::Restart {
            return self.cut();
        }
        let outcome = match step {
            Step::Hook { .. } if self.is(self.odds.later) => Outcome::RetryLater,
            Step::Check | Step::Stage(_) if self.is(self.odds.later) => Outcome::ContentLost,
            _ if fails => Outcome::Failed(fault_of(step)),
            _ => Outcome::Done,
        };
        self.tell(Input::Ran(step, outcome));
    }

    fn forget_undone(&mut self) {
        self.undone.clear();
        self.failed.clear();
    }

    /// Nothing that depends on a record comes before it.
    fn check_step(&mut self, step: Step) {
        let on_disk = self.journal.as_ref().map(|record| record.state);
        let state = self.machine.state();
        if state.is_under_way() {
            assert_eq!(on_disk, Some(state), "{step:?}");
        }
        match step {
            Step::Activate(_) => assert_eq!(state, State::Activating),
            Step::Commit(_) => assert_eq!(state, State::Committing),
            Step::Probe => assert_eq!(state, State::Testing),
            Step::Undo(index) if state == State::RollingBack => {
                // What failed once, and scripts after many cuts, come after the others.
                let is_late = self.failed.contains(&index) || self.plan.scripts.contains(&index);
                if !is_late {
                    assert!(self.undone.last().is_none_or(|last| *last >= index), "{:?}", self.undone);
                    self.undone.push(index);
                }
            }
            _ => {}
        }
    }

    /// Runs to the end.
    fn run_out(&mut self) -> State {
        for _ in 0..20_000 {
            if !self.go() && self.machine.state().is_terminal() {
                return self.machine.state();
            }
        }
        panic!("it never ends: {:?}", self.machine);
    }
}

fn odds(dice: &mut Prng) -> Odds {
    let fails = [0, 2, 10, 40][dice.below(4)];
    Odds {
        fails,
        later: [0, 5, 50][dice.below(3)],
        cut: [0, 1, 5, 20][dice.below(4)],
        is_stuck: dice.below(20) == 0,
    }
}

#[test]
fn whatever_fails_and_wherever_power_is_cut_it_ends_by_itself_with_one_version_whole() {
    let (mut edges, mut ends) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..20_000 {
        let odds = odds(&mut Prng::new(seed ^ 0xabcd));
        let mut world = World::new(seed, odds);
        let end = world.run_out();
        let all = |what: There| world.there.iter().all(|there| *there == what);
        match end {
            State::Committed => assert!(all(There::New), "seed {seed}: {odds:?}"),
            State::Inconsistent => {}
            _ => assert!(all(There::Old), "seed {seed}: {odds:?} {end}"),
        }
        ends.insert(end);
        edges.append(&mut world.edges);
    }
    assert_eq!(
        ends.into_iter().collect::<Vec<_>>(),
        [State::Committed, State::RolledBack, State::Inconsistent, State::Rejected]
    );
    for (from, to) in edges.iter().filter(|(from, to)| from != to) {
        let is_known = TABLE.iter().any(|(of, _, at)| (of, at) == (from, to));
        assert!(is_known || DECIDED.iter().any(|(_, at)| at == to), "{from} -> {to}");
    }
}

/// A hook of the roll back, or an undo, that reboots the device each time kept the bad version in place for ever.
#[test]
fn a_program_of_the_release_that_always_ends_the_power_keeps_nothing_else_from_coming_back() {
    let hook = |step| Step::Hook { step, index: 0 };
    for killer in [hook(HookStep::PreRollback), hook(HookStep::PostRollback), Step::Undo(1)] {
        for seed in 0..100 {
            let odds = Odds { fails: 40, later: 0, cut: 0, is_stuck: false };
            let mut world = World::new(seed, odds);
            world.plan = Plan { artifacts: 3, scripts: [1].into(), restarts: false, ..plan() };
            (world.there, world.is_kept) = (vec![There::Old; 3], vec![false; 3]);
            let verdict = wanted(world.attempts_max);
            world.machine = Install::new(world.plan.clone(), verdict, Timestamp::ZERO, seed);
            world.killer = Some(killer);
            let end = world.run_out();
            let others = [world.there[0], world.there[2]];
            match end {
                State::Committed => {}
                State::Inconsistent => {
                    assert_eq!((killer, others), (Step::Undo(1), [There::Old; 2]), "seed {seed}");
                    let why = &world.machine.fault().unwrap().why;
                    assert!(why.contains("each time that a script was taken back"), "{why}");
                }
                _ => assert_eq!(world.there, [There::Old; 3], "seed {seed}: {end}"),
            }
        }
    }
}

#[test]
fn where_nothing_fails_power_may_fail_often_and_it_is_committed_all_the_same() {
    let mut committed = 0;
    for seed in 0..1000 {
        let odds = Odds { fails: 0, later: 0, cut: 3, is_stuck: false };
        committed += u32::from(World::new(seed, odds).run_out() == State::Committed);
    }
    assert!(committed > 980, "{committed}");
}
