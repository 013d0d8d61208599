//! What goes wrong around a site directory, and what a verb makes of it.

use super::{DEVICE, Desk, last_event, stderr};
use serde_json::Value;

/// Describes a release with this counter.
fn with_counter(desk: &Desk, counter: u64) {
    desk.write("counted.toml", format!("security_counter = {counter}\n[[artifact]]\npath = 'a'\n"));
}

#[test]
fn one_bad_file_among_the_documents_is_named_and_holds_up_no_verb() {
    let desk = Desk::with_site();
    desk.write("a", "a");
    desk.write("plant/documents/dir.json/x", "");
    desk.write("plant/documents/long.json", vec![b' '; 70_000]);
    desk.write("plant/documents/torn.json", "abc");
    std::os::unix::fs::symlink("nowhere", desk.path("plant/documents/gone.json")).unwrap();
    let names_all = |said: &str| {
        ["dir.json", "long.json", "torn.json", "gone.json"].iter().all(|name| said.contains(name))
    };
    let published = desk.ok("publish --site plant --json --number 7 a");
    let enrolled = desk.ok(&format!("enroll --site plant {DEVICE}"));
    let release = last_event(&published)["release"].as_str().unwrap().to_owned();
    let withdrawn = desk.ok(&format!("withdraw --site plant --reason bad {release}"));
    for said in [&published, &enrolled, &withdrawn].map(stderr) {
        assert!(names_all(&said) && !said.contains("given out twice"), "{said}");
    }
    assert_eq!(desk.json("publish --site plant --json a")["number"], 8);

    // A file that cannot be read may hide a higher number, and nothing else knows it any more.
    std::fs::remove_file(desk.path("plant/sequences.json")).unwrap();
    let published = desk.ok("publish --site plant a");
    assert!(stderr(&published).contains("may be given out twice"), "{}", stderr(&published));
}

#[test]
fn a_publish_that_does_not_end_well_leaves_no_packed_bytes_and_the_next_removes_what_a_killed_one_left() {
    let blobs = |desk: &Desk| std::fs::read_dir(desk.path("plant/blobs")).unwrap().count();
    let desk = Desk::with_site();
    desk.write("tree/a", "a");
    let key = desk.path("plant/keys/rollout");
    std::fs::rename(&key, desk.path("away")).unwrap();
    desk.fails("publish --site plant tree", 4, &["keys/rollout"]);
    assert_eq!(blobs(&desk), 0);
    std::fs::rename(desk.path("away"), &key).unwrap();

    desk.write(&format!("plant/blobs/{}", "0".repeat(64)), "packed by one that was killed");
    desk.ok("publish --site plant tree");
    assert_eq!(blobs(&desk), 2);
    // Where a release may name contents that nothing else does, nothing is removed.
    let sources = desk.path("plant/sources.json");
    std::fs::rename(&sources, desk.path("sources")).unwrap();
    desk.write("a", "a");
    desk.ok("publish --site plant a");
    assert_eq!(blobs(&desk), 2);
}

#[test]
fn a_verb_of_which_only_the_output_was_lost_says_that_all_is_signed() {
    let desk = Desk::with_site();
    desk.write("a", "a");
    let released = desk.json("publish --site plant --json a");
    let release = released["release"].as_str().unwrap();
    for (line, says) in [
        ("publish --site plant a".to_owned(), "do not publish it again"),
        ("--json publish --site plant a".to_owned(), "do not publish it again"),
        (format!("enroll --site plant {DEVICE}"), "do not sign them again"),
        (format!("withdraw --site plant --reason bad {release}"), "do not withdraw it again"),
        (format!("revoke --site plant {DEVICE}"), "do not sign another one"),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = desk.command(&line).stdout(full).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{line}: {said}");
        assert!(said.contains("signed and written") && said.contains(says), "{line}: {said}");
    }
    assert_eq!(desk.json("publish --site plant --json a")["number"], 4);
}

#[test]
fn a_device_that_is_given_twice_is_enrolled_once() {
    let desk = Desk::with_site();
    let enrolled = desk.ok(&format!("enroll --site plant --json {DEVICE} {DEVICE}"));
    assert_eq!(enrolled.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(last_event(&enrolled)["sequence"], 1);
}

#[test]
fn a_release_below_the_security_counter_of_an_earlier_one_is_published_only_on_demand() {
    let desk = Desk::with_site();
    desk.write("a", "a");
    with_counter(&desk, 3);
    desk.ok("publish --site plant --from counted.toml");
    desk.fails("publish --site plant a", 3, &["security counter 0", "below the 3", "--security-counter 3"]);
    with_counter(&desk, 2);
    desk.fails("publish --site plant --from counted.toml", 3, &["security counter 2"]);
    desk.ok("publish --site plant --product other a");
    desk.ok("publish --site plant --security-counter 3 a");
    desk.ok("publish --site plant --lower-security-counter a");
}

#[test]
fn an_older_document_is_valid_and_named_with_the_newer_one_only_where_that_is_known() {
    let desk = Desk::with_site();
    let enroll = format!("enroll --site plant --json {DEVICE}");
    let first = desk.json(&enroll)["file"].as_str().unwrap().to_owned();
    std::fs::copy(&first, desk.path("old.json")).unwrap();
    let inspected = |site: &str| {
        let seen = desk.json(&format!("inspect --json {site} old.json"));
        (seen["valid"].clone(), seen["outrun_by"].clone())
    };
    assert_eq!(inspected("--site plant"), (true.into(), Value::Null));
    desk.ok(&enroll);
    let newer = serde_json::json!({"sequence": 2, "file": first});
    assert_eq!(inspected("--site plant"), (true.into(), newer));
    let text = String::from_utf8(desk.ok("inspect --site plant old.json").stdout).unwrap();
    assert!(text.contains(&format!("valid for this site, but outrun by sequence 2 in {first}")), "{text}");
    assert_eq!(inspected(""), (Value::Null, Value::Null), "no site, no word about it");
    // The number alone is known.
    std::fs::remove_file(&first).unwrap();
    assert_eq!(inspected("--site plant").1, serde_json::json!({"sequence": 2, "file": null}));

    desk.write("a", "a");
    let rollout = desk.json("publish --site plant --json a");
    let rollout_file = rollout["files"][1].as_str().unwrap();
    std::fs::copy(rollout_file, desk.path("old.json")).unwrap();
    desk.ok(&format!("withdraw --site plant --reason bad {}", rollout["release"].as_str().unwrap()));
    assert_eq!(inspected("--site plant").1, serde_json::json!({"sequence": 2, "file": rollout_file}));

    desk.ok(&enroll);
    let revoked = desk.json(&format!("revoke --site plant --json {DEVICE}"));
    std::fs::copy(desk.path("plant/trust-root.json"), desk.path("old.json")).unwrap();
    let newer = serde_json::json!({"sequence": 2, "file": revoked["file"]});
    assert_eq!(inspected("--site plant"), (true.into(), newer));
}

#[test]
fn a_device_is_revoked_by_the_next_trust_root_once_and_cannot_be_enrolled_again() {
    let desk = Desk::new();
    desk.ok("site init plant --name Plant --no-passphrase --threshold root=2");
    desk.fails(&format!("revoke --site plant {DEVICE}"), 2, &["never enrolled", DEVICE, "--force"]);
    desk.fails("revoke --site plant 00ff", 2, &["64 lower-case hexadecimal digits"]);
    desk.ok(&format!("enroll --site plant {DEVICE}"));
    let done = desk.ok(&format!("revoke --site plant --json {DEVICE} {DEVICE}"));
    let shown = stderr(&done);
    for part in ["To be signed with role root", "revoked_devices: d75a", "No verb takes it back", "Next:"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let done = last_event(&done);
    assert_eq!((&done["version"], &done["devices"]), (&2.into(), &serde_json::json!([DEVICE])));
    let file = done["file"].as_str().unwrap();
    assert!(file.ends_with("documents/trust-root-2.json"), "{file}");
    let seen = desk.json(&format!("inspect --site plant --json {file}"));
    assert_eq!((&seen["valid"], seen["signed_by"].as_array().unwrap().len()), (&true.into(), 2));

    let again = desk.json(&format!("revoke --site plant --json {DEVICE}"));
    assert_eq!((&again["version"], &again["already"]), (&2.into(), &serde_json::json!([DEVICE])));
    assert_eq!((&again["devices"], &again["file"]), (&serde_json::json!([]), &Value::Null));
    desk.fails(&format!("enroll --site plant {DEVICE}"), 4, &["is revoked", DEVICE]);

    let unknown = "0".repeat(64);
    let forced = desk.json(&format!("revoke --site plant --json --force {DEVICE} {unknown}"));
    assert_eq!((&forced["version"], &forced["devices"]), (&3.into(), &serde_json::json!([unknown])));
    std::fs::remove_file(desk.path("plant/keys/root-2")).unwrap();
    desk.fails(
        &format!("revoke --site plant --force {}", "1".repeat(64)),
        4,
        &["role root needs 2 signatures", "has 1 of its keys"],
    );
}
