//! Stories of a release that brings `samara-node` itself, with real guards, agents and a seeder: what works stays, what
//! does not work goes by itself, and the site hears why.

mod support;

use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Device, Site, noise, ok, samara, wait_for};

/// Where a release installs it, below a device's install root.
const DESTINATION: &str = "agent/samara-node";
fn packaged() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_samara")).with_file_name("samara-node")
}

/// Starts the device's guard, which starts the agent.
fn start_guard(device: &mut Device) {
    let log = File::options().create(true).append(true).open(device.dir.join("log.jsonl")).unwrap();
    let mut command = Command::new(packaged().with_file_name("samara-guard"));
    command.arg("--data-dir").arg(device.dir.join("data"));
    command.arg("--program").arg(device.dir.join("install").join(DESTINATION)).args(["--ready-within", "8"]);
    command.args(["--", "run", "--config"]).arg(device.dir.join("node.toml")).stdin(Stdio::null());
    device.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
}

/// Starts guards that were killed again.
fn look_after(devices: &mut [Device]) {
    for device in devices {
        if device.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
            start_guard(device);
        }
    }
}

fn start(site: &mut Site) {
    site.devices.iter_mut().for_each(start_guard);
    for device in &site.devices {
        wait_for("an agent to answer", || device.status());
    }
    wait_met(site);
}

/// Waits until every device is connected to another: the laptop does not count, it will leave.
fn wait_met(site: &Site) {
    let is_met = |device: &Device| {
        let status = device.status().unwrap_or_default();
        let mut neighbours = status["neighbours"].as_array().into_iter().flatten();
        neighbours.any(|one| site.devices.iter().any(|other| one["peer"] == other.id.as_str()))
    };
    wait_for("the mesh", || site.devices.iter().all(is_met).then_some(()));
}

/// Publishes a program as `samara-node`, with more of a description, and its hooks.
fn publish(site: &Site, version: &str, program: &[u8], more: &str, hooks: &[(&str, &str)]) -> String {
    let dir = site.scratch.path().join(format!("release-{version}"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("program"), program).unwrap();
    let mut text = format!(
        "{more}\n[[artifact]]\npath = 'program'\nkind = 'binary'\ndestination = '{DESTINATION}'\nrestart = 'agent'\n"
    );
    for (step, script) in hooks {
        std::fs::write(dir.join(step), script).unwrap();
        text += &format!("[[hook]]\npath = '{step}'\nstep = '{step}'\n");
    }
    text += "[health]\ngrace_seconds = 4\ninterval_seconds = 1\nattempts = 2\n\
         [[health.check]]\nname = 'reached'\nprobe = 'neighbours'\n";
    std::fs::write(dir.join("release.toml"), text).unwrap();
    let mut publish = samara();
    publish.args(["--json", "publish", "--yes", "--channel", "agent", "--version", version, "--from"]);
    let done = ok(publish.arg(dir.join("release.toml")).arg("--site").arg(site.dir())).stdout;
    let done: Value = serde_json::from_slice(&done).unwrap();
    done["release"].as_str().unwrap().to_owned()
}

/// Another build of this agent, as far as its bytes tell.
fn next_agent() -> Vec<u8> {
    let program = std::fs::read(packaged()).unwrap();
    [&program[..], b"another build"].concat()
}

fn is_at(device: &Device, release: &str, state: &str) -> bool {
    let status = device.status().unwrap_or_default();
    status["releases"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["id"] == release && one["state"] == state))
}

/// The program that the device's guard runs.
fn running(device: &Device) -> Option<PathBuf> {
    let guard = device.child.as_ref()?.id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let is_child = |process: &PathBuf| {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(&guard)
    };
    std::fs::read_link(processes.into_iter().find(is_child)?.join("exe")).ok()
}

fn wait_running(device: &Device, program: &Path) {
    let program = program.canonicalize().unwrap();
    wait_for("the right agent", || (running(device)? == program).then_some(()));
}

/// A hook that ends guard and agent, as a power cut would, the first time that it runs on a device.
fn cut(step: &str) -> String {
    format!(
        "#!/bin/sh\nmark=$SAMARA_ROOT/../cut-{step}\ntest -e $mark && exit 0\ntouch $mark\n\
         kill -9 $(cut -d' ' -f4 /proc/$PPID/stat)\nexec sleep 5\n"
    )
}

#[test]
fn a_new_agent_commits_through_power_cuts_and_agents_of_both_versions_share_one_swarm() {
    let mut site = Site::new("closed", 3);
    for device in &site.devices[..2] {
        device.configure("[device]", "[device]\nhardware = \"new\"");
    }
    start(&mut site);
    let steps = ["pre_install", "post_install", "health"];
    let hooks = steps.map(cut);
    let hooks: Vec<_> = steps.into_iter().zip(hooks.iter().map(String::as_str)).collect();
    let release = publish(&site, "2", &next_agent(), "compatibility = { hardware = ['new'] }", &hooks);
    let _seeder = site.serve(&[]);
    wait_for("the new agent on two devices", || {
        look_after(&mut site.devices);
        site.devices[..2].iter().all(|device| is_at(device, &release, "installed")).then_some(())
    });
    for device in &site.devices[..2] {
        steps.iter().for_each(|step| assert!(device.dir.join(format!("cut-{step}")).exists(), "{step}"));
        assert!(!device.dir.join("data/guard/trial.json").exists());
        wait_running(device, &device.dir.join("install").join(DESTINATION));
    }
    wait_running(&site.devices[2], &packaged());
    // All three take a release that only the laptop has, from each other too.
    let content = noise(12 << 20, 5);
    let path = site.scratch.path().join("app.bin");
    std::fs::write(&path, &content).unwrap();
    site.publish(&path, "1");
    site.wait_installed(&content);
    let sources = |device: &Device| {
        let status = device.status().unwrap();
        let releases = status["releases"].as_array().unwrap();
        let from =
            releases.iter().flat_map(|release| release["sources"].as_object().unwrap().keys().cloned());
        from.collect::<Vec<_>>()
    };
    let [new, _, old] = [0, 1, 2].map(|i| &site.devices[i]);
    let is_shared = |from: &Device, to: &Device| sources(to).contains(&from.id);
    assert!(is_shared(old, new) || is_shared(new, old) || is_shared(&site.devices[1], old));
}

#[test]
fn a_new_agent_that_does_not_work_goes_by_itself_and_the_site_hears_why() {
    let mut site = Site::new("closed", 2);
    site.devices[1].configure("[device]", "[device]\nhardware = \"second\"");
    for device in &site.devices {
        let config = std::fs::read_to_string(device.dir.join("node.toml")).unwrap();
        let with = |listen: &'static str, peers: Option<&'static str>| {
            let lines = config.lines().map(|line| match line {
                line if line.starts_with("listen") => listen,
                line if line.starts_with("peers") => peers.unwrap_or(line),
                line => line,
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        // It finds nobody, and nobody finds it.
        let lonely = with("listen = [\"/ip4/127.0.0.1/tcp/0\"]", Some("peers = []"));
        std::fs::write(device.dir.join("lonely.toml"), lonely).unwrap();
        // It finds others, and nobody could dial it.
        let deaf = with("listen = [\"/ip4/127.0.0.2/tcp/0\"]", None);
        std::fs::write(device.dir.join("deaf.toml"), deaf).unwrap();
    }
    start(&mut site);
    let mut seeder = None;
    let with_config = |name: &str| {
        format!("#!/bin/sh\nexec '{}' run --config \"${{3%node.toml}}{name}.toml\"\n", packaged().display())
    };
    let (lonely, deaf) = (with_config("lonely"), with_config("deaf"));
    let cuts = ["pre_rollback", "post_rollback"];
    let hooks = cuts.map(cut);
    let hooks: Vec<_> = cuts.into_iter().zip(hooks.iter().map(String::as_str)).collect();
    // The last is for the second device only: it must find the first, which cannot find it.
    for (version, program, hooks, words, concerned) in [
        ("2", &b"\x7fELF, but not much of it"[..], &hooks[..], "started 5 times", 0..2),
        ("3", b"#!/bin/sh\nexit 1\n", &[], "it ended with exit code 1", 0..2),
        ("4", b"#!/bin/sh\nexec sleep 1000\n", &[], "did not come up within 8 s", 0..2),
        ("5", lonely.as_bytes(), &[], "finds no member of the mesh", 0..2),
        ("6", deaf.as_bytes(), &[], "0 of 1 neighbours that were asked can open a connection here", 1..2),
    ] {
        let more = if concerned.len() == 1 { "compatibility = { hardware = ['second'] }" } else { "" };
        let release = publish(&site, version, program, more, hooks);
        seeder.get_or_insert_with(|| site.serve(&[]));
        wait_for(&format!("version {version} to be rolled back"), || {
            look_after(&mut site.devices);
            let concerned = &site.devices[concerned.clone()];
            concerned.iter().all(|device| is_at(device, &release, "rolled_back")).then_some(())
        });
        for device in &site.devices[concerned] {
            let is_it = |row: &Value| row["state"] == "rolled_back" && row["release"] == release.as_str();
            let row = site.wait_reported(device, is_it);
            assert!(row["reason"].as_str().unwrap().contains(words), "{row}");
            assert!(!device.dir.join("install").join(DESTINATION).exists());
            assert!(!device.dir.join("data/guard/trial.json").exists());
            wait_running(device, &packaged());
        }
        wait_met(&site);
    }
    for device in &site.devices {
        cuts.iter().for_each(|step| assert!(device.dir.join(format!("cut-{step}")).exists(), "{step}"));
    }
}
