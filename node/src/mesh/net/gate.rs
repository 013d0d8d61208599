//! A libp2p behaviour that turns connections away: of refused peers, from crowded addresses, second ones, and those for
//! which there is no place at all.
//!
//! libp2p's own `connection_limits` would bound the places too, but keeps an entry for every identity that ever came
//! (0.7): whoever makes up identities fills memory.
//!
//! Connections that are not yet authenticated count as much as those that are: an address that opens sockets and
//! says nothing leaves room for others. A connection that we dialled is given up here, before a stream is opened on
//! it, if [`choice::is_dial_kept`] says so; the other side relies on that.

use super::address::ip_of;
use super::choice::{self, Held};
use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Most refused peers that are remembered.
const REFUSED_MAX: usize = 4096;
/// Connections from one address that may be on their way in at once: a few devices behind one router begin together.
pub(super) const PENDING_PER_ADDRESS_MAX: usize = 16;
/// Connections that may be on their way in at once, and as many out.
const PENDING_MAX: usize = 64;
/// Connections with one peer: the one in use, one that replaces it, and one that is still being closed.
const PER_PEER_MAX: usize = 3;

/// How long a peer is turned away, and what may end that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// So long, whatever happens.
    For(Duration),
    /// It is no member: so long, or until it may have become one (`Gate::forgive`).
    Stranger(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Refused {
    until: Instant,
    is_stranger: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    ip: IpAddr,
    is_pending: bool,
}

/// The behaviour.
#[derive(Debug)]
pub(super) struct Gate {
    me: PeerId,
    refused: BTreeMap<PeerId, Refused>,
    places: HashMap<ConnectionId, Place>,
    held: BTreeMap<PeerId, BTreeMap<ConnectionId, Held>>,
    dials: HashSet<ConnectionId>,
    connections_max: usize,
    per_address_max: usize,
}

/// Why a connection was turned away.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("the peer is refused for a while")]
    Refused,
    #[error("too many connections from one address")]
    Crowded,
    #[error("there is a connection with this peer")]
    Second,
    #[error("too many connections")]
    Full,
}

impl Gate {
    pub(super) fn new(me: PeerId, connections_max: usize, per_address_max: usize) -> Self {
        Self {
            me,
            refused: BTreeMap::new(),
            places: HashMap::new(),
            held: BTreeMap::new(),
            dials: HashSet::new(),
            connections_max,
            per_address_max,
        }
    }

    /// Refuses a peer for a while; a longer while that had begun goes on.
    pub(super) fn refuse(&mut self, peer: PeerId, refuse: Refuse) {
        let now = Instant::now();
        let (duration, is_stranger) = match refuse {
            Refuse::For(duration) => (duration, false),
            Refuse::Stranger(duration) => (duration, true),
        };
        self.refused.retain(|_, refused| refused.until > now);
        let until = now + duration;
        let is_longer = self.refused.get(&peer).is_none_or(|refused| refused.until < until);
        if is_longer && self.refused.len() < REFUSED_MAX {
            self.refused.insert(peer, Refused { until, is_stranger });
        }
    }

    /// This peer, or any where none is named, may have become a member: it is not refused as a stranger any more.
    pub(super) fn forgive(&mut self, peer: Option<PeerId>) {
        self.refused.retain(|of, refused| !refused.is_stranger || peer.is_some_and(|peer| peer != *of));
    }

    pub(super) fn is_refused(&self, peer: &PeerId) -> bool {
        self.refused.get(peer).is_some_and(|refused| refused.until > Instant::now())
    }

    /// A connection has all its streams.
    pub(super) fn on_live(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(held) = self.held.get_mut(peer).and_then(|of_peer| of_peer.get_mut(&id)) {
            held.is_live = true;
        }
    }

    fn admit(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        let with_peer = self.held.get(peer).map_or(0, BTreeMap::len);
        let all: usize = self.held.values().map(BTreeMap::len).sum();
        if self.is_refused(peer) {
            Err(ConnectionDenied::new(Denied::Refused))
        } else if with_peer >= PER_PEER_MAX || all >= self.connections_max {
            Err(ConnectionDenied::new(Denied::Full))
        } else {
            Ok(())
        }
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if self.places.values().filter(|place| place.is_pending).count() >= PENDING_MAX {
            return Err(ConnectionDenied::new(Denied::Full));
        }
        let Some(ip) = ip_of(remote) else { return Ok(()) };
        let same = self.places.values().filter(|place| place.ip == ip);
        let (all, pending) =
            same.fold((0, 0), |(all, pending), place| (all + 1, pending + usize::from(place.is_pending)));
        if all >= self.per_address_max || pending >= PENDING_PER_ADDRESS_MAX {
            return Err(ConnectionDenied::new(Denied::Crowded));
        }
        self.places.insert(id, Place { ip, is_pending: true });
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)?;
        if let Some(place) = self.places.get_mut(&id) {
            place.is_pending = false;
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.dials.len() >= PENDING_MAX {
            return Err(ConnectionDenied::new(Denied::Full));
        }
        self.dials.insert(id);
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)?;
        let others = self.held.get(&peer).into_iter().flat_map(BTreeMap::values);
        if !choice::is_dial_kept(self.me < peer, others) {
            return Err(ConnectionDenied::new(Denied::Second));
        }
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(new) => {
                self.dials.remove(&new.connection_id);
                let held = Held { dialled_by_us: new.endpoint.is_dialer(), is_live: false };
                self.held.entry(new.peer_id).or_default().insert(new.connection_id, held);
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.places.remove(&closed.connection_id);
                if let Some(of_peer) = self.held.get_mut(&closed.peer_id) {
                    of_peer.remove(&closed.connection_id);
                    if of_peer.is_empty() {
                        self.held.remove(&closed.peer_id);
                    }
                }
            }
            FromSwarm::DialFailure(failure) => {
                self.dials.remove(&failure.connection_id);
            }
            FromSwarm::ListenFailure(failure) => {
                self.places.remove(&failure.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_have_become_a_member_is_forgiven_and_who_broke_the_protocol_is_not() {
        let [me, one, other, liar] = [(); 4].map(|()| PeerId::random());
        let mut gate = Gate::new(me, 8, 8);
        let wait = Duration::from_secs(600);
        let (stranger, lies) = (Refuse::Stranger(wait), Refuse::For(2 * wait));
        // The last word on the liar comes late, and changes nothing.
        for (peer, refuse) in [(one, stranger), (other, stranger), (liar, lies), (liar, stranger)] {
            gate.refuse(peer, refuse);
        }
        let refused = |gate: &Gate| [one, other, liar].map(|peer| gate.is_refused(&peer));
        gate.forgive(Some(one));
        assert_eq!(refused(&gate), [false, true, true]);
        gate.forgive(Some(liar));
        assert_eq!(refused(&gate), [false, true, true]);
        gate.forgive(None);
        assert_eq!(refused(&gate), [false, false, true]);
    }
}
