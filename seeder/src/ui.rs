//! How a verb speaks: data on standard output, everything else on standard error.
//!
//! | mode  | standard output            | standard error                                   |
//! |-------|----------------------------|--------------------------------------------------|
//! | json  | one JSON object a line     | plain notes and errors                           |
//! | plain | lines without colour       | plain notes, no progress bars                    |
//! | tty   | lines with colour          | notes, progress bars, questions                  |
//!
//! Colour is off when `NO_COLOR` is set to anything but the empty string (no-color.org).

mod bars;

pub use bars::Bars;

use crate::failure::{Failure, Kind};
use indicatif::ProgressBar;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::{Arc, OnceLock};

/// What standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For programs: one JSON object a line.
    Json,
    /// A pipe or file.
    Plain,
    /// A person's terminal.
    Tty,
}

/// The look of a word; nothing depends on it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A title.
    Strong,
    /// Something good.
    Good,
    /// Something to look at.
    Warning,
    /// Something wrong.
    Bad,
    /// A detail.
    Faint,
}

/// Where a verb writes. Copies know of each other's losses.
#[derive(Debug, Clone)]
pub struct Output {
    mode: Mode,
    colour: bool,
    bars: bool,
    // The first error of standard output: data went missing.
    lost: Arc<OnceLock<io::Error>>,
}

impl Output {
    /// From the process's streams and environment.
    pub fn detect(json: bool) -> Self {
        let mode = match (json, io::stdout().is_terminal()) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Tty,
            (false, false) => Mode::Plain,
        };
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let stderr_is_terminal = io::stderr().is_terminal();
        Self {
            mode,
            // Painted words go to both streams: neither may be a file.
            colour: mode == Mode::Tty && stderr_is_terminal && !no_colour && !dumb,
            bars: mode != Mode::Json && stderr_is_terminal && !dumb,
            lost: Arc::default(),
        }
    }

    /// A fixed mode without colour and bars, for tests and for verbs that run inside another.
    pub fn plain(mode: Mode) -> Self {
        Self { mode, colour: false, bars: false, lost: Arc::default() }
    }

    /// What standard output is.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether programs read standard output.
    pub fn is_json(&self) -> bool {
        self.mode == Mode::Json
    }

    /// A line of data for people or pipes; nothing in JSON mode.
    pub fn line(&self, text: impl Display) {
        if !self.is_json() {
            self.write(&mut io::stdout().lock(), &text);
        }
    }

    /// One JSON object as a line, in JSON mode only.
    pub fn event(&self, value: &impl Serialize) {
        if self.is_json() {
            match serde_json::to_string(value) {
                Ok(text) => self.write(&mut io::stdout().lock(), &text),
                Err(error) => self.note(format_args!("this event has no JSON form: {error}")),
            }
        }
    }

    // The verb goes on: a seeder must not stop because its log is full. A closed pipe (`samara ... | head`) is the
    // reader's wish, not a loss.
    fn write(&self, out: &mut impl io::Write, text: &impl Display) {
        match writeln!(out, "{text}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                let _ = self.lost.set(error);
            }
            _ => {}
        }
    }

    /// Whether all data reached standard output.
    pub fn check_written(&self) -> Result<(), Failure> {
        match self.lost.get() {
            None => Ok(()),
            Some(error) => Err(Failure::new(
                Kind::Storage,
                anyhow::anyhow!("cannot write to standard output, some of it is missing: {error}"),
            )),
        }
    }

    /// The same after something that must not be done twice: an error says that it is `done`.
    pub fn check_told(&self, done: impl Display) -> Result<(), Failure> {
        self.check_written().map_err(|lost| Failure::new(lost.kind(), anyhow::anyhow!("{done}; but {lost}")))
    }

    /// A remark for people, on standard error.
    pub fn note(&self, text: impl Display) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Why the verb failed; in JSON mode also as the last event.
    pub fn failure(&self, failure: &Failure) {
        self.note(format_args!("samara: {failure}"));
        self.failed(failure.kind(), &failure.to_string());
    }

    /// In JSON mode the last event; people were told already.
    pub fn failed(&self, kind: Kind, reason: &str) {
        self.event(&serde_json::json!({"event": "failed", "exit_code": kind as u8, "reason": reason}));
    }

    /// `text` with a look where colour is on.
    pub fn paint(&self, look: Look, text: impl Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        let code = match look {
            Look::Strong => "1",
            Look::Good => "32",
            Look::Warning => "33",
            Look::Bad => "31",
            Look::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Bars on standard error.
    pub fn bars(&self) -> Bars {
        Bars::new(self.bars)
    }

    /// A bar that counts bytes, on standard error, where no other is.
    pub fn progress(&self, label: &str, bytes_total: u64) -> ProgressBar {
        self.bars().bytes(label, bytes_total)
    }

    /// Asks before something that cannot be taken back. Without a terminal on standard input nobody can answer
    /// and the verb goes on: what is about to happen was shown, and a script asked for it.
    pub fn confirm(&self, question: &str, consent: Consent) -> Result<(), Failure> {
        if consent == Consent::Given || !io::stdin().is_terminal() {
            return Ok(());
        }
        let _ = write!(io::stderr().lock(), "{question} [y/N] ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(|e| Failure::new(Kind::Declined, e))?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::new(Kind::Declined, anyhow::anyhow!("declined: nothing was signed"))),
        }
    }
}

/// Whether the operator agreed on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// `--yes`.
    Given,
    /// Ask.
    Needed,
}

impl From<bool> for Consent {
    fn from(yes: bool) -> Self {
        if yes { Self::Given } else { Self::Needed }
    }
}

/// Bytes for people: `64.0 MiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_appears_only_where_it_is_on() {
        assert_eq!(Output::plain(Mode::Tty).paint(Look::Good, "ok"), "ok");
        let coloured = Output { colour: true, ..Output::plain(Mode::Tty) };
        assert_eq!(coloured.paint(Look::Good, "ok"), "\x1b[32mok\x1b[0m");
    }

    #[test]
    fn a_full_disk_loses_output_and_a_closed_pipe_does_not() {
        struct Fails(ErrorKind);
        impl io::Write for Fails {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (error, is_lost) in [(ErrorKind::StorageFull, true), (ErrorKind::BrokenPipe, false)] {
            let output = Output::plain(Mode::Plain);
            output.write(&mut Fails(error), &"data");
            assert_eq!(output.clone().check_written().is_err(), is_lost, "{error:?}");
        }
    }

    #[test]
    fn consent_on_the_command_line_asks_nobody() {
        assert!(Output::plain(Mode::Plain).confirm("Sign?", Consent::Given).is_ok());
    }
}
