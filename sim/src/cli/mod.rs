//! The command line of `samara-sim`: arguments in, a report on stdout, everything else on stderr.
//!
//! Exit codes: see `EXAMPLES`, which `--help` shows.

mod compare;
mod show;

use crate::calibrate::{self, Calibration, CostsError};
use crate::lab::{self, Options};
use crate::memory::{self, TooLarge};
use crate::outcome::Outcome;
use crate::plan::{Plan, PlanError, Rate, Size};
use crate::report;
use crate::simulate::{self, Done, Seeds};
use crate::trace::{self, Recorder, TraceError, Verdict};
use crate::world;
use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use show::{Page, print_runs, say_failures};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A plan or a trace that cannot be read, or makes no sense.
const EXIT_PLAN: u8 = 3;
/// A simulation that does not fit in memory.
const EXIT_MEMORY: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  samara-sim check sim/plans/smoke.toml          is the plan well-formed?
  samara-sim run sim/plans/weak-uplink.toml      rehearse it in virtual time
  samara-sim run sim/plans/churn.toml --seeds 1..20
  samara-sim run sim/plans/churn.toml --report churn.html
  samara-sim run sim/plans/simulated/bad-release.toml  and what is installed
  samara-sim run sim/plans/churn.toml --trace churn.jsonl
  samara-sim replay churn.jsonl                  make that run again and compare
  samara-sim calibrate --out costs.toml          what work costs on this machine
  sudo samara-sim lab sim/plans/smoke.toml       run it with the real programs
  sudo samara-sim compare sim/plans/smoke.toml   both, side by side; of several plans a table

Exit codes:
  0  the plan is well-formed; of run, lab and compare: every expectation holds;
     of replay: every event came again
  1  an expectation does not hold, an event is another one, the run could not be
     made, or its report or trace could not be written
  2  the command line is wrong
  3  the plan, the trace or the costs cannot be read, or are wrong
  4  the simulation would not fit in this machine's memory";

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
  sudo samara-sim lab sim/plans/weak-uplink.toml --report weak-uplink.html
  sudo samara-sim lab sim/plans/churn.toml --keep --work-dir /var/tmp")]
    Lab {
        /// The plan, for example sim/plans/smoke.toml.
        plan: PathBuf,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
        /// Write a page about the run, for a browser.
        #[arg(long, value_name = "FILE.html")]
        report: Option<PathBuf>,
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
  samara-sim run sim/plans/churn.toml --report churn.html
  samara-sim run sim/plans/churn.toml --trace churn.jsonl
  samara-sim run sim/plans/simulated/bad-release.toml --seeds 1..20
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
        /// Write a page about the run, or the runs, for a browser.
        #[arg(long, value_name = "FILE.html")]
        report: Option<PathBuf>,
        /// Write the events of the run, a JSON object a line; `replay` makes it again. For one seed.
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
        /// Cores that all devices share, as in the lab [default: a core for each].
        #[arg(long)]
        cores: Option<u32>,
        /// What work costs, as `calibrate --out` writes it.
        #[arg(long, value_name = "FILE", conflicts_with = "ideal")]
        costs: Option<PathBuf>,
        /// Headers, processors and queues cost nothing: what the swarm alone takes.
        #[arg(long)]
        ideal: bool,
    },
    /// Run plans in virtual time and in the lab, and set the figures side by side (needs what the lab needs).
    #[command(after_help = "Examples:
  sudo samara-sim compare sim/plans/weak-uplink.toml
  sudo samara-sim compare sim/plans/*.toml --runs 3
  sudo samara-sim compare sim/plans/churn.toml --report churn.html
  sudo samara-sim compare sim/plans/churn.toml --json")]
    Compare(compare::CompareArgs),
    /// Measure what a byte costs this machine's processors: hashed, sent and received.
    #[command(after_help = "Examples:
  samara-sim calibrate
  samara-sim calibrate --rate 20mbit --out costs.toml
  samara-sim run sim/plans/weak-uplink.toml --costs costs.toml")]
    Calibrate {
        /// What is sent each time.
        #[arg(long, default_value = "16MiB", value_name = "SIZE", value_parser = parsed::<Size>)]
        bytes: Size,
        /// Send it at this rate, packet by packet, as over a slow link [default: as fast as it goes].
        #[arg(long, value_name = "RATE", value_parser = parsed::<Rate>)]
        rate: Option<Rate>,
        /// Measure so often.
        #[arg(long, default_value_t = 5, value_name = "N")]
        repeats: usize,
        /// Write a file for `run --costs`.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make a traced run again, and name the first event that is another one.
    #[command(after_help = "Examples:
  samara-sim run sim/plans/churn.toml --trace churn.jsonl
  samara-sim replay churn.jsonl")]
    Replay {
        /// What `run --trace` wrote.
        trace: PathBuf,
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
            code_of(&error)
        }
    }
}

fn code_of(error: &anyhow::Error) -> ExitCode {
    if error.is::<TooLarge>() {
        return ExitCode::from(EXIT_MEMORY);
    }
    match error.downcast_ref() {
        Some(TraceError::Run(cause)) => code_of(cause),
        Some(_) => ExitCode::from(EXIT_PLAN),
        None if error.is::<PlanError>() || error.is::<CostsError>() => ExitCode::from(EXIT_PLAN),
        None => ExitCode::FAILURE,
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Check { plan } => {
            let plan = Plan::load(&plan)?;
            println!("{}: {} devices, {}", plan.name, plan.devices.count, plan.artifact.bytes);
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { plan, seeds, json, report, trace, cores, costs, ideal } => {
            if trace.is_some() && seeds.0.start() != seeds.0.end() {
                usage("--trace is for one seed: say which, for example --seed 7");
            }
            let plan = Plan::load(&plan)?;
            // Before files of earlier runs are written over.
            memory::runs_at_once(&plan, 1)?;
            let options = if ideal { world::Options::ideal(0) } else { world::Options::new(0) };
            let options = world::Options { cores, seed: *seeds.0.start(), ..options };
            let options = with_costs(options, costs)?;
            let page = report.map(Page::create).transpose()?;
            let done = match trace {
                Some(path) => vec![run_traced(&plan, &options, &path)?],
                None => simulate::run_all(&plan, &seeds, &options)?,
            };
            print_runs(&plan, &done, json)?;
            let outcomes: Vec<&Outcome> = done.iter().map(|done| &done.outcome).collect();
            if let Some(page) = page {
                page.write(match outcomes[..] {
                    [one] => report::page(&plan, one)?,
                    _ => report::seeds_page(&plan, &outcomes)?,
                })?;
            }
            Ok(exit_code(outcomes.iter().all(|outcome| outcome.is_met())))
        }
        Command::Replay { trace } => replay(&trace),
        Command::Compare(args) => compare::run(args),
        Command::Calibrate { bytes, rate, repeats, out } => {
            calibrate(calibrate::Settings { bytes, rate, repeats }, out)
        }
        Command::Relay(args) => lab::relay(&args).map(|()| ExitCode::SUCCESS),
        Command::Lab { plan, json, report, bin_dir, work_dir, keep } => {
            let plan = Plan::load(&plan)?;
            let page = report.map(Page::create).transpose()?;
            let bin_dir = bin_dir.map_or_else(own_dir, Ok)?;
            let outcome = lab::run(&plan, &Options { bin_dir, work_dir, keep })?;
            if json {
                println!("{}", serde_json::to_string_pretty(&outcome)?);
            } else {
                print!("{}", report::summary(&plan, &outcome));
            }
            say_failures(&outcome);
            if let Some(page) = page {
                page.write(report::page(&plan, &outcome)?)?;
            }
            Ok(exit_code(outcome.is_met()))
        }
    }
}

/// Ends this process as clap does for arguments that do not go together.
fn usage(why: &str) -> ! {
    Cli::command().error(ErrorKind::ArgumentConflict, why).exit()
}

fn own_dir() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("where is this program?")?;
    Ok(exe.parent().context("this program is in no directory")?.to_path_buf())
}

fn exit_code(is_met: bool) -> ExitCode {
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A value as plans write it.
fn parsed<T: TryFrom<String, Error = String>>(text: &str) -> Result<T, String> {
    T::try_from(text.to_owned())
}

fn with_costs(options: world::Options, file: Option<PathBuf>) -> Result<world::Options, CostsError> {
    let costs = file.as_deref().map_or(Ok(options.costs), calibrate::load)?;
    Ok(world::Options { costs, costs_file: file, ..options })
}

fn calibrate(settings: calibrate::Settings, out: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let calibration: Calibration = calibrate::run(settings)?;
    println!("{}\n\n{}", calibration.conditions(), calibration.table().trim_end());
    if let Some(path) = out {
        let written = std::fs::write(&path, calibrate::text(&calibration)?);
        written.with_context(|| format!("cannot write the costs {}", path.display()))?;
        eprintln!("samara-sim: the costs are in {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn run_traced(plan: &Plan, options: &world::Options, path: &Path) -> anyhow::Result<Done> {
    let mut recorder = Recorder::create(path, plan, options)?;
    let done = simulate::run_watched(plan, options, Some(&mut |entry| recorder.record(entry)))?;
    let events = recorder.finish(done.inputs, done.digest)?;
    eprintln!("samara-sim: {events} events are in {}", path.display());
    Ok(done)
}

fn replay(path: &Path) -> anyhow::Result<ExitCode> {
    let trace::Replay { plan, seed, version, verdict } = trace::replay(path)?;
    let own = env!("CARGO_PKG_VERSION");
    if version != own {
        eprintln!("samara-sim: {} was written by version {version}, this is {own}", path.display());
    }
    match verdict {
        Verdict::Same { events } => {
            println!("plan {plan}, seed {seed}: all {events} events came again, at the same times");
            Ok(ExitCode::SUCCESS)
        }
        Verdict::Differs { line, recorded, now } => {
            println!("plan {plan}, seed {seed}: the first difference is in line {line}");
            println!("  recorded: {recorded}\n  now:      {now}");
            Ok(ExitCode::FAILURE)
        }
    }
}
