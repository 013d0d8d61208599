//! What goes when an earlier release of a channel comes back.

use super::{Facts, SiteDocuments, artifacts_for};
use crate::document::{Artifact, Release, overlap};
use crate::trust::Verified;

impl SiteDocuments {
    /// What later releases of a release's channel have in place where it has nothing: such a release, and its artifact.
    pub fn surplus_beside<'a>(
        &'a self,
        release: &'a Release,
        facts: &'a Facts,
    ) -> impl Iterator<Item = (&'a Verified<Release>, &'a Artifact)> {
        facts.in_place.iter().filter_map(move |(place, id)| {
            let later = self.releases.get(id).filter(|other| other.is_later_than(release))?;
            let is_own = artifacts_for(release, facts).any(|own| own.destination == *place);
            let artifact = artifacts_for(later, facts).find(|artifact| artifact.destination == *place)?;
            (!is_own).then_some((later, artifact))
        })
    }

    /// Whether a release that comes back takes something away at a destination of another, or at one inside the other's.
    pub(super) fn takes_away_from(&self, release: &Release, other: &Release, facts: &Facts) -> bool {
        self.surplus_beside(release, facts)
            .any(|(_, gone)| artifacts_for(other, facts).any(|a| overlap(&a.destination, &gone.destination)))
    }
}
