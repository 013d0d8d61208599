//! What a device knows of itself: what it is, what is in place, and what went wrong here.

use crate::document::{ReleaseState, Rollout};
use crate::id::DocumentId;
use crate::trust::SecurityFloors;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Hardware revision, matched against a release's list.
    pub hardware: String,
    /// Processor architecture, as the operating system names it.
    pub architecture: String,
    /// The product by the device's enrollment; empty: any.
    pub product: String,
    /// Version of the agent, by semantic versioning.
    pub agent: String,
    /// The newest wire protocol that it speaks.
    pub protocol: u16,
    /// Below which it installs nothing.
    pub floors: SecurityFloors,
    /// The release in place by destination.
    pub in_place: BTreeMap<String, DocumentId>,
    /// What is being installed, tested or rolled back.
    pub under_way: BTreeSet<DocumentId>,
    /// What went wrong here.
    pub bad: BTreeMap<DocumentId, BadMark>,
}

impl Facts {
    /// Whether a release is in place somewhere, or on its way there.
    pub fn has(&self, release: &DocumentId) -> bool {
        self.under_way.contains(release) || self.in_place.values().any(|id| id == release)
    }
}

/// That a release went wrong on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadMark {
    /// How it ended: rolled back, or inconsistent.
    pub state: ReleaseState,
    /// Why, for people.
    pub why: String,
    /// How the program ended that said so, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// In which state of the install.
    pub phase: String,
    /// What kind of thing.
    pub code: String,
    /// (epoch, sequence) of the Rollouts that named it then, by id: only a later one can ask for another try.
    pub seen: BTreeMap<String, (u64, u64)>,
}

impl BadMark {
    /// T21: a Rollout that came later says that devices shall try it again.
    pub(super) fn is_lifted_by(&self, rollout: &Rollout) -> bool {
        let seen = self.seen.get(&rollout.rollout_id.to_string());
        rollout.retry && seen.is_none_or(|seen| (rollout.epoch, rollout.sequence) > *seen)
    }
}
