//! Where each release stands here, in one word and a reason: what the status shows and the reports say.

use super::Agent;
use super::fetch::Phase;
use samara_protocol::document::ReleaseState;
use samara_protocol::id::DocumentId;
use std::collections::BTreeMap;

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
}

impl Aside {
    pub(super) fn new(state: ReleaseState, reason: impl Into<String>) -> Self {
        Self { state, reason: reason.into(), is_in_place: false, was_begun: false }
    }

    /// What is decided against the release outweighs that its bytes are here.
    fn is_verdict(&self) -> bool {
        matches!(self.state, ReleaseState::NotApplicable | ReleaseState::Withdrawn)
    }

    fn reason(&self) -> String {
        match (self.is_verdict() && self.is_in_place, self.reason.as_str()) {
            (false, reason) => reason.to_owned(),
            (true, "") => "still installed".to_owned(),
            (true, reason) => format!("{reason}; still installed"),
        }
    }

    fn is_worth_a_report(&self) -> bool {
        match self.state {
            ReleaseState::NotApplicable => true,
            ReleaseState::Withdrawn => self.is_in_place || self.was_begun,
            _ => false,
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
}

impl Agent {
    /// Where a release stands, if it was decided on.
    pub(super) fn standing(&self, id: &DocumentId) -> Option<Standing> {
        let aside = self.aside.get(id);
        match (self.work.get(id), aside) {
            (Some(work), None) => Some(Standing::of_phase(&work.phase)),
            (Some(work), Some(aside)) if !aside.is_verdict() => Some(Standing::of_phase(&work.phase)),
            (_, Some(aside)) => Some(Standing {
                state: aside.state,
                reason: aside.reason(),
                is_reported: aside.is_worth_a_report(),
            }),
            (None, None) => None,
        }
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
    fn of_phase(phase: &Phase) -> Self {
        let (state, reason) = match phase {
            Phase::Downloading => (ReleaseState::Downloading, String::new()),
            Phase::WaitingForSpace(why) => (ReleaseState::WaitingForSpace, why.clone()),
            Phase::Closed(why) => (ReleaseState::Failed, why.clone()),
            Phase::Verified | Phase::Installing => (ReleaseState::Installing, String::new()),
            Phase::Installed => (ReleaseState::Installed, String::new()),
            Phase::Failed { why, tries, .. } => (ReleaseState::Failed, format!("{why} (try {tries})")),
        };
        Self { state, reason, is_reported: true }
    }
}
