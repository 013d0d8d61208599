//! A link that delays and loses, in userspace: what enters one TAP device leaves the other, later or never.
//!
//! ```text
//!  party's eth0 (tbf) -> TAP -> [loss, delay line] -> TAP -> the hub's port, and the same the other way
//! ```
//!
//! A process of its own, so that its processor time is nobody else's: it makes both devices where it starts, says
//! `ready`, and carries frames until SIGTERM; then it says what it did, a line of JSON for each direction. The kernel
//! removes the devices with the process, however it ends. Rates are the kernel's (tbf, before the devices); loss and
//! delay come behind the queue, in order, each direction with dice of its own.

mod line;

use crate::link::{Delay, Loss, dice};
use crate::plan::{Link, Percent, Span};
use anyhow::Context;
use clap::Args;
use line::{Counted, Line};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::SIGTERM;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tappers::{Interface, Tap};

/// The largest frame that is carried whole: jumbo frames, with room to spare.
const FRAME_BYTES_MAX: usize = 9216;
/// Frames taken from one device before the other one has its turn.
const FRAMES_A_TURN: usize = 64;
/// Before the programs that are measured: a frame that waits for a processor is a delay that nobody asked for.
const NICE: i32 = -15;
/// What the process says when its devices are there.
pub const READY: &str = "ready";

/// How to relay.
#[derive(Debug, Clone, Args)]
pub struct RelayArgs {
    /// The device of the network's side, which is made.
    #[arg(long, value_name = "NAME")]
    pub hub_side: String,
    /// The device of the party's side, which is made.
    #[arg(long, value_name = "NAME")]
    pub party_side: String,
    /// One way.
    #[arg(long, default_value = "0ms", value_parser = span)]
    pub delay: Span,
    /// By how much the delay wanders.
    #[arg(long, default_value = "0ms", value_parser = span)]
    pub jitter: Span,
    /// Of all frames.
    #[arg(long, default_value = "0%", value_parser = percent)]
    pub loss: Percent,
    /// Frames that are lost in a row, on average.
    #[arg(long)]
    pub loss_burst: Option<f64>,
    /// Of all dice.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

fn span(text: &str) -> Result<Span, String> {
    Span::try_from(text.to_owned())
}

fn percent(text: &str) -> Result<Percent, String> {
    Percent::try_from(text.to_owned())
}

impl RelayArgs {
    /// For a link of a plan.
    pub fn new(hub_side: String, party_side: String, link: &Link, seed: u64) -> Self {
        let Link { delay, jitter, loss, loss_burst, .. } = *link;
        Self { hub_side, party_side, delay, jitter, loss, loss_burst, seed }
    }

    /// As they are written on a command line.
    pub fn to_words(&self) -> Vec<String> {
        let pairs = [
            ("--hub-side", self.hub_side.clone()),
            ("--party-side", self.party_side.clone()),
            ("--delay", self.delay.to_string()),
            ("--jitter", self.jitter.to_string()),
            ("--loss", self.loss.to_string()),
            ("--seed", self.seed.to_string()),
        ];
        let burst = self.loss_burst.map(|burst| ("--loss-burst", burst.to_string()));
        pairs.into_iter().chain(burst).flat_map(|(key, value)| [key.to_owned(), value]).collect()
    }

    fn line(&self, direction: u64) -> Line {
        Line::new(
            Delay::new(self.delay.0, self.jitter.0, dice(self.seed, direction << 1)),
            Loss::new(self.loss.fraction(), self.loss_burst, dice(self.seed, direction << 1 | 1)),
        )
    }
}

/// Relays until SIGTERM.
pub fn run(args: &RelayArgs) -> anyhow::Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&is_over)).context("cannot handle SIGTERM")?;
    // Without the right to, the relay is only less exact.
    let _ = rustix::process::nice(NICE);
    let taps = [open(&args.hub_side)?, open(&args.party_side)?];
    println!("{READY}");
    let mut lines = [args.line(0), args.line(1)];
    carry(&taps, &mut lines, &is_over)?;
    let [to_party, to_hub] = lines.map(|line| line.counted());
    let mut out = std::io::stdout();
    // Whoever started it may be gone.
    let _ = writeln!(out, "{}", serde_json::to_string(&[("to_party", to_party), ("to_hub", to_hub)])?);
    Ok(())
}

fn open(name: &str) -> anyhow::Result<Tap> {
    let make = || {
        let mut tap = Tap::new_named(Interface::new(name)?)?;
        tap.set_nonblocking(true)?;
        Ok::<Tap, std::io::Error>(tap)
    };
    make().with_context(|| format!("cannot make the TAP device {name}; is /dev/net/tun there?"))
}

/// What is taken from device `i` enters line `i`, which ends at the other device.
fn carry(taps: &[Tap; 2], lines: &mut [Line; 2], is_over: &AtomicBool) -> anyhow::Result<()> {
    let start = Instant::now();
    let now = || start.elapsed().as_nanos() as u64;
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    while !is_over.load(Ordering::Relaxed) {
        for (line, out) in lines.iter_mut().zip([&taps[1], &taps[0]]) {
            while let Some(frame) = line.poll(now()) {
                // A device that is down refuses; so does a cable that is cut.
                let is_sent = out.send(&frame).is_ok();
                line.on_sent(is_sent);
            }
        }
        let due = lines.iter().filter_map(Line::next_due).min();
        let wait = due.map(|due| Duration::from_nanos(due.saturating_sub(now())));
        let wait = wait.map(Timespec::try_from).transpose().context("a delay that is none")?;
        let mut polled = [&taps[0], &taps[1]].map(|tap| PollFd::new(tap, PollFlags::IN));
        match poll(&mut polled, wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for frames"),
        }
        let is_readable = polled.map(|polled| polled.revents().contains(PollFlags::IN));
        for ((tap, line), _) in
            taps.iter().zip(lines.iter_mut()).zip(is_readable).filter(|(_, readable)| *readable)
        {
            for _ in 0..FRAMES_A_TURN {
                match tap.recv(&mut buffer) {
                    Ok(length) => line.enter(now(), &buffer[..length]),
                    // A device that is down has nothing to give.
                    Err(error) if error.kind() == ErrorKind::WouldBlock || is_down(&error) => break,
                    Err(error) => return Err(error).context("cannot read a frame"),
                }
            }
        }
    }
    Ok(())
}

fn is_down(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// What a relay said at its end, as a sentence for people.
pub fn summary(said: &str) -> Option<String> {
    let directions: Vec<(String, Counted)> = serde_json::from_str(said.trim()).ok()?;
    let parts =
        directions.iter().map(|(direction, counted)| format!("{} {counted}", direction.replace('_', " ")));
    Some(parts.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    #[test]
    fn what_is_written_on_a_command_line_is_read_from_it() {
        let link: Link =
            toml::from_str("delay = \"30ms\"\njitter = \"500us\"\nloss = \"0.5%\"\nloss_burst = 4").unwrap();
        let words = RelayArgs::new("p1".into(), "r1".into(), &link, 9).to_words();
        let command = RelayArgs::augment_args(Command::new("relay").no_binary_name(true));
        let read = RelayArgs::from_arg_matches(&command.get_matches_from(&words)).unwrap();
        assert_eq!(read.to_words(), words);
        assert_eq!((read.delay, read.loss_burst, read.seed), (link.delay, Some(4.0), 9));
    }

    #[test]
    fn what_a_relay_says_at_its_end_can_be_read() {
        let counted = Counted { carried: 99, lost: 1, ..Counted::default() };
        let said = serde_json::to_string(&[("to_party", counted), ("to_hub", counted)]).unwrap();
        let summary = summary(&said).unwrap();
        assert!(summary.contains("to hub 99 frames, 1 lost (1.00 %)"), "{summary}");
    }
}
