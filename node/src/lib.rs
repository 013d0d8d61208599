//! Samara's device daemon as a library: the mesh (reused by the operator's tool), state, handlers, local API.

mod durable;
#[cfg(test)]
mod fixture;
pub mod mesh;
pub mod state;

pub mod agent;
pub mod daemon;
pub mod guard;
pub mod handler;
pub mod health;
pub mod hook;
mod process;
pub mod ready;

pub mod api;
pub mod cli;
pub mod config;

/// What this software calls itself to peers and in status.
pub const AGENT: &str = concat!("samara-node/", env!("CARGO_PKG_VERSION"));
