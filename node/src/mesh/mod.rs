//! The mesh as both daemon and operator's tool run it: network, store and the loop that drives the mesh machine.

pub mod net;
pub mod store;

mod alarms;
mod command;
mod driver;
mod library;
mod limiter;
mod serving;

pub use alarms::Alarm;
pub use command::{MeshError, MeshEvent, MeshHandle, MeshView, PublishError};
pub use driver::{MeshParts, start};
