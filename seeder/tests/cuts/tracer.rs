//! A daemon that ends at its n-th durability call: the call that would change what is on its disk is not made any more.
//!
//! The daemon is traced (`ptrace`), so that calls are counted over all its threads in the order in which they are made,
//! whichever library makes them. Only calls on the device's own directories count.

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What follows the end of an install (a report, lines of the log) is given so long.
const AFTERMATH: Duration = Duration::from_millis(300);

/// Calls that change a file, and which argument is its descriptor.
const ON_FILES: [(i64, &str, usize); 13] = [
    (libc::SYS_write, "write", 0),
    (libc::SYS_pwrite64, "write", 0),
    (libc::SYS_writev, "write", 0),
    (libc::SYS_pwritev, "write", 0),
    (libc::SYS_pwritev2, "write", 0),
    (libc::SYS_copy_file_range, "write", 2),
    (libc::SYS_sendfile, "write", 0),
    (libc::SYS_ftruncate, "truncate", 0),
    (libc::SYS_fallocate, "truncate", 0),
    (libc::SYS_fchmod, "chmod", 0),
    (libc::SYS_fsync, "sync", 0),
    (libc::SYS_fdatasync, "sync", 0),
    (libc::SYS_sync_file_range, "sync", 0),
];

/// Calls that change a directory.
const ON_NAMES: &[(i64, &str)] = &[
    (libc::SYS_renameat2, "rename"),
    (libc::SYS_renameat, "rename"),
    (libc::SYS_unlinkat, "remove"),
    (libc::SYS_mkdirat, "mkdir"),
    (libc::SYS_linkat, "link"),
    (libc::SYS_symlinkat, "symlink"),
    (libc::SYS_fchmodat, "chmod"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "remove"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "remove"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, "link"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, "symlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, "chmod"),
];

/// How a traced life ended.
pub struct Life {
    /// The calls that were made, in their order.
    pub calls: Vec<&'static str>,
    /// Whether it was ended in the middle, at the next call.
    pub is_cut: bool,
}

/// Runs a program until it wants to make the `last`-th call that changes something below `roots`, or until `is_over`.
/// Either way it ends by SIGKILL, with all that it started.
///
/// Panics when the program ends by itself. `Err`: this machine does not let processes be traced.
#[expect(clippy::zombie_processes, reason = "the tracer waits for all that its thread started")]
pub fn run(
    command: &Command,
    roots: &[PathBuf],
    last: usize,
    is_over: impl FnMut() -> bool,
) -> Result<Life, String> {
    // It waits for a word before it becomes the program, so that it is held from the first call on.
    let mut waiting = Command::new("/bin/sh");
    waiting.args(["-c", "read _ && exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    let log = command.get_current_dir().expect("a directory for the log").join("log.jsonl");
    let log = fs::File::options().create(true).append(true).open(log).unwrap();
    waiting.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    let mut child = waiting.spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    if let Err(error) = ptrace::seize(pid, options) {
        child.kill().unwrap();
        child.wait().unwrap();
        return Err(format!("processes cannot be traced here: {error}"));
    }
    ptrace::interrupt(pid).unwrap();
    // Ends its wait.
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"\n").unwrap();
    let mut tracer = Tracer { pid, roots, last, calls: Vec::new(), inside: HashSet::new() };
    Ok(Life { is_cut: tracer.follow(is_over), calls: tracer.calls })
}

struct Tracer<'a> {
    pid: Pid,
    roots: &'a [PathBuf],
    last: usize,
    calls: Vec<&'static str>,
    /// Threads that are in a call.
    inside: HashSet<Pid>,
}

impl Tracer<'_> {
    /// Lets the program run; whether it was cut.
    fn follow(&mut self, mut is_over: impl FnMut() -> bool) -> bool {
        let (mut looked, mut over_since) = (Instant::now(), None::<Instant>);
        loop {
            let Some((thread, signal)) = self.next_stop() else { panic!("the daemon ended by itself") };
            let Some(thread) = thread else { continue };
            if self.inside.contains(&thread)
                && let Some(call) = self.call_of(thread, signal.is_none())
            {
                if self.calls.len() + 1 == self.last {
                    self.end();
                    return true;
                }
                self.calls.push(call);
            }
            if looked.elapsed() > LOOK_EVERY {
                looked = Instant::now();
                if over_since.is_none() && is_over() {
                    over_since = Some(looked);
                }
                if over_since.is_some_and(|since| since.elapsed() > AFTERMATH) {
                    self.end();
                    return false;
                }
            }
            // A thread that is gone meanwhile has nothing to go on with.
            let _ = ptrace::syscall(thread, signal);
        }
    }

    /// The next thread that stopped, with the signal that it is to get; `None` at the end of the program.
    fn next_stop(&mut self) -> Option<(Option<Pid>, Option<Signal>)> {
        // Only what this thread traces: other tests of this process have children, too.
        let status = waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)).unwrap();
        match status {
            WaitStatus::PtraceSyscall(thread) => {
                if !self.inside.remove(&thread) {
                    self.inside.insert(thread);
                }
                Some((Some(thread), None))
            }
            WaitStatus::Stopped(thread, signal) => Some((Some(thread), Some(signal))),
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == self.pid => None,
            WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                self.inside.remove(&thread);
                Some((None, None))
            }
            WaitStatus::PtraceEvent(thread, _, libc::PTRACE_EVENT_EXEC) => {
                // Whatever the shell was in, it is in this call now.
                self.inside.insert(thread);
                Some((Some(thread), None))
            }
            other => Some((other.pid(), None)),
        }
    }

    /// What a thread that stopped at the beginning of a call is about to change.
    fn call_of(&self, thread: Pid, is_at_call: bool) -> Option<&'static str> {
        let text = fs::read_to_string(format!("/proc/{thread}/syscall")).ok().filter(|_| is_at_call)?;
        let mut words = text.split_whitespace();
        let number: i64 = words.next()?.parse().ok()?;
        let mut argument = |n: usize| {
            let digits = words.nth(n)?.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        };
        if let Some((_, name, at)) = ON_FILES.iter().find(|(of, ..)| *of == number) {
            let fd = argument(*at)?;
            let path = fs::read_link(format!("/proc/{}/fd/{fd}", self.pid)).ok()?;
            return self.roots.iter().any(|root| path.starts_with(root)).then_some(name);
        }
        if number == libc::SYS_openat {
            return (argument(2)? & libc::O_CREAT as u64 != 0).then_some("create");
        }
        ON_NAMES.iter().find(|(of, _)| *of == number).map(|(_, name)| *name)
    }

    /// SIGKILL, for the daemon and what it started, as when power fails; and the end of all of it.
    fn end(&mut self) {
        let children = children_of(self.pid);
        kill(self.pid, Signal::SIGKILL).unwrap();
        // Programs of a release have a group of their own; one that has just ended needs no signal.
        for child in &children {
            let _ = kill(Pid::from_raw(-child.as_raw()), Signal::SIGKILL);
        }
        while self.next_stop().is_some() {}
        for child in children {
            while is_alive(child) {
                std::thread::yield_now();
            }
        }
    }
}

fn children_of(pid: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let lists: Vec<String> = lists.collect();
    let words = lists.iter().flat_map(|list| list.split_whitespace());
    words.filter_map(|word| word.parse().ok().map(Pid::from_raw)).collect()
}

/// Whether a process may still do something: nobody needs to have asked how it ended.
fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}
