//! A release with kinds, hooks and health checks: what the operator says is what is signed, and its bytes are found.

use super::{Desk, SiteDir, Trust, VerifiedDocument};
use serde_json::json;

const DESCRIPTION: &str = "
[[artifact]]
path = 'app.toml'
kind = 'config'
merge = 'toml'
validate = ['bin/app', '--check', '{file}']

[[artifact]]
path = 'app'
kind = 'binary'
destination = 'bin/app'
restart = { process = 'run/app.pid' }

[[artifact]]
path = 'migrate.sh'
kind = 'script'
undo = 'back.sh'
args = ['now']

[[hook]]
path = 'idle.sh'
step = 'pre_check'

[health]
soak_seconds = 3

[[health.check]]
name = 'listens'
probe = 'tcp'
address = '127.0.0.1:80'
required = false
";

fn desk_with(description: &str) -> Desk {
    let desk = Desk::with_site();
    for name in ["app.toml", "app", "migrate.sh", "back.sh", "idle.sh"] {
        desk.write(&format!("build/{name}"), format!("bytes of {name}"));
    }
    desk.write("build/release.toml", description);
    desk
}

/// Most releases are one artifact: a file for it should not be needed.
#[test]
fn one_artifact_of_any_kind_is_published_by_flags_alone() {
    let desk = desk_with("");
    let signed = |flags: &str| {
        let published = desk.json(&format!("publish --site plant --json {flags}"));
        let file = published["files"][0].as_str().unwrap().to_owned();
        desk.json(&format!("inspect --json {file}"))["payload"]["artifacts"][0].clone()
    };
    let binary =
        signed("--kind binary --restart process=run/app.pid --mode 0700 --destination bin/app build/app");
    assert_eq!(binary["binary"]["restart"], json!({"kind": "process", "pid_file": "run/app.pid"}));
    assert_eq!((&binary["mode"], &binary["destination"]), (&json!(0o700), &json!("bin/app")));
    assert_eq!(
        signed("--kind binary --restart agent build/app")["binary"]["restart"],
        json!({"kind": "agent"})
    );
    let config = signed("--kind config --merge toml --validate bin/app=--check={file} build/app.toml");
    let validate = json!({"command": ["bin/app=--check={file}"], "timeout_seconds": 60});
    assert_eq!((&config["config"]["merge"], &config["config"]["validate"]), (&json!("toml"), &validate));
    let script =
        signed("--kind script --undo build/back.sh --arg --now --arg b --timeout-seconds 5 build/migrate.sh");
    assert_eq!(
        (&script["script"]["args"], &script["script"]["timeout_seconds"]),
        (&json!(["--now", "b"]), &json!(5))
    );
    assert!(script["script"]["undo"]["content"].is_string(), "{script}");
    let publish = |flags: &str| format!("publish --site plant {flags}");
    desk.fails(
        &publish("--kind disk build/app"),
        2,
        &["[possible values: file, tree, config, binary, script]"],
    );
    desk.fails(
        &publish("--kind binary --restart unit build/app"),
        2,
        &["unit=NAME, process=PID_FILE or agent"],
    );
    desk.fails(&publish("--merge toml build/app.toml"), 3, &["is for kind \"config\""]);
    desk.fails(
        &publish("--kind binary build/app build/app.toml"),
        2,
        &["--kind is for one artifact", "--from"],
    );
    desk.fails(&publish("--kind binary --from build/release.toml"), 2, &["cannot be used with"]);
}

#[test]
fn kinds_hooks_and_health_are_signed_as_described_and_devices_must_know_them() {
    let desk = desk_with(DESCRIPTION);
    let published = desk.json("publish --site plant --json --from build/release.toml");
    assert_eq!(published["blobs"].as_array().unwrap().len(), 5);
    let file = published["files"][0].as_str().unwrap();
    let payload = desk.json(&format!("inspect --json {file}"))["payload"].clone();
    assert_eq!(payload["crit"], json!(["hooks", "health"]));
    let [config, binary, script] = [0, 1, 2].map(|i| payload["artifacts"][i].clone());
    assert_eq!((&config["config"]["merge"], &config["mode"]), (&"toml".into(), &json!(null)));
    let validate = json!({"command": ["bin/app", "--check", "{file}"], "timeout_seconds": 60});
    assert_eq!(config["config"]["validate"], validate);
    assert_eq!(binary["binary"]["restart"], json!({"kind": "process", "pid_file": "run/app.pid"}));
    assert_eq!((&binary["mode"], &binary["crit"]), (&json!(0o755), &json!(["binary"])));
    assert_eq!(script["script"]["args"], json!(["now"]));
    assert_eq!(
        (&payload["hooks"][0]["name"], &payload["hooks"][0]["step"]),
        (&"idle.sh".into(), &"pre_check".into())
    );
    assert_eq!(payload["health"]["soak_seconds"], 3);
    assert_eq!(payload["health"]["checks"][0]["required"], false);

    let site = SiteDir::open(desk.path("plant")).unwrap();
    let (trust, sources) = (Trust::pin(&site.trust_root().unwrap()).unwrap(), site.sources().unwrap());
    let accepted = site.documents().unwrap().into_iter().map(|envelope| trust.check(&envelope).unwrap());
    let release = accepted.into_iter().find_map(|document| match document {
        VerifiedDocument::Release(release) => Some(release),
        _ => None,
    });
    for blob in release.unwrap().blobs() {
        let bytes = std::fs::read(&sources[&blob.content]).unwrap();
        assert_eq!(blake3::hash(&bytes).as_bytes(), &blob.content.0);
    }
}

#[test]
fn what_cannot_be_handled_is_refused_before_a_number_is_taken() {
    for (said, instead, words) in [
        ("kind = 'config'", "kind = 'tree'", "is a file, and cannot be a tree"),
        ("merge = 'toml'", "restart = 'agent'", "is for kind \"binary\""),
        ("'{file}'", "'app.toml'", "does not name {file}"),
        ("undo = 'back.sh'", "undo = '.'", "is a directory: expected a file"),
        ("'bin/app', '--check'", "'../app', '--check'", "artifacts.config.validate.command"),
        ("step = 'pre_check'", "step = 'now'", "unknown variant `now`"),
        ("address =", "adress =", "health.check \"listens\""),
        ("127.0.0.1:80", "192.168.0.1:80", "no loopback address"),
        ("args = ['now']", "timeout_seconds = 0", "artifacts.script.timeout_seconds"),
    ] {
        let desk = desk_with(&DESCRIPTION.replacen(said, instead, 1));
        desk.fails("publish --site plant --from build/release.toml", 3, &[words]);
        assert_eq!(desk.json("publish --site plant --json build/app")["number"], 1, "{words}");
    }
}
