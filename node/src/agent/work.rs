//! The work on one release: what it needs, and the machine that says what is done next.

use super::local::name_of;
use crate::state::Surplus;
use samara_protocol::document::{Artifact, ArtifactKind, BlobRef, Hook, Release};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::install::{Install, Plan, State};
use samara_protocol::rollout::{Facts, artifacts_for, blobs_for, hooks_for};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

/// What a device takes of a release: it was verified when the work on it began.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) id: DocumentId,
    pub(super) release: Release,
    pub(super) artifacts: Vec<Artifact>,
    pub(super) hooks: Vec<Hook>,
    pub(super) destinations: Vec<String>,
    /// What it takes away, after its own artifacts.
    pub(super) surplus: Vec<Surplus>,
}

impl Subject {
    pub(super) fn new(id: DocumentId, release: Release, facts: &Facts, surplus: Vec<Surplus>) -> Self {
        let artifacts: Vec<_> = artifacts_for(&release, facts).cloned().collect();
        let hooks = hooks_for(&release, facts).cloned().collect();
        let destinations = artifacts.iter().map(|artifact| artifact.destination.clone()).collect();
        Self { id, artifacts, hooks, destinations, release, surplus }
    }

    /// What its install asks of a machine.
    pub(super) fn plan(&self, facts: &Facts) -> Plan {
        let mut plan = Plan::of(&self.release, facts);
        let surplus = self.surplus.iter().map(|gone| gone.artifact.kind);
        let scripts = (plan.artifacts..).zip(surplus).filter(|(_, kind)| *kind == ArtifactKind::Script);
        plan.scripts.extend(scripts.map(|(index, _)| index));
        Plan { artifacts: plan.artifacts + self.surplus.len(), ..plan }
    }

    /// The contents that it needs. What takes a script back is one of the release that brought it.
    fn blobs(&self, facts: &Facts) -> Vec<BlobRef> {
        let mut blobs = blobs_for(&self.release, facts);
        for blob in self.surplus.iter().flat_map(|gone| undo_of(&gone.artifact)) {
            if !blobs.iter().any(|known| known.content == blob.content) {
                blobs.push(blob);
            }
        }
        blobs
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        name_of(&self.release)
    }

    /// Bytes of all that it installs.
    pub(super) fn installed_bytes(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.installed.size).sum()
    }
}

/// The contents that take an artifact back which its handler alone cannot: those of a script with an undo.
pub(super) fn undo_of(artifact: &Artifact) -> impl Iterator<Item = BlobRef> {
    artifact.blobs().filter(|_| artifact.undo().is_some())
}

/// Work on one release.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) subject: Arc<Subject>,
    pub(super) rollout: DocumentId,
    pub(super) blobs: Vec<BlobRef>,
    /// What is sealed (verified, complete, durable) of `blobs`.
    pub(super) sealed: BTreeSet<ContentHash>,
    /// What the mesh swarms.
    pub(super) open: BTreeSet<ContentHash>,
    pub(super) machine: Install,
    /// When its artifacts began to be switched, in milliseconds since 1970.
    pub(super) activated_ms: u64,
    /// Written to the install root by this install.
    pub(super) bytes_written: u64,
    /// When it came to the state in which it is.
    pub(super) since: Instant,
}

impl Work {
    pub(super) fn new(subject: Subject, rollout: DocumentId, machine: Install, facts: &Facts) -> Self {
        Self {
            blobs: subject.blobs(facts),
            subject: Arc::new(subject),
            rollout,
            sealed: BTreeSet::new(),
            open: BTreeSet::new(),
            machine,
            activated_ms: 0,
            bytes_written: 0,
            since: Instant::now(),
        }
    }

    pub(super) fn state(&self) -> State {
        self.machine.state()
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.len() == self.blobs.len()
    }

    /// Bytes written to the install root for each 100 that are installed; 0 while nothing was.
    pub(super) fn written_percent(&self) -> u64 {
        let written = self.bytes_written.saturating_mul(100);
        written
            .checked_div(self.subject.installed_bytes())
            .filter(|_| self.state().is_in_place())
            .unwrap_or(0)
    }

    pub(super) fn has(&self, content: ContentHash) -> bool {
        self.blobs.iter().any(|blob| blob.content == content)
    }
}
