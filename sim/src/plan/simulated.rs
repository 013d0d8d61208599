//! What a plan asks for that only the simulator can do.

use super::Size;
use serde::Deserialize;

/// The longest latency that a link may have, in milliseconds.
const LATENCY_MS_MAX: f64 = 10_000.0;

/// The `[simulated]` table of a plan.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Simulated {
    /// Milliseconds that anything needs over the seeder's link, one way.
    pub seeder_latency_ms: f64,
    /// Milliseconds that anything needs over a device's link, one way.
    pub device_latency_ms: f64,
    /// Bytes that a device's disk takes in a second; without limit if not given.
    pub disk: Option<Size>,
    /// Devices that send wrong bytes in place of right ones. They need not finish.
    pub liars: Vec<usize>,
}

impl Simulated {
    pub(super) fn check(&self, devices: usize) -> Result<(), (&'static str, String)> {
        let latencies = [
            ("simulated.seeder_latency_ms", self.seeder_latency_ms),
            ("simulated.device_latency_ms", self.device_latency_ms),
        ];
        if let Some((key, wrong)) = latencies.into_iter().find(|(_, ms)| !(0.0..=LATENCY_MS_MAX).contains(ms))
        {
            return Err((key, format!("is {wrong}, expected milliseconds up to {LATENCY_MS_MAX}")));
        }
        match self.liars.iter().find(|liar| **liar >= devices) {
            Some(wrong) => {
                Err(("simulated.liars", format!("names device {wrong}, the last is {}", devices - 1)))
            }
            None => Ok(()),
        }
    }
}
