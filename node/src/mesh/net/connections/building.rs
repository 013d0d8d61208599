//! The libp2p swarm: TCP, Noise and Yamux, and the behaviours that bound and open connections.

use super::{NetError, NetOptions};
use crate::mesh::net::discovery::Discovery;
use crate::mesh::net::gate::Gate;
use crate::mesh::net::muxer;
use crate::mesh::net::socket::Socket;
use crate::mesh::net::streams::Streams;
use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, Swarm, memory_connection_limits, noise, tcp};
use std::time::Duration;

/// How long a connection may take to be authenticated.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Everything that decides about connections.
#[derive(NetworkBehaviour)]
pub(in crate::mesh::net) struct Behaviour {
    memory: memory_connection_limits::Behaviour,
    pub(in crate::mesh::net) gate: Gate,
    streams: Streams,
    discovery: Toggle<Discovery>,
}

/// Encrypted connections with streams.
pub(in crate::mesh::net) fn transport(
    keypair: &Keypair,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let noise = noise::Config::new(keypair).map_err(|e| NetError::Start(e.to_string()))?;
    Ok(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .and_then(|stream, _| std::future::ready(Socket::new(stream)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(muxer::Upgrade::new())
        .timeout(HANDSHAKE_MAX)
        .boxed())
}

/// The swarm of this identity; it listens nowhere yet.
pub(super) fn swarm(keypair: &Keypair, options: &NetOptions) -> Result<Swarm<Behaviour>, NetError> {
    let me = keypair.public().to_peer_id();
    let discovery = options.mdns.then(|| Discovery::new(me)).transpose();
    let behaviour = Behaviour {
        memory: memory_connection_limits::Behaviour::with_max_bytes(options.memory_bytes_max),
        gate: Gate::new(me, options.connections_max as usize, options.connections_per_address_max),
        streams: Streams::default(),
        discovery: Toggle::from(discovery.map_err(|e| NetError::Start(e.to_string()))?),
    };
    let config = libp2p::swarm::Config::with_tokio_executor();
    Ok(Swarm::new(transport(keypair)?, behaviour, me, config))
}
