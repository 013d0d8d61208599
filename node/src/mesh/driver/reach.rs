//! Whether peers can be reached: this one by its neighbours, and a neighbour that asks by this one.

use super::{Done, Driver};
use samara_protocol::id::PeerId;
use samara_protocol::mesh::Input;
use tokio::sync::oneshot;

/// Questions that may wait for one answer; the daemon asks one.
const WAITING_MAX: usize = 16;

impl Driver {
    pub(super) fn ask_reach(&mut self, at_least: u32, answer: oneshot::Sender<(u32, u32)>) {
        // Without an answer its asker hears that there is none.
        if self.reach_waiting.len() < WAITING_MAX {
            self.reach_waiting.push(answer);
            self.handle(Input::AskReach { at_least });
        }
    }

    pub(super) fn on_reached(&mut self, asked: u32, reached: u32) {
        for answer in std::mem::take(&mut self.reach_waiting) {
            // Whoever asked may have gone.
            let _ = answer.send((asked, reached));
        }
    }

    /// The machine bounds how many there are.
    pub(super) fn probe(&self, peer: PeerId, addresses: Vec<String>) {
        let (result, done) = (self.net.reach(peer, addresses), self.done.clone());
        tokio::spawn(async move {
            let reached = result.await.unwrap_or(false);
            let _ = done.send(Done::Input(Input::Probed { peer, reached })).await;
        });
    }
}
