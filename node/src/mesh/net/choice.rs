//! Which of two connections between one pair of peers stays.
//!
//! The two sides decide alone and must agree. A dialler gives a needless connection up before it opens a stream, so
//! whoever sees all streams of a connection knows that its dialler wanted it when it was authenticated. What is left
//! is two connections that both were wanted: dialled at the same time, or dialled anew by a peer that has forgotten
//! the older one, because it was restarted. Age tells these apart.

use std::time::Duration;

/// Connections that were dialled at the same time are complete within this; a peer takes longer to restart.
pub(super) const SIMULTANEOUS_MAX: Duration = Duration::from_secs(5);

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) dialled_by_us: bool,
    /// All its streams stand.
    pub(super) is_live: bool,
}

/// Whether we keep a connection that we dialled, when it is authenticated and `others` with the peer are held.
pub(super) fn is_dial_kept<'a>(we_are_smaller: bool, mut others: impl Iterator<Item = &'a Held>) -> bool {
    others.all(|other| we_are_smaller && !other.dialled_by_us && !other.is_live)
}

/// Whether a connection that has just become complete replaces the one in use, which is so old.
pub(super) fn replaces(
    we_are_smaller: bool,
    newer_dialled_by_us: bool,
    used_dialled_by_us: bool,
    used_age: Duration,
) -> bool {
    let newer_dialled_by_smaller = newer_dialled_by_us == we_are_smaller;
    newer_dialled_by_us == used_dialled_by_us || newer_dialled_by_smaller || used_age > SIMULTANEOUS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const YOUNG: Duration = Duration::from_millis(10);
    const OLD: Duration = Duration::from_secs(60);

    #[test]
    fn a_dial_is_given_up_when_the_peer_is_connected_or_the_smaller_one_dialled_too() {
        let theirs = Held { dialled_by_us: false, is_live: false };
        let live = Held { is_live: true, ..theirs };
        let ours = Held { dialled_by_us: true, is_live: false };
        assert!(is_dial_kept(true, [].iter()) && is_dial_kept(false, [].iter()));
        assert!(is_dial_kept(true, [theirs].iter()));
        assert!(!is_dial_kept(false, [theirs].iter()));
        assert!(!is_dial_kept(true, [live].iter()) && !is_dial_kept(true, [ours].iter()));
    }

    #[test]
    fn both_sides_keep_what_the_smaller_dialled_whatever_order_they_see() {
        // The smaller side's view first, then the larger's: (newer by us, used by us).
        assert!(!replaces(true, false, true, YOUNG) && replaces(false, false, true, YOUNG));
        assert!(replaces(true, true, false, YOUNG) && !replaces(false, true, false, YOUNG));
    }

    #[test]
    fn a_restarted_peer_replaces_its_old_connection_whoever_had_dialled_it() {
        for we_are_smaller in [true, false] {
            assert!(replaces(we_are_smaller, false, false, YOUNG));
            assert!(replaces(we_are_smaller, false, true, OLD));
        }
    }
}
