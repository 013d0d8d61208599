//! Whether a neighbour that asks for it can be dialled: a connection beside the one that stands, authenticated and closed.
//!
//! It is made outside of the libp2p swarm, so that it never takes the place of the one that stands. The neighbour sees a
//! connection that ends before it has its streams.

use super::building::transport;
use super::{State, Task, address};
use libp2p::Multiaddr;
use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, PortUse, Transport as _};
use libp2p::identity::Keypair;
use samara_protocol::id::PeerId;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::oneshot;

/// Addresses that are tried for one question.
const ADDRESSES_MAX: usize = 2;
/// How long each may take; a device on the same site answers in milliseconds.
const EACH_MAX: Duration = Duration::from_secs(3);

impl Task {
    pub(super) fn reach(&self, peer: PeerId, addresses: &[String], answer: oneshot::Sender<bool>) {
        let connections = self.open.get(&peer).into_iter().flat_map(|all| all.values());
        let mut live = connections.filter(|connection| matches!(connection.state, State::Live));
        let Some(ip) = live.find_map(|connection| connection.remote) else { return };
        let (addresses, keypair) = (addresses_at(ip, addresses), self.keypair.clone());
        tokio::spawn(async move {
            let mut reached = false;
            for at in addresses {
                reached = reached || is_at(&keypair, peer, at).await;
            }
            // The neighbour may have gone.
            let _ = answer.send(reached);
        });
    }
}

/// What of these is a TCP port of the machine from which a neighbour is connected: others are third parties.
fn addresses_at(ip: IpAddr, addresses: &[String]) -> Vec<Multiaddr> {
    let parsed = addresses.iter().filter_map(|text| text.parse::<Multiaddr>().ok());
    parsed.filter(|at| address::ip_of(at) == Some(ip)).take(ADDRESSES_MAX).collect()
}

/// Whether somebody answers there and has this peer's identity.
async fn is_at(keypair: &Keypair, peer: PeerId, at: Multiaddr) -> bool {
    let Ok(mut transport) = transport(keypair) else { return false };
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let Ok(dial) = transport.dial(at, options) else { return false };
    match tokio::time::timeout(EACH_MAX, dial).await {
        Ok(Ok((met, _))) => address::from_libp2p(&met) == Some(peer),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machine_from_which_a_neighbour_is_connected_is_dialled_for_it() {
        let texts =
            ["/ip4/10.0.0.8/tcp/22", "/ip4/10.0.0.7/tcp/1", "no", "/dns4/x/tcp/1", "/ip4/10.0.0.7/tcp/2"];
        let texts = texts.map(String::from);
        let found = addresses_at("10.0.0.7".parse().unwrap(), &texts);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [&*texts[1], &*texts[4]]);
        let many: Vec<String> = (1..50).map(|port| format!("/ip4/10.0.0.7/tcp/{port}")).collect();
        assert_eq!(addresses_at("10.0.0.7".parse().unwrap(), &many).len(), ADDRESSES_MAX);
        assert!(addresses_at("::1".parse().unwrap(), &many).is_empty());
    }
}
