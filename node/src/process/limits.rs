//! What a program may use of the device, set before it begins.
//!
//! A limit that is set from outside comes after the start: what the program has started by then has none. So the daemon
//! starts itself once more as a launcher, which limits itself and then becomes the program. Where no launcher is named,
//! as in tests of this library alone, limits are set right after the start.

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit, set_parent_process_death_signal, setrlimit};
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

/// The first argument of a launcher.
pub const LAUNCH: &str = "launch-limited";
/// What a process may use of the device, beside the processor's time: that is limited to its time limit.
const LIMITS: [(Resource, u64); 4] = [
    // A core dump fills the disk, and may hold secrets.
    (Resource::Core, 0),
    // One file that grows for ever fills the disk.
    (Resource::Fsize, 4 << 30),
    (Resource::Nofile, 1024),
    // Memory of its own; what it only maps or reserves does not count.
    (Resource::Data, 1 << 30),
];
/// As shells say that a program is not there, or cannot be started.
const EXIT_NOT_FOUND: u8 = 127;
const EXIT_NOT_STARTED: u8 = 126;

static LAUNCHER: OnceLock<PathBuf> = OnceLock::new();

/// From now on programs are started by this program itself: its `main` must call [`launch`] for [`LAUNCH`].
pub fn use_launcher() {
    // The very program that runs, also when another one lies at its path by now.
    let _ = LAUNCHER.set("/proc/self/exe".into());
}

/// The command that becomes a program with its arguments.
pub(super) fn command(program: &super::Program<'_>) -> Command {
    let Some(launcher) = LAUNCHER.get() else {
        let mut command = Command::new(program.path);
        command.args(program.args);
        return command;
    };
    let mut command = Command::new(launcher);
    command.arg(LAUNCH).arg(cpu_seconds(program.timeout).to_string()).arg(program.path).args(program.args);
    command
}

/// Limits a process that was started without a launcher. What cannot be limited runs without that limit: it has ended
/// already, or has less.
pub(super) fn limit(pid: Pid, timeout: Duration) {
    if LAUNCHER.get().is_some() {
        return;
    }
    for (resource, limit) in limits(cpu_seconds(timeout)) {
        let _ = prlimit(Some(pid), resource, limit);
    }
}

/// Becomes the program: `seconds PROGRAM ARGUMENT...`. Comes back only where that fails.
pub fn launch(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let seconds = words.next().and_then(|word| word.to_str()?.parse().ok());
    let (Some(seconds), Some(program)) = (seconds, words.next()) else {
        return ExitCode::from(EXIT_NOT_STARTED);
    };
    for (resource, limit) in limits(seconds) {
        let _ = setrlimit(resource, limit);
    }
    // A daemon that was killed undoes at its next start what the program does: both at once would be a mess.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let error = become_program(Command::new(&program).args(words));
    let _ = writeln!(io::stderr(), "cannot run {}: {error}", program.display());
    ExitCode::from(if error.kind() == ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_STARTED })
}

fn become_program(command: &mut Command) -> io::Error {
    for _ in 1..super::BUSY_TRIES_MAX {
        match command.exec() {
            error if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::sleep(super::ASK_EVERY),
            error => return error,
        }
    }
    command.exec()
}

fn cpu_seconds(timeout: Duration) -> u64 {
    timeout.as_secs() + 1
}

fn limits(cpu_seconds: u64) -> impl Iterator<Item = (Resource, Rlimit)> {
    let all = LIMITS.into_iter().chain([(Resource::Cpu, cpu_seconds)]);
    all.map(|(resource, most)| (resource, Rlimit { current: Some(most), maximum: Some(most) }))
}
