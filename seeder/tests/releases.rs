//! Stories of several releases at once, and of large ones.

mod support;

use support::{Site, noise, ok, samara, wait_for};

const MIB: usize = 1 << 20;
/// As many as one release may have.
const ARTIFACTS: usize = 64;

#[test]
fn a_release_that_is_published_while_another_is_half_spread_takes_its_place_and_nobody_is_blamed() {
    let mut site = Site::new("closed", 2);
    site.publish_noise(24 * MIB);
    site.start_devices();
    let _seeder = site.serve(&["--uplink-limit", "30mbit"]);
    wait_for("a part of the first release", || {
        let have = site.devices.iter().map(|device| device.release()?["bytes_have"].as_u64());
        (have.sum::<Option<u64>>()? > 4 * MIB as u64).then_some(())
    });
    let next = noise(2 * MIB, 9);
    let path = site.dir().join("next.bin");
    std::fs::write(&path, &next).unwrap();
    site.publish(&path, "2");
    site.wait_installed(&next);
    for device in &site.devices {
        assert_eq!(device.events("peer_violation"), Vec::<serde_json::Value>::new());
    }
}

#[test]
fn a_release_of_as_many_artifacts_as_one_may_have_reaches_every_device() {
    let mut site = Site::new("closed", 2);
    let names: Vec<String> = (0..ARTIFACTS).map(|number| format!("part-{number}")).collect();
    let mut publish = samara();
    publish.args(["publish", "--yes", "--site"]).arg(site.dir());
    for (number, name) in names.iter().enumerate() {
        let path = site.scratch.path().join(name);
        std::fs::write(&path, noise(3000 + number, number as u64)).unwrap();
        publish.arg(path);
    }
    ok(&mut publish);
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    for device in &site.devices {
        wait_for("the last artifact to be in place", || {
            names.iter().all(|name| device.dir.join("install").join(name).exists()).then_some(())
        });
        for (number, name) in names.iter().enumerate() {
            let placed = std::fs::read(device.dir.join("install").join(name)).unwrap();
            assert_eq!(placed, noise(3000 + number, number as u64), "{name}");
        }
    }
}
