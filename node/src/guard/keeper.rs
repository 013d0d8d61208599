//! The guard's loop: which program is started, how long it may take, and what its end means.

use super::trial::Tally;
use super::{EXIT_REPLACED, GIVEN_UP, GivenUp, PROCESS, Trial, TrialFiles};
use rustix::process::{Pid, Signal as Posix, kill_process};
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

/// Starts of a new agent, power cuts included, before it is given up.
const STARTS_MAX: u32 = 5;
/// Between two of them, so that what passes by itself can pass.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an agent that takes too long may take to end.
const END_MAX: Duration = Duration::from_secs(10);

/// Keeps an agent running.
#[derive(Debug)]
pub struct Keeper {
    /// What the agent says of its successor.
    pub files: TrialFiles,
    /// Where updates are installed.
    pub program: PathBuf,
    /// What is started while nothing is there.
    pub packaged: PathBuf,
    /// How long a new agent may take to come up.
    pub ready_within: Duration,
    /// What an agent is started with.
    pub arguments: Vec<OsString>,
}

/// Signals that end the guard with its agent.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How a start ended.
enum End {
    /// The guard was told to end, and the agent with it.
    Told(ExitStatus),
    /// By itself.
    Ended(ExitStatus),
    /// It did not begin, or cannot be watched.
    Lost(Error),
    /// It took too long, and is gone: why, for people.
    Overdue(String),
}

impl Keeper {
    /// Runs agents until one ends for good; its exit code.
    pub async fn run(&self) -> Result<u8, Error> {
        let mut stop =
            Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        // Beside what is on disk, which may be full.
        let mut counted: Option<Tally> = None;
        loop {
            let trial = self.trial();
            let mut tally = trial.as_ref().map(|trial| self.count(trial, counted.take()));
            let mut is_new = false;
            let end = match (&trial, &mut tally) {
                (Some(trial), Some(Tally { given_up: Some(why), release, .. })) => {
                    let given_up = GivenUp { release: *release, why: why.clone() };
                    let before = trial.before.as_deref().unwrap_or(&self.packaged);
                    self.start(&[before, &self.packaged], Some(&given_up), None, &mut stop).await
                }
                (Some(trial), Some(tally)) => {
                    is_new = true;
                    let end = self.start(&[&self.program], None, Some(trial), &mut stop).await;
                    self.judge(trial, tally, &end);
                    end
                }
                _ => self.start(&[&self.program, &self.packaged], None, None, &mut stop).await,
            };
            counted = tally;
            match end {
                End::Told(status) => return Ok(code_of(status)),
                End::Ended(status) if status.code() == Some(i32::from(EXIT_REPLACED)) => {}
                _ if is_new && self.trial() == trial => {
                    if timeout(PAUSE, stop.asked()).await.is_ok() {
                        return Ok(0);
                    }
                }
                End::Ended(status) => return Ok(code_of(status)),
                End::Lost(error) => return Err(error),
                // Its trial ended at the last moment.
                End::Overdue(_) => {}
            }
        }
    }

    fn trial(&self) -> Option<Trial> {
        self.files.trial().unwrap_or_else(|error| {
            say(format_args!("cannot read what is on trial: {error}"));
            None
        })
    }

    /// Counts a start of a new agent, durably and before it; or gives it up.
    fn count(&self, trial: &Trial, counted: Option<Tally>) -> Tally {
        let kept = self.files.tally().unwrap_or_else(|error| {
            say(format_args!("cannot read the count of starts: {error}"));
            None
        });
        let known = [kept, counted].into_iter().flatten().filter(|tally| tally.is_of(trial));
        let mut tally = known
            .max_by_key(|tally| (tally.given_up.is_some(), tally.starts))
            .unwrap_or_else(|| Tally::of(trial));
        match tally.starts {
            _ if tally.given_up.is_some() => return tally,
            STARTS_MAX.. => {
                let Tally { starts, last, .. } = &tally;
                tally.given_up = Some(format!(
                    "the new samara-node was started {starts} times and did not show that it works{last}"
                ));
            }
            _ => tally.starts += 1,
        }
        self.keep(&tally);
        tally
    }

    /// What the end of a new agent says of it, if its trial is not over.
    fn judge(&self, trial: &Trial, tally: &mut Tally, end: &End) {
        if self.trial().as_ref() != Some(trial) {
            return;
        }
        match end {
            // Whoever ended the guard had other reasons.
            End::Told(_) => tally.starts -= 1,
            End::Ended(status) => tally.last = format!("; it ended with {}", shown(*status)),
            End::Lost(error) => tally.last = format!("; it cannot be started: {error}"),
            End::Overdue(why) => tally.given_up = Some(why.clone()),
        }
        say(format_args!("start {} of a new samara-node{}", tally.starts, tally.last));
        self.keep(tally);
    }

    fn keep(&self, tally: &Tally) {
        if let Some(why) = &tally.given_up {
            say(format_args!("{why}; the one before is started"));
        }
        if let Err(error) = self.files.keep_tally(tally) {
            say(format_args!("cannot keep the count of starts: {error}"));
        }
    }

    /// Starts the first of these programs that can be started, and waits for its end.
    async fn start(
        &self,
        programs: &[&Path],
        given_up: Option<&GivenUp>,
        trial: Option<&Trial>,
        stop: &mut Stop,
    ) -> End {
        if let Err(error) = self.files.unset_ready() {
            say(format_args!("cannot remove an old mark: {error}"));
        }
        let mut lost = Error::other("there is no program to start");
        for program in programs {
            let mut command = Command::new(program);
            command.args(&self.arguments).env(PROCESS, std::process::id().to_string()).env_remove(GIVEN_UP);
            command.envs(given_up.map(|given_up| (GIVEN_UP, given_up.said())));
            match command.spawn() {
                Ok(child) => return self.watch(child, trial, stop).await,
                Err(error) => {
                    lost = Error::new(error.kind(), format!("cannot start {}: {error}", program.display()));
                    // Before the first update nothing is there.
                    if error.kind() != ErrorKind::NotFound {
                        say(format_args!("{lost}"));
                    }
                }
            }
        }
        End::Lost(lost)
    }

    /// Waits for the end of an agent, and ends it when it takes longer than its trial may.
    async fn watch(&self, mut child: Child, mut trial: Option<&Trial>, stop: &mut Stop) -> End {
        let started = Instant::now();
        let mut is_up = false;
        loop {
            let longest = trial.map(Trial::longest);
            let limit = longest.map(|longest| if is_up { longest } else { longest.min(self.ready_within) });
            tokio::select! {
                ended = child.wait() => {
                    // Who ends a whole group of processes tells both.
                    let is_told = timeout(Duration::ZERO, stop.asked()).await.is_ok();
                    return ended.map_or_else(End::Lost, if is_told { End::Told } else { End::Ended });
                }
                () = stop.asked() => {
                    terminate(&child);
                    return child.wait().await.map_or_else(End::Lost, End::Told);
                }
                () = sleep_until(started + limit.unwrap_or_default()), if limit.is_some() => {
                    if self.trial().as_ref() != trial {
                        trial = None;
                    } else if !is_up && self.files.is_ready() {
                        is_up = true;
                    } else {
                        let what = if is_up { "did not show that it works" } else { "did not come up" };
                        end(&mut child).await;
                        let seconds = limit.unwrap_or_default().as_secs();
                        return End::Overdue(format!("the new samara-node {what} within {seconds} s"));
                    }
                }
            }
        }
    }
}

/// Ends a process that takes too long, gently at first.
async fn end(child: &mut Child) {
    terminate(child);
    if timeout(END_MAX, child.wait()).await.is_err()
        && let Err(error) = child.kill().await
    {
        say(format_args!("cannot end samara-node: {error}"));
    }
}

fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Posix::TERM)) {
        say(format_args!("cannot tell samara-node to end: {error}"));
    }
}

fn code_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

/// To whoever keeps the log of the service.
fn say(what: std::fmt::Arguments<'_>) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "samara-guard: {what}");
}
