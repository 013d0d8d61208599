//! `samara-sim compare`: one plan figure by figure, or many as a table of how well the simulator predicts.

use super::show::{Page, say_failures};
use super::{exit_code, own_dir};
use crate::compare::{Comparison, Measured, markdown};
use crate::lab::{self, Interrupted};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::world::Options;
use crate::{report, simulate};
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The plan, or several for a table.
    #[arg(required = true)]
    plans: Vec<PathBuf>,
    /// Of the simulation's dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs of each plan in the lab; the one in the middle is compared.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=99))]
    runs: u16,
    /// What work costs, as `calibrate --out` writes it.
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
    /// Print both reports and the differences as JSON, of several plans a list.
    #[arg(long)]
    json: bool,
    /// Write a page with both curves, for a browser. For one plan.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Where `samara` and `samara-node` are [default: beside this program].
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// What all plans are run with.
struct Runner {
    simulated: Options,
    lab: lab::Options,
    runs: u16,
}

/// Runs the command.
pub(super) fn run(args: CompareArgs) -> anyhow::Result<ExitCode> {
    if args.report.is_some() && args.plans.len() > 1 {
        super::usage("--report is for one plan: of several there is a table");
    }
    // A plan that cannot be read is found before the others have run for minutes.
    let plans: Vec<Plan> = args.plans.iter().map(|path| Plan::load(path)).collect::<Result<_, _>>()?;
    let cores = Some(simulate::cores() as u32);
    let simulated = Options { cores, ..Options::new(args.seed) };
    let runner = Runner {
        simulated: super::with_costs(simulated, args.costs)?,
        lab: lab::Options { bin_dir: args.bin_dir.map_or_else(own_dir, Ok)?, work_dir: None, keep: false },
        runs: args.runs,
    };
    let page = args.report.map(Page::create).transpose()?;
    match &plans[..] {
        [plan] => one(&runner, plan, args.json, page),
        _ => many(&runner, &plans, args.json),
    }
}

fn one(runner: &Runner, plan: &Plan, json: bool, page: Option<Page>) -> anyhow::Result<ExitCode> {
    let comparison = runner.measure(plan, runner.predict(plan)?)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        print!("plan {}, {}\n\n{}", comparison.plan, comparison.lab.network, comparison.table());
        println!("\n{}", report::drawn(&comparison.simulated));
    }
    for outcome in [&comparison.simulated, &comparison.lab] {
        say_failures(outcome);
    }
    if let Some(page) = page {
        page.write(report::comparison_page(plan, &comparison)?)?;
    }
    Ok(exit_code(comparison.simulated.is_met() && comparison.lab.is_met()))
}

/// All predictions first: they take seconds, and nothing of the lab catches signals yet.
fn many(runner: &Runner, plans: &[Plan], json: bool) -> anyhow::Result<ExitCode> {
    let say = |number: usize, what: &str, plan: &Plan| {
        eprintln!("compare: {what} {} ({} of {})", plan.name, number + 1, plans.len());
    };
    let predict = |(number, plan)| {
        say(number, "predicting", plan);
        runner.predict(plan)
    };
    let predicted: Vec<anyhow::Result<Outcome>> = plans.iter().enumerate().map(predict).collect();
    let mut rows = Vec::new();
    for ((number, plan), predicted) in plans.iter().enumerate().zip(predicted) {
        let load = load();
        say(number, "measuring", plan);
        let row = match predicted.and_then(|predicted| runner.measure(plan, predicted)) {
            Ok(comparison) => {
                say_failures(&comparison.simulated);
                say_failures(&comparison.lab);
                Measured::new(comparison, load)
            }
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                eprintln!("samara-sim: {}: {error:#}", plan.name);
                Measured::Failed { plan: plan.name.clone(), error: format!("{error:#}") }
            }
        };
        rows.push(row);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", markdown(&rows));
    }
    Ok(exit_code(rows.iter().all(Measured::is_met)))
}

impl Runner {
    fn predict(&self, plan: &Plan) -> anyhow::Result<Outcome> {
        Ok(simulate::run_watched(plan, &self.simulated, None)?.outcome)
    }

    fn measure(&self, plan: &Plan, predicted: Outcome) -> anyhow::Result<Comparison> {
        let labs: anyhow::Result<Vec<Outcome>> = (0..self.runs).map(|_| lab::run(plan, &self.lab)).collect();
        Comparison::of_runs(predicted, labs?).context("nothing was measured")
    }
}

/// Programs that ran or waited for a processor, on average over the last minute.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
