//! The best that any schedule could do with the links of a plan, for the devices that are there from the start.

use super::{Plan, Rate};
use samara_protocol::measure::{Limit, LinkRates, LowerBound, lower_bound, pipeline_seconds};

impl Plan {
    /// The devices that are there from the start.
    pub fn present(&self) -> impl Iterator<Item = usize> {
        (0..self.devices.count).filter(|device| !self.joins_late(*device))
    }

    fn present_links(&self) -> Vec<LinkRates> {
        self.present().map(|device| self.rates(device)).collect()
    }

    /// Whether no link has a rate, so that processors and disks are the only limits.
    fn is_unlimited(&self) -> bool {
        let of_devices = self.present_links().into_iter().flat_map(|link| [link.up, link.down]);
        let of_segments = self.segments.iter().flat_map(|segment| [segment.up.0, segment.down.0]);
        let mut all = of_devices.chain(of_segments).chain([self.seeder.up.0]);
        all.all(|rate| rate == Rate::UNLIMITED.0)
    }

    /// The bound for the devices that are there from the start, the links of their segments counted; `None` where nothing
    /// but processors limits them.
    pub fn lower_bound(&self) -> Option<LowerBound> {
        if self.is_unlimited() {
            return None;
        }
        let bound = lower_bound(self.artifact.bytes.0, self.seeder.up.0, &self.present_links())?;
        let seconds = self.segment_bound_seconds();
        Some(if seconds > bound.seconds { LowerBound { seconds, limit: Limit::SegmentLink } } else { bound })
    }

    /// The seconds of [`Plan::lower_bound`].
    pub fn lower_bound_seconds(&self) -> Option<f64> {
        self.lower_bound().map(|bound| bound.seconds)
    }

    /// The time of the optimal schedule of whole pieces of this size, where it is known.
    pub fn pipeline_seconds(&self, piece_bytes: u32) -> Option<f64> {
        let links = (self.segments.is_empty() && !self.is_unlimited()).then(|| self.present_links())?;
        pipeline_seconds(self.artifact.bytes.0, piece_bytes, self.seeder.up.0, &links)
    }
}
