//! What people at the device ask of the agent: to bring the version before back.

use super::Agent;
use super::standing::Aside;
use super::work::Work;
use crate::state::Row;
use samara_protocol::document::{Artifact, ArtifactKind, Release, ReleaseState};
use samara_protocol::id::DocumentId;
use samara_protocol::install::{Found, Input, Record, State, Step};
use samara_protocol::rollout::{artifacts_for, share_a_destination};
use samara_protocol::trust::Verified;
use std::collections::BTreeSet;
use tokio::sync::oneshot;

/// Something that somebody at the device wants.
#[derive(Debug)]
pub enum Order {
    /// Bring back what was in place before a release: before the one that was installed last, if none is named.
    RollBack {
        /// Which.
        release: Option<DocumentId>,
        /// Where the answer goes: what is brought back, or why not.
        answer: oneshot::Sender<Result<RollBack, String>>,
    },
}

/// A roll back that has begun.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RollBack {
    /// What goes.
    pub release: DocumentId,
    /// What goes, for people.
    pub name: String,
    /// What comes back.
    pub to: Option<DocumentId>,
    /// What comes back, for people.
    pub to_name: String,
    /// Scripts of what goes that have no undo: what they did stays.
    #[serde(default)]
    pub not_undone: Vec<String>,
}

impl Agent {
    pub(super) async fn on_order(&mut self, order: Order) {
        let Order::RollBack { release, answer } = order;
        let begun = self.roll_back(release);
        if let Ok(begun) = &begun {
            // What takes its scripts back is read from the store.
            self.fetch(begun.release).await;
        }
        self.pump().await;
        // Whoever asked may have gone.
        let _ = answer.send(begun);
    }

    pub(super) fn roll_back(&mut self, wanted: Option<DocumentId>) -> Result<RollBack, String> {
        if !self.parts.local_rollback {
            return Err("the configuration does not allow it (install.local_rollback = false)".into());
        }
        if let Some(work) = self.work.values().find(|work| work.state().is_under_way()) {
            return Err(format!("{} is {}: try again when it has ended", work.subject.name(), work.state()));
        }
        if let Some(id) = wanted.or_else(|| self.stuck()).filter(|id| self.is_stuck(id)) {
            return self.unstick(id);
        }
        let id = self.going(wanted)?;
        self.take_up_in_place(id)?;
        let work = &self.work[&id];
        let name = work.subject.name();
        let to = self.before(work)?;
        self.facts.floors.check(to).map_err(|below| format!("{} cannot come back: {below}", name_of(to)))?;
        // Somebody who signs for the site does not want it anywhere, and at the next start it would go again.
        let is_withdrawn = |aside: &&Aside| aside.state == ReleaseState::Withdrawn;
        if let Some(aside) = self.aside.get(&to.id()).filter(is_withdrawn) {
            return Err(format!("{} cannot come back: it is withdrawn ({})", name_of(to), aside.reason));
        }
        self.check_whole(work, to)?;
        let not_undone = without_undo(&work.subject.artifacts);
        let begun = RollBack { release: id, name, to: Some(to.id()), to_name: name_of(to), not_undone };
        if let Some(other) = self.about_to_be_placed(id) {
            return Err(format!(
                "{} is {}: try again when it has ended",
                other.subject.name(),
                other.state()
            ));
        }
        self.tell(id, Input::ByHand);
        // What a paused release has written beside the same destinations goes first.
        self.is_stale = true;
        Ok(begun)
    }

    /// The release that goes: the one that is named, or the one that came to be in place last.
    fn going(&self, wanted: Option<DocumentId>) -> Result<DocumentId, String> {
        let whole = self.releases_in_place().filter(|release| self.is_in_place(release)).map(Verified::id);
        let whole = whole.filter(|id| wanted.is_none_or(|wanted| wanted == *id));
        whole.max_by_key(|id| self.rows.get(id).map(Row::age)).ok_or_else(|| match wanted {
            Some(id) => format!("release {id} is not installed here"),
            None => "no release is installed here".to_owned(),
        })
    }

    /// The work on a release that is in place, also if it is wanted no more.
    fn take_up_in_place(&mut self, id: DocumentId) -> Result<(), String> {
        match self.work.get(&id).map(|work| (work.state(), work.subject.name())) {
            Some((state, _)) if state.is_in_place() => return Ok(()),
            Some((state, name)) => return Err(format!("{name} is {state}: try again when it has ended")),
            None => {}
        }
        let missing = || format!("release {id} is not known any more");
        let release = self.documents.releases.get(&id).cloned().ok_or_else(missing)?;
        let row = self.rows.get(&id).cloned().ok_or_else(missing)?;
        let row =
            Row { record: Record { state: State::Committed, ..row.record }, surplus: Vec::new(), ..row };
        self.take_up(id, Release::clone(&release), &row, Found::New);
        Ok(())
    }

    /// The release that was in place before, at all destinations where one was.
    pub(super) fn before(&self, work: &Work) -> Result<&Verified<Release>, String> {
        let name = work.subject.name();
        let previous = self.parts.state.previous().map_err(|error| error.to_string())?;
        let before = work.subject.destinations.iter().filter_map(|destination| previous.get(destination));
        // One that came back over a later one, at places that were its own, is not its own predecessor.
        let before: BTreeSet<_> = before.filter(|id| **id != work.subject.id).collect();
        let Some(id) = before.first() else { return Err(format!("nothing was in place before {name}")) };
        if before.len() > 1 {
            return Err(format!("{name} replaced several releases: a rollout must say which comes back"));
        }
        let missing = || format!("the release before {name} is not known any more: {id}");
        self.documents.releases.get(*id).ok_or_else(missing)
    }

    /// What an earlier release has, and the one that goes has not, must still be there: it comes back whole or not at all.
    fn check_whole(&self, work: &Work, to: &Verified<Release>) -> Result<(), String> {
        let lacks = |artifact: &&Artifact| {
            !work.subject.destinations.contains(&artifact.destination)
                && self.facts.in_place.get(&artifact.destination) != Some(&to.id())
        };
        match artifacts_for(to, &self.facts).find(lacks) {
            Some(gone) => Err(format!(
                "{} cannot come back whole: {} is gone; a rollout must bring it back",
                name_of(to),
                gone.destination
            )),
            None => Ok(()),
        }
    }

    /// Another release that stands, or is being written, beside a destination of one, and is not held back.
    fn about_to_be_placed(&self, id: DocumentId) -> Option<&Work> {
        let work = self.work.get(&id)?;
        let shares_a_place =
            |other: &Work| share_a_destination(&other.subject.release, &work.subject.release, &self.facts);
        let is_written = |other: &Work| {
            other.state().is_staged() || matches!(other.machine.step(), Some((Step::Stage(_), _)))
        };
        let mut others = self.work.values().filter(|other| other.subject.id != id);
        others.find(|other| other.machine.hold().is_none() && is_written(other) && shares_a_place(other))
    }

    fn is_stuck(&self, id: &DocumentId) -> bool {
        self.rows.get(id).is_some_and(|row| row.record.state == State::Inconsistent)
    }

    fn stuck(&self) -> Option<DocumentId> {
        self.rows.keys().copied().find(|id| self.is_stuck(id))
    }

    /// Somebody looked at what could not be brought back, and wants it tried once more.
    fn unstick(&mut self, id: DocumentId) -> Result<RollBack, String> {
        let missing = || format!("release {id} is not known any more");
        let release = self.documents.releases.get(&id).cloned().ok_or_else(missing)?;
        let row = self.rows.get(&id).cloned().ok_or_else(missing)?;
        self.take_up(id, Release::clone(&release), &row, Found::New);
        let (name, not_undone) = (name_of(&release), without_undo(&release.artifacts));
        self.tell(id, Input::ByHand);
        self.is_stale = true;
        Ok(RollBack { release: id, name, to: None, to_name: "what was there before".into(), not_undone })
    }
}

/// Scripts that cannot take back what they did.
fn without_undo(artifacts: &[Artifact]) -> Vec<String> {
    let scripts = artifacts.iter().filter(|artifact| artifact.kind == ArtifactKind::Script);
    scripts.filter(|artifact| artifact.undo().is_none()).map(|artifact| artifact.name.clone()).collect()
}

/// For people.
pub(super) fn name_of(release: &Release) -> String {
    format!("{} {}", release.product, release.version)
}
