//! The command line of `samara-sim`: arguments in, a report on stdout, everything else on stderr.
//!
//! Exit codes: see `EXAMPLES`, which `--help` shows.

use crate::compare::Comparison;
use crate::lab::{self, Options};
use crate::outcome::Outcome;
use crate::plan::{Plan, PlanError};
use crate::simulate::{self, Done, Seeds};
use crate::world;
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A plan that cannot be read, or makes no sense.
const EXIT_PLAN: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  samara-sim check sim/plans/smoke.toml          is the plan well-formed?
  samara-sim run sim/plans/weak-uplink.toml      rehearse it in virtual time
  samara-sim run sim/plans/churn.toml --seeds 1..20
  sudo samara-sim lab sim/plans/smoke.toml       run it with the real programs
  sudo samara-sim compare sim/plans/smoke.toml   both, side by side

Exit codes:
  0  the plan is well-formed; of run, lab and compare: every expectation holds
  1  an expectation does not hold, or the run could not be made
  2  the command line is wrong
  3  the plan cannot be read, or is wrong";

/// Samara's rehearsal room: a plan in virtual time, or with the real programs in network namespaces.
#[derive(Debug, Parser)]
#[command(name = "samara-sim", version, about, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a plan with the real binaries in network namespaces (needs root, ip, tc and ethtool).
    #[command(after_help = "Examples:
  sudo samara-sim lab sim/plans/smoke.toml
  sudo samara-sim lab sim/plans/weak-uplink.toml --json > report.json
  sudo samara-sim lab sim/plans/churn.toml --keep --work-dir /var/tmp")]
    Lab {
        /// The plan, for example sim/plans/smoke.toml.
        plan: PathBuf,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
        /// Where `samara` and `samara-node` are [default: beside this program].
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
        /// Where the devices keep their files [default: memory, /dev/shm].
        #[arg(long, value_name = "DIR")]
        work_dir: Option<PathBuf>,
        /// Keep the files and logs of the run, and say where.
        #[arg(long)]
        keep: bool,
    },
    /// Run a plan in virtual time, with the same decisions as the real programs.
    #[command(after_help = "Examples:
  samara-sim run sim/plans/weak-uplink.toml
  samara-sim run sim/plans/churn.toml --seeds 1..20
  samara-sim run sim/plans/site-32.toml --cores 2 --json")]
    Run {
        /// The plan, for example sim/plans/smoke.toml.
        plan: PathBuf,
        /// Of all dice, one or several (1..20): the same plan and seed give the same run.
        #[arg(long = "seed", alias = "seeds", default_value = "1", value_name = "N|A..B")]
        seeds: Seeds,
        /// Print the report as JSON, of several seeds a list.
        #[arg(long)]
        json: bool,
        /// Cores that all devices share, as in the lab [default: a core for each].
        #[arg(long)]
        cores: Option<u32>,
        /// Headers, processors and queues cost nothing: what the swarm alone takes.
        #[arg(long)]
        ideal: bool,
    },
    /// Run a plan in virtual time and in the lab, and set the figures side by side (needs what the lab needs).
    #[command(after_help = "Examples:
  sudo samara-sim compare sim/plans/weak-uplink.toml
  sudo samara-sim compare sim/plans/churn.toml --json")]
    Compare {
        /// The plan.
        plan: PathBuf,
        /// Of the simulation's dice.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print both reports and the differences as JSON.
        #[arg(long)]
        json: bool,
        /// Where `samara` and `samara-node` are [default: beside this program].
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
    },
    /// Read a plan and say whether it is well-formed.
    #[command(after_help = "Examples:
  samara-sim check sim/plans/smoke.toml
  for plan in sim/plans/*.toml; do samara-sim check $plan; done")]
    Check {
        /// The plan.
        plan: PathBuf,
    },
    /// What the lab puts between the ends of a link that delays and loses; until SIGTERM.
    #[command(hide = true)]
    Relay(lab::RelayArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("samara-sim: {error:#}");
            if error.is::<PlanError>() { ExitCode::from(EXIT_PLAN) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Check { plan } => {
            let plan = Plan::load(&plan)?;
            println!("{}: {} devices, {}", plan.name, plan.devices.count, plan.artifact.bytes);
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { plan, seeds, json, cores, ideal } => {
            let plan = Plan::load(&plan)?;
            let options = if ideal { world::Options::ideal(0) } else { world::Options::new(0) };
            let done = simulate::run_all(&plan, &seeds, &world::Options { cores, ..options })?;
            print_runs(&done, json)?;
            Ok(exit_code(done.iter().all(|done| done.outcome.is_met())))
        }
        Command::Compare { plan, seed, json, bin_dir } => {
            let plan = Plan::load(&plan)?;
            let cores = Some(simulate::cores() as u32);
            let options = world::Options { cores, ..world::Options::new(seed) };
            let simulated = simulate::run(&plan, &options, |_| ())?.outcome;
            let bin_dir = bin_dir.map_or_else(own_dir, Ok)?;
            let measured = lab::run(&plan, &Options { bin_dir, work_dir: None, keep: false })?;
            let comparison = Comparison::new(simulated, measured);
            if json {
                println!("{}", serde_json::to_string_pretty(&comparison)?);
            } else {
                print!("plan {}\n\n{}", comparison.plan, comparison.table());
            }
            Ok(exit_code(comparison.simulated.is_met() && comparison.lab.is_met()))
        }
        Command::Relay(args) => lab::relay(&args).map(|()| ExitCode::SUCCESS),
        Command::Lab { plan, json, bin_dir, work_dir, keep } => {
            let plan = Plan::load(&plan)?;
            let bin_dir = bin_dir.map_or_else(own_dir, Ok)?;
            let outcome = lab::run(&plan, &Options { bin_dir, work_dir, keep })?;
            print(&outcome, json)?;
            Ok(exit_code(outcome.is_met()))
        }
    }
}

fn own_dir() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("where is this program?")?;
    Ok(exe.parent().context("this program is in no directory")?.to_path_buf())
}

fn exit_code(is_met: bool) -> ExitCode {
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_runs(done: &[Done], json: bool) -> anyhow::Result<()> {
    match done {
        [one] => {
            print(&one.outcome, json)?;
            if !json {
                println!("\nseed {}, {} decisions, digest {:016x}", seed(one), one.inputs, one.digest);
            }
        }
        many if json => {
            let outcomes: Vec<&Outcome> = many.iter().map(|done| &done.outcome).collect();
            println!("{}", serde_json::to_string_pretty(&outcomes)?);
        }
        many => {
            print!("{}", simulate::table(many));
            for done in many {
                for failure in &done.outcome.failures {
                    eprintln!("samara-sim: {} with seed {}: {failure}", done.outcome.plan, seed(done));
                }
            }
        }
    }
    for failed in done.iter().filter(|done| !done.outcome.is_met()) {
        eprintln!("samara-sim: repeat it with --seed {}", seed(failed));
    }
    Ok(())
}

fn seed(done: &Done) -> u64 {
    done.outcome.seed.unwrap_or_default()
}

fn print(outcome: &Outcome, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
    } else {
        println!("plan {}, {}\n", outcome.plan, outcome.network);
        print!("{}", outcome.report.table());
    }
    for failure in &outcome.failures {
        eprintln!("samara-sim: {}: {failure}", outcome.plan);
    }
    Ok(())
}
