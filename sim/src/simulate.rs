//! Runs in virtual time: one or many seeds side by side on the cores, judged as the lab judges.

use crate::command;
use crate::memory;
use crate::outcome::{Oracle, Outcome};
use crate::plan::Plan;
use crate::verdict;
use crate::world::{Log, Options, Simulated, World};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// More seeds than this are a mistake of typing.
const SEEDS_MAX: u64 = 100_000;

/// `7`, or `1..20`, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds(pub RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("{text:?} is no seed"));
        let seeds = match text.split_once("..") {
            Some((first, last)) => number(first)?..=number(last)?,
            None => number(text)?..=number(text)?,
        };
        match seeds.end().checked_sub(*seeds.start()) {
            Some(more) if more < SEEDS_MAX => Ok(Self(seeds)),
            Some(_) => Err(format!("expected at most {SEEDS_MAX} seeds")),
            None => Err(format!("{text:?} ends before it begins, expected for example 1..20")),
        }
    }
}

/// A run and what only a simulation has.
pub struct Done {
    /// As the lab reports it.
    pub outcome: Outcome,
    /// Equal for equal runs.
    pub digest: u64,
    /// Inputs that machines handled.
    pub inputs: u64,
}

/// Simulates a plan once; `log` reads the events, and may end the run before its time.
pub fn run(
    plan: &Plan,
    options: &Options,
    progress: impl FnMut(f64),
    log: Option<Log<'_>>,
) -> anyhow::Result<Done> {
    let world = World::new(plan, options).with_context(|| plan.name.clone())?;
    let simulated = world.run_logged(progress, log);
    let Simulated { report, curve, marks, piece_copies, idle_seconds, installs, mut faults, digest, inputs } =
        simulated;
    faults.extend(verdict::failures(&plan.as_simulated(), &report));
    faults.extend(installs.iter().flat_map(|installs| verdict::install_failures(plan, installs)));
    let network = format!("{}, simulated", plan.links_in_words());
    let outcome = Outcome {
        plan: plan.name.clone(),
        network,
        command: command::run(plan, options),
        seed: Some(options.seed),
        options: drawn(options),
        oracle: Oracle::new(plan),
        report,
        curve,
        marks,
        piece_copies,
        idle_seconds,
        installs,
        failures: faults,
    };
    Ok(Done { outcome, digest, inputs })
}

/// What is not in the plan, in words.
fn drawn(options: &Options) -> BTreeMap<&'static str, String> {
    let cores = options.cores.map_or_else(|| "one for each device".into(), |cores| cores.to_string());
    let mut drawn = BTreeMap::from([("cores", cores), ("ideal", options.is_ideal.to_string())]);
    if options.costs_file.is_some() {
        // Numbers and names as keys: nothing that JSON cannot say.
        drawn.insert("costs", serde_json::to_string(&options.costs).unwrap_or_default());
    }
    drawn
}

/// The same with a progress bar; refused if it does not fit in memory.
pub fn run_watched(plan: &Plan, options: &Options, log: Option<Log<'_>>) -> anyhow::Result<Done> {
    memory::runs_at_once(plan, 1)?;
    let bar = progress_bar(1)?;
    let done = run(plan, options, |part| bar.set_position((part.min(1.0) * 1000.0) as u64), log);
    bar.finish_and_clear();
    done
}

/// Simulates a plan with every seed, on all cores that there is memory for; in the order of the seeds.
pub fn run_all(plan: &Plan, seeds: &Seeds, options: &Options) -> anyhow::Result<Vec<Done>> {
    let next = AtomicU64::new(*seeds.0.start());
    let done = Mutex::new(Vec::new());
    let count = seeds.0.end() - seeds.0.start() + 1;
    let wanted = cores().min(count as usize);
    let workers = memory::runs_at_once(plan, wanted)?;
    if workers < wanted {
        let each = memory::amount(memory::estimated_bytes(plan));
        eprintln!("samara-sim: {workers} at once instead of {wanted}: each takes about {each} of memory");
    }
    let bar = progress_bar(count)?;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > *seeds.0.end() {
                        return;
                    }
                    let mut part_before = 0;
                    let progress = |part: f64| {
                        let part = (part.min(1.0) * 1000.0) as u64;
                        bar.inc(part.saturating_sub(part_before));
                        part_before = part;
                    };
                    let result = run(plan, &Options { seed, ..options.clone() }, progress, None);
                    bar.inc(1000 - part_before);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((seed, result));
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(seed, _)| *seed);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Cores of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Several runs of one plan: a row for each seed, the means, and the bounds.
pub fn table(plan: &Plan, done: &[Done]) -> String {
    let has_installs = done.iter().any(|done| done.outcome.installs.is_some());
    let figures = |outcome: &Outcome| {
        let report = &outcome.report;
        let mut figures = vec![
            report.median_device_seconds,
            report.p99_device_seconds,
            report.last_device_seconds,
            report.time_ratio,
            Some(report.seeder_copies),
            Some(report.total_copies),
        ];
        if has_installs {
            let installs = outcome.installs.as_ref();
            figures.push(installs.map(|installs| installs.committed as f64));
            figures.push(installs.and_then(|installs| installs.last_committed_seconds));
        }
        figures
    };
    let row = |name: String, figures: &[Option<f64>]| {
        let cell =
            |figure: &Option<f64>| figure.map_or_else(|| format!("{:>10}", "-"), |f| format!("{f:>10.4}"));
        format!("{name:>8}{}\n", figures.iter().map(cell).collect::<String>())
    };
    let network = done.first().map_or("", |done| &done.outcome.network);
    let heads = ["median s", "p99 s", "last s", "ratio", "seeder", "total", "committed", "its last"];
    let heads = &heads[..if has_installs { 8 } else { 6 }];
    let heads: String = heads.iter().map(|head| format!("{head:>10}")).collect();
    let mut table = format!("plan {}, {network}\n\n{:>8}{heads}\n", plan.name, "seed");
    let rows: Vec<Vec<Option<f64>>> = done.iter().map(|done| figures(&done.outcome)).collect();
    for (done, figures) in done.iter().zip(&rows) {
        table += &row(done.outcome.seed.unwrap_or_default().to_string(), figures);
    }
    let mean = |column: usize| {
        let known: Option<Vec<f64>> = rows.iter().map(|row| row[column]).collect();
        known.map(|known| known.iter().sum::<f64>() / known.len() as f64)
    };
    let columns = rows.first().map_or(0, Vec::len);
    table += &row("mean".into(), &(0..columns).map(mean).collect::<Vec<_>>());
    let Oracle { lower_bound_seconds, pipeline_seconds, .. } = Oracle::new(plan);
    table += &row("bound".into(), &[None, None, lower_bound_seconds, Some(1.0), Some(1.0), Some(1.0)]);
    if pipeline_seconds.is_some() {
        table += &row("optimum".into(), &[None, None, pipeline_seconds, None, None, None]);
    }
    table
}

fn progress_bar(runs: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("simulating {bar:30} {percent:>3} %  {elapsed}  eta {eta}")
        .context("the progress bar's template")?;
    Ok(ProgressBar::new(runs * 1000).with_style(style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_one_number_or_two_with_both_ends_included() {
        assert_eq!("7".parse(), Ok(Seeds(7..=7)));
        assert_eq!("1..20".parse(), Ok(Seeds(1..=20)));
        for wrong in ["", "x", "3..1", "1..1000000", "-1", "1..2..3"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }
}
