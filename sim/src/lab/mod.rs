//! The lab: one plan, real processes, one report.
//!
//! [`run`] prepares a site with the product's own commands, makes the network, starts the devices, then the seeder;
//! the clock starts with the seeder's process and a device is done at the time its own log gives. Everything is
//! bounded in time by the plan. Whatever happens, also SIGINT or SIGTERM, the processes, the namespaces and (unless
//! they are to be kept) the files of this run are gone when [`run`] returns, and nothing else is touched; after SIGKILL
//! a moment later. Of a run that fails, the logs stay.

mod cable;
mod driver;
mod files;
mod held;
mod keeper;
mod netns;
mod party;
mod process;
mod relay;
mod site;
mod tools;
mod watch;

use crate::command;
use crate::outcome::{Oracle, Outcome};
use crate::plan::{LAB_DEVICES_MAX, Plan, device_name};
use anyhow::{Context, ensure};
use netns::Net;
pub use relay::{RelayArgs, run as relay};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// Files of the devices are here unless said otherwise: storage must not be what is measured.
const MEMORY_DIR: &str = "/dev/shm";

/// How a plan is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where `samara` and `samara-node` are.
    pub bin_dir: PathBuf,
    /// Where the run's directory is made; memory if `None`.
    pub work_dir: Option<PathBuf>,
    /// Whether the run's directory stays.
    pub keep: bool,
}

/// A run that a signal ended.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; everything of this run is removed")]
pub struct Interrupted;

/// Set by SIGINT and SIGTERM, which then no longer end this process.
#[derive(Debug, Clone)]
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn register() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot handle signals")?;
        }
        Ok(Self(flag))
    }

    fn check(&self) -> Result<(), Interrupted> {
        if self.0.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }
}

/// Runs a plan. Errors are those of the lab itself or of a process that broke down; a run that only misses its
/// numbers is an [`Outcome`] with failures.
pub fn run(plan: &Plan, options: &Options) -> anyhow::Result<Outcome> {
    ensure!(
        plan.devices.count <= LAB_DEVICES_MAX,
        "{} has {} devices; the lab has room for {LAB_DEVICES_MAX}: samara-sim run can simulate it",
        plan.name,
        plan.devices.count
    );
    ensure!(
        plan.simulated.is_none(),
        "{} has a [simulated] table, which the lab cannot bring about: samara-sim run can",
        plan.name
    );
    ensure!(!plan.has_power_cuts(), "{} cuts power, which the lab cannot: samara-sim run can", plan.name);
    tools::check_system()?;
    let samara = tools::binary(&options.bin_dir, "samara")?;
    let node = tools::binary(&options.bin_dir, "samara-node")?;
    let interrupt = Interrupt::register()?;
    let dir = work_dir(options)?;

    eprintln!("lab: {}: {}", plan.name, plan.about);
    let _keeper = keeper::Keeper::start(&keeper::prefix(), dir.path())?;
    let mut net = Net::create(plan, dir.path())?;
    interrupt.check()?;
    let network = format!("{}, TCP {}", plan.links_in_words(), net.congestion_control()?);
    eprintln!("lab: {network}");
    let site = site::Site::prepare(plan, &net, dir.path(), site::Programs { samara, node }, &interrupt)?;
    let mut finished =
        driver::Driver::new(plan, &net, &site, interrupt.clone()).and_then(driver::Driver::run);
    net.end_relays().iter().for_each(|said| eprintln!("lab: {said}"));
    if let Ok(finished) = &mut finished {
        finished.failures.extend(crate::verdict::failures(plan, &finished.report));
    }
    let failed =
        finished.as_ref().map_or(interrupt.check().is_ok(), |finished| !finished.failures.is_empty());
    if options.keep {
        eprintln!("lab: files and logs are in {}", dir.keep().display());
    } else if failed {
        eprintln!("lab: the logs are in {}", keep_logs(dir.path(), plan)?.display());
    }
    let driver::Finished { report, curve, marks, failures } = finished?;
    let own_dir = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_path_buf()));
    Ok(Outcome {
        plan: plan.name.clone(),
        network,
        command: command::lab(plan, options, own_dir.as_deref()),
        seed: None,
        options: BTreeMap::new(),
        oracle: Oracle::new(plan),
        report,
        curve,
        marks,
        piece_copies: Vec::new(),
        idle_seconds: Vec::new(),
        installs: None,
        failures,
    })
}

fn work_dir(options: &Options) -> anyhow::Result<TempDir> {
    let memory = Path::new(MEMORY_DIR);
    let parent = match &options.work_dir {
        Some(dir) => dir.clone(),
        None if memory.is_dir() => memory.to_path_buf(),
        None => std::env::temp_dir(),
    };
    let dir = tempfile::Builder::new().prefix("samara-lab-").tempdir_in(&parent);
    dir.with_context(|| format!("cannot make a directory in {}", parent.display()))
}

/// Copies what the processes said out of a directory that is about to vanish.
fn keep_logs(from: &Path, plan: &Plan) -> anyhow::Result<PathBuf> {
    let to =
        tempfile::Builder::new().prefix("samara-lab-logs-").tempdir().context("cannot keep the logs")?.keep();
    let devices = (0..plan.devices.count).map(device_name);
    let mut logs: Vec<_> =
        devices.map(|name| (from.join(&name).join("log.json"), to.join(name + ".json"))).collect();
    logs.push((from.join("seeder.log"), to.join("seeder.log")));
    for (log, kept) in logs.iter().filter(|(log, _)| log.exists()) {
        std::fs::copy(log, kept).with_context(|| format!("cannot keep {}", log.display()))?;
    }
    Ok(to)
}
