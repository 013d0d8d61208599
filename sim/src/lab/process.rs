//! One process of the run in its namespace: start, signal, sample; killed and reaped when dropped.
//!
//! `ip netns exec` and `setpriv` replace themselves by the program, so the child's id is the program's. A process
//! group of its own keeps it from the terminal's Ctrl-C: the lab ends it, and if the lab itself is killed, the
//! kernel does.

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Ticks of processor time in a second, as /proc counts them on every Linux.
const TICKS_A_SECOND: f64 = 100.0;
/// A process that was asked to end and does not within this time is hung.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// What to run, and where.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The namespace.
    pub namespace: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where its stderr goes, appended.
    pub log: PathBuf,
}

/// A program that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    usage: Usage,
}

/// Processor time and memory of a process up to its last sample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// User and system seconds.
    pub cpu_seconds: f64,
    /// The most resident memory.
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// Two lives of one device: times add up, the larger peak counts.
    pub fn and(self, other: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            peak_rss_bytes: self.peak_rss_bytes.max(other.peak_rss_bytes),
        }
    }
}

impl Process {
    /// Starts a program; its stdout is thrown away.
    pub fn start(launch: &Launch) -> anyhow::Result<Self> {
        Self::spawn(launch, Stdio::null())
    }

    /// Starts a program whose stdout the caller reads.
    pub fn start_piped(launch: &Launch) -> anyhow::Result<(Self, ChildStdout)> {
        let mut process = Self::spawn(launch, Stdio::piped())?;
        let stdout = process.child.stdout.take().context("a piped process has no stdout")?;
        Ok((process, stdout))
    }

    fn spawn(launch: &Launch, stdout: Stdio) -> anyhow::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(&launch.log);
        let log = log.with_context(|| format!("cannot write {}", launch.log.display()))?;
        let child = Command::new("ip")
            .args(["netns", "exec", &launch.namespace, "setpriv", "--pdeathsig", "KILL"])
            .arg(&launch.program)
            .args(&launch.args)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        Ok(Self { child, usage: Usage::default() })
    }

    /// Reads what it has used so far. A process that has ended keeps its last sample.
    pub fn sample(&mut self) -> Usage {
        let proc = Path::new("/proc").join(self.child.id().to_string());
        let read = |name: &str| std::fs::read_to_string(proc.join(name)).ok();
        if let Some(cpu) = read("stat").as_deref().and_then(cpu_seconds) {
            self.usage.cpu_seconds = self.usage.cpu_seconds.max(cpu);
        }
        if let Some(rss) = read("status").as_deref().and_then(peak_rss_bytes) {
            self.usage.peak_rss_bytes = self.usage.peak_rss_bytes.max(rss);
        }
        self.usage
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The only error is that it has ended.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it now, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits a few seconds for the end that it was asked for, then makes it.
    pub fn wait_or_kill(&mut self) {
        let patience = Instant::now() + LEAVE_MAX;
        while self.ended().is_none() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Fields 14 and 15 of /proc/PID/stat; the program's name in brackets may contain blanks.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_A_SECOND)
}

/// `VmHWM` of /proc/PID/status.
fn peak_rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_name_with_blanks() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 12345 1 2";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn the_memory_peak_is_read_in_kibibytes() {
        assert_eq!(peak_rss_bytes("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n"), Some(2048 * 1024));
        assert_eq!(peak_rss_bytes("Name:\tzombie\n"), None);
    }

    #[test]
    fn two_lives_add_their_time_and_keep_the_larger_peak() {
        let (a, b) =
            (Usage { cpu_seconds: 1.0, peak_rss_bytes: 9 }, Usage { cpu_seconds: 2.0, peak_rss_bytes: 4 });
        assert_eq!(a.and(b), Usage { cpu_seconds: 3.0, peak_rss_bytes: 9 });
    }
}
