//! Installs in real directories: what is refused, what is placed, and what a crash at every point leaves.

mod binary;
mod config;
mod crash;
pub(crate) mod fixture;
mod place;
mod refuse;
mod script;
mod storage;
