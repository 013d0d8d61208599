//! A recorded run made again, event by event, until one is not the recorded one.

use super::{FORMAT, Head, Tail};
use crate::plan::{Plan, PlanError};
use crate::simulate;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Why a trace cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read the trace {}: {cause}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file does not begin as a trace does.
    #[error("{} is no trace of samara-sim: {why}", path.display())]
    NotATrace {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The events are the recorded ones, but the file ends before the run.
    #[error("{} was cut short: all of its {events} events come again, but it has no end", path.display())]
    CutShort {
        /// Which file.
        path: PathBuf,
        /// Events that it has.
        events: u64,
    },
    /// The plan in it.
    #[error("the plan in the trace: {0}")]
    Plan(#[from] PlanError),
    /// The run could not be made.
    #[error("{0:#}")]
    Run(anyhow::Error),
}

/// How a replay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every event came again, in the same order, at the same time.
    Same {
        /// How many.
        events: u64,
    },
    /// The first difference.
    Differs {
        /// In which line of the file.
        line: u64,
        /// What is there.
        recorded: String,
        /// What came in its place.
        now: String,
    },
}

/// A replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Of the plan in the trace.
    pub plan: String,
    /// Of its dice.
    pub seed: u64,
    /// Of the program that recorded it.
    pub version: String,
    /// How it ended.
    pub verdict: Verdict,
}

/// The lines of a trace, and the first that is not as expected.
struct Comparison<R> {
    lines: io::Lines<R>,
    line: u64,
    end: Option<End>,
}

enum End {
    Differs { recorded: String, now: String },
    CutShort,
    Unreadable(io::Error),
}

impl<R: BufRead> Comparison<R> {
    fn expect(&mut self, now: String) -> ControlFlow<()> {
        self.line += 1;
        let end = match self.lines.next() {
            Some(Ok(recorded)) if recorded == now => return ControlFlow::Continue(()),
            Some(Ok(recorded)) => End::Differs { recorded, now },
            Some(Err(cause)) => End::Unreadable(cause),
            None => End::CutShort,
        };
        self.end = Some(end);
        ControlFlow::Break(())
    }
}

/// Makes the run of a trace again.
pub fn replay(path: &Path) -> Result<Replay, TraceError> {
    let unreadable = |cause| TraceError::Read { path: path.to_path_buf(), cause };
    let no_trace = |why: String| TraceError::NotATrace { path: path.to_path_buf(), why };
    let file = File::open(path).map_err(unreadable)?;
    let mut lines = BufReader::new(file).lines();
    let first = lines.next().ok_or_else(|| no_trace("it is empty".into()))?.map_err(unreadable)?;
    let head: Head = serde_json::from_str(&first).map_err(|fault| no_trace(format!("line 1: {fault}")))?;
    if head.samara_sim_trace != FORMAT {
        let why = format!("its format is {}, this program reads {FORMAT}", head.samara_sim_trace);
        return Err(no_trace(why));
    }
    let plan = Plan::parse(Path::new(&head.plan_file), &head.plan)?;
    let mut comparison = Comparison { lines, line: 1, end: None };
    let mut log = |entry: &crate::world::Entry| comparison.expect(json(entry));
    let done = simulate::run_watched(&plan, &head.options(), Some(&mut log)).map_err(TraceError::Run)?;
    let events = comparison.line - 1;
    if comparison.end.is_none() {
        let _ = comparison.expect(json(&Tail::new(events, done.inputs, done.digest)));
    }
    if comparison.end.is_none()
        && let Some(more) = comparison.lines.next()
    {
        comparison.line += 1;
        let recorded = more.map_err(unreadable)?;
        comparison.end = Some(End::Differs { recorded, now: "nothing more".into() });
    }
    let verdict = match comparison.end {
        None => Verdict::Same { events },
        Some(End::Differs { recorded, now }) => Verdict::Differs { line: comparison.line, recorded, now },
        Some(End::CutShort) => {
            return Err(TraceError::CutShort { path: path.to_path_buf(), events: comparison.line - 2 });
        }
        Some(End::Unreadable(cause)) => return Err(unreadable(cause)),
    };
    Ok(Replay { plan: plan.name, seed: head.seed, version: head.version, verdict })
}

fn json(line: &impl serde::Serialize) -> String {
    // Strings, numbers and names as keys: nothing that JSON cannot say.
    serde_json::to_string(line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Recorder;
    use std::fs;

    const SMALL: &str = "timeout = 60\nsettle = 1\n[devices]\ncount = 4\nup = \"80mbit\"\ndown = \"80mbit\"\n\
        [seeder]\nup = \"20mbit\"\n[artifact]\nkind = \"file\"\nbytes = \"2MiB\"\n\
        [[events]]\nat = 0.4\ndo = \"kill\"\nwho = 1\n[[events]]\nat = 0.9\ndo = \"restart\"\nwho = 1\n";

    /// The lines of a recorded run, in a directory that vanishes with the first.
    fn recorded() -> (tempfile::TempDir, PathBuf, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl");
        let plan = Plan::parse(Path::new("some plan.toml"), SMALL).unwrap();
        let options = crate::world::Options { cores: Some(2), ..crate::world::Options::new(5) };
        let mut recorder = Recorder::create(&path, &plan, &options).unwrap();
        let mut log = |entry: &crate::world::Entry| recorder.record(entry);
        let done = simulate::run_watched(&plan, &options, Some(&mut log)).unwrap();
        recorder.finish(done.inputs, done.digest).unwrap();
        let lines = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        (dir, path, lines)
    }

    fn rewritten(path: &Path, lines: &[String]) -> Result<Replay, TraceError> {
        fs::write(path, lines.join("\n")).unwrap();
        replay(path)
    }

    #[test]
    fn a_recorded_run_comes_again_event_by_event() {
        let (_dir, path, lines) = recorded();
        let events = lines.len() as u64 - 2;
        assert!(events > 30, "{events}");
        let expected = Replay {
            plan: "some plan".into(),
            seed: 5,
            version: env!("CARGO_PKG_VERSION").into(),
            verdict: Verdict::Same { events },
        };
        assert_eq!(replay(&path).unwrap(), expected);
    }

    #[test]
    fn a_run_with_costs_of_its_own_comes_again_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl");
        let plan = Plan::parse(Path::new("x.toml"), SMALL).unwrap();
        let costs = crate::world::Costs { send_ns_per_byte: 40.0, ..crate::world::Costs::default() };
        let costs_file = Some("slow.toml".into());
        let options = crate::world::Options { costs, costs_file, ..crate::world::Options::new(5) };
        let mut recorder = Recorder::create(&path, &plan, &options).unwrap();
        let mut log = |entry: &crate::world::Entry| recorder.record(entry);
        let done = simulate::run_watched(&plan, &options, Some(&mut log)).unwrap();
        recorder.finish(done.inputs, done.digest).unwrap();
        assert!(matches!(replay(&path).unwrap().verdict, Verdict::Same { .. }));
        assert!(done.outcome.options["costs"].contains(r#""send_ns_per_byte":40.0"#));
    }

    #[test]
    fn a_trace_tells_what_the_plan_did_who_was_granted_what_and_who_is_complete() {
        let (_dir, _path, lines) = recorded();
        let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
        assert_eq!(count(r#""event":"complete""#), 4);
        assert_eq!(count(r#""event":"planned","what":"killed""#), 1);
        assert_eq!(count(r#""event":"planned","what":"restarted""#), 1);
        assert!(count(r#""peer":"seeder","event":"granted""#) >= 16);
        assert!(count(r#""event":"piece_verified""#) >= 4 * 16);
        assert!(count(r#""event":"connected""#) > 0 && count(r#""event":"disconnected""#) > 0);
    }

    #[test]
    fn a_trace_tells_where_a_release_stands_and_comes_again_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl");
        let text = SMALL.to_owned() + "[simulated.install]\n[[events]]\nat = 8\ndo = \"rollout_abort\"\n";
        let plan = Plan::parse(Path::new("x.toml"), &text).unwrap();
        let options = crate::world::Options::new(5);
        let mut recorder = Recorder::create(&path, &plan, &options).unwrap();
        let mut log = |entry: &crate::world::Entry| recorder.record(entry);
        let done = simulate::run_watched(&plan, &options, Some(&mut log)).unwrap();
        recorder.finish(done.inputs, done.digest).unwrap();
        let lines = fs::read_to_string(&path).unwrap();
        for said in [r#""event":"install","state":"testing""#, r#""state":"committed""#, "rollout_aborted"] {
            assert!(lines.contains(said), "{said} is not in {lines}");
        }
        assert!(matches!(replay(&path).unwrap().verdict, Verdict::Same { .. }));
    }

    #[test]
    fn the_first_event_that_is_another_one_is_named_with_its_line() {
        let (_dir, path, mut lines) = recorded();
        let now = lines[20].clone();
        lines[20] = lines[20].replace("\"seconds\":", "\"seconds\":9");
        let expected = Verdict::Differs { line: 21, recorded: lines[20].clone(), now };
        assert_eq!(rewritten(&path, &lines).unwrap().verdict, expected);
    }

    #[test]
    fn a_trace_that_was_cut_short_is_no_good_one() {
        let (_dir, path, lines) = recorded();
        let cut = rewritten(&path, &lines[..30]);
        assert!(matches!(cut, Err(TraceError::CutShort { events: 29, .. })), "{cut:?}");
        let without_end = rewritten(&path, &lines[..lines.len() - 1]);
        assert!(matches!(without_end, Err(TraceError::CutShort { .. })), "{without_end:?}");
        let longer = [lines.clone(), vec!["{}".into()]].concat();
        let Verdict::Differs { line, now, .. } = rewritten(&path, &longer).unwrap().verdict else { panic!() };
        assert_eq!((line, now.as_str()), (longer.len() as u64, "nothing more"));
    }

    #[test]
    fn what_is_no_trace_is_refused_with_the_reason() {
        let (_dir, path, mut lines) = recorded();
        assert!(matches!(rewritten(&path, &[]), Err(TraceError::NotATrace { .. })));
        assert!(matches!(rewritten(&path, &lines[1..]), Err(TraceError::NotATrace { .. })));
        lines[0] = lines[0].replace("\"samara_sim_trace\":1", "\"samara_sim_trace\":2");
        let error = rewritten(&path, &lines).unwrap_err().to_string();
        assert!(error.ends_with("its format is 2, this program reads 1"), "{error}");
    }

    #[test]
    fn a_full_disk_is_an_error_and_ends_the_run() {
        let plan = Plan::parse(Path::new("x.toml"), SMALL).unwrap();
        let options = crate::world::Options::new(1);
        let mut recorder = Recorder::create(Path::new("/dev/full"), &plan, &options).unwrap();
        let mut taken = 0;
        let mut log = |entry: &crate::world::Entry| {
            taken += 1;
            recorder.record(entry)
        };
        let done = simulate::run_watched(&plan, &options, Some(&mut log)).unwrap();
        assert!(taken < 10_000);
        let error = format!("{:#}", recorder.finish(done.inputs, done.digest).unwrap_err());
        assert!(error.starts_with("the trace /dev/full is not complete: "), "{error}");
    }
}
