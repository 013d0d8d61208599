//! Where results go: numbers to stdout, pages to their files, everything else to stderr.

use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::report;
use crate::simulate::{self, Done};
use anyhow::Context;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// A page whose file was there before the run, so that a run is not lost for a wrong name.
pub(super) struct Page {
    path: PathBuf,
    file: File,
}

impl Page {
    /// Makes the file.
    pub(super) fn create(path: PathBuf) -> anyhow::Result<Self> {
        let file =
            File::create(&path).with_context(|| format!("cannot write the report {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Fills it, and says where it is.
    pub(super) fn write(mut self, page: String) -> anyhow::Result<()> {
        let written = self.file.write_all(page.as_bytes());
        written.with_context(|| format!("the report {} is not complete", self.path.display()))?;
        eprintln!("samara-sim: the report is in {}", self.path.display());
        Ok(())
    }
}

/// Runs in virtual time, on stdout.
pub(super) fn print_runs(plan: &Plan, done: &[Done], json: bool) -> anyhow::Result<()> {
    let outcomes: Vec<&Outcome> = done.iter().map(|done| &done.outcome).collect();
    match done {
        [one] if json => println!("{}", serde_json::to_string_pretty(&one.outcome)?),
        [one] => {
            let Done { outcome, digest, inputs } = one;
            print!("{}", report::summary(plan, outcome));
            println!("\n{}\n{inputs} decisions, digest {digest:016x}", report::drawn(outcome));
        }
        _ if json => println!("{}", serde_json::to_string_pretty(&outcomes)?),
        many => {
            print!("{}", simulate::table(plan, many));
            if let [first, .., last] = outcomes[..] {
                let seeds = [first, last].map(|outcome| outcome.seed.unwrap_or_default());
                println!("\n{}", report::drawn_of(first, seeds));
            }
        }
    }
    outcomes.into_iter().for_each(say_failures);
    Ok(())
}

/// What is not as the plan expects, and the command that repeats it.
pub(super) fn say_failures(outcome: &Outcome) {
    let seed = outcome.seed.map_or_else(String::new, |seed| format!(" with seed {seed}"));
    for failure in &outcome.failures {
        eprintln!("samara-sim: {}{seed}: {failure}", outcome.plan);
    }
    if !outcome.is_met() {
        eprintln!("samara-sim: repeat it with: {}", outcome.command);
    }
}
