//! What the processes say: the seeder's JSON lines and the devices' JSON logs, reduced to what the lab needs.
//!
//! Unknown lines and fields are passed over: a tool that learns to say more must not break the lab.

use anyhow::Context;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// A line of `samara serve --json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SeederEvent {
    /// It accepts connections.
    Listening {},
    /// How far everything is.
    Progress {
        /// Artifact bytes sent.
        sent_bytes: u64,
        /// Those of them that were sent before.
        #[serde(default)]
        repair_bytes: u64,
    },
    /// The devices can finish without it.
    SafeToLeave {},
    /// It has left.
    Left {
        /// Artifact bytes sent.
        sent_bytes: u64,
    },
    /// Anything else.
    #[serde(other)]
    Other,
}

impl SeederEvent {
    /// The event of a line, `None` when it is none.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// An event of a device's log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DeviceEvent {
    /// It accepts connections.
    Listening,
    /// It has the whole verified artifact, at this civil time (seconds since 1970).
    Verified(f64),
}

impl DeviceEvent {
    fn parse(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line {
            timestamp: String,
            event: Option<String>,
            #[serde(default)]
            fields: Fields,
        }
        #[derive(Deserialize, Default)]
        struct Fields {
            event: Option<String>,
        }
        let line: Line = serde_json::from_str(line).ok()?;
        match line.event.or(line.fields.event)?.as_str() {
            "listening" => Some(Self::Listening),
            "release_verified" | "release_installed" => {
                let at: jiff::Timestamp = line.timestamp.parse().ok()?;
                Some(Self::Verified(at.as_microsecond() as f64 / 1e6))
            }
            _ => None,
        }
    }
}

/// A log that grows; each call to [`Tail::poll`] reads what came since the last.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    reader: BufReader<File>,
    partial: Vec<u8>,
}

impl Tail {
    /// Follows a log that exists.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path: path.to_path_buf(), reader: BufReader::new(file), partial: Vec::new() })
    }

    /// The events of all lines that are complete by now.
    pub fn poll(&mut self) -> anyhow::Result<Vec<DeviceEvent>> {
        let mut events = Vec::new();
        loop {
            let read = self.reader.read_until(b'\n', &mut self.partial);
            read.with_context(|| format!("cannot read {}", self.path.display()))?;
            if self.partial.last() != Some(&b'\n') {
                return Ok(events);
            }
            events.extend(DeviceEvent::parse(&String::from_utf8_lossy(&self.partial)));
            self.partial.clear();
        }
    }

    /// The last lines, for an error.
    pub fn last_lines(&self, count: usize) -> String {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n  ")
    }
}

/// What the seeder sent over all its lives.
///
/// A counter that starts below where the last life ended began anew, otherwise the ledger carried it on.
#[derive(Debug, Default)]
pub struct Sent {
    ended: u64,
    life: u64,
    is_new_life: bool,
}

impl Sent {
    /// The process was started (again).
    pub fn on_start(&mut self) {
        self.is_new_life = true;
    }

    /// The process says how many bytes it has sent.
    pub fn on_count(&mut self, bytes: u64) {
        if self.is_new_life && bytes < self.life {
            self.ended += self.life;
            self.life = 0;
        }
        self.is_new_life = false;
        self.life = self.life.max(bytes);
    }

    /// All lives together.
    pub fn total(&self) -> u64 {
        self.ended + self.life
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_seeder_may_say_more_than_the_lab_knows() {
        let line = r#"{"event":"progress","t":1.5,"sent_bytes":7,"repair_bytes":1,"copies":0.1,
            "devices":[{"device":"ab","have_bytes":3,"total_bytes":9}],"safe":false}"#;
        assert_eq!(SeederEvent::parse(line), Some(SeederEvent::Progress { sent_bytes: 7, repair_bytes: 1 }));
        assert_eq!(SeederEvent::parse(r#"{"event":"neighbour","peer":"x"}"#), Some(SeederEvent::Other));
        assert_eq!(
            SeederEvent::parse(r#"{"event":"safe_to_leave","t":3}"#),
            Some(SeederEvent::SafeToLeave {})
        );
        assert_eq!(SeederEvent::parse("not json"), None);
    }

    #[test]
    fn a_device_is_verified_at_the_time_in_its_log() {
        let flat = r#"{"timestamp":"2026-01-01T00:00:00.250000Z","level":"INFO","event":"release_verified"}"#;
        assert_eq!(DeviceEvent::parse(flat), Some(DeviceEvent::Verified(1_767_225_600.25)));
        let nested = r#"{"timestamp":"2026-01-01T00:00:00Z","fields":{"event":"listening"}}"#;
        assert_eq!(DeviceEvent::parse(nested), Some(DeviceEvent::Listening));
        assert_eq!(DeviceEvent::parse("thread panicked at"), None);
    }

    #[test]
    fn half_a_line_waits_for_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = File::create(&path).unwrap();
        let mut tail = Tail::open(&path).unwrap();
        write!(log, r#"{{"timestamp":"2026-01-01T00:00:00Z","#).unwrap();
        assert_eq!(tail.poll().unwrap(), []);
        writeln!(log, r#""event":"listening"}}"#).unwrap();
        assert_eq!(tail.poll().unwrap(), [DeviceEvent::Listening]);
    }

    #[test]
    fn a_restarted_seeder_counts_on_or_anew() {
        let mut anew = Sent::default();
        let mut on = Sent::default();
        for sent in [&mut anew, &mut on] {
            sent.on_start();
            sent.on_count(10);
            sent.on_count(40);
            sent.on_start();
        }
        anew.on_count(0);
        anew.on_count(50);
        on.on_count(40);
        on.on_count(90);
        assert_eq!((anew.total(), on.total()), (90, 90));
    }
}
