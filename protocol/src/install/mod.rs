//! The life of one release on one device, from offered to its end: installed and kept, or what was there before.
//!
//! Facts come in, side effects go out. What changes the device comes out step by step through
//! [`Install::poll_step`], and only when the record of the state that asks for it is durable; a driver that has several
//! machines runs the steps of one to their end (until it no longer [wants a turn](Install::wants_turn)) before it takes
//! those of another. After a cut the machine goes on from its last record and from what the file system says is in
//! place. Whatever happens, it ends by itself: every wait and every repetition is bounded.
//!
//! The states and all ways between them are in [`TABLE`]; `docs/STATES.md` shows them.

mod back;
mod machine;
mod plan;
mod resume;
mod state;
mod table;
mod trial;
mod view;

#[cfg(test)]
mod tests;

pub use machine::Install;
pub use plan::{
    Action, Ended, Found, Hold, HoldBy, Input, Outcome, Plan, RecordId, Space, Step, Test, Verdict,
};
pub use resume::CUTS_MAX;
pub use state::{Effect, Fault, FaultCode, Record, State};
pub use table::{DECIDED, Event, TABLE};
