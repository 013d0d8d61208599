//! Everything in Samara that decides, and nothing that touches the world.
//!
//! No sockets, files, threads, clocks or thread-local randomness: time is an argument, randomness is a seed,
//! artifact bytes never enter. The same machines run in the daemon, the simulator, the fuzzer and the benches,
//! so a seed replays a run. Every machine has the same shape:
//!
//! ```text
//! fn handle(&mut self, now: Timestamp, input: Input);    infallible: a bad peer is an Action, not an Err
//! fn poll_action(&mut self) -> Option<Action>;           drain to None after each handle
//! fn poll_timeout(&self) -> Option<Timestamp>;           re-arm one timer after each drain
//! ```

pub mod id;
pub mod rng;
pub mod time;

mod text;

pub mod geometry;
pub mod peer_map;
pub mod piece_set;

pub mod artifact;
pub mod document;
pub mod trust;

pub mod catalog;
pub mod install;
pub mod neighbour;
pub mod rollout;
pub mod swarm;

pub mod mesh;
pub mod wire;

pub mod measure;
