//! A run as text for a terminal of 80 columns: what came of it in words, the numbers, the slowest devices.

use super::{View, headline, installs, slowest};
use crate::outcome::Outcome;
use crate::plan::Plan;

const COLUMNS: usize = 80;
/// Devices that are explained.
const SLOW_MAX: usize = 3;

/// The summary; ends with a newline.
pub fn summary(plan: &Plan, outcome: &Outcome) -> String {
    let view = View { plan, outcome };
    let mut text = wrapped(&format!("plan {}, {}", outcome.plan, outcome.network), "") + "\n";
    for sentence in headline::sentences(view) {
        text += &wrapped(&sentence, "");
    }
    text += "\n";
    text += &outcome.report.table();
    for line in view.outcome.installs.iter().flat_map(installs::text) {
        text += &wrapped(&line, "");
    }
    let slowest = slowest::slowest(view, SLOW_MAX);
    if !slowest.is_empty() {
        text += "\nwhat held the slowest\n";
    }
    for slow in slowest {
        text += &wrapped(&format!("{}: {}", slow.device.device, slow.reasons.join("; ")), "  ");
    }
    text
}

/// The seed and each drawn option, in one line.
pub fn drawn(outcome: &Outcome) -> String {
    said(outcome, outcome.seed.map(|seed| format!("seed {seed}")))
}

/// The same for runs with all seeds from the first to the last.
pub fn drawn_of(outcome: &Outcome, [first, last]: [u64; 2]) -> String {
    said(outcome, Some(format!("seeds {first}..{last}")))
}

fn said(outcome: &Outcome, seed: Option<String>) -> String {
    let options = outcome.options.iter().map(|(name, value)| format!("{name} {value}"));
    seed.into_iter().chain(options).collect::<Vec<_>>().join(", ")
}

/// Lines of at most 80 columns, each after `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::from(indent);
    let mut column = indent.len();
    for word in text.split(' ') {
        let length = word.chars().count();
        if column + length > COLUMNS && column > indent.len() {
            lines.truncate(lines.trim_end_matches(' ').len());
            lines += "\n";
            lines += indent;
            column = indent.len();
        }
        lines += word;
        lines += " ";
        column += length + 1;
    }
    lines.truncate(lines.trim_end_matches(' ').len());
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_are_broken_between_words() {
        let text = wrapped(&"word ".repeat(40), "  ");
        assert!(text.lines().all(|line| line.len() <= COLUMNS && line.starts_with("  word")), "{text}");
        assert_eq!(text.split_whitespace().count(), 40);
        assert_eq!(wrapped("short", ""), "short\n");
    }
}
