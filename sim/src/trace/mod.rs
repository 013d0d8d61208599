//! The event log of a simulated run as a file: a head with all that the run was made from, a line for each event, an
//! end. Each line is a JSON object; [`replay`] makes the run again and compares.
//!
//! ```text
//!  {"samara_sim_trace":1,"version":"0.1.0","plan_file":"smoke.toml","seed":1,"cores":null,"ideal":false,"plan":"..."}
//!  {"seconds":0.127,"peer":"seeder","event":"granted","to":"d3","content":0,"piece":17}
//!  {"end":{"events":1,"inputs":480,"digest":"00f1e2d3c4b5a697"}}
//! ```
//!
//! A file without an end was cut short, whoever cut it.

mod replay;

pub use replay::{Replay, TraceError, Verdict, replay};

use crate::plan::Plan;
use crate::world::{Costs, Entry, Options};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Of the file's format.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    samara_sim_trace: u32,
    version: String,
    plan_file: String,
    seed: u64,
    cores: Option<u32>,
    ideal: bool,
    /// Unless they are as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    costs: Option<Costs>,
    plan: String,
}

impl Head {
    fn new(plan: &Plan, options: &Options) -> Self {
        Self {
            samara_sim_trace: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            plan_file: plan.path.to_string_lossy().into_owned(),
            seed: options.seed,
            cores: options.cores,
            ideal: options.is_ideal,
            costs: options.costs_file.is_some().then_some(options.costs),
            plan: plan.text.clone(),
        }
    }

    fn options(&self) -> Options {
        let options = if self.ideal { Options::ideal(self.seed) } else { Options::new(self.seed) };
        Options { cores: self.cores, costs: self.costs.unwrap_or(options.costs), ..options }
    }
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tail {
    end: End,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct End {
    events: u64,
    inputs: u64,
    digest: String,
}

impl Tail {
    fn new(events: u64, inputs: u64, digest: u64) -> Self {
        Self { end: End { events, inputs, digest: format!("{digest:016x}") } }
    }
}

/// Writes a trace while its run goes on. What could not be written is an error at [`Recorder::finish`], never a
/// shorter trace.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    out: BufWriter<File>,
    events: u64,
    fault: Option<io::Error>,
}

impl Recorder {
    /// Begins a file, before a long run finds out that it cannot.
    pub fn create(path: &Path, plan: &Plan, options: &Options) -> anyhow::Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write the trace {}", path.display()))?;
        let mut recorder =
            Self { path: path.to_path_buf(), out: BufWriter::new(file), events: 0, fault: None };
        recorder.write(&Head::new(plan, options));
        Ok(recorder)
    }

    /// Writes an event; a break says that no more of them can be written.
    pub fn record(&mut self, entry: &Entry) -> ControlFlow<()> {
        self.events += 1;
        self.write(entry);
        if self.fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Ends the file; how many events it has.
    pub fn finish(mut self, inputs: u64, digest: u64) -> anyhow::Result<u64> {
        self.write(&Tail::new(self.events, inputs, digest));
        let written = match self.fault {
            Some(fault) => Err(fault),
            None => self.out.flush(),
        };
        written.with_context(|| format!("the trace {} is not complete", self.path.display()))?;
        Ok(self.events)
    }

    fn write(&mut self, line: &impl Serialize) {
        if self.fault.is_none() {
            let written = serde_json::to_writer(&mut self.out, line).map_err(io::Error::from);
            self.fault = written.and_then(|()| self.out.write_all(b"\n")).err();
        }
    }
}
