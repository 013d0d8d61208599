//! Samara's rehearsal room: one plan, run in virtual time or with the real binaries, judged by the same numbers.
//!
//! A plan (`sim/plans/*.toml`) says which devices, which links, what goes wrong and when, and which numbers must come
//! out. The simulator ([`world`]) drives the state machines of `samara-protocol` that the daemon drives. The lab
//! ([`lab`]) runs the product in network namespaces and knows it only from outside, by its commands, its log and the
//! bytes on its links. Both depend on `samara-protocol` and on no other part.

pub mod calibrate;
pub mod cli;
pub mod command;
pub mod compare;
pub mod installs;
pub mod lab;
pub mod link;
pub mod memory;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod simulate;
pub mod trace;
pub mod verdict;
pub mod world;
