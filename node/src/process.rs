//! Runs a program to its end: never longer than its limit, with nothing of the daemon's own around it, and with a
//! bounded memory of what it said.
//!
//! It is the leader of a process group of its own. When it has ended, or its time is over, all that is left in the
//! group is killed: what shall outlive it must leave the group (`setsid`), or better be started by a supervisor. A
//! process that did so and keeps the output open is not waited for.
//!
//! Resource limits hold for it and for each process that it starts: see [`limits`]. A call blocks its thread.

mod limits;

pub use limits::{LAUNCH, launch, use_launcher};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind, PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Where programs that are named without a path are looked for, by the daemon and by what it runs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of output that are kept: the last ones tell why it failed.
pub const OUTPUT_BYTES_MAX: usize = 4096;
/// How often a kernel without file descriptors for processes (before 5.3) is asked whether one has ended.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long a killed process may take to vanish; one that waits for a broken disk never does.
const VANISH_TIME_MAX: Duration = Duration::from_secs(5);
/// Tries to start a file that another thread's child still holds open for writing, since it was forked meanwhile.
const BUSY_TRIES_MAX: u32 = 100;

/// A program to run.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Absolute, or a name to be looked for in the usual directories.
    pub path: &'a Path,
    /// Its arguments.
    pub args: &'a [String],
    /// All that its environment has beside `PATH`.
    pub variables: &'a [(&'static str, String)],
    /// After so long it is killed.
    pub timeout: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with an exit code.
    Exited(i32),
    /// By a signal.
    Killed(i32),
    /// By us, after its time.
    TimedOut(Duration),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended with exit code {code}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
            Self::TimedOut(limit) => {
                write!(f, "was killed after its time limit of {} s", limit.as_secs_f64())
            }
        }
    }
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub ending: Ending,
    /// The last of what it wrote to standard output and standard error, in the order in which it did.
    pub output: String,
    /// How long it ran.
    pub took: Duration,
}

/// Runs a program. An error: it could not be started; one that is not there, or that the kernel does not execute, may
/// also end with 127 or 126 and a word about it, as in a shell.
pub fn run(program: &Program) -> io::Result<Ran> {
    let (output, started) = (Tail::default(), Instant::now());
    let (mut child, mut pipe) = start(program)?;
    let mut watched = Watched { pid: Pid::from_child(&child), pidfd: None, output };
    watched.pidfd = pidfd_open(watched.pid, PidfdFlags::empty()).ok();
    limits::limit(watched.pid, program.timeout);
    let is_in_time = watched.wait(Some(&mut pipe), started + program.timeout);
    // The leader is not reaped yet: nobody else can have got the group's number.
    let _ = kill_process_group(watched.pid, Signal::KILL);
    if !is_in_time {
        // One that has changed its group is not in ours.
        let _ = child.kill();
    }
    watched.wait(None, Instant::now() + VANISH_TIME_MAX);
    watched.read_rest(&mut pipe);
    let ending = ending(&mut child, is_in_time, program.timeout)?;
    Ok(Ran { ending, output: watched.output.into_text(), took: started.elapsed() })
}

fn start(program: &Program) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    let mut command = limits::command(program);
    command.env_clear().env("PATH", PATH).current_dir("/").process_group(0);
    command.envs(program.variables.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    for _ in 1..BUSY_TRIES_MAX {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::sleep(ASK_EVERY),
            spawned => return spawned.map(|child| (child, reader)),
        }
    }
    command.spawn().map(|child| (child, reader))
}

fn ending(child: &mut Child, is_in_time: bool, timeout: Duration) -> io::Result<Ending> {
    // Reaps it, unless it cannot be killed.
    let status = child.try_wait()?;
    let Some(status) = status.filter(|_| is_in_time) else { return Ok(Ending::TimedOut(timeout)) };
    Ok(status.code().map_or_else(|| Ending::Killed(status.signal().unwrap_or_default()), Ending::Exited))
}

/// A process that runs.
struct Watched {
    pid: Pid,
    pidfd: Option<OwnedFd>,
    output: Tail,
}

impl Watched {
    /// Waits until it has ended, and reads what it says meanwhile. False: it runs on.
    fn wait(&mut self, mut pipe: Option<&mut PipeReader>, until: Instant) -> bool {
        while !self.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let left = if self.pidfd.is_some() { left } else { left.min(ASK_EVERY) };
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let (ended, said) = (self.pidfd.as_ref(), pipe.as_ref());
            let mut watched: Vec<PollFd> = said
                .iter()
                .map(|pipe| PollFd::from_borrowed_fd(std::os::fd::AsFd::as_fd(**pipe), PollFlags::IN))
                .collect();
            watched.extend(ended.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
            let is_said = poll(&mut watched, Some(&timeout)).is_ok()
                && said.is_some()
                && watched.first().is_some_and(|fd| !fd.revents().is_empty());
            if is_said && pipe.as_mut().is_some_and(|pipe| !self.output.read(pipe)) {
                // It closed its output and runs on.
                pipe = None;
            }
        }
        true
    }

    /// Without reaping it.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// What is left in the pipe, and no more: somebody else may still hold it open and write.
    fn read_rest(&mut self, pipe: &mut PipeReader) {
        let is_readable = {
            let mut watched = [PollFd::new(&*pipe, PollFlags::IN)];
            poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0)
        };
        if is_readable {
            self.output.read(pipe);
        }
    }
}

/// The last bytes of an output.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Reads what is there, at most what a pipe holds. False: there will be no more.
    fn read(&mut self, pipe: &mut PipeReader) -> bool {
        let mut buffer = [0; 1 << 16];
        match pipe.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.0.extend_from_slice(&buffer[..read]);
                let surplus = self.0.len().saturating_sub(OUTPUT_BYTES_MAX);
                self.0.drain(..surplus);
                true
            }
            Err(error) => error.kind() == ErrorKind::Interrupted,
        }
    }

    /// What a terminal would obey is left out: the text comes to people.
    fn into_text(self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        text.trim_end().chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell_within(script: &str, timeout: Duration) -> Ran {
        let args = ["-c".to_owned(), script.to_owned()];
        let variables = [("SAMARA_STEP", "test".to_owned())];
        let program = Program { path: Path::new("/bin/sh"), args: &args, variables: &variables, timeout };
        run(&program).unwrap()
    }

    fn shell(script: &str) -> Ran {
        shell_within(script, Duration::from_secs(60))
    }

    /// Whether a process lives that is no zombie.
    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    /// A killed process is gone a moment later.
    fn is_gone_soon(pid: &str) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while lives(pid) && Instant::now() < until {
            std::thread::yield_now();
        }
        !lives(pid)
    }

    #[test]
    fn the_exit_code_and_what_was_said_come_back_in_order() {
        let ran = shell("echo one; echo two >&2; echo three; exit 21");
        assert_eq!((ran.ending, ran.output.as_str()), (Ending::Exited(21), "one\ntwo\nthree"));
        assert_eq!(shell("kill -9 $$").ending, Ending::Killed(9));
        assert_eq!(shell("exec >&- 2>&-; exit 3").ending, Ending::Exited(3));
    }

    #[test]
    fn its_environment_has_what_is_said_and_its_input_is_empty() {
        let ran = shell("env | grep -v -e ^_= -e ^PWD= -e ^SHLVL= | sort; pwd; cat; echo end");
        assert_eq!(ran.output, format!("PATH={PATH}\nSAMARA_STEP=test\n/\nend"));
    }

    #[test]
    fn the_end_of_a_long_output_is_kept_and_the_rest_does_not_stop_it() {
        let ran = shell(
            "i=0; while [ $i -lt 20000 ]; do echo \"line $i of many\"; i=$((i+1)); done; printf '\\033[1mx'",
        );
        assert_eq!(ran.ending, Ending::Exited(0));
        assert!(ran.output.len() <= OUTPUT_BYTES_MAX && ran.output.ends_with("line 19999 of many\n[1mx"));
    }

    #[test]
    fn what_takes_too_long_is_killed_with_all_that_it_started() {
        let ran = shell_within("sleep 600 & echo $!; trap '' TERM; sleep 600", Duration::from_millis(300));
        assert_eq!(ran.ending, Ending::TimedOut(Duration::from_millis(300)));
        assert!(ran.took < Duration::from_secs(30) && is_gone_soon(&ran.output), "{ran:?}");
    }

    #[test]
    fn what_it_leaves_in_its_group_is_killed_when_it_ends() {
        let ran = shell("sleep 600 & echo $!");
        assert_eq!(ran.ending, Ending::Exited(0));
        assert!(is_gone_soon(&ran.output), "{ran:?}");
    }

    #[test]
    fn a_daemon_that_keeps_the_output_open_is_not_waited_for() {
        let ran = shell("setsid sh -c 'echo $$; exec sleep 600' & sleep 0.3; exit 0");
        assert_eq!(ran.ending, Ending::Exited(0));
        assert!(ran.took < Duration::from_secs(30) && lives(&ran.output), "{ran:?}");
        let pid = Pid::from_raw(ran.output.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn its_resources_are_limited() {
        let ran =
            shell_within("sleep 0.2; ulimit -c; ulimit -n; ulimit -t; ulimit -d", Duration::from_secs(30));
        assert_eq!(ran.output, format!("0\n1024\n31\n{}", 1 << 20));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let program = Program {
            path: Path::new("/nonexistent/program"),
            args: &[],
            variables: &[],
            timeout: Duration::from_secs(1),
        };
        assert_eq!(run(&program).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
