//! T23: what a paused Rollout lets a device fetch and write beside what is in place, so that it only has to be switched
//! when the Rollout goes on.
//!
//! What is written beside a destination must not meet what another release writes there: as long as a release that is
//! wanted now has yet to be placed at one of its destinations or to take something away there, or something is rolled back
//! there or could not be, a paused one waits.

use super::{Decision, Facts, SiteDocuments, artifacts_for};
use crate::document::{Release, ReleaseState, RolloutState, overlap};
use crate::id::DocumentId;
use crate::trust::Verified;
use std::collections::BTreeMap;

impl SiteDocuments {
    /// What a seeder offers: what devices shall have now, and what paused Rollouts let them fetch.
    pub fn offered_releases(&self) -> Vec<Verified<Release>> {
        let mut offered = self.active_releases();
        let paused = self.newest_named(RolloutState::Paused).into_iter();
        let is_news = |paused: &Verified<Release>| {
            let mut others = offered.iter().filter(|active| active.is_of_channel(paused));
            others.all(|active| (active.number, active.id()) < (paused.number, paused.id()))
        };
        let news: Vec<_> = paused.filter(is_news).collect();
        offered.extend(news);
        offered
    }

    /// Holds back what may not be prepared now.
    pub(super) fn settle_paused(&self, decisions: &mut BTreeMap<DocumentId, Decision>, facts: &Facts) {
        let with = |is_meant: fn(&Decision) -> bool| {
            let meant = decisions.iter().filter(move |(_, decision)| is_meant(decision));
            meant.filter_map(|(id, _)| self.releases.get(id))
        };
        let is_to_be_placed = |release: &&Verified<Release>| {
            !is_in_place(release, facts) || self.surplus_beside(release, facts).next().is_some()
        };
        // Beside what could not be brought back nothing is written until somebody has looked.
        let stuck = facts.bad.iter().filter(|(_, mark)| mark.state == ReleaseState::Inconsistent);
        let half_way = facts.under_way.iter().chain(stuck.map(|(id, _)| id));
        let mut taken: Vec<&Verified<Release>> =
            with(|decision| matches!(decision, Decision::Install { .. }))
                .filter(is_to_be_placed)
                .chain(half_way.filter_map(|id| self.releases.get(id)))
                .collect();
        let mut paused: Vec<_> = with(|decision| matches!(decision, Decision::Prepare { .. }))
            .filter(|release| !facts.has(&release.id()))
            .collect();
        paused.sort_by_key(|release| std::cmp::Reverse((release.number, release.id())));
        let mut held = Vec::new();
        for release in paused {
            let is_in_the_way = |other: &&Verified<Release>| {
                let is_successor = other.is_of_channel(release) && other.number >= release.number;
                is_successor
                    || share_a_destination(other, release, facts)
                    || self.takes_away_from(other, release, facts)
            };
            match taken.iter().any(is_in_the_way) {
                true => held.push(release.id()),
                false => taken.push(release),
            }
        }
        for id in held {
            decisions.insert(id, Decision::Held(RolloutState::Paused));
        }
    }
}

fn is_in_place(release: &Verified<Release>, facts: &Facts) -> bool {
    artifacts_for(release, facts)
        .all(|artifact| facts.in_place.get(&artifact.destination) == Some(&release.id()))
}

/// Whether a device places something of both at one destination, or at one inside the other's.
pub fn share_a_destination(one: &Release, other: &Release, facts: &Facts) -> bool {
    artifacts_for(one, facts)
        .any(|a| artifacts_for(other, facts).any(|b| overlap(&a.destination, &b.destination)))
}
