//! What a running `samara serve` makes of changes around it, told with real processes on loopback.

mod support;

use samara_protocol::document::{Envelope, Report};
use samara_protocol::id::PeerId;
use samara_seeder::files;
use samara_seeder::site::SiteDir;
use serde_json::Value;
use support::{Seeder, Site, noise, ok, samara, wait_for};

const MIB: usize = 1024 * 1024;

/// Waits for what the seeder says of a release with this version.
fn wait_release(seeder: &Seeder, version: &str, state: &str) -> Value {
    wait_for(&format!("release {version} to be {state}"), || {
        seeder.events("release").into_iter().find(|e| e["version"] == version && e["state"] == state)
    })
}

#[test]
fn a_running_seeder_takes_up_what_is_published_enrolled_and_withdrawn_beside_it() {
    let mut site = Site::new("closed", 2);
    let first = site.publish_noise(MIB);
    site.add_device();
    site.start_devices();
    let mut seeder = site.serve(&[]);
    for device in &site.devices[..2] {
        wait_for("the first release", || (device.installed()? == first).then_some(()));
    }
    wait_release(&seeder, "1", "offered");

    let second = noise(2 * MIB, 2);
    let path = site.scratch.path().join("second.bin");
    std::fs::write(&path, &second).unwrap();
    site.publish(&path, "2");
    let offered = wait_release(&seeder, "2", "offered");
    for device in &site.devices[..2] {
        wait_for("the second release", || (device.installed()? == second).then_some(()));
    }
    wait_release(&seeder, "1", "superseded");

    ok(samara().args(["enroll", "--site"]).arg(site.dir()).arg(&site.devices[2].id));
    wait_for("the device that was let in", || (site.devices[2].installed()? == second).then_some(()));

    let bad = site.dir().join("documents/bad.json");
    std::fs::write(&bad, "no document").unwrap();
    let refused = wait_for("the bad file to be named", || seeder.events("refused").pop());
    assert_eq!(refused["file"], bad.to_str().unwrap());

    let release = offered["release"].as_str().unwrap();
    ok(samara().args(["withdraw", "--yes", "--reason", "it bricks", "--site"]).arg(site.dir()).arg(release));
    assert_eq!(wait_release(&seeder, "2", "withdrawn")["reason"], "it bricks");
    // The first one's rollout is still active: it is the newest that is left.
    wait_for("the first release to be offered again", || {
        let events = seeder.events("release");
        (events.iter().filter(|e| e["version"] == "1" && e["state"] == "offered").count() == 2).then_some(())
    });
    assert_eq!(seeder.stop(), 0);
}

#[test]
fn a_release_whose_bytes_are_gone_does_not_end_a_running_seeder() {
    let mut site = Site::new("open", 1);
    let first = site.publish_noise(MIB);
    site.start_devices();
    let mut seeder = site.serve(&[]);
    site.wait_installed(&first);
    let (path, copy) = (site.scratch.path().join("second.bin"), site.scratch.path().join("copy"));
    std::fs::write(&path, noise(MIB, 2)).unwrap();
    ok(std::process::Command::new("cp").arg("-r").arg(site.dir()).arg(&copy));
    ok(samara().args(["publish", "--yes", "--version", "2", "--site"]).arg(&copy).arg(&path));
    // Its documents alone come here, each file whole; this laptop does not know where the bytes are.
    for entry in std::fs::read_dir(copy.join("documents")).unwrap().flatten() {
        std::fs::rename(entry.path(), site.dir().join("documents").join(entry.file_name())).unwrap();
    }
    let unavailable = wait_release(&seeder, "2", "unavailable");
    assert!(unavailable["reason"].as_str().unwrap().contains("publish the release again"), "{unavailable}");
    assert_eq!(seeder.stop(), 0);
}

#[test]
fn a_source_that_is_replaced_is_noticed_though_nobody_asks_for_it() {
    let mut site = Site::new("open", 1);
    let content = site.publish_noise(MIB);
    site.start_devices();
    let mut seeder = site.serve(&[]);
    site.wait_installed(&content);
    wait_for("the seeder's work to be done", || seeder.events("safe_to_leave").pop());
    let path = site.scratch.path().join("artifact.bin");
    let other = site.scratch.path().join("other.bin");
    std::fs::write(&other, &content).unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(seeder.wait(), 5);
    let said = std::fs::read_to_string(site.scratch.path().join("serve.log")).unwrap();
    assert!(said.contains("artifact.bin was changed while it was served"), "{said}");
}

#[test]
fn a_release_that_only_one_device_has_a_use_for_ends_a_seeder_that_waits_for_safety() {
    let mut site = Site::new("open", 2);
    site.devices[1].configure("[device]", "[device]\nhardware = \"valve\"");
    let folder = site.scratch.path();
    std::fs::write(folder.join("a.bin"), noise(MIB, 1)).unwrap();
    let description = "[[artifact]]\npath = 'a.bin'\nwhen = { hardware = ['valve'] }\n";
    std::fs::write(folder.join("release.toml"), description).unwrap();
    ok(samara()
        .args(["publish", "--yes", "--site"])
        .arg(site.dir())
        .arg("--from")
        .arg(folder.join("release.toml")));
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    assert_eq!(seeder.wait(), 0);
    assert_eq!(seeder.events("left").pop().unwrap()["safe"], true);
    let progress = seeder.events("progress").pop().unwrap();
    let devices = progress["devices"].as_array().unwrap();
    assert!(devices.len() == 2 && devices.iter().all(|device| device["complete"] == true), "{progress}");
}

#[test]
fn a_seeder_whose_release_suits_no_device_says_so_and_does_not_wait_for_ever() {
    let mut site = Site::new("open", 1);
    let folder = site.scratch.path();
    std::fs::write(folder.join("a.bin"), "a").unwrap();
    let description = "compatibility = { hardware = ['valve'] }\n[[artifact]]\npath = 'a.bin'\n";
    std::fs::write(folder.join("release.toml"), description).unwrap();
    let mut publish = samara();
    publish.args(["--json", "publish", "--yes", "--site"]).arg(site.dir()).arg("--from");
    let published = ok(publish.arg(folder.join("release.toml"))).stdout;
    let published: Value = serde_json::from_slice(&published).unwrap();
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    wait_for("the device", || seeder.events("neighbour").pop());

    // The device's signed word, as it would come by the mesh.
    let key = ed25519_dalek::SigningKey::from_bytes(&site.devices[0].secret());
    let report = Report {
        boot: 1 << 40,
        state: "not_applicable".into(),
        reason: "it is not for hardware generic".into(),
        release: Some(published["release"].as_str().unwrap().parse().unwrap()),
        ..Report::empty(
            SiteDir::open(site.dir()).unwrap().settings().site,
            PeerId(key.verifying_key().to_bytes()),
        )
    };
    let mut envelope = Envelope::unsigned(&report).unwrap();
    envelope.sign(&key);
    files::replace(&site.dir().join("documents/report.json"), &envelope.to_bytes(), 0o644).unwrap();

    assert_eq!(seeder.wait(), 9);
    let unsuited = seeder.events("unsuited").pop().unwrap();
    assert_eq!((&unsuited["devices"], &unsuited["reason"]), (&1.into(), &report.reason.into()));
    assert_eq!(unsuited["release"], published["release"]);
}

#[test]
fn a_second_seeder_of_a_site_finds_it_busy_and_a_wrong_command_line_ends_in_an_event() {
    let site = Site::new("open", 1);
    site.publish_noise(MIB);
    let first = site.serve(&[]);
    wait_release(&first, "1", "offered");
    let mut second = samara();
    second.args(["--json", "serve", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--site"]);
    for (command, code) in [
        (second.arg(site.dir()), 8),
        (samara().args(["--json", "status", "--site", "x", "--wait", "18446744073709551615"]), 2),
    ] {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        let event: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&event["event"], &event["exit_code"]), (&"failed".into(), &code.into()));
    }
}

#[test]
fn a_revoked_device_is_let_in_no_more_and_the_other_gets_the_next_release() {
    let mut site = Site::new("closed", 2);
    let first = site.publish_noise(MIB);
    site.start_devices();
    let mut seeder = site.serve(&[]);
    site.wait_installed(&first);
    let [good, bad] = [0, 1].map(|at| site.devices[at].id.clone());
    ok(samara().args(["revoke", "--yes", "--site"]).arg(site.dir()).arg(&bad));
    let told = wait_for("the trust root to be in force", || seeder.events("trust_root").pop());
    assert_eq!((&told["version"], &told["revoked_devices"]), (&2.into(), &serde_json::json!([bad])));
    wait_for("the seeder to count one device", || {
        let progress = seeder.events("progress").pop()?;
        let devices: Vec<_> = progress["devices"].as_array()?.iter().map(|d| d["device"].clone()).collect();
        (devices == [good.as_str()]).then_some(())
    });
    site.devices[1].kill();
    site.devices[1].start();

    let second = noise(MIB, 2);
    let path = site.scratch.path().join("second.bin");
    std::fs::write(&path, &second).unwrap();
    site.publish(&path, "2");
    wait_for("the other device to have the next release", || {
        (site.devices[0].installed()? == second).then_some(())
    });
    wait_for("the revoked device to be told", || {
        let alarms = site.devices[1].status()?["alarms"].as_array()?.clone();
        alarms.iter().any(|alarm| alarm["name"] == "revoked").then_some(())
    });
    // It may greet the others, and hears nothing but that it is refused.
    let neighbours = site.devices[0].status().unwrap()["neighbours"].clone();
    assert!(neighbours.as_array().unwrap().iter().all(|one| one["peer"] != bad.as_str()), "{neighbours}");
    let last = seeder.events("neighbour").into_iter().rfind(|event| event["peer"] == bad.as_str());
    assert_eq!(last.unwrap()["connected"], false);
    assert_eq!(site.devices[1].status().unwrap()["releases"].as_array().unwrap().len(), 1);
    assert_eq!(site.devices[1].installed().unwrap(), first);
    assert!(seeder.events("waiting").is_empty() && seeder.events("refused").is_empty());
    assert_eq!(seeder.stop(), 0);
}

#[test]
fn devices_that_are_enrolled_while_they_are_connected_count_at_once() {
    let mut site = Site::new("open", 0);
    (0..2).for_each(|_| site.add_device());
    let content = site.publish_noise(MIB);
    site.start_devices();
    let mut seeder = site.serve(&["--until-safe"]);
    site.wait_installed(&content);
    wait_for("both to be neighbours", || (seeder.events("neighbour").len() >= 2).then_some(()));
    assert!(seeder.events("safe_to_leave").is_empty(), "strangers are no evidence");
    site.enroll();
    assert_eq!(seeder.wait(), 0);
    assert!(seeder.events("neighbour").iter().all(|event| event["connected"] == true));
}

#[test]
fn a_laptop_that_is_shut_out_says_so_and_ends_and_an_older_copy_of_it_hears_why_nobody_answers() {
    let mut site = Site::new("closed", 1);
    let content = site.publish_noise(MIB);
    site.start_devices();
    let mut seeder = site.serve(&[]);
    site.wait_installed(&content);
    let (now, older) = (site.dir(), site.scratch.path().join("older"));
    ok(std::process::Command::new("cp").arg("-r").arg(&now).arg(&older));
    let secrets =
        ["operator", "observer"].map(|name| SiteDir::open(&now).unwrap().mesh_secret(name).unwrap());
    let ids = secrets.map(|secret| samara_node::state::identity::peer_id(&secret).to_string());
    let revoke = |options: &[&str]| {
        samara().args(["revoke", "--yes", "--site"]).arg(&now).args(options).args(&ids).output().unwrap()
    };
    let refused = revoke(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("own operator identity") && said.contains("--force"), "{said}");
    assert!(revoke(&["--force"]).status.success());
    assert_eq!(seeder.wait(), 4);
    let failed = seeder.events("failed").pop().unwrap();
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("version 2 shuts this laptop out") && reason.contains(&ids[0]), "{reason}");
    let status = || {
        let mut status = samara();
        status.args(["status", "--wait", "3", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        let output = status.args(["--peer", &site.devices[0].address, "--site"]).arg(&now).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = status();
    assert!(code == Some(4) && said.contains(&ids[1]), "{said}");

    std::fs::remove_dir_all(&now).unwrap();
    std::fs::rename(&older, &now).unwrap();
    let mut seeder = site.serve(&[]);
    let alarm = wait_for("the reason", || seeder.events("alarm").pop());
    assert_eq!(alarm["name"], "revoked");
    let (code, said) = status();
    assert!(
        code == Some(6) && said.contains("nobody of the site answered") && said.contains("revoked"),
        "{said}"
    );
    assert_eq!(seeder.stop(), 0);
}

#[test]
fn an_older_copy_of_the_directory_is_named_and_signs_above_what_the_site_knows() {
    let mut site = Site::new("closed", 2);
    let first = site.publish_noise(MIB);
    let (now, backup) = (site.dir(), site.scratch.path().join("backup"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        ok(std::process::Command::new("cp").arg("-r").arg(from).arg(to));
    };
    copy(&now, &backup);
    site.start_devices();
    let mut seeder = site.serve(&[]);
    site.wait_installed(&first);
    let path = site.scratch.path().join("second.bin");
    let second = noise(MIB, 2);
    std::fs::write(&path, &second).unwrap();
    site.publish(&path, "2");
    site.wait_installed(&second);
    assert!(seeder.events("outrun").is_empty(), "what is published beside it is known to it");
    let device = site.devices[0].id.clone();
    let enroll = |dir: &std::path::Path| {
        let mut enroll = samara();
        let done = ok(enroll.args(["--json", "enroll", "--yes", "--site"]).arg(dir).arg(&device)).stdout;
        serde_json::from_slice::<Value>(&done).unwrap()["sequence"].clone()
    };
    assert_eq!(enroll(&now), 2);
    ok(samara().args(["revoke", "--yes", "--force", "--site"]).arg(&now).arg("00".repeat(32)));
    wait_for("the trust root to be in force", || seeder.events("trust_root").pop());
    // An observer has all of it from the devices.
    let status = |dir: &std::path::Path| {
        let mut status = samara();
        status.args(["--json", "status", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        status.args(["--peer", &site.devices[0].address, "--site"]).arg(dir);
        let said = String::from_utf8(ok(&mut status).stdout).unwrap();
        let events = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["event"] == "outrun").collect::<Vec<_>>()
    };
    let kinds = |event: &Value| {
        assert_eq!(event["saved"], true, "{event}");
        let documents = event["documents"].as_array().unwrap();
        let row = |row: &Value| (row["kind"].clone(), row["here"].clone(), row["site"].clone());
        documents.iter().map(row).collect::<Vec<_>>()
    };
    let expected = [("trust_root", 1, 2), ("enrollment", 1, 2), ("release", 1, 2), ("rollout", 0, 1)];
    let expected = expected.map(|(kind, here, site)| (kind.into(), here.into(), site.into()));
    let older = site.scratch.path().join("older");
    copy(&backup, &older);
    wait_for("the site to know all of it", || {
        let told = status(&older);
        if told.is_empty() {
            return None;
        }
        let all = kinds(&told[0]) == expected;
        if !all {
            std::fs::remove_dir_all(&older).unwrap();
            copy(&backup, &older);
        }
        all.then_some(())
    });
    assert!(status(&older).is_empty(), "the numbers were kept");
    assert_eq!(seeder.stop(), 0);

    std::fs::remove_dir_all(&now).unwrap();
    std::fs::rename(&backup, &now).unwrap();
    let mut seeder = site.serve(&[]);
    let heard = || seeder.events("outrun").iter().flat_map(kinds).collect::<Vec<_>>();
    wait_for("the older copy to be named", || {
        let heard = heard();
        ["trust_root", "enrollment", "release"]
            .iter()
            .all(|kind| heard.iter().any(|row| row.0 == *kind))
            .then_some(())
    });
    assert_eq!(enroll(&now), 3);
    let third = noise(MIB, 3);
    std::fs::write(&path, &third).unwrap();
    let mut publish = samara();
    publish.args(["--json", "publish", "--yes", "--destination", "app", "--site"]).arg(&now).arg(&path);
    let published: Value = serde_json::from_slice(&ok(&mut publish).stdout).unwrap();
    assert_eq!(published["number"], 3);
    site.wait_installed(&third);
    ok(samara().args(["inspect", "--site"]).arg(&now).arg(now.join("documents/trust-root-2.json")));
    assert_eq!(seeder.stop(), 0);
}
