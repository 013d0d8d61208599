//! The last numbers that this site gave out; devices refuse what does not grow.

use samara_protocol::document::{Enrollment, Envelope, Release, Rollout};
use samara_protocol::id::PeerId;
use samara_protocol::wire::DocumentKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

    /// Raises the counter that an envelope of this site carries; whether it was behind.
    pub fn raise_to(&mut self, envelope: &[u8]) -> bool {
        let Ok(envelope) = Envelope::parse(envelope) else { return false };
        match envelope.kind() {
            Ok(DocumentKind::Release) => envelope.unverified_payload::<Release>().is_ok_and(|release| {
                let last = self.last_release(&release.issuer, &release.product, &release.channel);
                self.raise_release(&release.issuer, &release.product, &release.channel, release.number);
                last < release.number
            }),
            Ok(DocumentKind::Rollout) => envelope.unverified_payload::<Rollout>().is_ok_and(|rollout| {
                raise(self.rollouts.entry(rollout.rollout_id.to_string()).or_default(), rollout.sequence)
            }),
            Ok(DocumentKind::Enrollment) => envelope
                .unverified_payload::<Enrollment>()
                .is_ok_and(|e| raise(self.enrollments.entry(e.device).or_default(), e.sequence)),
            _ => false,
        }
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

fn raise(last: &mut u64, to: u64) -> bool {
    let was_behind = *last < to;
    *last = (*last).max(to);
    was_behind
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
