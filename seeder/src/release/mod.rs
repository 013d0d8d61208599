//! From files on disk to the payload of a Release: described, then hashed.

mod contents;
mod description;
mod lifecycle;

pub use contents::{Contents, Plan, gather, plan};
pub use description::{ArtifactDescription, Description};
pub use lifecycle::RestartDescription;
