//! Whether the site still takes this laptop: by the trust root in force, and by what peers say when they turn it away.
//!
//! The trust root's word is proven, and ends a `serve` as soon as others could hear of it from here. What peers say is
//! not, and is only told.

use crate::failure::Failure;
use samara_node::mesh::Alarm;
use samara_protocol::document::TrustRoot;
use samara_protocol::id::PeerId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long a laptop that is shut out stays, so that devices which do not know it yet learn of it: several times as long
/// as a neighbour takes to ask for a new document and to check it.
const TELLS_FOR: Duration = Duration::from_secs(5);

/// What is known of this laptop's place on the mesh.
#[derive(Debug)]
pub(super) struct Welcome {
    me: PeerId,
    /// The trust root in force that shuts it out, and since when that is known.
    shut_out: Option<(u64, Instant)>,
    /// Names of the alarms that stand and were told.
    told: BTreeSet<String>,
}

impl Welcome {
    pub(super) fn of(me: PeerId) -> Self {
        Self { me, shut_out: None, told: BTreeSet::new() }
    }

    /// A trust root is in force; they come in the order of their versions.
    pub(super) fn on_trust_root(&mut self, root: &TrustRoot, now: Instant) {
        let since = self.shut_out.map_or(now, |(_, since)| since);
        self.shut_out = root.revoked_devices.contains(&self.me).then_some((root.version, since));
    }

    /// Those of the standing alarms that were not told yet; one that ended and comes again is told again.
    pub(super) fn news<'a>(&mut self, standing: &'a [Alarm]) -> Vec<&'a Alarm> {
        self.told.retain(|name| standing.iter().any(|alarm| alarm.name == *name));
        standing.iter().filter(|alarm| self.told.insert(alarm.name.clone())).collect()
    }

    /// Why there is nothing left to do here, when there is not.
    pub(super) fn is_over(&self, now: Instant) -> Option<Failure> {
        let (version, since) = self.shut_out?;
        (now.duration_since(since) >= TELLS_FOR).then(|| shut_out(self.me, version))
    }
}

/// This laptop's identity is revoked.
pub fn shut_out(me: PeerId, version: u64) -> Failure {
    Failure::trust(format_args!(
        "trust root version {version} shuts this laptop out ({me}): devices that know it refuse it; serve from another laptop, \
         whose identity is not revoked"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_protocol::document::{MeshAccess, Role, Roles};
    use samara_protocol::id::SiteId;

    const ME: PeerId = PeerId([7; 32]);

    fn root(version: u64, revoked_devices: Vec<PeerId>) -> TrustRoot {
        let role = || Role { keys: Vec::new(), threshold: 1 };
        let roles =
            Roles { root: role(), release: role(), rollout: role(), enroll: role(), operator: role() };
        TrustRoot { version, revoked_devices, ..TrustRoot::first(SiteId([1; 16]), roles, MeshAccess::Open) }
    }

    #[test]
    fn a_laptop_that_is_shut_out_stays_until_others_could_learn_of_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut welcome = Welcome::of(ME);
        welcome.on_trust_root(&root(2, vec![PeerId([8; 32])]), at(0));
        assert!(welcome.is_over(at(99)).is_none());
        welcome.on_trust_root(&root(3, vec![ME]), at(100));
        welcome.on_trust_root(&root(4, vec![ME]), at(103));
        assert!(welcome.is_over(at(104)).is_none());
        let said = welcome.is_over(at(105)).unwrap().to_string();
        assert!(said.contains("version 4 shuts this laptop out (0707"), "{said}");
        welcome.on_trust_root(&root(5, vec![]), at(105));
        assert!(welcome.is_over(at(199)).is_none());
    }

    #[test]
    fn an_alarm_is_told_once_while_it_stands_and_again_when_it_comes_back() {
        let alarm = |name: &str| Alarm { name: name.into(), since_seconds: 1, detail: String::new() };
        let mut welcome = Welcome::of(ME);
        let mut names = |standing: &[&str]| {
            let standing: Vec<_> = standing.iter().map(|name| alarm(name)).collect();
            welcome.news(&standing).iter().map(|alarm| alarm.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&["revoked"]), ["revoked"]);
        assert_eq!(names(&["revoked", "version"]), ["version"]);
        assert!(names(&["version"]).is_empty());
        assert_eq!(names(&["revoked"]), ["revoked"]);
    }
}
