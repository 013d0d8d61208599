//! What goes wrong around a site directory, and what a verb makes of it.

use super::{DEVICE, Desk, last_event, stderr};

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
fn a_publish_of_which_only_the_output_was_lost_says_that_it_is_done() {
    let desk = Desk::with_site();
    desk.write("a", "a");
    for line in ["publish --site plant a", "--json publish --site plant a"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = desk.command(line).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
        assert!(stderr(&output).contains("is signed and written, do not publish it again"));
    }
    assert_eq!(desk.json("publish --site plant --json a")["number"], 3);
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
