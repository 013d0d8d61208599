//! The signals by which a person or a supervisor ends a verb that runs until it is told: the verb leaves in order.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, the supervisor's SIGTERM, the terminal that closes, and SIGQUIT. From its making on none of them kills.
pub struct Interrupt([Signal; 4]);

impl Interrupt {
    /// Listens from now on.
    pub fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ]))
    }

    /// Waits for the first. May be dropped and called again.
    pub async fn recv(&mut self) {
        let Self([interrupt, terminate, hang_up, quit]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
