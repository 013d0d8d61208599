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

/// A site of several products may have more releases on offer than a peer takes part in at once.
#[test]
fn a_release_for_which_there_is_no_room_beside_the_others_is_named_and_comes_when_another_one_goes() {
    // Together they have as many contents as are taken.
    const CHANNELS: usize = 8;
    let mut site = Site::new("closed", 1);
    let publish = |channel: usize| {
        let mut description = String::new();
        for number in 0..ARTIFACTS {
            let name = format!("{channel}-{number}");
            std::fs::write(site.scratch.path().join(&name), &name).unwrap();
            description.push_str(&format!("[[artifact]]\npath = '{name}'\n"));
        }
        let path = site.scratch.path().join("release.toml");
        std::fs::write(&path, description).unwrap();
        let mut publish = samara();
        publish.args(["--json", "publish", "--yes", "--channel", &channel.to_string(), "--from"]);
        let done = ok(publish.arg(&path).arg("--site").arg(site.dir())).stdout;
        let done: serde_json::Value = serde_json::from_slice(&done).unwrap();
        done["release"].as_str().unwrap().to_owned()
    };
    let published: Vec<String> = (0..CHANNELS).map(publish).collect();
    let last = publish(CHANNELS);
    let documents = site.dir().join("documents");
    let place = documents.join(format!("release-{}.json", &last[..10]));
    let aside = site.scratch.path().join("aside.json");
    std::fs::rename(&place, &aside).unwrap();
    site.start_devices();
    let mut seeder = site.serve(&[]);
    let is_installed = |release: &str| {
        let releases = site.devices[0].status().unwrap()["releases"].as_array().unwrap().clone();
        releases.iter().any(|one| one["id"] == release && one["state"] == "installed")
    };
    wait_for("eight releases", || published.iter().all(|release| is_installed(release)).then_some(()));
    std::fs::rename(&aside, &place).unwrap();
    let named = wait_for("the ninth to be named", || {
        seeder.events("release").into_iter().find(|event| event["state"] == "unavailable")
    });
    assert_eq!(named["release"], last.as_str());
    assert!(named["reason"].as_str().unwrap().contains("at once"), "{named}");
    let mut withdraw = samara();
    withdraw.args(["withdraw", "--yes", "--purge", "--reason", "room", "--site"]);
    ok(withdraw.arg(site.dir()).arg(&published[0]));
    wait_for("the ninth in the place of the withdrawn one", || is_installed(&last).then_some(()));
    assert_eq!(seeder.stop(), 0);
}

/// A pause threw away what had come, and a device that heard of it late fetched nothing: the laptop sent all of it again.
#[test]
fn a_paused_release_comes_to_devices_all_the_same_and_waits_there_for_the_word_to_go_on() {
    let mut site = Site::new("closed", 1);
    let first = site.publish_noise(MIB);
    site.start_devices();
    let mut seeder = site.serve(&[]);
    site.wait_installed(&first);
    assert_eq!(seeder.stop(), 0);
    let next = noise(3 * MIB, 2);
    let path = site.scratch.path().join("next.bin");
    std::fs::write(&path, &next).unwrap();
    let mut publish = samara();
    publish.args(["--json", "publish", "--yes", "--destination", "app", "--version", "2", "--site"]);
    let published = ok(publish.arg(site.dir()).arg(&path)).stdout;
    let published: serde_json::Value = serde_json::from_slice(&published).unwrap();
    let roll_out = |verb: &str| {
        let mut command = samara();
        command.args(["rollout", verb, "--yes", "--site"]).arg(site.dir());
        ok(command.arg(published["release"].as_str().unwrap()));
    };
    roll_out("pause");
    let mut seeder = site.serve(&[]);
    let waiting = wait_for("the paused release to stand ready", || {
        let releases = site.devices[0].status()?["releases"].as_array()?.clone();
        releases.into_iter().find(|one| one["version"] == "2" && one["state"] == "waiting")
    });
    assert_eq!(
        (&waiting["reason"], &waiting["bytes_have"]),
        (&"the rollout is paused".into(), &(3 * MIB).into())
    );
    assert_eq!(site.devices[0].installed(), Some(first));
    let row = site.wait_reported(&site.devices[0], |row| row["state"] == "installed");
    assert_eq!(row["reason"], "", "{row}");
    assert_eq!(seeder.stop(), 0);
    roll_out("resume");
    let mut seeder = site.serve(&[]);
    site.wait_installed(&next);
    assert_eq!(seeder.stop(), 0);
    let left = seeder.events("left").pop().unwrap();
    assert!(left["sent_bytes"].as_u64().unwrap() < MIB as u64, "{left}");
}
