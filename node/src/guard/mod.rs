//! `samara-guard`: starts `samara-node`, and brings the one before back when an update's does not work.
//!
//! An update cannot undo what keeps it from starting. So something that no update replaces starts it and counts. Agent
//! and guard share a directory, [`TrialFiles`]: the agent that installs its successor says there, before the switch,
//! what is tried and what was there before; whoever ends the trial, well or not, removes that. While it stands the guard
//! counts starts, durably and before each; when there were too many, or one took too long, it gives the new agent up,
//! for good and durably, and runs the one before with [`GIVEN_UP`] in its environment. That one rolls the release back.
//!
//! The guard knows no configuration, no document and no network, so that it hardly ever has to change.

mod keeper;
mod link;
mod options;
mod trial;

pub use keeper::Keeper;
pub use link::{GivenUp, tie};
pub use options::main;
pub use trial::{Trial, TrialFiles};

/// The variable with which the guard tells the agent before that its successor was given up: release, space, reason.
pub const GIVEN_UP: &str = "SAMARA_GUARD_GIVEN_UP";
/// The variable with which it tells an agent its own process id.
pub const PROCESS: &str = "SAMARA_GUARD_PROCESS";
/// The exit code of an agent that was replaced, and wants to be started again.
pub const EXIT_REPLACED: u8 = 10;
