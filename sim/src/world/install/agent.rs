//! A device's agent while its process runs: what it knows of documents, and its machine.

use super::device::{Device, There};
use super::operator::DESTINATION;
use samara_protocol::id::DocumentId;
use samara_protocol::install::{Ended, Found, Input, Install, Plan, Record, RecordId, State, Step, Verdict};
use samara_protocol::rollout::{Decision, Facts, SiteDocuments};
use samara_protocol::time::Timestamp;
use samara_protocol::trust::VerifiedDocument;
use std::collections::VecDeque;

/// The agent of one process.
#[derive(Debug, Default)]
pub(in crate::world) struct Agent {
    pub(super) documents: SiteDocuments,
    pub(super) machine: Option<Install>,
    /// By which the release is worked on.
    rollout: Option<DocumentId>,
    /// What was decided last.
    decision: Option<Decision>,
    pub(super) running: Option<Step>,
    /// Records that are not durable yet.
    pub(super) writing: VecDeque<(RecordId, Record)>,
    /// All contents are whole, verified and durable, as this process knows.
    pub(super) is_sealed: bool,
    /// What is known has changed since it was decided.
    pub(super) is_stale: bool,
    /// What runs is the release.
    pub(super) is_from_release: bool,
    /// For which wait of the machine the world was asked.
    pub(super) waits_until: Option<Timestamp>,
}

/// What a device needs to know to make a machine.
pub(super) struct Making<'a> {
    pub(super) release: DocumentId,
    pub(super) facts: &'a Facts,
    pub(super) now: Timestamp,
    pub(super) rng_seed: u64,
}

impl Making<'_> {
    fn plan(&self, agent: &Agent) -> Option<Plan> {
        Some(Plan::of(agent.documents.releases.get(&self.release)?, self.facts))
    }
}

impl Agent {
    /// After a start: what was half-way goes on before anything else, whatever is decided of it now.
    pub(super) fn new(device: &Device, documents: Vec<VerifiedDocument>, making: &Making<'_>) -> Self {
        let mut agent =
            Self { is_stale: true, is_from_release: device.there == There::New, ..Self::default() };
        documents.into_iter().for_each(|document| agent.documents.insert(document));
        let record = device.journal.clone().filter(|record| record.state.is_under_way());
        agent.machine = record.zip(making.plan(&agent)).map(|(record, plan)| {
            let found = if device.there == There::New { Found::New } else { Found::Other };
            Install::resume(
                plan,
                record,
                (found, Ended::Cut),
                Verdict::Superseded,
                making.now,
                making.rng_seed,
            )
        });
        agent
    }

    pub(super) fn state(&self) -> Option<State> {
        self.machine.as_ref().map(Install::state)
    }

    /// Whether nothing will happen here any more unless a document comes.
    pub(super) fn is_at_rest(&self) -> bool {
        let is_busy = self.running.is_some() || !self.writing.is_empty() || self.is_stale;
        let rests = |machine: &Install| {
            machine.state().is_terminal() || machine.state() == State::Staged && machine.hold().is_some()
        };
        !is_busy && self.decision.is_some() && self.machine.as_ref().is_none_or(rests)
    }

    /// Compares what is decided with what is under way. True if the work on the release is over and its contents are to be
    /// shared no longer.
    pub(super) fn decide(&mut self, device: &Device, making: &Making<'_>) -> bool {
        let mut facts = making.facts.clone();
        facts.bad.extend(device.bad.clone().map(|mark| (making.release, mark)));
        let in_place = device.is_in_place.then(|| (DESTINATION.to_owned(), making.release));
        facts.in_place.extend(in_place);
        facts.under_way.extend(self.state().filter(|state| state.is_under_way()).map(|_| making.release));
        self.is_stale = false;
        self.decision = self.documents.decide(&facts).remove(&making.release);
        let Some(decision) = &self.decision else { return false };
        let verdict = Verdict::from(decision);
        let (Decision::Install { rollout, .. } | Decision::Prepare { rollout }) = *decision else {
            self.tell(making.now, Input::Decided(verdict));
            return self.drop_if(|state| state.is_in_place());
        };
        // A later sequence: what the device itself refused is asked once more.
        let is_news = self.rollout.replace(rollout) != Some(rollout);
        let is_over = is_news && self.drop_if(|state| state == State::Rejected);
        match &self.machine {
            Some(_) => self.tell(making.now, Input::Decided(verdict)),
            None => self.machine = self.begun(device, verdict, making),
        }
        is_over
    }

    fn begun(&self, device: &Device, verdict: Verdict, making: &Making<'_>) -> Option<Install> {
        let plan = making.plan(self)?;
        let before = device.journal.clone().filter(|record| record.state == State::Failed);
        Some(match before {
            _ if device.is_in_place => Install::in_place(plan, verdict, making.rng_seed),
            Some(record) => Install::again(plan, record, verdict, making.now, making.rng_seed),
            None => Install::new(plan, verdict, making.now, making.rng_seed),
        })
    }

    pub(super) fn tell(&mut self, now: Timestamp, input: Input) {
        if let Some(machine) = &mut self.machine {
            machine.handle(now, input);
        }
    }

    /// Ends the work on what was decided against, and on what went wrong for good; true if there was such. What the device
    /// itself rejected stays, with its reason, as long as it is wanted.
    pub(super) fn drop_ended(&mut self) -> bool {
        let wanted = matches!(self.decision, Some(Decision::Install { .. } | Decision::Prepare { .. }));
        let is_over = self.drop_if(|state| match state {
            State::Rejected => !wanted,
            state => !state.is_in_place(),
        });
        // It may be wanted again since.
        self.is_stale |= is_over && wanted;
        is_over
    }

    fn drop_if(&mut self, is_over: impl Fn(State) -> bool) -> bool {
        let ended = self.machine.as_ref().filter(|machine| machine.has_ended());
        let is_over = ended.is_some_and(|machine| is_over(machine.state()));
        if is_over {
            self.machine = None;
            self.is_sealed = false;
        }
        is_over
    }

    /// Where the release stands without a machine, and why.
    pub(super) fn standing(&self) -> Option<(State, String)> {
        match self.decision.as_ref().filter(|_| self.machine.is_none())? {
            Decision::Held(_) => Some((State::Aborted, "the rollout was aborted".into())),
            Decision::NotApplicable(why) => Some((State::NotApplicable, why.clone())),
            Decision::Rejected(why) => Some((State::Rejected, why.clone())),
            _ => None,
        }
    }
}
