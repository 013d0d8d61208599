//! Two people sign; and keys that an ssh-agent holds sign like those in files.

use super::{DEVICE, Desk, last_event, stderr};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const OTHER_DEVICE: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

/// An ssh-agent of this test's own.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(desk: &Desk) -> Self {
        let socket = desk.path("agent.sock");
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
        let child = agent.spawn().expect("the test needs OpenSSH's ssh-agent");
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "ssh-agent does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, socket }
    }

    fn add(&self, desk: &Desk, key: &str) {
        let mut add = Command::new("ssh-add");
        let added = add.arg("-q").arg(desk.path(key)).env("SSH_AUTH_SOCK", &self.socket).output().unwrap();
        assert!(added.status.success(), "{}", stderr(&added));
    }

    fn run(&self, desk: &Desk, line: &str) -> Output {
        desk.command(line).env("SSH_AUTH_SOCK", &self.socket).output().unwrap()
    }

    fn ok(&self, desk: &Desk, line: &str) -> Output {
        let output = self.run(desk, line);
        assert!(output.status.success(), "samara {line}: {}", stderr(&output));
        output
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keygen(desk: &Desk, name: &str) {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(desk.path(name));
    assert!(keygen.status().expect("the test needs OpenSSH's ssh-keygen").success());
}

/// A directory for somebody else: the site's, with no key but `key`, as `keys/release`.
fn directory_of(desk: &Desk, name: &str, key: &str) {
    let copied = Command::new("cp").arg("-r").arg(desk.path("plant")).arg(desk.path(name)).status();
    assert!(copied.unwrap().success());
    for role in ["root", "release", "rollout", "enroll"] {
        let _ = std::fs::remove_file(desk.path(&format!("{name}/keys/{role}")));
    }
    std::fs::copy(desk.path(key), desk.path(&format!("{name}/keys/release"))).unwrap();
}

fn documents(desk: &Desk, site: &str) -> usize {
    std::fs::read_dir(desk.path(site).join("documents")).unwrap().count()
}

#[test]
fn three_people_sign_a_release_of_which_each_has_one_key_in_any_order() {
    let desk = Desk::new();
    keygen(&desk, "alice");
    keygen(&desk, "bob");
    desk.ok(
        "site init plant --name Plant --no-passphrase --threshold release=3 --key release=alice.pub --key release=bob.pub",
    );
    directory_of(&desk, "hers", "alice");
    directory_of(&desk, "his", "bob");
    desk.write("a", "a");
    desk.fails(
        "publish --site plant a",
        4,
        &["role release needs 3 signatures", "has 1 of its keys", "--incomplete"],
    );
    assert_eq!(documents(&desk, "plant"), 0);

    let begun = desk.ok("publish --site plant --json --incomplete a");
    assert!(stderr(&begun).contains("lacks 2 signatures and counts for nothing yet"), "{}", stderr(&begun));
    let begun = last_event(&begun);
    assert_eq!((&begun["lacks"], documents(&desk, "plant")), (&serde_json::json!([2, 0]), 1));
    let waiting = begun["files"][0].as_str().unwrap();
    assert!(waiting.contains("plant/to-sign/release-"), "{waiting}");
    // Each gets the file that the first one made, and sends his own back.
    for name in ["from-alice.json", "from-bob.json"] {
        std::fs::copy(waiting, desk.path(name)).unwrap();
    }
    let hers = desk.ok("sign --site hers --json from-alice.json");
    assert!(stderr(&hers).contains("To be signed with role release"), "{}", stderr(&hers));
    let hers = last_event(&hers);
    assert_eq!(
        (&hers["document"], &hers["added"], &hers["lacks"]),
        (&begun["release"], &1.into(), &1.into())
    );
    assert_eq!(desk.json("sign --site his --json from-bob.json")["lacks"], 1);
    // She signed already; his copy does not know it.
    desk.fails("sign --site hers from-alice.json", 4, &["no key of the role release is at hand"]);

    assert_eq!(desk.json("sign --site plant --json from-alice.json")["lacks"], 1);
    let done = desk.json("sign --site plant --json from-bob.json");
    assert_eq!((&done["lacks"], &done["added"]), (&0.into(), &0.into()));
    let place = done["place"].as_str().unwrap();
    assert!(place.contains("plant/documents/release-"), "{place}");
    let seen = desk.json(&format!("inspect --site plant --json {place}"));
    assert_eq!((&seen["valid"], seen["signed_by"].as_array().unwrap().len()), (&true.into(), 3));
    assert_eq!(std::fs::read_dir(desk.path("plant/to-sign")).unwrap().count(), 0);
    assert_eq!(desk.json("sign --site plant --json from-bob.json")["place"], place, "again, without harm");
}

#[test]
fn what_nobodys_signature_would_help_is_not_signed() {
    let desk = Desk::new();
    desk.ok("site init plant --name Plant --no-passphrase --threshold enroll=2");
    desk.ok("site init other --name Other --no-passphrase");
    std::fs::rename(desk.path("plant/keys/enroll-2"), desk.path("second")).unwrap();
    let enroll = format!("enroll --site plant --json --incomplete {DEVICE}");
    let file = desk.json(&enroll)["file"].as_str().unwrap().to_owned();
    desk.fails(&format!("sign --site other {file}"), 4, &["for site"]);
    desk.fails("sign --site plant plant/site.toml", 4, &["is no document"]);
    let mut torn: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    torn["signatures"][0]["sig"] = format!("{}==", "A".repeat(86)).into();
    desk.write("torn.json", torn.to_string());
    desk.fails("sign --site plant torn.json", 4, &["does not fit the document"]);

    // Another one of that name would take its place, and the signatures that are under way with it.
    std::fs::copy(&file, desk.path("first.json")).unwrap();
    desk.fails(&enroll, 4, &["waits for signatures", "remove it first"]);
    std::fs::rename(desk.path("second"), desk.path("plant/keys/enroll-2")).unwrap();
    desk.ok(&format!("enroll --site plant {DEVICE}"));
    desk.fails("sign --site plant first.json", 4, &["outrun by sequence", "not put into documents/"]);
    desk.fails(&format!("sign --site plant {file}"), 4, &["outrun by sequence"]);
}

#[test]
fn a_key_that_the_agent_holds_signs_although_its_file_is_away_or_has_a_passphrase() {
    let desk = Desk::new();
    let agent = Agent::start(&desk);
    keygen(&desk, "token");
    desk.fails("site init plant --name Plant --no-passphrase --key root=token.pub", 4, &["SSH_AUTH_SOCK"]);
    let init = "site init plant --name Plant --no-passphrase --key root=token.pub";
    let early = agent.run(&desk, init);
    assert!(stderr(&early).contains("holds 0 of them; add them with ssh-add"), "{}", stderr(&early));
    assert!(!desk.path("plant").exists());
    agent.add(&desk, "token");
    agent.ok(&desk, init);
    assert!(!desk.path("plant/keys/root").exists());
    agent.ok(&desk, &format!("enroll --site plant {DEVICE}"));
    desk.fails(
        &format!("revoke --site plant {DEVICE}"),
        4,
        &["role root needs 1 signatures", "no ssh-agent is named"],
    );
    agent.ok(&desk, &format!("revoke --site plant {DEVICE}"));

    desk.write("a", "a");
    for role in ["release", "rollout"] {
        agent.add(&desk, &format!("plant/keys/{role}"));
        let mut protect = Command::new("ssh-keygen");
        protect
            .args(["-q", "-p", "-P", "", "-N", "winged", "-f"])
            .arg(desk.path(&format!("plant/keys/{role}")));
        assert!(protect.stdout(Stdio::null()).status().unwrap().success());
    }
    desk.fails("publish --site plant a", 4, &["a passphrase is needed"]);
    agent.ok(&desk, "publish --site plant a");
    std::fs::remove_file(desk.path("plant/keys/rollout")).unwrap();
    agent.ok(&desk, "publish --site plant a");
    // An agent that is gone is named, and harms nothing where it is not needed.
    let socket = agent.socket.clone();
    drop(agent);
    let gone = |line: &str| desk.command(line).env("SSH_AUTH_SOCK", &socket).output().unwrap();
    let failed = gone(&format!("revoke --site plant --force {OTHER_DEVICE}"));
    assert!(stderr(&failed).contains("agent.sock cannot be asked"), "{}", stderr(&failed));
    assert_eq!(failed.status.code(), Some(4));
    let enrolled = gone(&format!("enroll --site plant {OTHER_DEVICE}"));
    assert!(enrolled.status.success(), "{}", stderr(&enrolled));
}
