//! From files on disk to the payload of a Release: described, then hashed.

mod contents;
mod description;

pub use contents::{Contents, Planned, gather, plan};
pub use description::{ArtifactDescription, Description};
