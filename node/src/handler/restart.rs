//! What runs a program takes up its new version: a unit of systemd, or the process that a file names.
//!
//! A file may name a process that has ended, and whose number somebody else has got. A signal goes only to a process
//! that runs a version of this very program; any other is left alone, and then nothing is to be restarted.

use super::place::Place;
use super::{Site, place};
use crate::process::{self, Ending, Program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use samara_protocol::document::Restart;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

/// How long `systemctl` may take: longer than units take by default to stop and start.
const UNIT_TIME_MAX: Duration = Duration::from_secs(200);
/// How long a process may take to end by itself.
const STOP_TIME_MAX: i64 = 30;
/// How long it may take to vanish once it is killed.
const KILL_TIME_MAX: i64 = 5;
/// A number, with some white space around it.
const PID_FILE_BYTES_MAX: u64 = 64;

/// Restarts what runs the program at a destination; where there is none any more it is stopped.
pub(super) fn restart(site: &Site, place: &Place, what: &Restart) -> Result<(), String> {
    match what {
        Restart::None | Restart::Agent => Ok(()),
        Restart::Unit { unit } if place.exists(place.name()) => {
            // A version that ended too often keeps its unit from being started again, also with the version before.
            let _ = systemctl("reset-failed", unit);
            systemctl("restart", unit)
        }
        Restart::Unit { unit } => systemctl("stop", unit),
        Restart::Process { pid_file } => match running(&site.root.join(pid_file), place)? {
            Some(process) => stop(&process),
            None => Ok(()),
        },
    }
}

fn systemctl(verb: &str, unit: &str) -> Result<(), String> {
    let args = [verb, "--", unit].map(str::to_owned);
    let program =
        Program { path: Path::new("systemctl"), args: &args, variables: &[], timeout: UNIT_TIME_MAX };
    let ran = process::run(&program).map_err(|error| format!("cannot run systemctl: {error}"))?;
    match ran.ending {
        Ending::Exited(0) => Ok(()),
        ending => Err(format!("systemctl {verb} {unit} {ending}: {}", ran.output)),
    }
}

/// The process that a file names, if it lives and runs a version of the program.
fn running(pid_file: &Path, place: &Place) -> Result<Option<OwnedFd>, String> {
    let mut text = String::new();
    match std::fs::File::open(pid_file).map(|file| file.take(PID_FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(format!("cannot read {}: {error}", pid_file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", pid_file.display())),
    }
    let wrong = || format!("{} holds no process id: {:?}", pid_file.display(), text.trim());
    let pid =
        text.trim().parse::<i32>().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw).ok_or_else(wrong)?;
    // Held before it is looked at: what was looked at is what gets the signal.
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        opened => opened.map_err(|error| format!("cannot hold process {}: {error}", text.trim()))?,
    };
    if runs(pid, place) {
        return Ok(Some(process));
    }
    tracing::warn!(pid_file = %pid_file.display(), pid = text.trim(), "it is not this program: left alone");
    Ok(None)
}

/// Whether a process was started from the destination or from a version of it; a script is an argument of what reads it.
fn runs(pid: Pid, place: &Place) -> bool {
    let of_process = |name: &str| format!("/proc/{}/{name}", pid.as_raw_nonzero());
    let program = place.shown();
    let real = program.parent().and_then(|dir| dir.canonicalize().ok()).map(|dir| dir.join(place.name()));
    let is_ours = |path: &[u8]| {
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        [Some(program), real.as_deref()].into_iter().flatten().any(|program| {
            let rest = path.strip_prefix(program.as_os_str().as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(place::OWN.as_bytes()))
        })
    };
    let executable = std::fs::read_link(of_process("exe")).unwrap_or_default();
    let arguments = std::fs::read(of_process("cmdline")).unwrap_or_default();
    // Program and script; what comes later may be any file that it works on.
    is_ours(executable.as_os_str().as_bytes()) || arguments.split(|b| *b == 0).take(2).any(is_ours)
}

fn stop(process: &OwnedFd) -> Result<(), String> {
    for (signal, seconds) in [(Signal::TERM, STOP_TIME_MAX), (Signal::KILL, KILL_TIME_MAX)] {
        match pidfd_send_signal(process, signal) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            sent => sent.map_err(|error| format!("cannot signal the process: {error}"))?,
        }
        let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
        if poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)).is_ok_and(|ready| ready > 0) {
            return Ok(());
        }
    }
    Err("the process does not end, even when it is killed".into())
}
