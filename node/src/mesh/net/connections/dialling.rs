//! Beginning connections: the smaller identity dials, the larger waits for it.
//!
//! Each from a port of its own: two dials from listening port to listening port would meet as one connection with two
//! beginnings.

use super::{LARGER_WAITS, Request, Task, address};
use libp2p::Multiaddr;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use samara_protocol::id::PeerId;

impl Task {
    pub(super) fn dial(&mut self, peer: Option<PeerId>, addresses: Vec<String>) {
        match peer {
            Some(peer) if self.open.contains_key(&peer) => {}
            Some(peer) if self.me > peer => self.dial_later(peer, addresses),
            Some(peer) => self.dial_now(peer, &addresses),
            None => {
                if let Some(address) = addresses.iter().find_map(|a| a.parse::<Multiaddr>().ok()) {
                    self.begin(DialOpts::unknown_peer_id().address(address).allocate_new_port().build());
                }
            }
        }
    }

    pub(super) fn dial_now(&mut self, peer: PeerId, addresses: &[String]) {
        self.waiting.remove(&peer);
        let addresses: Vec<Multiaddr> = addresses.iter().filter_map(|a| a.parse().ok()).collect();
        let Some(id) = address::to_libp2p(peer) else { return };
        if addresses.is_empty()
            || self.open.contains_key(&peer)
            || self.swarm.behaviour().gate.is_refused(&id)
        {
            return;
        }
        let condition = PeerCondition::DisconnectedAndNotDialing;
        let dial = DialOpts::peer_id(id).condition(condition).addresses(addresses);
        self.begin(dial.allocate_new_port().build());
    }

    fn begin(&mut self, options: DialOpts) {
        if let Err(error) = self.swarm.dial(options) {
            tracing::trace!(%error, "not dialled");
        }
    }

    /// The larger identity gives the smaller one time to dial first.
    fn dial_later(&mut self, peer: PeerId, addresses: Vec<String>) {
        if !self.waiting.insert(peer) {
            return;
        }
        let shared = self.shared.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LARGER_WAITS).await;
            shared.request(Request::DialNow { peer, addresses });
        });
    }
}
