//! Samara's lab: runs the real binaries in network namespaces with links of known rate, and judges the run by
//! numbers.
//!
//! The lab knows the product only from outside, by its commands, its log and the bytes on its links: it depends
//! on `samara-protocol` for the report of a run and on no other part. A plan (`sim/plans/*.toml`) says which
//! devices, which links, what goes wrong and when, and which numbers must come out.

pub mod cli;
pub mod lab;
pub mod plan;
