//! What each kind of document says. Rule numbers are those of `docs/DOCUMENTS.md`.
//!
//! Unknown fields are ignored, unless the document names them under `crit` (D4); a later version may only add fields.

mod artifact;
mod fields;
mod lifecycle;
mod local;
mod release;
mod root;
mod site;
mod state;

pub use artifact::*;
pub use lifecycle::*;
pub(crate) use release::overlap;
pub use release::*;
pub use root::*;
pub use site::*;
pub use state::*;

use super::{Document, DocumentError};
use crate::id::KeyId;
use crate::text::is_plain;
use crate::wire::DocumentKind;
use fields::fields_of;
use serde::de::DeserializeOwned;

/// The kind that a payload type names.
pub(super) fn kind_of(payload_type: &str) -> Option<DocumentKind> {
    let known = [
        (TrustRoot::PAYLOAD_TYPE, DocumentKind::TrustRoot),
        (Release::PAYLOAD_TYPE, DocumentKind::Release),
        (Rollout::PAYLOAD_TYPE, DocumentKind::Rollout),
        (Withdrawal::PAYLOAD_TYPE, DocumentKind::Withdrawal),
        (Enrollment::PAYLOAD_TYPE, DocumentKind::Enrollment),
        (Report::PAYLOAD_TYPE, DocumentKind::Report),
    ];
    known.iter().find(|(name, _)| *name == payload_type).map(|(_, kind)| *kind)
}

/// The longest text of a field that people read.
pub const TEXT_MAX: usize = 1024;
/// The longest name, word or path.
pub const NAME_MAX: usize = 255;

/// D4: a critical field is one that this version must know; it knows those of the struct `T` that has the list.
fn check_critical<T: DeserializeOwned>(crit: &[String]) -> Result<(), DocumentError> {
    let known = fields_of::<T>();
    match crit.iter().find(|field| !known.contains(&field.as_str())) {
        Some(field) => Err(DocumentError::Critical(field.chars().take(80).collect())),
        None => Ok(()),
    }
}

fn check_names<'a>(
    field: &'static str,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), DocumentError> {
    names.into_iter().try_for_each(|name| check_name(field, name))
}

/// D10: whether something can be signed with it.
fn check_key(field: &'static str, key: KeyId) -> Result<(), DocumentError> {
    key.check().map_err(|e| DocumentError::field(field, e.to_string()))
}

/// Any text as one line that D11 allows, cut to at most `bytes_max`: of the words of others for a document of one's own.
pub fn one_line(text: &str, bytes_max: usize) -> String {
    let mut line: String = text.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect();
    line.truncate(line.floor_char_boundary(bytes_max));
    line
}

/// D11: text of several lines.
fn check_text(field: &'static str, text: &str, max: usize) -> Result<(), DocumentError> {
    text.split('\n').try_for_each(|line| check_line(field, line, max))?;
    check_length(field, text, max)
}

/// D11: one line, or nothing.
fn check_line(field: &'static str, line: &str, max: usize) -> Result<(), DocumentError> {
    check_length(field, line, max)?;
    match line.chars().find(|c| !is_plain(*c)) {
        Some(c) => {
            Err(DocumentError::field(field, format!("has the control character U+{:04X}", u32::from(c))))
        }
        None => Ok(()),
    }
}

fn check_length(field: &'static str, text: &str, max: usize) -> Result<(), DocumentError> {
    if text.len() > max {
        let problem = format!("{} bytes long, at most {max} are allowed", text.len());
        return Err(DocumentError::field(field, problem));
    }
    Ok(())
}

/// D11: one line with something on it that is no blank, at most [`NAME_MAX`] bytes.
pub fn check_name(field: &'static str, text: &str) -> Result<(), DocumentError> {
    if text.trim().is_empty() {
        return Err(DocumentError::field(field, "is empty"));
    }
    check_line(field, text, NAME_MAX)
}
