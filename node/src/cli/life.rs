//! The verbs about what becomes of releases on this device: `explain`, `history`, `log`, `rollback`.

use super::{
    ConfigArg, EXIT_FAILED, EXIT_REFUSED, EXIT_STORAGE, EXIT_UNREACHABLE, Outcome, load, print, runtime,
};
use crate::api::client::{self, ClientError};
use crate::state::{Linked, Log, LogLine, State as DeviceState, StateError};
use samara_protocol::id::DocumentId;
use samara_protocol::install::State;

pub(super) fn explain(arg: &ConfigArg, json: bool) -> Outcome {
    let config = load(arg)?;
    let explanation = runtime()?.block_on(client::status(&config.socket())).map_err(failed)?.explanation;
    print(&if json { serde_json::to_string(&explanation).unwrap_or_default() } else { explanation.text })
}

pub(super) fn roll_back(arg: &ConfigArg, release: Option<DocumentId>, json: bool) -> Outcome {
    let config = load(arg)?;
    let begun = runtime()?.block_on(client::roll_back(&config.socket(), release)).map_err(failed)?;
    let mut text = format!("{} goes, {} comes back: see samara-node explain", begun.name, begun.to_name);
    for script in &begun.not_undone {
        text.push_str(&format!("\nwhat the script {script} did stays: the release has no undo for it"));
    }
    print(&if json { serde_json::to_string(&begun).unwrap_or_default() } else { text })
}

/// Every line, with its place in the chain.
pub(super) fn log(arg: &ConfigArg, json: bool) -> Outcome {
    let log = fetch(arg)?;
    print_all(log.lines.iter().map(|line| match json {
        true => serde_json::to_string(line).unwrap_or_default(),
        false => format!(
            "{:>6}  {}",
            line.n,
            line.line().map_or_else(|| line.text.clone(), |line| for_people(&line))
        ),
    }))?;
    match log.is_unbroken() {
        true => Ok(()),
        false => Err((EXIT_FAILED, "the log is broken: lines were changed or taken out".into())),
    }
}

/// The lines that say how an install ended.
pub(super) fn history(arg: &ConfigArg, json: bool) -> Outcome {
    let log = fetch(arg)?;
    let is_end = |line: &LogLine| {
        let is_of_install = line.attempt > 0 || line.from.is_in_place();
        is_of_install
            && matches!(line.to, State::Committed | State::RolledBack | State::Inconsistent | State::Failed)
    };
    let ends = log.lines.iter().filter_map(Linked::line).filter(is_end);
    print_all(ends.map(|line| match json {
        true => serde_json::to_string(&line).unwrap_or_default(),
        false => for_people(&line),
    }))
}

/// From the daemon; where none runs, from its files.
fn fetch(arg: &ConfigArg) -> Result<Log, (u8, String)> {
    let config = load(arg)?;
    let asked = runtime()?.block_on(client::log(&config.socket()));
    let Err(ClientError::Unreachable { .. }) = asked else { return asked.map_err(failed) };
    let unusable = |error: StateError| (EXIT_STORAGE, error.to_string());
    match DeviceState::look(&config.state_file()).map_err(unusable)? {
        Some(state) => state.log().map_err(unusable),
        // None was ever there, or a daemon has just started.
        None => asked.map_err(failed),
    }
}

fn print_all(lines: impl Iterator<Item = String>) -> Outcome {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { Ok(()) } else { print(&lines.join("\n")) }
}

fn for_people(line: &LogLine) -> String {
    let LogLine { at, name, from, to, attempt, fault, took_ms, .. } = line;
    let tried = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
    let exit = |exit: i32| format!(", exit status {exit}");
    let fault = fault.as_ref().map(|fault| {
        let exit = fault.exit.map(exit).unwrap_or_default();
        format!(": {} (in {}{exit})", fault.why, fault.phase)
    });
    // In UTC: a device's time zone says little to who reads logs of many.
    let seconds = i64::try_from(*at).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(seconds).map_or_else(|_| at.to_string(), |at| at.to_string());
    format!("{at}  {name}  {from} -> {to}  after {took_ms} ms{tried}{}", fault.unwrap_or_default())
}

fn failed(error: ClientError) -> (u8, String) {
    let code = if matches!(error, ClientError::Refused(_)) { EXIT_REFUSED } else { EXIT_UNREACHABLE };
    (code, error.to_string())
}
