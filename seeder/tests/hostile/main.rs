//! Stories of peers that mean harm: wrong bytes, false claims, documents that must not be believed, floods.

mod documents;
mod flood;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use support::hostile::{Identity, Wire, runtime};
use support::liar::{Ledger, Loot, lie};
use support::{Site, wait_for};

const MIB: usize = 1 << 20;

#[test]
fn a_peer_that_sends_wrong_bytes_is_named_and_refused_and_the_release_completes_without_it() {
    let mut site = Site::new("closed", 4);
    let content = site.publish_noise(8 * MIB);
    let thief = site.devices.pop().unwrap();
    let (runtime, identity, ledger) = (runtime(), Identity::stolen(&site, &thief), Ledger::default());
    let loot = Arc::new(runtime.block_on(Loot::take(&site.scratch.path().join("artifact.bin"))));
    site.start_devices();
    for device in &site.devices {
        runtime.spawn(lie(identity.clone(), device.address.clone(), Some(loot.clone()), ledger.clone()));
    }
    let _seeder = site.serve(&["--uplink-limit", "40mbit"]);
    site.wait_installed(&content);

    let spoiled = ledger.lock().unwrap().spoiled.clone();
    for device in &site.devices {
        let violations = device.events("peer_violation");
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert_eq!(violations[0]["peer"], thief.id.as_str(), "an honest peer passed something wrong on");
        let reason = violations[0]["reason"].as_str().unwrap();
        let names = |(content, group): &_| {
            reason.contains(&format!("wrong bytes for chunk group {group} of {content}"))
        };
        assert!(spoiled.iter().any(names), "{reason}, but {spoiled:?} were sent");
        let release = device.release().unwrap();
        assert!(release["sources"].get(&thief.id).is_none(), "{release}");
        for _ in 0..3 {
            let again = runtime.block_on(Wire::dial(identity.secret, &device.address));
            assert!(again.is_err(), "the peer was let in again");
        }
    }
}

#[test]
fn a_seeder_does_not_leave_for_the_claims_of_peers_that_nobody_enrolled() {
    let mut site = Site::new("open", 2);
    let content = site.publish_noise(4 * MIB);
    let mut seeder = site.serve(&["--uplink-limit", "40mbit", "--until-safe"]);
    let address = wait_for("the seeder to listen", || seeder.events("listening").pop());
    let address = address["address"].as_str().unwrap().to_owned();
    let (runtime, ledger) = (runtime(), Ledger::default());
    for number in 1..=3 {
        let stranger = Identity::stranger(&site, number);
        runtime.spawn(lie(stranger, address.clone(), None, ledger.clone()));
    }
    let complete = |event: &serde_json::Value| {
        let devices = event["devices"].as_array().unwrap().clone();
        devices.iter().filter(|device| device["have_bytes"] == device["total_bytes"]).count()
    };
    wait_for("the claims to be heard for a while", || {
        (seeder.events("progress").iter().filter(|event| complete(event) == 3).count() >= 4).then_some(())
    });
    assert_eq!(seeder.events("safe_to_leave").len(), 0);

    site.start_devices();
    assert_eq!(seeder.wait(), 0);
    // Nobody but the two devices has anything from now on.
    drop(runtime);
    site.wait_installed(&content);
}
