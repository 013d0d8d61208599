//! The command line of `samara-sim`: arguments in, a report on stdout, everything else on stderr.
//!
//! Exit codes: 0 the run met its plan, 1 it did not or could not be run, 2 usage.

use crate::lab::{self, Options, Outcome};
use crate::plan::Plan;
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Samara's lab: real devices in network namespaces.
#[derive(Debug, Parser)]
#[command(name = "samara-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a plan with the real binaries in network namespaces (needs root, ip, tc and ethtool).
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
            ExitCode::FAILURE
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
