//! Where each release stands here, in one word and a reason: what the status shows and the reports say.

use super::Agent;
use super::work::Work;
use samara_protocol::document::{Release, ReleaseState, Rollout, RolloutState};
use samara_protocol::id::DocumentId;
use samara_protocol::install::{Fault, State};
use samara_protocol::rollout::{Decision, named_by};
use samara_protocol::trust::Verified;
use std::collections::{BTreeMap, BTreeSet};

/// Why a release that a Rollout goes back from is not to be installed.
const GONE_BACK: &str = "the site went back to an earlier release";

/// A release that was decided on and is not to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aside {
    /// Why, in a word.
    pub(super) state: ReleaseState,
    /// Why, for people.
    pub(super) reason: String,
    /// Whether it is in place all the same.
    pub(super) is_in_place: bool,
    /// Whether it was taken back while it was on its way.
    pub(super) was_begun: bool,
    /// What went wrong, if something did.
    pub(super) wrong: Option<Wrong>,
}

/// What went wrong, for the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// In which state of the install.
    pub(super) phase: String,
    /// What kind of thing.
    pub(super) code: String,
    /// How the program ended, if it was one.
    pub(super) exit: Option<i32>,
}

impl Aside {
    /// What is to be said of a release that is not to be installed; `None` if it is.
    fn of(decision: &Decision) -> Option<Self> {
        let mut wrong = None;
        let (state, reason) = match decision {
            Decision::Install { .. } | Decision::Prepare { .. } => return None,
            Decision::Superseded => (ReleaseState::Superseded, "a later release is wanted".to_owned()),
            Decision::Withdrawn { reason, .. } => (ReleaseState::Withdrawn, reason.clone()),
            Decision::Held(RolloutState::Aborted) => {
                (ReleaseState::Aborted, "the rollout was aborted".to_owned())
            }
            Decision::Held(state) => (ReleaseState::Waiting, format!("the rollout is {state}")),
            Decision::NotApplicable(why) => (ReleaseState::NotApplicable, why.clone()),
            Decision::Rejected(why) => (ReleaseState::Rejected, why.clone()),
            Decision::Bad(mark) => {
                wrong = Some(Wrong { phase: mark.phase.clone(), code: mark.code.clone(), exit: mark.exit });
                (mark.state, mark.why.clone())
            }
        };
        Some(Self { state, reason, is_in_place: false, was_begun: false, wrong })
    }

    /// What is decided against the release outweighs that its bytes are here.
    fn is_verdict(&self) -> bool {
        use ReleaseState::{Inconsistent, NotApplicable, Rejected, RolledBack, Withdrawn};
        matches!(self.state, NotApplicable | Withdrawn | Rejected | RolledBack | Inconsistent)
    }

    /// Whether what is said against it takes nothing away that is in place: a pause, an end, a successor that is still to
    /// come.
    fn takes_nothing_away(&self) -> bool {
        matches!(self.state, ReleaseState::Waiting | ReleaseState::Aborted | ReleaseState::Superseded)
    }

    /// Whether it was in place, and another release is now.
    pub(super) fn is_gone_from(&self, work: &Work) -> bool {
        work.state().is_in_place() && !self.is_in_place
    }

    pub(super) fn reason(&self) -> String {
        match (self.is_verdict() && self.is_in_place, self.reason.as_str()) {
            (false, reason) => reason.to_owned(),
            (true, "") => "still installed".to_owned(),
            (true, reason) => format!("{reason}; still installed"),
        }
    }

    fn is_worth_a_report(&self) -> bool {
        match self.state {
            ReleaseState::Withdrawn => self.is_in_place || self.was_begun,
            _ => self.is_verdict(),
        }
    }
}

/// Where a release stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: ReleaseState,
    pub(super) reason: String,
    /// Whether the site is told.
    pub(super) is_reported: bool,
    /// What went wrong, if something did.
    pub(super) wrong: Option<Wrong>,
}

impl Agent {
    /// What is to be said of a release that is not to be installed, where these are wanted.
    pub(super) fn aside_of(
        &self,
        id: DocumentId,
        decision: &Decision,
        wanted: &BTreeSet<DocumentId>,
    ) -> Option<Aside> {
        let aside = Aside::of(decision)?;
        let release = self.documents.releases.get(&id)?;
        let mut wanted = wanted.iter().filter_map(|id| self.documents.releases.get(id));
        let is_outrun = wanted.any(|other| other.is_later_than(release));
        let is_gone_back_from =
            aside.state == ReleaseState::Superseded && !is_outrun && self.is_gone_back_from(release);
        let reason = if is_gone_back_from { GONE_BACK.to_owned() } else { aside.reason };
        Some(Aside { reason, ..aside })
    }

    /// Whether a rollout goes back from a release, or from a later one past it.
    fn is_gone_back_from(&self, release: &Verified<Release>) -> bool {
        let id = release.id();
        let is_from_it = |rollout: &Verified<Rollout>| rollout.release == id && named_by(rollout) != id;
        let mut rollouts = self.documents.rollouts.values();
        rollouts.any(|rollout| is_from_it(rollout) && rollout.state == RolloutState::Active)
            || self.documents.is_rolled_past(release)
    }

    /// Where a release stands, if it was decided on.
    pub(super) fn standing(&self, id: &DocumentId) -> Option<Standing> {
        let aside = self.aside.get(id);
        match (self.work.get(id), aside) {
            // What goes on to its end is said whatever was decided meanwhile.
            (Some(work), _) if work.state().is_under_way() => Some(Standing::of(work)),
            (Some(work), None) => Some(Standing::of(work)),
            (Some(work), Some(aside)) if !aside.is_verdict() && !aside.is_gone_from(work) => {
                Some(Standing::of(work))
            }
            (_, Some(aside)) if aside.is_in_place && aside.takes_nothing_away() => Some(Standing {
                state: ReleaseState::Installed,
                reason: String::new(),
                is_reported: true,
                wrong: None,
            }),
            (_, Some(aside)) => Some(Standing {
                state: aside.state,
                reason: aside.reason(),
                is_reported: aside.is_worth_a_report() && !self.is_forgotten(id, aside),
                wrong: aside.wrong.clone(),
            }),
            (None, None) => None,
        }
    }

    /// What was taken back, is gone and has a successor is no news to anybody.
    fn is_forgotten(&self, id: &DocumentId, aside: &Aside) -> bool {
        let is_gone = aside.state == ReleaseState::Withdrawn && !aside.is_in_place;
        is_gone && self.documents.releases.get(id).is_some_and(|release| self.is_outrun(release))
    }

    /// What the journal names and is still there, by destination.
    pub(super) fn places(&self) -> BTreeMap<String, DocumentId> {
        let mut journal = self.parts.state.journal().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the journal");
            self.facts.in_place.clone()
        });
        journal.retain(|place, _| self.parts.install_root.join(place).symlink_metadata().is_ok());
        journal
    }

    /// Looks again which of the releases that are not wanted are in place.
    pub(super) fn look_in_place(&mut self) {
        let is_in_place = |id: &DocumentId| {
            self.documents.releases.get(id).is_some_and(|release| self.is_in_place(release))
        };
        let in_place: Vec<bool> = self.aside.keys().map(is_in_place).collect();
        for (aside, is_in_place) in self.aside.values_mut().zip(in_place) {
            aside.is_in_place = is_in_place;
        }
    }
}

impl Standing {
    fn of(work: &Work) -> Self {
        let machine = &work.machine;
        let fault = machine.fault().filter(|_| !work.state().is_in_place());
        let reason = match (work.state(), machine.lacks(), machine.hold()) {
            (State::WaitingForSpace, Some((needed, available)), _) => {
                format!("no room on the disk: {needed} bytes are needed, {available} are available")
            }
            (State::WaitingForSpace, None, _) => "the disk is full".to_owned(),
            (state, _, Some(hold)) if state != State::Failed => hold.why.clone(),
            (State::Downloading | State::Checking | State::Offered, ..) => String::new(),
            _ => fault.map(|fault| fault.why.clone()).unwrap_or_default(),
        };
        let state = work.state().word();
        let wrong = fault.map(|Fault { phase, code, exit, .. }| Wrong {
            phase: phase.to_string(),
            code: code.as_str().to_owned(),
            exit: *exit,
        });
        Self { state, reason, is_reported: true, wrong }
    }
}
