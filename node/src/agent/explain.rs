//! Why this device is, or is not, updating now: one sentence, and when that changes.

use super::Agent;
use super::local::name_of;
use super::work::Work;
use crate::api::Explanation;
use samara_protocol::document::{Release, ReleaseState};
use samara_protocol::install::{HoldBy, State, Step};
use samara_protocol::time::Timestamp;
use samara_protocol::trust::Verified;

impl Agent {
    /// About the release that most is to be said of.
    pub(super) fn explain(&self) -> Explanation {
        let unfinished = self.work.values().filter(|work| !work.state().is_in_place());
        let most = unfinished.max_by_key(|work| (work.state().is_under_way(), work.state().word().weight()));
        if let Some(work) = most {
            return self.explain_work(work);
        }
        let is_there = |work: &&Work| {
            let aside = self.aside.get(&work.subject.id);
            work.state().is_in_place() && !aside.is_some_and(|aside| aside.is_gone_from(work))
        };
        let installed = self.work.values().filter(is_there);
        let installed = installed.max_by_key(|work| work.subject.release.number);
        let releases = self.aside.keys().filter_map(|id| self.documents.releases.get(id));
        let is_of_interest = |release: &&Verified<Release>| match self.aside[&release.id()].state {
            ReleaseState::Superseded => false,
            // Of another product nobody asks; of a successor of what is in place somebody does.
            ReleaseState::NotApplicable => installed.is_none() || self.weight(release).1,
            // A pause or an end takes nothing away from what is in place.
            ReleaseState::Waiting | ReleaseState::Aborted => {
                !self.aside[&release.id()].is_in_place && !self.is_outrun(release)
            }
            ReleaseState::Withdrawn => self.aside[&release.id()].is_in_place || !self.is_outrun(release),
            _ => true,
        };
        let named =
            releases.filter(is_of_interest).max_by_key(|release| (self.weight(release), release.number));
        if let Some(release) = named {
            let aside = &self.aside[&release.id()];
            let (name, why) = (name_of(release), aside.reason());
            let text = match aside.state {
                ReleaseState::RolledBack => format!(
                    "{name} was rolled back here ({why}) and is not tried again until a rollout says retry."
                ),
                ReleaseState::Inconsistent => format!(
                    "{name} could not be rolled back ({why}): somebody must look, then run `samara-node rollback`."
                ),
                ReleaseState::Rejected => format!("This device refuses {name}: {why}."),
                ReleaseState::NotApplicable => format!("{name} is not for this device: {why}."),
                ReleaseState::Withdrawn => format!("{name} was withdrawn: {why}."),
                ReleaseState::Aborted => format!("{name} is not installed: {why}, and that is for good."),
                _ => format!("{name} is not installed: {why}; it goes on with the operator's next word."),
            };
            let other = installed.filter(|work| !aside.is_in_place && work.subject.id != release.id());
            let stays = other.map(|work| format!(" {} is installed.", work.subject.name()));
            return self.explanation(text + &stays.unwrap_or_default(), Some(release.id()), None);
        }
        match installed {
            Some(work) => {
                let text = format!("{} is installed, and nothing newer is wanted here.", work.subject.name());
                self.explanation(text, Some(work.subject.id), None)
            }
            None => self.explain_last_resort(),
        }
    }

    /// Nothing is worked on, and nothing is said against anything.
    fn explain_last_resort(&self) -> Explanation {
        let there = self.aside.iter().filter(|(_, aside)| aside.is_in_place);
        let there = there.filter_map(|(id, aside)| Some((self.documents.releases.get(id)?, aside)));
        match there.max_by_key(|(release, _)| release.number) {
            Some((release, aside)) => {
                let nothing = match aside.state {
                    ReleaseState::Superseded => "",
                    _ => ", and nothing newer is wanted here",
                };
                let text = format!("{} is installed{nothing}: {}.", name_of(release), aside.reason);
                self.explanation(text, Some(release.id()), None)
            }
            None => self.explanation("No rollout names a release for this device.".into(), None, None),
        }
    }

    /// Whether a later release of the channel is in place: nobody waits for this one.
    pub(super) fn is_outrun(&self, release: &Verified<Release>) -> bool {
        let mut successors = self.documents.releases.values().filter(|other| other.is_later_than(release));
        successors.any(|other| self.is_there(&other.id()))
    }

    fn explain_work(&self, work: &Work) -> Explanation {
        let (machine, name) = (&work.machine, work.subject.name());
        let wait = machine.poll_timeout().map(|at| at.since(self.now()).as_secs() + 1);
        let soon = wait.map_or_else(String::new, |seconds| format!(" in {seconds} s"));
        let fault = machine.fault().map(|fault| fault.why.clone()).unwrap_or_default();
        let text = match (work.state(), machine.hold()) {
            (State::WaitingForSpace, _) => match machine.lacks() {
                Some((needed, available)) => format!(
                    "{name} waits for room: it needs {needed} bytes and {available} are free; looked at again{soon}."
                ),
                None => format!("{name} waits for room: the disk is full; looked at again{soon}."),
            },
            (State::Failed, _) => format!("{name} failed ({fault}) and is tried again{soon}."),
            (State::Offered | State::Checking | State::Downloading | State::Verifying, Some(hold))
                if hold.by == HoldBy::Pause =>
            {
                format!(
                    "{name} is fetched but not installed: {}; it goes on with the operator's next word.",
                    hold.why
                )
            }
            (_, Some(hold)) if hold.by == HoldBy::Pause => {
                format!("{name} is held back: {}; it goes on with the operator's next word.", hold.why)
            }
            (_, Some(hold)) => format!("{name} is held back: {}.", hold.why),
            (State::Downloading, _) if self.parts.status.borrow().neighbours.is_empty() => {
                format!("{name} is wanted, but no neighbour is connected from whom its bytes could come.")
            }
            (State::Downloading, _) if self.unheld.iter().any(|content| work.has(*content)) => {
                format!("{name} is wanted, but no connected neighbour has its bytes.")
            }
            (State::Offered | State::Checking | State::Downloading, _) => {
                format!("{name} is wanted, and its bytes come from neighbours.")
            }
            (State::Rejected, _) => {
                format!("This device refuses {name}: {fault}. It is tried again when a rollout says retry.")
            }
            (State::Testing, _) if fault.is_empty() => format!("{name} runs and is tested; next look{soon}."),
            (State::Testing, _) => format!("{name} runs and is tested, but: {fault}; next look{soon}."),
            (State::RollingBack, _) => match machine.obstacle() {
                Some(why) => {
                    format!("{name} is rolled back ({fault}), which does not work: {why}; tried again{soon}.")
                }
                None => format!("{name} is rolled back: {fault}."),
            },
            (State::Committing, _) if machine.obstacle().is_some() => {
                let why = machine.obstacle().unwrap_or_default();
                format!(
                    "{name} runs and works; the version before it cannot be kept: {why}; tried again{soon}."
                )
            }
            (state, _) => match (machine.step(), wait) {
                (Some((Step::Hook { step, .. }, tries)), Some(seconds)) if tries > 0 => format!(
                    "{name} is {state}: its {} hook asked for another time and is run again in {seconds} s.",
                    step.as_str()
                ),
                _ if self.turn.is_some_and(|turn| turn != work.subject.id) => {
                    format!("{name} is complete and waits until another release has been installed.")
                }
                _ => format!("{name} is {state} now."),
            },
        };
        self.explanation(text, Some(work.subject.id), machine.poll_timeout())
    }

    fn explanation(
        &self,
        text: String,
        release: Option<samara_protocol::id::DocumentId>,
        at: Option<Timestamp>,
    ) -> Explanation {
        let changes_in_seconds = at.map(|at| at.since(self.now()).as_secs() + 1);
        Explanation { text, release, changes_in_seconds }
    }
}
