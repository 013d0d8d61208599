//! What people see of a run: a summary for the terminal, and a page that needs nothing but itself.
//!
//! Everything is made from an [`Outcome`] and its plan, so a run in the lab and one in virtual
//! time look alike, and the same run has the same bytes: no clock, no dice, no network, no script. Text that comes from
//! a plan is escaped by the template. However large a run is, a page stays small: curves are thinned, many devices
//! share a bar, long tables show their slowest rows and say so.

mod chart;
mod comparison;
mod events;
mod figures;
mod frame;
mod headline;
mod installs;
mod number;

mod palette;
mod seeds;
mod series;
mod single;
mod slowest;
mod terminal;

pub use comparison::page as comparison_page;
pub use seeds::page as seeds_page;
pub use single::page;
pub use terminal::{drawn, drawn_of, summary};

use crate::outcome::Outcome;
use crate::plan::Plan;

/// A run beside its plan.
#[derive(Clone, Copy)]
struct View<'a> {
    plan: &'a Plan,
    outcome: &'a Outcome,
}

#[cfg(test)]
mod tests;
