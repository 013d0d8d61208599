//! The two kinds of party of a run while it runs: a device and the seeder, each with its process or without.

use super::process::{Launch, Process, Usage};
use super::watch::{DeviceEvent, SeederEvent, Sent, Tail};
use anyhow::bail;
use std::io::{BufRead, BufReader};
use std::process::ChildStdout;
use std::sync::mpsc::SyncSender;

/// Lines of a log that an error quotes.
const LINES_QUOTED: usize = 6;

/// One device.
#[derive(Debug)]
pub struct Device {
    launch: Launch,
    process: Option<Process>,
    before: Usage,
    log: Option<Tail>,
    /// It accepts connections (or did once).
    pub is_listening: bool,
    /// Its link carries.
    pub is_linked: bool,
    /// When it came, if after the start: seconds of the run.
    pub joined: Option<f64>,
    /// When it had everything: civil time.
    pub verified: Option<f64>,
}

impl Device {
    /// A device that is away.
    pub fn new(launch: Launch) -> Self {
        Self {
            launch,
            process: None,
            before: Usage::default(),
            log: None,
            is_listening: false,
            is_linked: true,
            joined: None,
            verified: None,
        }
    }

    /// Starts it, for the first time or again.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.process.is_none() {
            self.process = Some(Process::start(&self.launch)?);
            if self.log.is_none() {
                self.log = Some(Tail::open(&self.launch.log)?);
            }
        }
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            self.before = self.before.and(process.sample());
            process.kill();
        }
    }

    /// Asks it to end.
    pub fn leave(&mut self) {
        if let Some(mut process) = self.process.take() {
            self.before = self.before.and(process.sample());
            process.terminate();
            process.wait_or_kill();
        }
    }

    /// Whether it could finish by itself.
    pub fn is_living(&self) -> bool {
        self.process.is_some() && self.is_linked
    }

    /// Reads its log; fails when it ended by itself.
    pub fn poll(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        for event in log.poll()? {
            match event {
                DeviceEvent::Listening => self.is_listening = true,
                DeviceEvent::Verified(at) => {
                    self.verified.get_or_insert(at);
                }
            }
        }
        if let Some(status) = self.process.as_mut().and_then(Process::ended) {
            bail!("{name} ended by itself ({status}); it said:\n  {}", log.last_lines(LINES_QUOTED));
        }
        Ok(())
    }

    /// What all its lives used.
    pub fn usage(&mut self) -> Usage {
        let running = self.process.as_mut().map(Process::sample).unwrap_or_default();
        self.before.and(running)
    }
}

/// The operator's laptop.
#[derive(Debug)]
pub struct Seeder {
    launch: Launch,
    process: Option<Process>,
    lines: SyncSender<SeederEvent>,
    is_told_to_leave: bool,
    /// Artifact bytes it sent.
    pub sent: Sent,
    /// Those it had sent before.
    pub repair: Sent,
}

impl Seeder {
    /// A seeder that is away; what it says will be sent to `lines`.
    pub fn new(launch: Launch, lines: SyncSender<SeederEvent>) -> Self {
        let (sent, repair) = (Sent::default(), Sent::default());
        Self { launch, process: None, lines, is_told_to_leave: false, sent, repair }
    }

    /// Starts it, for the first time or again.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.process.is_none() {
            let (process, stdout) = Process::start_piped(&self.launch)?;
            self.process = Some(process);
            self.is_told_to_leave = false;
            self.sent.on_start();
            self.repair.on_start();
            let lines = self.lines.clone();
            std::thread::spawn(move || forward(stdout, &lines));
        }
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks it to leave, if it is there; [`Seeder::poll`] tells when it has.
    pub fn leave(&mut self) -> bool {
        let Some(process) = &self.process else { return false };
        process.terminate();
        self.is_told_to_leave = true;
        true
    }

    /// Whether it has left since the last call, as it was told; fails when it ended by itself.
    pub fn poll(&mut self) -> anyhow::Result<bool> {
        let Some(status) = self.process.as_mut().and_then(Process::ended) else { return Ok(false) };
        self.process = None;
        if !self.is_told_to_leave {
            let said = Tail::open(&self.launch.log)?.last_lines(LINES_QUOTED);
            bail!("the seeder ended by itself ({status}); it said:\n  {said}");
        }
        Ok(true)
    }
}

/// Until the process closes its stdout, or nobody listens.
fn forward(stdout: ChildStdout, lines: &SyncSender<SeederEvent>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if SeederEvent::parse(&line).is_some_and(|event| lines.send(event).is_err()) {
            return;
        }
    }
}
