//! Pairs of network devices of which one receives what the other sends: veth, or where a link delays or loses, two TAP
//! devices with a relay between them.

use super::process::{Launch, Process};
use super::relay::{self, RelayArgs};
use super::tools;
use crate::plan::Link;
use anyhow::{Context, ensure};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;

/// Frames that a TAP device keeps for a relay that waits for a processor.
const TAP_FRAMES: u32 = 5000;

/// The cables of a run that need a process.
#[derive(Debug)]
pub struct Cables {
    dir: PathBuf,
    relays: Vec<Relay>,
}

/// The process that carries the frames of one cable.
#[derive(Debug)]
struct Relay {
    whose: String,
    process: Process,
    said: BufReader<ChildStdout>,
}

impl Cables {
    /// None yet; relays log below `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), relays: Vec::new() }
    }

    /// Makes the devices `near` and `far` in a namespace; errors and reports call the cable `whose`.
    pub fn lay(
        &mut self,
        namespace: &str,
        [near, far]: [&str; 2],
        link: &Link,
        whose: &str,
    ) -> anyhow::Result<()> {
        if link.is_perfect() {
            return tools::batch("ip", namespace, &[format!("link add {near} type veth peer name {far}")]);
        }
        // Each relay has dice of its own, the same in every run.
        let rng_seed = self.relays.len() as u64;
        let args = RelayArgs::new(near.to_owned(), far.to_owned(), link, rng_seed);
        let launch = Launch {
            namespace: namespace.to_owned(),
            program: std::env::current_exe().context("where is this program?")?,
            args: ["relay".to_owned()].into_iter().chain(args.to_words()).collect(),
            log: self.dir.join(format!("relay-{near}.log")),
        };
        let (process, stdout) = Process::start_piped(&launch)?;
        let mut said = BufReader::new(stdout);
        let mut line = String::new();
        said.read_line(&mut line).context("cannot hear the relay")?;
        self.relays.push(Relay { whose: whose.to_owned(), process, said });
        let log = || fs::read_to_string(&launch.log).unwrap_or_default();
        ensure!(
            line.trim() == relay::READY,
            "the relay of {whose} did not start; it said:\n  {}",
            log().trim()
        );
        let queues = [near, far].map(|name| format!("link set {name} txqueuelen {TAP_FRAMES}"));
        tools::batch("ip", namespace, &queues)
    }

    /// Ends the relays; what each did, a sentence for each.
    pub fn end(&mut self) -> Vec<String> {
        let said = self.relays.drain(..).map(|mut relay| {
            let cpu = relay.process.sample().cpu_seconds;
            relay.process.terminate();
            let mut line = String::new();
            // Without a last word, that is what there is to say.
            let _ = relay.said.read_line(&mut line);
            let summary = relay::summary(&line).unwrap_or_else(|| "ended before its time".into());
            format!("the relay of {}: {summary}; {cpu:.2} s of processor time", relay.whose)
        });
        said.collect()
    }
}
