//! Signed documents: the envelope, what each kind says, and the limits that hold before anything is parsed.
//!
//! Here a document is only *well-formed*. Whether it may be believed is `trust`'s business; outside of `inspect` and
//! signing nothing reads a payload that trust has not verified.

mod envelope;
pub mod fuzz;
mod json;
mod kinds;

pub use envelope::{ENVELOPE_BYTES_MAX, Envelope, EnvelopeSignature, SIGNATURES_MAX};
pub use json::DEPTH_MAX;
pub(crate) use kinds::overlap;
pub use kinds::*;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of the documents' formats that this code reads and writes: the `v1` of every payload type (rule D3).
pub const SCHEMA_VERSION: u16 = 1;

/// Why bytes are no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Larger than the limit; nothing was parsed (endless data).
    #[error("a document of {bytes} bytes; at most {max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not JSON, or JSON that two parsers might read differently.
    #[error("not acceptable JSON: {0}")]
    Json(String),
    /// Not the envelope's shape.
    #[error("not an envelope: {0}")]
    Envelope(String),
    /// A payload type that this version does not know.
    #[error("unknown payload type {0:?}")]
    UnknownType(String),
    /// The payload is of another kind than wanted.
    #[error("a {got:?} where a {wanted:?} was expected")]
    WrongKind {
        /// What was wanted.
        wanted: &'static str,
        /// What it says it is.
        got: String,
    },
    /// A field that the document calls critical and this version does not know.
    #[error("the document needs {0:?}, which this version does not know; update samara")]
    Critical(String),
    /// A field whose value makes no sense.
    #[error("{field}: {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl DocumentError {
    fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Field { field, problem: problem.into() }
    }
}

/// A kind of document.
pub trait Document: Serialize + DeserializeOwned {
    /// Which of the six.
    const KIND: crate::wire::DocumentKind;
    /// What the envelope's `payloadType` says.
    const PAYLOAD_TYPE: &'static str;
    /// The largest payload (rule D1), fields that this version does not know included.
    const PAYLOAD_BYTES_MAX: usize = ENVELOPE_BYTES_MAX;
    /// Checks values against each other and against the limits.
    fn validate(&self) -> Result<(), DocumentError>;
}

#[cfg(test)]
mod tests;
