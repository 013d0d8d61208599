//! When the installs of a run are over, and how they ended.

use super::device::There;
use crate::installs::{DeviceInstall, InstallReport};
use crate::plan::device_name;
use crate::world::World;

impl World {
    /// Whether nothing will happen on any of these devices any more.
    pub(in crate::world) fn have_installs_settled(
        &self,
        mut devices: impl Iterator<Item = usize> + Clone,
    ) -> bool {
        let Some(installs) = &self.installs else { return true };
        if !devices.clone().all(|device| self.is_at_rest(device)) {
            return false;
        }
        // A rollout that was signed while the seeder is away is known to nobody.
        let is_around = |number: &u32| {
            self.peers.iter().any(|peer| peer.is_living() && peer.disk.documents.contains(number))
        };
        let newest = installs.rollouts.iter().rev().map(|(number, _)| *number).find(is_around);
        devices.all(|device| newest.is_none_or(|newest| self.peers[device].disk.documents.contains(&newest)))
    }

    /// Whether nothing will happen on a device any more unless a document comes.
    fn is_at_rest(&self, device: usize) -> bool {
        let agent = self.peers[device].process.as_ref().and_then(|process| process.agent.as_ref());
        agent.is_some_and(|agent| agent.is_at_rest())
    }

    /// Whether a device does without the artifact: it refuses the release, or was told in time not to install it.
    pub(in crate::world) fn does_without(&self, device: usize) -> bool {
        self.installs.is_some() && self.peers[device].verified.is_none() && self.is_at_rest(device)
    }

    /// How the installs of these devices ended; `None` where nothing is installed.
    pub(in crate::world) fn install_report(&self, devices: &[usize]) -> Option<InstallReport> {
        let installs = self.installs.as_ref()?;
        let install = |device: &usize| {
            let this = &installs.devices[*device];
            DeviceInstall {
                device: device_name(*device),
                state: this.state,
                why: this.why.clone(),
                committed_seconds: this.committed_at.map(|at| at.seconds_since(self.begin)),
                installs: this.installs,
                cuts: this.cuts,
            }
        };
        Some(InstallReport::new(devices.iter().map(install).collect()))
    }

    /// One sentence for each of these devices whose install did not come to an end, and each change of the rollout that was
    /// refused.
    pub(in crate::world) fn install_faults(&self, devices: &[usize]) -> Vec<String> {
        let Some(installs) = &self.installs else { return Vec::new() };
        let agent = |device: usize| self.peers[device].process.as_ref()?.agent.as_ref();
        let hangs = |device: &&usize| {
            self.peers[**device].verified.is_some()
                && agent(**device).is_some_and(|agent| !agent.is_at_rest())
        };
        let sentence = |device: &usize| {
            let state = installs.devices[*device].state.map_or("unknown", |state| state.as_str());
            format!("ends-by-itself: {} is {state} at the end", device_name(*device))
        };
        let is_half = |device: &&usize| {
            let this = &installs.devices[**device];
            self.is_at_rest(**device) && this.is_in_place != (this.there == There::New)
        };
        let half = |device: &usize| {
            format!(
                "never-half: {} is at rest, and its journal does not say what is in place",
                device_name(*device)
            )
        };
        let refused = installs.refused_changes.iter().cloned();
        let hanging = devices.iter().filter(hangs).map(sentence);
        hanging.chain(devices.iter().filter(is_half).map(half)).chain(refused).collect()
    }
}
