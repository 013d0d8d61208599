//! How often one device's reports are taken: each costs a durable write at every device of the site.
//!
//! An honest device reports a few times for each release. What comes faster is left out, not refused: the newest report
//! is offered again with the next digest, and taken then.

use samara_protocol::id::PeerId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Reports of one device that are taken at once.
const BURST: u32 = 16;
/// And one more after each so long.
const ONE_EVERY: Duration = Duration::from_secs(2);

/// What is left of each device's share. Only enrolled devices report, so their number bounds it.
#[derive(Debug, Default)]
pub(super) struct Paces(BTreeMap<PeerId, Pace>);

#[derive(Debug)]
struct Pace {
    left: u32,
    since: Instant,
}

impl Paces {
    /// Whether a report of this device may be taken now; then it counts.
    pub(super) fn take(&mut self, device: PeerId, now: Instant) -> bool {
        let pace = self.0.entry(device).or_insert(Pace { left: BURST, since: now });
        let earned = (now.saturating_duration_since(pace.since).as_micros() / ONE_EVERY.as_micros()) as u32;
        if earned > 0 {
            pace.left = pace.left.saturating_add(earned).min(BURST);
            pace.since += ONE_EVERY * earned;
        }
        let may = pace.left > 0;
        pace.left = pace.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_reports_without_end_is_held_to_its_pace_and_others_are_not() {
        let (mut paces, start) = (Paces::default(), Instant::now());
        let (loud, quiet) = (PeerId([1; 32]), PeerId([2; 32]));
        let taken =
            (0..6000_u64).filter(|n| paces.take(loud, start + Duration::from_millis(n * 10))).count() as u32;
        assert_eq!(taken, BURST + 29);
        assert!(paces.take(quiet, start));
        // After a pause a burst is taken again, and no more than that.
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| paces.take(loud, later)).count() as u32, BURST);
    }
}
