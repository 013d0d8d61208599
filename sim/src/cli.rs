//! The command line of `samara-sim`: arguments in, a report on stdout, everything else on stderr.
//!
//! Exit codes: see `EXAMPLES`, which `--help` shows.

use crate::lab::{self, Options, Outcome};
use crate::plan::{Plan, PlanError};
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A plan that cannot be read, or makes no sense.
const EXIT_PLAN: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  samara-sim check sim/plans/smoke.toml      is the plan well-formed?
  sudo samara-sim lab sim/plans/smoke.toml   run it with the real programs

Exit codes:
  0  the plan is well-formed; of lab: every expectation holds
  1  an expectation does not hold, or the run could not be made
  2  the command line is wrong
  3  the plan cannot be read, or is wrong";

/// Samara's lab: real devices in network namespaces.
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
    /// Read a plan and say whether it is well-formed.
    #[command(after_help = "Examples:
  samara-sim check sim/plans/smoke.toml
  for plan in sim/plans/*.toml; do samara-sim check $plan; done")]
    Check {
        /// The plan.
        plan: PathBuf,
    },
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
        Command::Lab { plan, json, bin_dir, work_dir, keep } => {
            let plan = Plan::load(&plan)?;
            let bin_dir = bin_dir.map_or_else(own_dir, Ok)?;
            let outcome = lab::run(&plan, &Options { bin_dir, work_dir, keep })?;
            print(&outcome, json)?;
            Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn own_dir() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("where is this program?")?;
    Ok(exe.parent().context("this program is in no directory")?.to_path_buf())
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
