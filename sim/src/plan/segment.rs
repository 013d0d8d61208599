//! Parts of a site behind a link of their own: a switch in another hall, a VLAN behind a router.

use super::{Discovery, Link, Plan, Rate};
use serde::Deserialize;
use std::collections::BTreeSet;

/// More segments than this are no longer one site.
const SEGMENTS_MAX: usize = 32;

/// One of the `[[segments]]` of a plan: devices behind a switch that one link joins to the switch of all others.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Which devices. The seeder and the devices that no segment names are at the common switch.
    pub devices: Vec<usize>,
    /// From the segment to the common switch.
    pub up: Rate,
    /// From the common switch to the segment.
    pub down: Rate,
    /// Delay, loss and queue of the link between.
    #[serde(default)]
    pub link: Link,
}

impl Plan {
    /// The segment that a device is in, by its place in the plan.
    pub fn segment_of(&self, device: usize) -> Option<usize> {
        self.segments.iter().position(|segment| segment.devices.contains(&device))
    }

    /// No segment has everything before its link has carried it.
    pub(super) fn segment_bound_seconds(&self) -> f64 {
        let present = |segment: &&Segment| segment.devices.iter().any(|device| !self.joins_late(*device));
        let rates = self.segments.iter().filter(present).map(|segment| segment.down.0);
        rates.min().map_or(0.0, |rate| self.artifact.bytes.0 as f64 * 8.0 / rate as f64)
    }

    pub(super) fn check_segments(&self) -> Result<(), (&'static str, String)> {
        let (segments, last) = (&self.segments, self.devices.count - 1);
        if segments.len() > SEGMENTS_MAX {
            return Err(("segments", format!("are {}, expected at most {SEGMENTS_MAX}", segments.len())));
        }
        let mut seen = BTreeSet::new();
        for device in segments.iter().flat_map(|segment| &segment.devices) {
            if *device > last {
                return Err(("segments", format!("name device {device}, the last is {last}")));
            }
            if !seen.insert(device) {
                return Err(("segments", format!("name device {device} twice, expected once")));
            }
        }
        if segments.iter().any(|segment| segment.devices.is_empty()) {
            return Err(("segments", "have one without devices, expected at least one in each".into()));
        }
        // Multicast ends where a segment ends.
        if !segments.is_empty() && self.network.discovery != Discovery::Static {
            let expected = "network.discovery = \"static\": multicast does not leave a segment";
            return Err(("segments", format!("are there, expected {expected}")));
        }
        Ok(())
    }
}
