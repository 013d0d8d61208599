//! The loop of a run: wait for what the seeder says or for the next event, act, look at the devices, until all are
//! done or the time is over.

use super::netns::Net;
use super::party::{Device, Seeder};

use super::Interrupt;
use super::site::{Received, Site};
use super::watch::SeederEvent;
use crate::outcome::{Happening, Mark, Point};
use crate::plan::{Event, Milestone, Party, Plan, Schedule, Verb, device_name};
use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use samara_protocol::measure::{DeviceReport, Run, RunReport};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

/// Between two looks at the devices. Their logs carry exact times; this only bounds how late the run ends.
const LOOK_SECONDS: f64 = 0.1;
/// Between two samples of processor time and memory.
const SAMPLE_SECONDS: f64 = 1.0;
/// Points of the curve over the time that the bound allows, and the seconds between two of them at least and at most:
/// each costs the machine a millisecond.
const POINTS_PER_BOUND: f64 = 100.0;
const POINT_SECONDS_MIN: f64 = 0.1;
const POINT_SECONDS_MAX: f64 = 0.25;
/// The devices accept connections within this time, or something is wrong.
const START_SECONDS_MAX: f64 = 30.0;
/// Lines of the seeder that wait for the loop.
const LINES_MAX: usize = 1024;
/// A seeder that was asked to leave is not waited for any longer.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// A run from the first process to the report.
pub struct Driver<'a> {
    plan: &'a Plan,
    net: &'a Net,
    site: &'a Site,
    interrupt: Interrupt,
    devices: Vec<Device>,
    seeder: Seeder,
    lines: Receiver<SeederEvent>,
    schedule: Schedule,
    curve: Vec<Point>,
    /// Bytes that the kernel had counted on the seeder's link when it started.
    wire_before: u64,
    marks: Vec<Mark>,
    bar: ProgressBar,
}

/// A run that came to its end.
pub struct Finished {
    /// The numbers.
    pub report: RunReport,
    /// The run on the way.
    pub curve: Vec<Point>,
    /// What happened on the way.
    pub marks: Vec<Mark>,
    /// What went wrong beside the numbers, a sentence each.
    pub failures: Vec<String>,
}

/// The start of the clock, in both of its forms.
#[derive(Clone, Copy)]
struct Start {
    monotonic: Instant,
    civil: f64,
}

impl Start {
    fn now() -> Self {
        Self { monotonic: Instant::now(), civil: civil_seconds() }
    }

    fn seconds(self) -> f64 {
        self.monotonic.elapsed().as_secs_f64()
    }
}

impl<'a> Driver<'a> {
    /// Everything is ready and nothing runs.
    pub fn new(plan: &'a Plan, net: &'a Net, site: &'a Site, interrupt: Interrupt) -> anyhow::Result<Self> {
        let (sender, lines) = sync_channel(LINES_MAX);
        let style = ProgressStyle::with_template("lab: {bar:30} {percent:>3} %  {elapsed}  {msg}")
            .context("the progress bar's template")?;
        Ok(Self {
            plan,
            net,
            site,
            interrupt,
            devices: (0..plan.devices.count).map(|device| Device::new(site.device(device, net))).collect(),
            seeder: Seeder::new(site.seeder(net), sender),
            lines,
            schedule: Schedule::new(&plan.happenings),
            curve: Vec::new(),
            wire_before: 0,
            marks: Vec::new(),
            bar: ProgressBar::new(1000).with_style(style),
        })
    }

    /// Runs to the end.
    pub fn run(mut self) -> anyhow::Result<Finished> {
        self.start_devices()?;
        self.wire_before = self.net.seeder_wire_bytes()?;
        let start = Start::now();
        self.seeder.start()?;
        let mut look_at = 0.0;
        let mut sample_at = 0.0;
        let mut point_at = 0.0;
        let spacing = self.plan.lower_bound_seconds().unwrap_or(0.0) / POINTS_PER_BOUND;
        let spacing = spacing.clamp(POINT_SECONDS_MIN, POINT_SECONDS_MAX);
        while start.seconds() < self.plan.timeout && !self.is_finished() {
            self.interrupt.check()?;
            let due = self.schedule.next_due().unwrap_or(f64::INFINITY).min(look_at);
            self.wait(start, due - start.seconds());
            while let Some(event) = self.schedule.poll_due(start.seconds()) {
                self.happen(&event, start)?;
            }
            if start.seconds() >= look_at {
                look_at = start.seconds() + LOOK_SECONDS;
                self.look(start)?;
            }
            if start.seconds() >= point_at {
                point_at = start.seconds() + spacing;
                self.take_point(start);
            }
            if start.seconds() >= sample_at {
                sample_at = start.seconds() + SAMPLE_SECONDS;
                for device in &mut self.devices {
                    device.usage();
                }
            }
        }
        self.take_point(start);
        let wire_bytes = self.net.seeder_wire_bytes()? - self.wire_before;
        self.bar.finish_and_clear();
        self.let_seeder_leave(start);
        Ok(self.report(start, wire_bytes))
    }

    /// Only a seeder that leaves in order says to the byte what it sent.
    fn let_seeder_leave(&mut self, start: Start) {
        if !self.seeder.leave() {
            return;
        }
        let deadline = Instant::now() + LEAVE_MAX;
        let left = |event: &SeederEvent| matches!(event, SeederEvent::Left { .. });
        while let Ok(event) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.on_seeder(&event, start.seconds());
            if left(&event) {
                return;
            }
        }
    }

    /// Devices run first; the clock does not.
    fn start_devices(&mut self) -> anyhow::Result<()> {
        let present: Vec<usize> = (0..self.devices.len()).filter(|d| !self.plan.joins_late(*d)).collect();
        for device in &present {
            self.devices[*device].start()?;
        }
        let start = Instant::now();
        while !present.iter().all(|device| self.devices[*device].is_listening) {
            self.interrupt.check()?;
            for device in &present {
                self.devices[*device].poll(&device_name(*device))?;
            }
            let waited = start.elapsed().as_secs_f64();
            ensure!(waited < START_SECONDS_MAX, "some devices do not listen after {START_SECONDS_MAX} s");
            std::thread::sleep(Duration::from_secs_f64(LOOK_SECONDS));
        }
        let settled = Instant::now() + Duration::from_secs_f64(self.plan.settle);
        while Instant::now() < settled {
            self.interrupt.check()?;
            std::thread::sleep(Duration::from_secs_f64(LOOK_SECONDS));
        }
        Ok(())
    }

    /// Up to `seconds` for a line of the seeder.
    fn wait(&mut self, start: Start, seconds: f64) {
        let line = self.lines.recv_timeout(Duration::from_secs_f64(seconds.max(0.0)));
        let event = match line {
            Ok(event) => event,
            // The seeder of this driver holds a sender, so nothing is ever disconnected.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        };
        self.on_seeder(&event, start.seconds());
    }

    fn on_seeder(&mut self, event: &SeederEvent, now: f64) {
        match event {
            SeederEvent::Progress { sent_bytes, repair_bytes } => {
                self.seeder.sent.on_count(*sent_bytes);
                self.seeder.repair.on_count(*repair_bytes);
                let copies = self.seeder.sent.total() as f64 / self.plan.artifact.bytes.0 as f64;
                self.bar.set_message(format!("{copies:.3} copies sent"));
            }
            SeederEvent::SafeToLeave {} => {
                self.say(&format!("{now:.2} s: the seeder is safe to leave"));
                self.schedule.on_milestone(now, Milestone::SafeToLeave);
                if !self.marks.iter().any(|mark| mark.event == Happening::SafeToLeave) {
                    self.marks.push(Mark::safe(now));
                }
            }
            SeederEvent::Left { sent_bytes } => self.seeder.sent.on_count(*sent_bytes),
            SeederEvent::Listening {} | SeederEvent::Other => {}
        }
    }

    fn happen(&mut self, event: &Event, start: Start) -> anyhow::Result<()> {
        self.marks.push(Mark::of(event, start.seconds()));
        for party in &event.who {
            let name = match party {
                Party::Seeder => "the seeder".to_owned(),
                Party::Device(device) => device_name(*device),
            };
            self.say(&format!("{:.2} s: {:?} {name}", start.seconds(), event.verb));
            match (event.verb, *party) {
                (Verb::Kill | Verb::PowerCut, Party::Seeder) => self.seeder.kill(),
                (Verb::Leave, Party::Seeder) => {
                    self.seeder.leave();
                }
                (Verb::Restart | Verb::Join, Party::Seeder) => self.seeder.start()?,
                (Verb::LinkDown, Party::Seeder) => self.net.set_seeder_link(false)?,
                (Verb::LinkUp, Party::Seeder) => self.net.set_seeder_link(true)?,
                (verb, Party::Device(device)) => self.happen_to(verb, device, start)?,
                // Plans that change the rollout are refused before.
                (_, Party::Seeder) => {}
            }
        }
        Ok(())
    }

    fn happen_to(&mut self, verb: Verb, number: usize, start: Start) -> anyhow::Result<()> {
        let device = &mut self.devices[number];
        match verb {
            // Plans that cut power or change the rollout are refused before.
            Verb::Kill | Verb::PowerCut => device.kill(),
            Verb::Leave => device.leave(),
            Verb::Restart => device.start()?,
            Verb::Join => {
                device.joined = Some(start.seconds());
                device.start()?;
            }
            Verb::LinkDown | Verb::LinkUp => {
                device.is_linked = verb == Verb::LinkUp;
                self.net.set_link(number, device.is_linked)?;
            }
            Verb::RolloutPause | Verb::RolloutResume | Verb::RolloutAbort | Verb::RolloutRetry => {}
        }
        Ok(())
    }

    /// How far everything is, whoever lives.
    fn take_point(&mut self, start: Start) {
        let (bytes, mut present) = (self.plan.artifact.bytes.0, 0);
        let held: u64 =
            self.plan.present().inspect(|_| present += 1).map(|d| self.site.held_bytes(d, bytes)).sum();
        let fraction = held as f64 / (present * bytes) as f64;
        let seconds = start.seconds();
        self.schedule.on_fraction(seconds, fraction);
        let complete = self.devices.iter().filter(|device| device.verified.is_some()).count();
        // A counter that cannot be read in this moment stands still in the plot; the report reads it again.
        let before = self.curve.last().map_or(0, |point| point.seeder_wire_bytes);
        let seeder_wire_bytes = self.net.seeder_wire_bytes().map_or(before, |now| now - self.wire_before);
        let seeder_bytes = self.seeder.sent.total();
        self.curve.push(Point {
            seconds,
            fraction,
            complete,
            seeder_bytes,
            seeder_wire_bytes,
            committed: None,
        });
        self.bar.set_position((fraction.min(1.0) * 1000.0) as u64);
    }

    fn look(&mut self, start: Start) -> anyhow::Result<()> {
        for (number, device) in self.devices.iter_mut().enumerate() {
            device.poll(&device_name(number))?;
        }
        if self.seeder.poll()? {
            self.say(&format!("{:.2} s: the seeder has left", start.seconds()));
            self.schedule.on_milestone(start.seconds(), Milestone::SeederLeft);
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        let living_are_done = self.devices.iter().filter(|d| d.is_living()).all(|d| d.verified.is_some());
        living_are_done && self.schedule.pending().next().is_none()
    }

    fn report(mut self, start: Start, wire_bytes: u64) -> Finished {
        while let Ok(event) = self.lines.try_recv() {
            self.on_seeder(&event, start.seconds());
        }
        let mut failures: Vec<String> = self
            .schedule
            .pending()
            .map(|event| format!("an event of the plan never came: {:?} ({:?})", event.verb, event.moment))
            .collect();
        let mut devices = Vec::new();
        let mut duplicate_bytes = 0;
        for (number, device) in self.devices.iter_mut().enumerate() {
            if !device.is_living() {
                continue;
            }
            let name = device_name(number);
            let received = self.site.received(number).unwrap_or_else(|error| {
                failures.push(format!("{name} does not say where its bytes came from: {error:#}"));
                Received::default()
            });
            let usage = device.usage();
            duplicate_bytes += received.duplicate;
            devices.push(DeviceReport {
                device: name,
                seconds: device.verified.map(|at| at - start.civil - device.joined.unwrap_or(0.0)),
                bytes_from_seeder: received.from_seeder,
                bytes_from_peers: received.from_peers,
                duplicate_bytes: received.duplicate,
                cpu_seconds: Some(usage.cpu_seconds),
                peak_rss_bytes: Some(usage.peak_rss_bytes),
                joined_seconds: device.joined,
            });
        }
        let report = RunReport::new(Run {
            artifact_bytes: self.plan.artifact.bytes.0,
            lower_bound_seconds: self.plan.lower_bound_seconds(),
            seeder_bytes: self.seeder.sent.total(),
            seeder_wire_bytes: Some(wire_bytes),
            repair_bytes: self.seeder.repair.total(),
            duplicate_bytes,
            devices,
        });
        Finished { report, curve: self.curve, marks: self.marks, failures }
    }

    fn say(&self, what: &str) {
        self.bar.suspend(|| eprintln!("lab: {what}"));
    }
}

fn civil_seconds() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
