//! What each kind of document says. Rule numbers are those of `docs/DOCUMENTS.md`.
//!
//! Unknown fields are ignored, unless the document names them under `crit` (D4); a later version may only add fields.

mod fields;
mod release;
mod site;

pub(crate) use release::overlap;
pub use release::*;
pub use site::*;

use super::{Document, DocumentError};
use crate::id::KeyId;
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

/// D10: whether something can be signed with it.
fn check_key(field: &'static str, key: KeyId) -> Result<(), DocumentError> {
    key.check().map_err(|e| DocumentError::field(field, e.to_string()))
}

fn check_text(field: &'static str, text: &str, max: usize) -> Result<(), DocumentError> {
    if text.len() > max {
        return Err(DocumentError::field(
            field,
            format!("{} bytes long, at most {max} are allowed", text.len()),
        ));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(DocumentError::field(field, "has control characters"));
    }
    Ok(())
}

fn check_name(field: &'static str, text: &str) -> Result<(), DocumentError> {
    if text.is_empty() {
        return Err(DocumentError::field(field, "is empty"));
    }
    check_text(field, text, NAME_MAX)
}
