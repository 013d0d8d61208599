//! Identities and addresses, ours and libp2p's.

use super::NetError;
use libp2p::Multiaddr;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use libp2p::multiaddr::Protocol;
use samara_protocol::id::PeerId;
use std::net::IpAddr;

/// libp2p's identity of a peer; `None` when its 32 bytes are no Ed25519 key.
pub(super) fn to_libp2p(peer: PeerId) -> Option<libp2p::PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&peer.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// Our identity of a libp2p peer: an Ed25519 key stands whole in its PeerId, behind six bytes (an identity multihash
/// of 36 bytes, then the protobuf tags of key type and key). Others have no place on this mesh.
pub(super) fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    match peer.to_bytes().as_slice() {
        [0x00, 0x24, 0x08, 0x01, 0x12, 0x20, key @ ..] => Some(PeerId(key.try_into().ok()?)),
        _ => None,
    }
}

/// The key pair of a secret.
pub(super) fn keypair(secret: [u8; 32]) -> Result<Keypair, NetError> {
    Keypair::ed25519_from_bytes(secret).map_err(|e| NetError::Start(e.to_string()))
}

/// The IP address that an address begins with.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_libp2p() {
        for n in 1..50 {
            let public = keypair([n; 32]).unwrap().public();
            let ours = from_libp2p(&public.to_peer_id()).unwrap();
            assert_eq!(ours.0, ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes());
            assert_eq!(to_libp2p(ours), Some(public.to_peer_id()));
        }
    }
}
