//! The life of a device, on real processes: version 1 -> 2 commits; 3 fails its health check and goes back to 2 by itself;
//! 4 is paused, resumed and commits. At every step of an install and of a roll back one device's daemon is killed.
//!
//! The programs of the releases do the killing: a hook is a child of the daemon, so it knows whom to kill and when. Each
//! device has a file that says at which steps; each step kills once.

mod release;

use super::process::{Device, Programs, Seeder};
use super::{GRACE, LOOK_EVERY, make_site, storage, wait_for_api};
use crate::commands::demo::Args;
use crate::failure::{Failure, Kind};
use crate::ui::{Look, Output};
use samara_protocol::document::ReleaseState;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Steps of an install at which a daemon is killed, in their order.
const INSTALL_STEPS: [&str; 6] = ["pre_check", "validate", "pre_install", "script", "post_install", "health"];
/// Steps of a roll back.
const ROLL_BACK_STEPS: [&str; 3] = ["pre_rollback", "undo", "post_rollback"];

/// Tells the story; the last event says each device's outcome.
pub(super) async fn play(
    args: &Args,
    output: &Output,
    scratch: &Path,
    programs: &Programs,
) -> Result<(), Failure> {
    let (site, mut devices) = make_site(args, scratch, programs).await?;
    for device in &mut devices {
        device.start(programs)?;
    }
    wait_for_api(&devices).await?;
    // Nothing can be served before there is a release.
    publish(programs, &site, scratch, "1", release::Works::Yes).await?;
    let seeder = Seeder::start(programs, &site, &devices, args.uplink).await?;
    let restarts = vec![0; devices.len()];
    let outcomes = vec![BTreeMap::new(); devices.len()];
    let mut life = Life { args, output, scratch, programs, site, devices, seeder, restarts, outcomes };
    life.tell().await?;
    let outcome = life.outcome();
    life.seeder.stop().await;
    for device in &mut life.devices {
        device.stop().await;
    }
    output.event(&outcome);
    Ok(())
}

struct Life<'a> {
    args: &'a Args,
    output: &'a Output,
    scratch: &'a Path,
    programs: &'a Programs,
    site: PathBuf,
    devices: Vec<Device>,
    seeder: Seeder,
    /// How often each device's daemon was started again.
    restarts: Vec<u32>,
    /// What each device said of a version when that had come to its end there; later a newer one supersedes it.
    outcomes: Vec<BTreeMap<String, &'static str>>,
}

impl Life<'_> {
    async fn tell(&mut self) -> Result<(), Failure> {
        self.until("1", ReleaseState::Installed, "1").await?;
        self.say("version 1 is committed on every device");

        self.kill_at(&INSTALL_STEPS)?;
        self.publish("2", release::Works::Yes).await?;
        self.until("2", ReleaseState::Installed, "2").await?;
        self.all_were_killed()?;
        self.say(&format!(
            "version 2 is committed on every device; daemons were killed at {}",
            INSTALL_STEPS.join(", ")
        ));

        self.kill_at(&ROLL_BACK_STEPS)?;
        self.publish("3", release::Works::No).await?;
        self.until("3", ReleaseState::RolledBack, "2").await?;
        self.all_were_killed()?;
        for device in &mut self.devices {
            device.stop().await;
            device.start(self.programs)?;
        }
        self.until("3", ReleaseState::RolledBack, "2").await?;
        self.say(&format!(
            "version 3 failed its health check: every device went back to 2, and refuses 3 after a restart, too; daemons \
             were killed at {}",
            ROLL_BACK_STEPS.join(", ")
        ));

        // With the laptop away, so that no device hears of it before it is paused.
        self.seeder.stop().await;
        let four = self.publish("4", release::Works::Yes).await?;
        self.roll_out("pause", &four).await?;
        self.seeder = Seeder::start(self.programs, &self.site, &self.devices, self.args.uplink).await?;
        self.until("4", ReleaseState::Waiting, "2").await?;
        self.say("version 4 is paused: every device knows it and waits");
        self.roll_out("resume", &four).await?;
        self.until("4", ReleaseState::Installed, "4").await?;
        self.say("version 4 was resumed and is committed on every device");
        Ok(())
    }

    fn say(&self, text: &str) {
        self.output.line(format_args!("{} {text}", self.output.paint(Look::Good, "ok:")));
        self.output.event(&json!({"event": "chapter", "text": text}));
    }

    async fn publish(&self, version: &str, works: release::Works) -> Result<String, Failure> {
        publish(self.programs, &self.site, self.scratch, version, works).await
    }

    async fn roll_out(&self, change: &str, release: &str) -> Result<(), Failure> {
        let words = ["rollout", change, "--yes", "--site"].map(str::to_owned).into_iter();
        let more = [super::path(&self.site), release.to_owned()];
        self.programs.operator(words.chain(more).collect()).await.map(drop)
    }

    /// Waits until a release stands so on every device, with that version in place; daemons that were killed are started
    /// again, as a supervisor would.
    async fn until(&mut self, version: &str, state: ReleaseState, in_place: &str) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            self.seeder.read_events()?;
            let mut open = Vec::new();
            let counted = self.devices.iter_mut().zip(&mut self.restarts).zip(&mut self.outcomes);
            for ((device, restarts), outcomes) in counted {
                if device.revive(self.programs)? {
                    *restarts += 1;
                }
                let states = states(device).await;
                outcomes.extend(states.get(version).map(|state| (version.to_owned(), state.as_str())));
                if states.get(version) != Some(&state) {
                    let word = states.get(version).map_or("nothing", |state| state.as_str());
                    open.push(
                        device.failure(&format!("says {word} of version {version} instead of {state}")),
                    );
                }
            }
            let Some(late) = open.pop() else { break };
            if start.elapsed() > GRACE * 2 {
                return Err(late);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.devices.iter().try_for_each(|device| release::expect(device, in_place))
    }

    /// Shares steps out among the devices.
    fn kill_at(&self, steps: &[&str]) -> Result<(), Failure> {
        for (i, device) in self.devices.iter().enumerate() {
            let own = steps.iter().skip(i).step_by(self.devices.len());
            let text: String = own.map(|step| format!("{step}\n")).collect();
            std::fs::write(device.dir.join(release::KILL_AT), text).map_err(storage)?;
        }
        Ok(())
    }

    fn all_were_killed(&self) -> Result<(), Failure> {
        for device in &self.devices {
            let left = std::fs::read_to_string(device.dir.join(release::KILL_AT)).map_err(storage)?;
            if !left.trim().is_empty() {
                return Err(device.failure(&format!("was not killed at {}", left.trim())));
            }
        }
        Ok(())
    }

    fn outcome(&self) -> Value {
        let counted = self.devices.iter().zip(&self.restarts).zip(&self.outcomes).enumerate();
        let devices = counted.map(|(i, ((device, restarts), outcomes))| {
            let killed = std::fs::read_to_string(device.dir.join(release::KILLED)).unwrap_or_default();
            json!({
                "device": format!("device-{:02}", i + 1), "id": device.id, "in_place": release::in_place(device),
                "outcomes": outcomes, "killed_at": killed.lines().collect::<Vec<_>>(), "restarts": restarts,
            })
        });
        json!({"event": "lifecycle", "devices": devices.collect::<Vec<_>>()})
    }
}

/// Signs a version; the id of the release.
async fn publish(
    programs: &Programs,
    site: &Path,
    scratch: &Path,
    version: &str,
    works: release::Works,
) -> Result<String, Failure> {
    let dir = scratch.join(format!("release-{version}"));
    let description = release::write(&dir, version, works).map_err(storage)?;
    let words = ["--json", "publish", "--yes", "--site"].map(str::to_owned).into_iter();
    let more = [super::path(site), "--from".into(), super::path(&description)];
    let said = programs.operator(words.chain(more).collect()).await?;
    let event: Value =
        said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    event["release"].as_str().map(str::to_owned).ok_or_else(|| failed(format!("publish said {said:?}")))
}

/// Where each version stands; nothing while the daemon does not answer.
async fn states(device: &Device) -> BTreeMap<String, ReleaseState> {
    let status = device.status().await;
    let releases = status.into_iter().flat_map(|status| status.releases);
    releases.map(|release| (release.version, release.state)).collect()
}

fn failed(text: String) -> Failure {
    Failure::new(Kind::Failed, anyhow::anyhow!(text))
}
