//! The last numbers that this site gave out; devices refuse what does not grow.

use crate::show::safe;
use samara_protocol::document::{Enrollment, Envelope, Release, Rollout};
use samara_protocol::id::PeerId;
use samara_protocol::wire::DocumentKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Counters that only grow. Kept in `sequences.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sequences {
    // issuer -> product -> channel -> the last release number
    releases: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
    // rollout id -> its last sequence
    rollouts: BTreeMap<String, u64>,
    enrollments: BTreeMap<PeerId, u64>,
}

/// A counter that was behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Raised {
    /// What it counts: `release`, `rollout`, `enrollment` or `trust_root`.
    pub kind: &'static str,
    /// Of which channel, rollout or device.
    pub of: String,
    /// What was known here.
    pub here: u64,
    /// What it is.
    pub site: u64,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, of, here, site } = self;
        match *kind {
            "release" => write!(f, "release {site} of {} (here {here})", safe(of)),
            "trust_root" => write!(f, "trust root version {site} (here {here})"),
            _ => write!(f, "{kind} {} sequence {site} (here {here})", of.get(..10).unwrap_or(of)),
        }
    }
}

impl Sequences {
    /// The last release number of a channel; 0 before the first.
    pub fn last_release(&self, issuer: &str, product: &str, channel: &str) -> u64 {
        let channels = self.releases.get(issuer).and_then(|products| products.get(product));
        channels.and_then(|channels| channels.get(channel)).copied().unwrap_or(0)
    }

    /// Records a release number; a smaller one changes nothing.
    pub fn raise_release(&mut self, issuer: &str, product: &str, channel: &str, number: u64) {
        let products = self.releases.entry(issuer.to_owned()).or_default();
        let last = products.entry(product.to_owned()).or_default().entry(channel.to_owned()).or_default();
        *last = (*last).max(number);
    }

    /// Raises the counter that an envelope of this site carries, and tells it where it was behind.
    pub fn raise_to(&mut self, envelope: &[u8]) -> Option<Raised> {
        let envelope = Envelope::parse(envelope).ok()?;
        let (kind, of, here, site) = match envelope.kind().ok()? {
            DocumentKind::Release => {
                let Release { issuer, product, channel, number, .. } = envelope.unverified_payload().ok()?;
                let here = self.last_release(&issuer, &product, &channel);
                self.raise_release(&issuer, &product, &channel, number);
                ("release", format!("{product} on {channel} by {issuer}"), here, number)
            }
            DocumentKind::Rollout => {
                let Rollout { rollout_id, sequence, .. } = envelope.unverified_payload().ok()?;
                let last = self.rollouts.entry(rollout_id.to_string()).or_default();
                ("rollout", rollout_id.to_string(), raise(last, sequence), sequence)
            }
            DocumentKind::Enrollment => {
                let Enrollment { device, sequence, .. } = envelope.unverified_payload().ok()?;
                let last = self.enrollments.entry(device).or_default();
                ("enrollment", device.to_string(), raise(last, sequence), sequence)
            }
            _ => return None,
        };
        (here < site).then_some(Raised { kind, of, here, site })
    }

    /// The last sequence of a rollout; 0 before the first.
    pub fn last_rollout(&self, rollout: &str) -> u64 {
        self.rollouts.get(rollout).copied().unwrap_or(0)
    }

    /// The last sequence of a device's enrollment; 0 when it was never enrolled.
    pub fn last_enrollment(&self, device: PeerId) -> u64 {
        self.enrollments.get(&device).copied().unwrap_or(0)
    }

    /// The next sequence of a rollout.
    pub fn next_rollout(&mut self, rollout: &str) -> u64 {
        next(self.rollouts.entry(rollout.to_owned()).or_default())
    }

    /// The next sequence of a device's enrollment.
    pub fn next_enrollment(&mut self, device: PeerId) -> u64 {
        next(self.enrollments.entry(device).or_default())
    }
}

// What it was before.
fn raise(last: &mut u64, to: u64) -> u64 {
    let before = *last;
    *last = before.max(to);
    before
}

fn next(last: &mut u64) -> u64 {
    *last += 1;
    *last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_grows_alone_and_survives_its_file() {
        let mut sequences = Sequences::default();
        assert_eq!((sequences.next_rollout("aa"), sequences.next_rollout("aa")), (1, 2));
        assert_eq!(sequences.next_rollout("bb"), 1);
        assert_eq!(sequences.next_enrollment(PeerId([7; 32])), 1);
        sequences.raise_release("acme", "pump", "stable", 9);
        sequences.raise_release("acme", "pump", "stable", 4);
        let text = serde_json::to_string(&sequences).unwrap();
        let mut back: Sequences = serde_json::from_str(&text).unwrap();
        assert_eq!(back, sequences);
        assert_eq!(back.last_release("acme", "pump", "stable"), 9);
        assert_eq!(back.last_release("acme", "pump", "beta"), 0);
        assert_eq!(back.next_enrollment(PeerId([7; 32])), 2);
    }
}
