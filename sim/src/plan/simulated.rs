//! What a plan asks for that only the simulator can do.

use super::{Install, Liars, Lie, Size};
use samara_protocol::geometry::{PIECE_BYTES_MAX, PIECE_BYTES_MIN, REQUEST_BYTES_MAX};
use serde::Deserialize;

/// Devices above which they ask for whole pieces unless a plan says otherwise: a quarter of the events for a GiB.
const REQUESTS_IN_PARTS_MAX: usize = 250;

/// How transfers share links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Max-min fair over the whole site.
    Exact,
    /// Each link is divided evenly among its flows, whether or not they can use their part: cheap, and too slow where
    /// links are unequal.
    Local,
}

/// The `[simulated]` table of a plan.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Simulated {
    /// Bytes that a device's disk takes in a second; without limit if not given.
    pub disk: Option<Size>,
    /// Devices that do harm.
    pub liars: Vec<Liars>,
    /// How transfers share links; exactly up to a thousand devices if not given.
    pub sharing: Option<Sharing>,
    /// What one request asks for at most; if not given what the daemon asks for, on large sites a whole piece.
    pub request: Option<Size>,
    /// What devices do with the release once they have it; if not given, nothing.
    pub install: Option<Install>,
}

impl Simulated {
    pub(super) fn check(&self, devices: usize) -> Result<(), (&'static str, String)> {
        if let Some(Size(bytes)) = self.request
            && !(bytes.is_power_of_two()
                && (PIECE_BYTES_MIN.into()..=PIECE_BYTES_MAX.into()).contains(&bytes))
        {
            return Err(("simulated.request", "must be 128KiB, 256KiB, 512KiB, 1MiB or 2MiB".into()));
        }
        match self.liars.iter().flat_map(|liars| &liars.who).find(|liar| **liar >= devices) {
            Some(wrong) => {
                Err(("simulated.liars", format!("names device {wrong}, the last is {}", devices - 1)))
            }
            None => Ok(()),
        }
    }

    /// How a device lies; `None` for an honest one.
    pub fn lie(&self, device: usize) -> Option<Lie> {
        self.liars.iter().find(|liars| liars.who.contains(&device)).map(|liars| liars.lie)
    }

    /// What one request asks for at most at a site of so many devices.
    pub fn request_bytes(&self, devices: usize) -> u32 {
        let usual = if devices <= REQUESTS_IN_PARTS_MAX { REQUEST_BYTES_MAX } else { PIECE_BYTES_MAX };
        self.request.map_or(usual, |Size(bytes)| u32::try_from(bytes).unwrap_or(usual))
    }
}
