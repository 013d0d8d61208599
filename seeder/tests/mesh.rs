//! Stories of a whole site, on real processes, sockets and disks.

mod support;

use std::io::{Seek as _, SeekFrom, Write as _};
use support::{Device, Site, noise, ok, samara, wait_for};

const MIB: usize = 1 << 20;

#[test]
fn a_release_reaches_every_device_while_it_leaves_the_laptop_once_and_the_laptop_may_go() {
    let mut site = Site::new("open", 3);
    let content = site.publish_noise(6 * MIB);
    site.start_devices();
    let mut seeder = site.serve(&["--uplink-limit", "40mbit", "--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    site.wait_installed(&content);
    let left = seeder.events("left").pop().unwrap();
    assert_eq!(left["safe"], true);
    assert!(left["copies"].as_f64().unwrap() <= 1.05, "{left}");
    for device in &site.devices {
        let release = wait_for("the release to count as installed", || {
            device.release().filter(|release| release["state"] == "installed")
        });
        assert_eq!(release["bytes_have"], release["bytes_total"]);
    }
}

#[test]
fn a_device_that_is_killed_while_it_receives_goes_on_where_it_was() {
    let mut site = Site::new("open", 2);
    let content = site.publish_noise(8 * MIB);
    site.start_devices();
    let _seeder = site.serve(&["--uplink-limit", "20mbit"]);
    let before = wait_for("half of the bytes", || {
        let have = site.devices[1].release()?["bytes_have"].as_u64()?;
        (have > 3 * MIB as u64).then_some(have)
    });
    site.devices[1].kill();
    site.devices[1].start();
    site.wait_installed(&content);
    let release = site.devices[1].release().unwrap();
    let fetched: u64 = release["sources"].as_object().unwrap().values().filter_map(|v| v.as_u64()).sum();
    assert!(fetched + before <= content.len() as u64 + 131_072, "{before} were there, {fetched} came again");
}

#[test]
fn bytes_that_were_damaged_while_a_device_was_down_are_found_and_fetched_again() {
    let mut site = Site::new("open", 3);
    let content = site.publish_noise(4 * MIB);
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    site.wait_installed(&content);
    let damages: [fn(&std::path::Path); 3] = [
        |path| {
            let mut file = std::fs::File::options().write(true).open(path).unwrap();
            file.seek(SeekFrom::Start(2 * MIB as u64)).unwrap();
            file.write_all(b"flipped").unwrap();
        },
        |path| std::fs::File::options().write(true).open(path).unwrap().set_len(MIB as u64).unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
    ];
    for damage in damages {
        site.devices[2].stop();
        damage(&site.devices[2].stored_file());
        site.devices[2].start();
        let release = wait_for("the damage to be repaired", || {
            let release = site.devices[2].release()?;
            (release["bytes_have"] == release["bytes_total"]).then_some(release)
        });
        let fetched: u64 = release["sources"].as_object().unwrap().values().filter_map(|v| v.as_u64()).sum();
        assert!(fetched > 0, "{release}");
        assert_eq!(site.devices[2].installed().unwrap(), content);
    }
}

#[test]
fn a_closed_mesh_lets_no_stranger_in() {
    let mut site = Site::new("closed", 2);
    let content = site.publish_noise(MIB);
    site.add_device();
    site.start_devices();
    let _seeder = site.serve(&[]);
    for device in &site.devices[..2] {
        wait_for("an enrolled device to install", || (device.installed()? == content).then_some(()));
    }
    let stranger = site.devices[2].status().unwrap();
    assert_eq!(stranger["neighbours"].as_array().unwrap().len(), 0, "{stranger}");
    assert_eq!(stranger["releases"].as_array().unwrap().len(), 0, "{stranger}");
    let id = site.devices[2].id.clone();
    assert!(site.devices[2].installed().is_none());
    ok(samara().args(["enroll", "--site"]).arg(site.dir()).arg(&id));
}

#[test]
fn a_file_that_changes_while_it_is_served_is_noticed_and_never_reaches_a_device() {
    let mut site = Site::new("open", 2);
    site.publish_noise(16 * MIB);
    site.start_devices();
    let mut seeder = site.serve(&["--uplink-limit", "20mbit"]);
    wait_for("the first bytes", || (site.devices[1].release()?["bytes_have"].as_u64()? > 0).then_some(()));
    let path = site.scratch.path().join("artifact.bin");
    std::fs::write(&path, noise(16 * MIB, 2)).unwrap();
    assert_eq!(seeder.wait(), 5);
    let said = std::fs::read_to_string(site.scratch.path().join("serve.log")).unwrap();
    assert!(said.contains("artifact.bin") && said.contains("changed"), "{said}");
    assert!(site.devices.iter().all(|device| device.installed().is_none()));
}

#[test]
fn a_seeder_that_is_killed_and_comes_back_goes_on_where_it_was() {
    let mut site = Site::new("open", 2);
    let content = site.publish_noise(8 * MIB);
    site.start_devices();
    let mut seeder = site.serve(&["--uplink-limit", "20mbit"]);
    wait_for("a third of the bytes", || {
        (site.devices[1].release()?["bytes_have"].as_u64()? > 3 * MIB as u64).then_some(())
    });
    let sent_before = seeder.events("progress").pop().unwrap()["sent_bytes"].as_u64().unwrap();
    seeder.kill();
    let seeder = site.serve(&["--uplink-limit", "20mbit"]);
    site.wait_installed(&content);
    let sent_after = wait_for("a last view", || seeder.events("progress").pop()?["sent_bytes"].as_u64());
    let copies = (sent_before + sent_after) as f64 / content.len() as f64;
    assert!(copies <= 1.12, "{copies} copies");
}

#[test]
fn a_late_device_gets_everything_from_its_peers_and_status_tells_of_the_whole_site() {
    let mut site = Site::new("open", 3);
    let content = site.publish_noise(2 * MIB);
    let mut late = site.devices.pop().unwrap();
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    site.wait_installed(&content);
    late.start();
    wait_for("the late device", || (late.installed()? == content).then_some(()));
    let mut status = samara();
    status.args(["--json", "status", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    status.args(["--peer", &site.devices[0].address, "--site"]).arg(site.dir());
    let installed = wait_for("three reports", || {
        let output = ok(&mut status);
        let text = String::from_utf8(output.stdout).unwrap();
        (text.matches("\"state\":\"installed\"").count() == 3).then_some(text)
    });
    assert!(installed.contains(&late.id), "{installed}");
}

#[test]
fn a_withdrawn_release_is_not_installed_by_a_device_that_comes_later() {
    let mut site = Site::new("open", 2);
    let content = site.publish_noise(MIB);
    let mut late = site.devices.pop().unwrap();
    site.start_devices();
    let mut seeder = site.serve(&[]);
    site.wait_installed(&content);
    seeder.stop();
    let release = site.devices[0].release().unwrap()["id"].as_str().unwrap().to_owned();
    ok(samara().args(["withdraw", "--yes", "--reason", "it bricks", "--site"]).arg(site.dir()).arg(&release));
    site.publish(&site.scratch.path().join("site/node.toml"), "2");
    let _seeder = site.serve(&[]);
    late.start();
    let second = std::fs::read(site.dir().join("node.toml")).unwrap();
    wait_for("the second release", || (late.installed()? == second).then_some(()));
    assert!(
        late.status().unwrap()["releases"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["id"] != release || r["state"] != "installed")
    );
}

#[test]
fn what_a_device_does_not_install_or_should_not_have_reaches_the_operator_with_the_reason() {
    let mut site = Site::new("open", 1);
    let path = site.scratch.path().join("site/node.toml");
    let of_device = |site: &Site, id: &str| {
        let releases = site.devices[0].status()?["releases"].as_array()?.clone();
        releases.into_iter().find(|release| release["id"] == id)
    };
    let mut publish = samara();
    publish.args(["publish", "--yes", "--json", "--product", "door", "--channel", "beta", "--site"]);
    let published = ok(publish.arg(site.dir()).arg(&path)).stdout;
    let published: serde_json::Value = serde_json::from_slice(&published).unwrap();
    let door = published["release"].as_str().unwrap();
    site.start_devices();
    let mut seeder = site.serve(&[]);
    let row = site.wait_reported(&site.devices[0], |row| row["state"] == "not_applicable");
    assert_eq!(
        (&row["release"], &row["reason"]),
        (&door.into(), &"it is for door, this device is a default".into())
    );
    let shown = of_device(&site, door).unwrap();
    assert_eq!((&shown["state"], &shown["channel"]), (&"not_applicable".into(), &"beta".into()));
    seeder.stop();

    site.publish(&path, "1");
    let mut seeder = site.serve(&[]);
    let row = site.wait_reported(&site.devices[0], |row| row["state"] == "installed");
    assert_eq!(row["versions"]["default"], "1");
    seeder.stop();
    let installed = row["release"].as_str().unwrap();
    ok(samara()
        .args(["withdraw", "--yes", "--reason", "it bricks", "--site"])
        .arg(site.dir())
        .arg(installed));
    let _seeder = site.serve(&[]);
    let row = site.wait_reported(&site.devices[0], |row| row["state"] == "withdrawn");
    assert_eq!((&row["release"], &row["reason"]), (&installed.into(), &"it bricks; still installed".into()));
    assert_eq!(row["versions"]["default"], "1");
    let shown = of_device(&site, installed).unwrap();
    assert_eq!((&shown["state"], &shown["reason"]), (&"withdrawn".into(), &row["reason"]));
}

#[test]
fn a_device_never_goes_back_below_a_security_counter_that_it_has_installed() {
    let mut site = Site::new("open", 1);
    let folder = site.scratch.path().to_path_buf();
    let publish = |site: &Site, version: &str, counter: &str| -> String {
        let file = folder.join(format!("{version}.bin"));
        std::fs::write(&file, version).unwrap();
        let mut publish = samara();
        publish.args(["publish", "--yes", "--json", "--destination", "app", "--version", version]);
        publish.args(["--security-counter", counter, "--site"]).arg(site.dir()).arg(file);
        let published: serde_json::Value = serde_json::from_slice(&ok(&mut publish).stdout).unwrap();
        published["release"].as_str().unwrap().to_owned()
    };
    let old = publish(&site, "old", "1");
    let new = publish(&site, "new", "3");
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    site.wait_installed(b"new");
    ok(samara().args(["withdraw", "--yes", "--reason", "it leaks", "--site"]).arg(site.dir()).arg(&new));

    // The older one is offered again; nobody takes it, and the seeder says why instead of waiting.
    let why = "its security counter 1 is below 3, the floor that an installed release has set";
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 9);
    let unsuited = seeder.events("unsuited").pop().unwrap();
    assert_eq!((&unsuited["release"], &unsuited["reason"]), (&old.as_str().into(), &why.into()));
    for _ in 0..2 {
        let row = site.wait_reported(&site.devices[0], |row| row["state"] == "withdrawn");
        assert_eq!(
            (&row["release"], &row["reason"]),
            (&new.as_str().into(), &"it leaks; still installed".into())
        );
        let shown = wait_for("the older release in the device's own status", || {
            let releases = site.devices[0].status()?["releases"].as_array()?.clone();
            releases.into_iter().find(|release| release["id"] == old.as_str())
        });
        assert_eq!((&shown["state"], &shown["reason"]), (&"not_applicable".into(), &why.into()));
        assert_eq!(site.devices[0].installed().unwrap(), b"new");
        site.devices[0].stop();
        site.devices[0].start();
    }
}

#[test]
fn a_restart_never_puts_a_superseded_release_back() {
    let mut site = Site::new("open", 1);
    let (old, new) = (noise(200_000, 1), noise(200_000, 2));
    let folder = site.scratch.path().to_path_buf();
    std::fs::write(folder.join("old.bin"), &old).unwrap();
    std::fs::write(folder.join("new.bin"), &new).unwrap();
    // What the old releases need stays at hand, since the newest one installs it elsewhere.
    (1..5).for_each(|version| site.publish(&folder.join("old.bin"), &version.to_string()));
    let description = "[[artifact]]\npath = \"new.bin\"\nname = \"new\"\ndestination = \"app\"\n\
                       [[artifact]]\npath = \"old.bin\"\nname = \"old\"\ndestination = \"fallback\"\n";
    std::fs::write(folder.join("release.toml"), description).unwrap();
    let release = folder.join("release.toml");
    ok(samara().args(["publish", "--yes", "--site"]).arg(site.dir()).arg("--from").arg(release));
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    site.wait_installed(&new);
    for _ in 0..3 {
        site.devices[0].stop();
        site.devices[0].start();
        wait_for("the release to count as installed", || {
            site.devices[0].release().filter(|release| release["state"] == "installed")
        });
        for _ in 0..20 {
            assert!(site.devices[0].installed().unwrap() == new, "an older release is back");
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
    }
}

#[test]
fn a_device_that_is_refused_or_meets_another_site_or_its_own_key_says_so_in_log_and_status() {
    let mut site = Site::new("closed", 1);
    let mut other = Site::new("closed", 1);
    site.add_device(); // not enrolled
    site.add_device(); // a copy of the first, on another machine
    let [first, stranger, copy] = &site.devices[..] else { panic!("three devices") };
    std::fs::copy(first.dir.join("data/identity.key"), copy.dir.join("data/identity.key")).unwrap();
    copy.configure("listen = [\"/ip4/127.0.0.1/", "listen = [\"/ip4/127.0.0.2/");
    other.devices[0].configure("peers = []", &format!("peers = [{:?}]", first.address));
    assert_ne!(stranger.id, first.id);
    site.start_devices();
    other.start_devices();
    for (device, name, words) in [
        (&site.devices[1], "not_enrolled", "1 peer refused this device"),
        (&site.devices[2], "cloned_identity", &*site.devices[0].address),
        (&site.devices[0], "other_site", "1 peer seen"),
        (&other.devices[0], "other_site", "wrong trust root"),
    ] {
        let alarm = wait_for(name, || {
            let status = device.status()?;
            status["alarms"].as_array().unwrap().iter().find(|alarm| alarm["name"] == name).cloned()
        });
        assert!(alarm["detail"].as_str().unwrap().contains(words), "{alarm}");
        assert!(alarm["since_seconds"].as_u64().unwrap() < 60, "{alarm}");
        let logged = device.events("alarm").iter().filter(|event| event["name"] == name).count();
        assert_eq!(logged, 1);
    }
}

#[test]
fn devices_that_refused_each_other_before_they_were_enrolled_share_as_soon_as_they_are() {
    let mut site = Site::new("closed", 0);
    (0..3).for_each(|_| site.add_device());
    let content = site.publish_noise(6 * MIB);
    site.start_devices();
    // The waits between two dials grow: the next ones would come when the release is there.
    let refused = || site.devices[0].lines("not a member of this mesh").len();
    wait_for("refusals", || (refused() >= 8).then_some(()));
    let is_alarmed = |device: &Device| {
        let status = device.status()?;
        Some(status["alarms"].as_array()?.iter().any(|alarm| alarm["name"] == "not_enrolled"))
    };
    assert_eq!(site.devices.iter().map(is_alarmed).collect::<Vec<_>>(), [Some(true); 3]);
    site.enroll();
    // It knows the first device only; the others hear of everything by way of that one.
    let mut seeder = site.serve(&["--uplink-limit", "8mbit", "--until-safe"]);
    let neighbours = |device: &Device| Some(device.status()?["neighbours"].as_array()?.len());
    wait_for("all to be connected", || {
        site.devices.iter().all(|device| neighbours(device) >= Some(2)).then_some(())
    });
    let early = site.devices[0].release().unwrap()["bytes_have"].as_u64().unwrap();
    assert!(early < content.len() as u64, "the release was there before the neighbours");
    assert_eq!(seeder.wait(), 0);
    site.wait_installed(&content);
    for device in &site.devices {
        let sources = device.release().unwrap()["sources"].clone();
        let others = site.devices.iter().map(|other| sources[&other.id].as_u64().unwrap_or(0));
        assert!(others.sum::<u64>() > 0, "{sources}");
        wait_for("the alarm to end with its cause", || is_alarmed(device).filter(|alarmed| !alarmed));
    }
}
