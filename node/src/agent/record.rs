//! What is written down of each transition: in the journal, in one commit with all that follows from it, and in the log.
//!
//! Transitions on which nothing hangs are told to the log together with the next that must be durable, so that an
//! install costs few commits; a crash may lose such lines.

use super::Agent;
use super::successor::{end_trial, is_agent};
use super::work::Work;
use crate::state::{LogLine, Row, StateError, Transition};
use samara_protocol::id::DocumentId;
use samara_protocol::install::{Effect, Input, Record, RecordId, State};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Lines that may wait for the next commit.
const LINES_WAITING_MAX: usize = 64;

/// A record that could not be made durable yet.
#[derive(Debug, Clone)]
pub(super) struct Unwritten {
    release: DocumentId,
    id: RecordId,
    record: Record,
}

/// The device's clock, in seconds since 1970: for people, nothing is decided by it.
pub(super) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same, as finely as files' times can be compared with.
fn milliseconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Agent {
    /// Writes a transition down.
    pub(super) async fn keep(&mut self, id: DocumentId, record_id: RecordId, record: Record) {
        let Some(work) = self.work.get_mut(&id) else { return };
        let took = std::mem::replace(&mut work.since, Instant::now()).elapsed();
        let is_end = record.state.is_terminal() || record.state == State::Failed;
        let line = LogLine {
            at: seconds_now(),
            boot: self.parts.state.boot(),
            release: id,
            name: work.subject.name(),
            from: record.from,
            to: record.state,
            attempt: record.attempt,
            fault: record.fault.clone(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            bytes_written: Some(work.bytes_written).filter(|_| is_end && record.attempt > 0),
        };
        if (record.from, record.state) == (State::Installing, State::Activating) {
            work.activated_ms = milliseconds_now();
        }
        tracing::info!(target: "samara", event = "transition", release = %id, from = %record.from, to = %record.state, "release");
        // A disk that stays full is no news each time it is looked at.
        let is_again = |other: &LogLine| (other.release, other.from, other.to) == (id, line.from, line.to);
        if record.state.needs_record() || !self.lines.iter().any(is_again) {
            self.lines.push(line);
        }
        if record.state.needs_record() {
            self.unwritten.push(Unwritten { release: id, id: record_id, record });
            self.keep_unwritten().await;
        } else if self.lines.len() >= LINES_WAITING_MAX {
            self.keep_lines().await;
        }
    }

    /// Makes durable what is not yet; what fails is tried again later, and its machine waits.
    pub(super) async fn keep_unwritten(&mut self) {
        for unwritten in std::mem::take(&mut self.unwritten) {
            if let Err(error) = self.write(&unwritten).await {
                tracing::error!(%error, release = %unwritten.release, "cannot write the journal; tried again");
                self.unwritten.push(unwritten);
            }
        }
    }

    /// Makes the lines of the log durable that wait for a commit.
    pub(super) async fn keep_lines(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let state = self.parts.state.clone();
        let kept = tokio::task::spawn_blocking(move || state.add_to_log(&lines)).await;
        if let Ok(Err(error)) = kept {
            tracing::error!(%error, "cannot write the log");
        }
    }

    async fn write(
        &mut self,
        Unwritten { release: id, id: record_id, record }: &Unwritten,
    ) -> Result<(), String> {
        let Some(work) = self.work.get(id) else { return Ok(()) };
        let row = Row {
            record: record.clone(),
            at: seconds_now(),
            order: self.parts.state.next_transition(),
            activated_ms: work.activated_ms,
            rollout: work.rollout,
            release: None,
            surplus: work.subject.surplus.clone(),
        };
        let bad = record.is_bad().then(|| record.mark(self.documents.seen_of(*id)));
        let (state, subject, lines) = (self.parts.state.clone(), work.subject.clone(), self.lines.clone());
        let (kept_row, mark, id) = (row.clone(), bad.clone(), *id);
        let (trials, of_agent) = (self.parts.trials.clone(), work.machine.restarts().then(|| record.clone()));
        let write = move || {
            state.transit(&Transition {
                id,
                release: &subject.release,
                destinations: &subject.destinations,
                row,
                bad,
                lines: &lines,
            })?;
            of_agent.iter().for_each(|record| end_trial(&trials, id, record));
            Ok::<_, StateError>(())
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string())?;
        written.map_err(|error| error.to_string())?;
        self.lines.clear();
        self.rows.insert(id, kept_row);
        if let Some(mark) = mark {
            self.facts.bad.insert(id, mark);
        }
        self.on_written(id, record);
        self.tell(id, Input::Persisted(*record_id));
        Ok(())
    }

    /// What is in place has changed, or what is known of it.
    fn on_written(&mut self, id: DocumentId, record: &Record) {
        match record.state {
            State::Committed => {
                self.facts.bad.remove(&id);
                tracing::info!(target: "samara", event = "release_installed", release = %id, "installed");
            }
            State::RolledBack | State::Inconsistent => {
                let why = record.fault.as_ref().map(|fault| fault.why.as_str()).unwrap_or_default();
                tracing::error!(target: "samara", event = "release_rolled_back", release = %id, state = %record.state, why, "the release went wrong");
            }
            _ => {}
        }
        let restarts = self.work.get(&id).is_some_and(|work| work.machine.restarts());
        if restarts && record.effect() == Effect::Restore && !self.is_from_before(id) {
            // The agent that was there before is in place again, and another one runs.
            self.parts.restart.cancel();
        }
        let takes_agent = |work: &Work| work.subject.surplus.iter().any(|gone| is_agent(&gone.artifact));
        if record.state == State::Committed && self.work.get(&id).is_some_and(takes_agent) {
            // This one runs from a file that is gone.
            self.parts.restart.cancel();
        }
        if record.effect() != Effect::None || record.is_bad() {
            self.look_at_floors();
            self.is_stale = true;
        }
    }
}
