//! A document as people read it: every field that is signed, nothing left out, nothing that can fool a terminal.

use crate::failure::Failure;
use samara_protocol::document::check_name;
use serde_json::Value;
use std::fmt::Write as _;

/// Every field of `value`, one a line, nested by indentation.
pub fn lines(value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    fields(value, 0, &mut out);
    out
}

fn fields(value: &Value, depth: usize, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                match inline(key, item) {
                    Some(short) => out.push(indent(depth, &format!("{}: {short}", safe(key)))),
                    None => {
                        out.push(indent(depth, &format!("{}:", safe(key))));
                        fields(item, depth + 1, out);
                    }
                }
            }
        }
        Value::Array(list) => {
            for item in list {
                let start = out.len();
                fields(item, depth + 1, out);
                // The dash takes the place of the first line's last indentation.
                if let Some(first) = out.get_mut(start) {
                    first.replace_range(depth * 2..depth * 2 + 1, "-");
                }
            }
        }
        scalar => out.push(indent(depth, &text(scalar))),
    }
}

// What fits behind its label: scalars, empty things and lists of scalars.
fn inline(key: &str, value: &Value) -> Option<String> {
    match value {
        // Permissions are read in octal.
        Value::Number(mode) if key == "mode" => mode.as_u64().map(|bits| format!("0{bits:o}")),
        Value::Object(map) => map.is_empty().then(|| "none".to_owned()),
        Value::Array(list) if list.is_empty() => Some("none".to_owned()),
        Value::Array(list) if list.iter().all(|item| !item.is_object() && !item.is_array()) => {
            Some(list.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        Value::Array(_) => None,
        scalar => Some(text(scalar)),
    }
}

fn text(scalar: &Value) -> String {
    match scalar {
        Value::String(string) => safe(string),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

/// Text from a document without control characters or direction overrides: a hostile document must not move the
/// cursor, change colours or reverse what is read.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns_direction =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns_direction {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Refuses a text that is to be signed when devices would refuse it: empty, more than one line, too long.
pub fn check_label(what: &'static str, text: &str) -> Result<(), Failure> {
    check_name(what, text).map_err(Failure::usage)
}

fn indent(depth: usize, text: &str) -> String {
    format!("{:width$}{text}", "", width = depth * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_shown_nested_by_indentation() {
        let value = serde_json::json!({
            "artifacts": [{"mode": 420, "name": "a"}, {"name": "b"}], "number": 3, "roles": {"root": {"keys": []}},
            "tags": ["x", "y"],
        });
        let expected = "artifacts:\n  - mode: 0644\n    name: a\n  - name: b\nnumber: 3\n\
                        roles:\n  root:\n    keys: none\ntags: x, y";
        let expected: Vec<_> = expected.lines().collect();
        assert_eq!(lines(&value), expected);
    }

    #[test]
    fn a_label_is_one_line_of_visible_text() {
        for text in ["Werk 7 (größe 型)", "-"] {
            assert!(check_label("--name", text).is_ok(), "{text}");
        }
        for text in ["", " \t", "a\nb", "a\x1b[2J", "a\u{202e}b", "a\0"] {
            let error = check_label("--name", text).unwrap_err().to_string();
            assert!(error.starts_with("--name: ") && safe(&error) == error, "{error}");
        }
    }

    #[test]
    fn a_hostile_name_cannot_drive_the_terminal() {
        assert_eq!(safe("a\x1b[2J\u{202e}b\n"), "a\\u{1b}[2J\\u{202e}b\\u{a}");
        assert_eq!(safe("größe 型"), "größe 型");
    }
}
