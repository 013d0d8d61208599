//! The operator's day, told through the real binary: a site, devices, a release, a look at it, and its end.

mod lifecycle;
mod signing;
mod upkeep;

use samara_protocol::artifact::FileList;
use samara_protocol::id::ContentHash;
use samara_protocol::trust::{Trust, VerifiedDocument};
use samara_seeder::site::SiteDir;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn with_site() -> Self {
        let desk = Self::new();
        desk.ok("site init plant --name Plant --no-passphrase");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
        command.args(line.split_whitespace().map(|word| word.replace('~', " ").replace('|', "\n")));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_remove("SAMARA_SITE").env_remove("SAMARA_PASSPHRASE_FILE").env_remove("SSH_AUTH_SOCK");
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    fn ok(&self, line: &str) -> Output {
        let output = self.run(line);
        assert!(output.status.success(), "samara {line}: {}", stderr(&output));
        output
    }

    fn json(&self, line: &str) -> Value {
        last_event(&self.ok(line))
    }

    /// The verb fails with this code, says all of this on standard error, and prints no data.
    #[track_caller]
    fn fails(&self, line: &str, code: i32, says: &[&str]) {
        let output = self.run(line);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "samara {line}: {text}");
        for part in says {
            assert!(text.contains(part), "samara {line}: no {part:?} in {text}");
        }
        assert!(!text.contains("panicked"), "{text}");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn last_event(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    values.last().unwrap().clone()
}

const DEVICE: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

#[test]
fn a_release_is_published_inspected_and_withdrawn_and_a_device_would_agree() {
    let desk = Desk::new();
    desk.write("firmware.bin", vec![7; 300_000]);
    desk.write("www/index.html", "<html>");
    desk.write("www/img/logo", "png");
    std::os::unix::fs::symlink("index.html", desk.path("www/start")).unwrap();

    let made = desk.json("site init plant --name Plant~7 --product pump --no-passphrase --json");
    assert_eq!(made["event"], "site");
    let key = std::fs::metadata(desk.path("plant/keys/release")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    let enrolled = desk.json(&format!("enroll --site plant --json --name press-3 --hardware b {DEVICE}"));
    assert_eq!((&enrolled["name"], &enrolled["sequence"]), (&"press-3".into(), &1.into()));
    let again = desk.json(&format!("enroll --site plant --json {DEVICE}"));
    assert_eq!(again["sequence"], 2);
    assert_eq!(again["file"], enrolled["file"]);

    let published = desk.ok("publish --site plant --json --version 2.0 firmware.bin www");
    let shown = stderr(&published);
    assert!(
        shown.contains("To be signed with role release") && shown.contains("name: firmware.bin"),
        "{shown}"
    );
    let published = last_event(&published);
    assert_eq!((&published["number"], &published["version"]), (&1.into(), &"2.0".into()));
    assert_eq!(published["blobs"].as_array().unwrap().len(), 3);

    let next = desk.json("publish --site plant --json firmware.bin");
    assert_eq!((&next["number"], &next["version"]), (&2.into(), &"2".into()));

    let release_file = published["files"][0].as_str().unwrap();
    let seen = desk.json(&format!("inspect --site plant --json {release_file}"));
    assert_eq!((&seen["valid"], &seen["document"]), (&true.into(), &published["release"]));
    let text = desk.ok(&format!("inspect --site plant {release_file}"));
    let text = String::from_utf8(text.stdout).unwrap();
    for part in ["valid for this site", "product: pump", " (release)\n"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains('\x1b'), "a pipe gets no colour");

    let prefix = &published["release"].as_str().unwrap()[..12];
    let withdrawn = desk.json(&format!("withdraw --site plant --json {prefix} --reason bricks~B"));
    assert_eq!(withdrawn["release"], published["release"]);
    assert_eq!(withdrawn["rollouts"], serde_json::json!([published["rollout_id"]]));

    every_document_is_accepted_and_every_blob_is_found(&desk.path("plant"));
}

fn every_document_is_accepted_and_every_blob_is_found(dir: &Path) {
    let site = SiteDir::open(dir).unwrap();
    let trust = Trust::pin(&site.trust_root().unwrap()).unwrap();
    let sources = site.sources().unwrap();
    let documents = site.documents().unwrap();
    let (mut trees, mut aborted) = (0, 0);
    for envelope in &documents {
        match trust.check(envelope).unwrap() {
            VerifiedDocument::Release(release) => {
                for blob in release.blobs() {
                    let bytes = std::fs::read(&sources[&blob.content]).unwrap();
                    assert_eq!(ContentHash(*blake3::hash(&bytes).as_bytes()), blob.content);
                    assert_eq!(bytes.len() as u64, blob.size);
                }
                for list in release.artifacts.iter().filter_map(|a| a.representations[0].list) {
                    let list = FileList::decode(&std::fs::read(&sources[&list.content]).unwrap()).unwrap();
                    assert_eq!(list.entries.len(), 4);
                    trees += 1;
                }
            }
            VerifiedDocument::Rollout(rollout) if rollout.sequence == 2 => aborted += 1,
            _ => {}
        }
    }
    assert_eq!((documents.len(), trees, aborted), (6, 1, 1));
    let id = |name: &str| {
        let secret = site.mesh_secret(name).unwrap();
        samara_protocol::id::KeyId(ed25519_dalek::SigningKey::from_bytes(&secret).verifying_key().to_bytes())
    };
    assert_eq!(trust.root().roles.operator.keys, [id("operator"), id("observer")]);
}

#[test]
fn a_description_file_publishes_several_artifacts_and_flags_override_it() {
    let desk = Desk::with_site();
    desk.write("build/app", "app");
    desk.write("build/conf/a.toml", "a = 1");
    desk.write(
        "build/release.toml",
        "version = '1.0'\nnumber = 40\nnotes = { en = 'First' }\n\
         [[artifact]]\npath = 'app'\nmode = '0755'\ndestination = 'bin/app'\n\
         [[artifact]]\npath = 'conf'\n",
    );
    let published = desk.json("publish --site plant --json --from build/release.toml --version 1.1");
    assert_eq!((&published["number"], &published["version"]), (&40.into(), &"1.1".into()));
    let file = published["files"][0].as_str().unwrap();
    let payload = desk.json(&format!("inspect --json {file}"))["payload"].clone();
    assert_eq!(payload["artifacts"][0]["destination"], "bin/app");
    assert_eq!(payload["artifacts"][0]["mode"], 0o755);
    assert_eq!(payload["artifacts"][1]["name"], "conf");
    desk.fails("publish --site plant --number 40 build/app", 3, &["40 is not above 40"]);
    assert_eq!(desk.json("publish --site plant --json build/app")["number"], 41);
}

#[test]
fn protected_keys_need_their_passphrase() {
    let desk = Desk::new();
    desk.write("a", "a");
    desk.write("passphrase", "winged\n");
    desk.write("wrong", "wingless\n");
    for name in ["passphrase", "wrong"] {
        std::fs::set_permissions(desk.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let with =
        |line: &str, file: &str| desk.command(line).env("SAMARA_PASSPHRASE_FILE", file).output().unwrap();
    desk.fails("site init plant --name Plant", 4, &["SAMARA_PASSPHRASE_FILE"]);
    assert!(!desk.path("plant").exists());
    assert!(with("site init plant --name Plant", "passphrase").status.success());
    assert!(with("publish --site plant a", "passphrase").status.success());
    let wrong = with("publish --site plant a", "wrong");
    assert_eq!(wrong.status.code(), Some(4));
    assert!(stderr(&wrong).contains("wrong passphrase for"), "{}", stderr(&wrong));
    desk.fails("publish --site plant a", 4, &["no terminal to ask on"]);
}

#[test]
fn a_role_with_a_threshold_signs_with_that_many_keys() {
    let desk = Desk::new();
    desk.write("a", "a");
    desk.ok("site init plant --name Plant --no-passphrase --threshold release=2");
    let published = desk.json("publish --site plant --json a");
    let file = published["files"][0].as_str().unwrap().to_owned();
    let seen = desk.json(&format!("inspect --site plant --json {file}"));
    assert_eq!((seen["signed_by"].as_array().unwrap().len(), &seen["valid"]), (2, &true.into()));
    std::fs::remove_file(desk.path("plant/keys/release-2")).unwrap();
    desk.fails("publish --site plant a", 4, &["needs 2 signatures", "has 1 of its keys"]);
}

#[test]
fn a_document_of_another_site_or_with_a_changed_byte_is_not_valid() {
    let desk = Desk::with_site();
    desk.ok("site init other --name Other --no-passphrase");
    desk.write("a", "a");
    let published = desk.json("publish --site plant --json a");
    let file = published["files"][0].as_str().unwrap().to_owned();
    desk.fails(&format!("inspect --site other {file}"), 4, &[]);
    let text = std::fs::read_to_string(&file).unwrap();
    let at = text.find("\"sig\"").unwrap() + 10;
    let flipped = if &text[at..=at] == "A" { "B" } else { "A" };
    desk.write("forged.json", format!("{}{flipped}{}", &text[..at], &text[at + 1..]));
    let forged = desk.run("inspect --site plant --json forged.json");
    assert_eq!(forged.status.code(), Some(4), "{}", stderr(&forged));
    assert_eq!(last_event(&forged)["exit_code"], 4);
}

#[test]
fn every_mistake_has_its_exit_code_and_says_what_to_do() {
    let desk = Desk::with_site();
    desk.write("a", "a");
    desk.write("empty.toml", "");
    desk.write("typo.toml", "chanel = 'beta'\n[[artifact]]\npath = 'a'\n");
    desk.write("agent.toml", "compatibility = { min_agent = '0.9' }\n[[artifact]]\npath = 'a'\n");
    desk.write("tree/file", "x");
    std::os::unix::fs::symlink("/etc/passwd", desk.path("tree/leak")).unwrap();
    desk.write("lines/one\ntwo", "x");

    desk.fails("", 2, &["Usage"]);
    desk.fails("publish --site plant", 2, &["ARTIFACT"]);
    desk.fails("publish --site plant --name x a tree", 2, &["--from"]);
    desk.fails("enroll --site plant 00ff", 2, &["64 lower-case hexadecimal digits"]);
    desk.fails(&format!("enroll --site plant --name x {DEVICE} {DEVICE}"), 2, &["--name"]);
    desk.fails(
        &format!("enroll --site plant {}", "0".repeat(64)),
        3,
        &["device: 0000", "no Ed25519 public key"],
    );
    desk.fails("withdraw --site plant abcdef --reason x", 2, &["abcdef"]);
    desk.fails("withdraw --site plant abcdef --reason ~", 2, &["--reason: is empty"]);
    desk.fails(&format!("enroll --site plant --name a\u{1b}[2J {DEVICE}"), 2, &["--name: has", "U+001B"]);
    desk.fails(&format!("enroll --site plant --tag a|b {DEVICE}"), 2, &["--tag: has", "U+000A"]);
    desk.fails("site init new --name a|b --no-passphrase", 2, &["--name: has", "U+000A"]);
    desk.fails("site init new --no-passphrase --name x --product ~", 2, &["--product: is empty"]);
    desk.fails("site init new --name x --no-passphrase --threshold relase=2", 2, &["relase", "release"]);

    desk.fails("publish --site nowhere a", 3, &["nowhere", "samara site init"]);
    desk.fails("site init plant --name Plant --no-passphrase", 3, &["plant is not empty"]);
    desk.fails("publish --site plant --from empty.toml", 3, &["[[artifact]]"]);
    desk.fails("publish --site plant --from typo.toml", 3, &["typo.toml", "chanel"]);
    desk.fails(
        "publish --site plant --from agent.toml",
        3,
        &["min_agent", "\"0.9\" is no version such as 0.1.0"],
    );
    desk.fails(
        "publish --site plant --channel \u{1b}[2J a",
        3,
        &["channel: has the control character U+001B"],
    );
    desk.fails(
        &format!("enroll --site plant --name \u{202e}x {DEVICE}"),
        2,
        &["name: has the control character"],
    );
    desk.fails("publish --site plant tree", 3, &["tree/leak", "/etc/passwd", "outside the tree"]);
    desk.fails("publish --site plant /dev/null", 3, &["/dev/null is a device file"]);
    desk.fails("publish --site plant --destination ../../etc/x a", 3, &["../../etc/x"]);
    desk.fails("publish --site plant --destination x/a.samara-new a", 3, &["x/a.samara-new", "for itself"]);
    desk.fails("publish --site plant --destination \u{202e}x a", 3, &["the direction of writing"]);
    desk.fails(&format!("publish --site plant --destination {} a", "x".repeat(184)), 3, &["at most 183"]);
    desk.fails("publish --site plant lines", 3, &["lines/one\\ntwo", "control character"]);

    desk.fails("inspect a", 4, &["a is no document"]);
    desk.fails("inspect /dev/zero", 4, &["/dev/zero is no document", "65536 bytes"]);
    desk.fails("publish --site plant --from /dev/zero", 3, &["/dev/zero", "more than 1048576 bytes"]);
    desk.fails("publish --site plant missing", 5, &["cannot read missing"]);
    desk.fails("inspect missing", 5, &["missing"]);
    desk.fails("demo missing", 5, &["cannot read missing"]);

    std::fs::set_permissions(desk.path("plant/keys/release"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    desk.fails("publish --site plant a", 4, &["chmod 600", "keys/release"]);
    assert_eq!(SiteDir::open(desk.path("plant")).unwrap().documents().unwrap().len(), 0);
}

/// Nothing of these may take a number or leave bytes behind.
#[test]
fn what_is_wrong_with_an_artifact_is_refused_before_it_is_read_and_before_a_number_is_taken() {
    use std::os::unix::ffi::OsStrExt as _;
    let desk = Desk::with_site();
    desk.write("tree/a", "a");
    std::os::unix::fs::symlink("./a", desk.path("tree/harmless")).unwrap();
    std::os::unix::fs::symlink("x/../a", desk.path("tree/crooked")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
    std::fs::write(desk.dir.path().join(odd), "bytes").unwrap();

    desk.fails("publish --site plant tree", 3, &["tree/crooked", "\"x/../a\"", "at its beginning only"]);
    std::fs::remove_file(desk.path("tree/crooked")).unwrap();
    let refused = desk.command("publish --site plant --name n").arg(odd).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("is not UTF-8"), "{}", stderr(&refused));
    desk.fails("publish --site plant --destination d --name a|b tree", 3, &["artifacts.name"]);
    assert_eq!(std::fs::read_dir(desk.path("plant/blobs")).unwrap().count(), 0);

    assert_eq!(desk.json("publish --site plant --json tree")["number"], 1);
}

#[test]
fn what_a_killed_publish_left_is_removed_by_the_next() {
    let desk = Desk::with_site();
    desk.write("plant/blobs/.new-abc", "half");
    desk.write("tree/a", "a");
    desk.ok("publish --site plant tree");
    assert!(!desk.path("plant/blobs/.new-abc").exists());
    assert_eq!(std::fs::read_dir(desk.path("plant/blobs")).unwrap().count(), 2);
}

#[test]
fn two_writers_do_not_share_a_number() {
    let desk = Desk::with_site();
    let site = SiteDir::open(desk.path("plant")).unwrap();
    let writer = site.writer().unwrap();
    desk.write("a", "a");
    desk.fails("publish --site plant a", 8, &["another samara is writing"]);
    drop(writer);
    desk.ok("publish --site plant a");
}

#[test]
fn numbers_go_on_after_the_documents_when_their_file_is_lost_or_torn() {
    let desk = Desk::with_site();
    desk.write("a", "a");
    desk.ok("publish --site plant --number 7 a");
    desk.ok(&format!("enroll --site plant {DEVICE}"));
    let file = desk.path("plant/sequences.json");
    std::fs::remove_file(&file).unwrap();
    let published = desk.ok("publish --site plant --json a");
    assert_eq!(last_event(&published)["number"], 8);
    assert!(stderr(&published).contains("did not know the numbers of 3 documents"), "{}", stderr(&published));
    std::fs::write(&file, "{\"releases\":").unwrap();
    let enrolled = desk.ok(&format!("enroll --site plant --json {DEVICE}"));
    assert_eq!(last_event(&enrolled)["sequence"], 2);
    assert!(stderr(&enrolled).contains("sequences.json is damaged"), "{}", stderr(&enrolled));
    let published = desk.ok("publish --site plant --json a");
    assert_eq!(last_event(&published)["number"], 9);
    assert!(!stderr(&published).contains("sequences.json"), "{}", stderr(&published));
}

#[test]
fn output_that_is_lost_is_an_error() {
    let desk = Desk::with_site();
    for line in ["inspect plant/trust-root.json", "--json inspect plant/trust-root.json", "--help"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = desk.command(line).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "samara {line}: {}", stderr(&output));
    }
}
