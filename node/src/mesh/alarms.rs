//! Why a device may be alone, for the people who look at it: refusals by peers, strangers at the door.
//!
//! An alarm stands while its cause was seen in the last minutes, and ends by itself; that peers refuse this device ends
//! sooner, when one lets it in or its enrollment comes. What a peer says of itself or of us is not proven: alarms are
//! for people and decide nothing.

use samara_protocol::id::{PeerId, SiteId};
use samara_protocol::wire::Goodbye;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// An alarm ends when its cause was not seen for so long: several times the longest wait between two dials.
const STANDS: Duration = Duration::from_secs(120);
/// How often an alarm that stands is logged again.
const LOGGED_EVERY: Duration = Duration::from_secs(600);
/// Peers counted for one alarm; identities cost nothing to make.
const PEERS_MAX: usize = 256;

/// Something that people should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// For programs: `not_enrolled`, `revoked`, `other_site`, `version` or `cloned_identity`.
    pub name: String,
    /// How long ago it began.
    pub since_seconds: u64,
    /// For people.
    pub detail: String,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// A peer refused this one: not enrolled.
    NotEnrolled,
    /// A peer refused this one: revoked.
    Revoked,
    /// A peer of another site.
    OtherSite,
    /// A peer without a common version.
    Version,
    /// A peer with this one's identity.
    Cloned,
}

impl Cause {
    /// What a peer's goodbye means to us; `None` where it means nothing.
    pub(super) fn of(goodbye: Goodbye) -> Option<Self> {
        match goodbye {
            Goodbye::OtherSite => Some(Self::OtherSite),
            Goodbye::Version => Some(Self::Version),
            Goodbye::NotEnrolled => Some(Self::NotEnrolled),
            Goodbye::Revoked => Some(Self::Revoked),
            Goodbye::Unknown => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::NotEnrolled => "not_enrolled",
            Self::Revoked => "revoked",
            Self::OtherSite => "other_site",
            Self::Version => "version",
            Self::Cloned => "cloned_identity",
        }
    }
}

#[derive(Debug)]
struct Standing {
    since: Instant,
    seen: Instant,
    logged: Instant,
    peers: BTreeSet<PeerId>,
    /// What was seen last, in a few words.
    what: String,
}

/// The alarms of one peer.
#[derive(Debug)]
pub(super) struct Alarms {
    site: SiteId,
    standing: BTreeMap<Cause, Standing>,
}

impl Alarms {
    pub(super) fn new(site: SiteId) -> Self {
        Self { site, standing: BTreeMap::new() }
    }

    /// A cause was seen, with `peer` where one is known; `what` says more of it.
    pub(super) fn raise(&mut self, cause: Cause, peer: Option<PeerId>, what: String, now: Instant) {
        let is_over = |standing: &Standing| now - standing.seen > STANDS;
        if self.standing.get(&cause).is_some_and(is_over) {
            self.standing.remove(&cause);
        }
        let is_new = !self.standing.contains_key(&cause);
        let fresh =
            || Standing { since: now, seen: now, logged: now, peers: BTreeSet::new(), what: String::new() };
        let standing = self.standing.entry(cause).or_insert_with(fresh);
        (standing.seen, standing.what) = (now, what);
        if standing.peers.len() < PEERS_MAX {
            standing.peers.extend(peer);
        }
        if is_new || now - standing.logged >= LOGGED_EVERY {
            standing.logged = now;
            let detail = detail(self.site, cause, standing);
            tracing::warn!(target: "samara", event = "alarm", name = cause.name(), "{detail}");
        }
    }

    /// This device was enrolled, or a peer let it in: that others refused it before is over.
    pub(super) fn on_let_in(&mut self) {
        self.standing.retain(|cause, _| !matches!(cause, Cause::NotEnrolled | Cause::Revoked));
    }

    /// Those that stand.
    pub(super) fn view(&self, now: Instant) -> Vec<Alarm> {
        let stands = |(_, standing): &(&Cause, &Standing)| now - standing.seen <= STANDS;
        let view = |(&cause, standing): (&Cause, &Standing)| Alarm {
            name: cause.name().into(),
            since_seconds: (now - standing.since).as_secs(),
            detail: detail(self.site, cause, standing),
        };
        self.standing.iter().filter(stands).map(view).collect()
    }
}

fn detail(site: SiteId, cause: Cause, standing: &Standing) -> String {
    let peers = match standing.peers.len() {
        1 => "1 peer".into(),
        PEERS_MAX => format!("{PEERS_MAX} peers or more"),
        count => format!("{count} peers"),
    };
    let what = &standing.what;
    match cause {
        Cause::NotEnrolled => format!(
            "not enrolled: {peers} refused this device; enroll it at site {site}, or configure its enrollment"
        ),
        Cause::Revoked => {
            format!("revoked: {peers} refused this device, which the trust root of site {site} shuts out")
        }
        Cause::OtherSite => format!(
            "peers of another site: {peers} seen, one of site {what}; this device is of site {site}: if they belong together, one has the wrong trust root"
        ),
        Cause::Version => format!("no common protocol version with {peers}: update the older side"),
        Cause::Cloned => {
            format!("cloned identity: {what} has this device's key; give each device a data_dir of its own")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SiteId = SiteId([1; 16]);

    #[test]
    fn an_alarm_counts_peers_stands_while_its_cause_is_seen_and_begins_anew_later() {
        let (mut alarms, start) = (Alarms::new(SITE), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(alarms.view(at(0)), []);
        for (second, peer) in [(0, 1), (60, 2), (100, 2)] {
            alarms.raise(Cause::NotEnrolled, Some(PeerId([peer; 32])), String::new(), at(second));
        }
        let view = alarms.view(at(200));
        assert_eq!((&*view[0].name, view[0].since_seconds), ("not_enrolled", 200));
        assert!(view[0].detail.starts_with("not enrolled: 2 peers refused this device"), "{view:?}");
        assert_eq!(alarms.view(at(221)), []);
        alarms.raise(Cause::NotEnrolled, Some(PeerId([3; 32])), String::new(), at(300));
        let view = alarms.view(at(300));
        assert!(view[0].since_seconds == 0 && view[0].detail.contains("1 peer refused"), "{view:?}");
    }

    #[test]
    fn a_device_that_is_let_in_is_refused_no_longer_and_what_else_was_seen_stands() {
        let (mut alarms, now) = (Alarms::new(SITE), Instant::now());
        let peer = Some(PeerId([1; 32]));
        for cause in [Cause::NotEnrolled, Cause::Revoked, Cause::OtherSite, Cause::Version, Cause::Cloned] {
            alarms.raise(cause, peer, String::new(), now);
        }
        alarms.on_let_in();
        let names: Vec<_> = alarms.view(now).into_iter().map(|alarm| alarm.name).collect();
        assert_eq!(names, ["other_site", "version", "cloned_identity"]);
    }

    #[test]
    fn identities_without_end_take_no_more_room() {
        let (mut alarms, now) = (Alarms::new(SITE), Instant::now());
        for n in 0..2 * PEERS_MAX {
            let mut peer = [0; 32];
            peer[..8].copy_from_slice(&(n as u64).to_le_bytes());
            alarms.raise(Cause::OtherSite, Some(PeerId(peer)), SiteId([2; 16]).to_string(), now);
        }
        assert_eq!(alarms.standing[&Cause::OtherSite].peers.len(), PEERS_MAX);
        let detail = &alarms.view(now)[0].detail;
        assert!(detail.contains("256 peers or more") && detail.contains("0202") && detail.contains("0101"));
    }
}
