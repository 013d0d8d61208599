//! The best that any schedule could do with the links of a plan, for the devices that are there from the start.

use super::Plan;
use samara_protocol::measure::{LinkRates, LowerBound, lower_bound, pipeline_seconds};

impl Plan {
    /// The devices that are there from the start.
    pub fn present(&self) -> impl Iterator<Item = usize> {
        (0..self.devices.count).filter(|device| !self.joins_late(*device))
    }

    fn present_links(&self) -> Vec<LinkRates> {
        self.present().map(|device| self.link(device)).collect()
    }

    /// The bound for the devices that are there from the start.
    pub fn lower_bound(&self) -> Option<LowerBound> {
        lower_bound(self.artifact.bytes.0, self.seeder.up.0, &self.present_links())
    }

    /// The seconds of [`Plan::lower_bound`].
    pub fn lower_bound_seconds(&self) -> Option<f64> {
        self.lower_bound().map(|bound| bound.seconds)
    }

    /// The time of the optimal schedule of whole pieces of this size, where it is known.
    pub fn pipeline_seconds(&self, piece_bytes: u32) -> Option<f64> {
        pipeline_seconds(self.artifact.bytes.0, piece_bytes, self.seeder.up.0, &self.present_links())
    }
}
