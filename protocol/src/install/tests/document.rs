//! `docs/STATES.md` shows the table as it is; a difference is printed as it should be.

use super::*;
use std::fmt::Write as _;

const DOCUMENT: &str = include_str!("../../../../docs/STATES.md");

/// The text between a heading's first fence and its end.
fn block(kind: &str) -> &'static str {
    let fence = format!("```{kind}\n");
    let (_, after) = DOCUMENT.split_once(fence.as_str()).unwrap_or_else(|| panic!("no block {kind}"));
    after.split_once("```").unwrap().0
}

fn word(event: Event) -> String {
    let debug = format!("{event:?}");
    let mut word = String::new();
    for c in debug.chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push(' ');
        }
        word.extend(c.to_lowercase());
    }
    word
}

fn text() -> String {
    let mut text = String::new();
    for (from, event, to) in TABLE {
        let _ = writeln!(text, "{:<24}{:<14}{to}", from.as_str(), word(event));
    }
    for (event, to) in DECIDED {
        let _ = writeln!(text, "{:<24}{:<14}{to}", "any before installing", word(event));
    }
    text
}

fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> offered\n");
    for (from, event, to) in TABLE {
        let _ = writeln!(text, "    {from} --> {to}: {}", word(event));
    }
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        let _ = writeln!(text, "    {state} --> [*]");
    }
    text
}

#[test]
fn the_document_shows_the_table_and_its_diagram() {
    let shown = text();
    assert_eq!(block("transitions"), shown, "\n{shown}\n");
    let shown = diagram();
    assert_eq!(block("mermaid"), shown, "\n{shown}\n");
}

#[test]
fn the_document_explains_every_state_with_its_word() {
    for state in State::ALL {
        let row = DOCUMENT.lines().find(|line| line.starts_with(&format!("| `{state}` |")));
        let row = row.unwrap_or_else(|| panic!("{state} is not explained"));
        assert!(row.contains(&format!("`{}`", state.word())), "{row}");
    }
}

#[test]
fn no_event_leads_to_two_states_and_every_state_can_be_reached_and_left_or_is_an_end() {
    for (n, (from, event, _)) in TABLE.iter().enumerate() {
        assert!(!TABLE[..n].iter().any(|(of, by, _)| (of, by) == (from, event)), "{from} {event:?}");
    }
    for state in State::ALL {
        let is_reached =
            TABLE.iter().any(|(_, _, to)| *to == state) || DECIDED.iter().any(|(_, to)| *to == state);
        let is_start = matches!(state, State::Offered | State::AlreadyInstalled);
        assert!(is_reached || is_start, "{state}");
        assert!(state.is_terminal() || TABLE.iter().any(|(from, _, _)| *from == state), "{state}");
    }
}
