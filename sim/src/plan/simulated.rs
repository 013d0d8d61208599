//! What a plan asks for that only the simulator can do.

use super::Size;
use serde::Deserialize;

/// The `[simulated]` table of a plan.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Simulated {
    /// Bytes that a device's disk takes in a second; without limit if not given.
    pub disk: Option<Size>,
    /// Devices that send wrong bytes in place of right ones. They need not finish.
    pub liars: Vec<usize>,
}

impl Simulated {
    pub(super) fn check(&self, devices: usize) -> Result<(), (&'static str, String)> {
        match self.liars.iter().find(|liar| **liar >= devices) {
            Some(wrong) => {
                Err(("simulated.liars", format!("names device {wrong}, the last is {}", devices - 1)))
            }
            None => Ok(()),
        }
    }
}
