//! Hello, version, site, membership; pings; addresses of members.

use super::{Action, DisconnectReason, Mesh};
use crate::id::PeerId;
use crate::neighbour::{Dial, Liveness, Neighbour, Phase};
use crate::time::Timestamp;
use crate::wire::{
    ADDRESSES_MAX, FEATURE_PROBE, Goodbye, Hello, Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN,
    PeerAddress,
};

/// Members to which a new address is passed on a large site; so many of each in turn reach nearly everybody.
const NEWS_COPIES: usize = 4;

impl Mesh {
    pub(super) fn on_connected(&mut self, peer: PeerId, now: Timestamp) {
        if peer == self.config.me || self.neighbours.contains_key(&peer) {
            return;
        }
        self.neighbours.insert(peer, Neighbour::new(&self.config.limits, now));
        let hello = Hello {
            version: PROTOCOL_VERSION,
            version_min: PROTOCOL_VERSION_MIN,
            features: self.config.features.clone(),
            site: self.config.site,
            agent: self.config.agent.clone(),
            mode: self.config.mode,
            enrollment: self.config.enrollment.clone(),
            listen: self.config.listen.clone(),
        }
        .fitting();
        self.send(peer, Message::Hello(hello));
    }

    pub(super) fn on_received(&mut self, peer: PeerId, message: Message, now: Timestamp) {
        let held_back_max = self.config.limits.held_back_bytes_max;
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        if !neighbour.hear(&message, now) {
            return self.violation(peer, "more messages than any honest peer sends", now);
        }
        match (&mut neighbour.phase, message) {
            (Phase::Greeting, Message::Hello(hello)) => self.on_hello(peer, hello, now),
            (Phase::Greeting, _) => self.violation(peer, "a message before the hello", now),
            // Never held back: the peer that says it goes before it can be admitted.
            (_, Message::Goodbye(goodbye)) => self.actions.push_back(Action::GoodbyeHeard { peer, goodbye }),
            (_, Message::Hello(_)) => self.violation(peer, "a second hello", now),
            (Phase::Checking { held_back, held_back_bytes, .. }, message) => {
                *held_back_bytes += message.memory_bytes();
                if *held_back_bytes <= held_back_max {
                    held_back.push(message);
                } else {
                    self.violation(peer, "too much before admission", now);
                }
            }
            (Phase::Member { .. }, message) => self.on_member_message(peer, message, now),
        }
    }

    fn on_hello(&mut self, peer: PeerId, hello: Hello, now: Timestamp) {
        if hello.site != self.config.site {
            self.send(peer, Message::Goodbye(Goodbye::OtherSite));
            return self.disconnect(peer, DisconnectReason::OtherSite(hello.site), now);
        }
        if hello.version < PROTOCOL_VERSION_MIN || hello.version_min > PROTOCOL_VERSION {
            self.send(peer, Message::Goodbye(Goodbye::Version));
            return self.disconnect(peer, DisconnectReason::Version, now);
        }
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.mode = hello.mode;
            neighbour.can_probe = hello.features.iter().any(|feature| feature == FEATURE_PROBE);
            let listen = hello.listen.clone();
            neighbour.phase = Phase::Checking { listen, held_back: Vec::new(), held_back_bytes: 0 };
            self.actions.push_back(Action::Admit { peer, hello });
        }
    }

    pub(super) fn on_admitted(&mut self, peer: PeerId, enrolled_device: bool, now: Timestamp) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        match neighbour.phase {
            Phase::Greeting => return,
            Phase::Member { .. } => return self.on_enrolled(peer, enrolled_device, now),
            Phase::Checking { .. } => {}
        }
        let mode = neighbour.mode;
        let before = std::mem::replace(&mut neighbour.phase, Phase::Member { enrolled_device });
        let Phase::Checking { listen, held_back, .. } = before else { return };
        let peers = self.addresses.some_for(peer, &mut self.rng);
        if !peers.is_empty() {
            self.send(peer, Message::Addresses(peers));
        }
        let members = self.neighbours.values().filter(|neighbour| neighbour.is_member()).count();
        if members > self.config.places(mode) {
            return self.disconnect(peer, DisconnectReason::Surplus, now);
        }
        self.addresses.learn(peer, &listen, self.config.limits.addresses_max);
        self.choice.join(peer, &listen, now);
        self.refresh_enrolled(now);
        self.ping(peer, now);
        self.send(peer, Message::Digest(self.catalog.digest()));
        self.open_all_with(peer);
        for message in held_back {
            if self.neighbours.contains_key(&peer) {
                self.on_member_message(peer, message, now);
            }
        }
    }

    fn on_member_message(&mut self, peer: PeerId, message: Message, now: Timestamp) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && message.is_for_members()
            && !std::mem::replace(&mut neighbour.lets_us_in, true)
        {
            self.actions.push_back(Action::LetIn { peer });
        }
        match message {
            Message::Hello(_) | Message::Goodbye(_) | Message::Unknown(_) => {}
            Message::Ping(nonce) => self.send(peer, Message::Pong(nonce)),
            Message::Pong(nonce) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.pong(nonce, now);
                }
            }
            Message::Addresses(peers) => self.on_addresses(peer, peers, now),
            Message::Offer(offers) => self.on_offer(peer, &offers, now),
            Message::Want(ids) => self.on_want(peer, &ids, now),
            Message::Document(envelope) => self.actions.push_back(Action::CheckDocument { peer, envelope }),
            Message::Digest(digest) => self.on_digest(peer, digest),
            Message::Open(open) => self.on_open(peer, open, now),
            Message::Close(channel) => self.on_close(peer, channel, now),
            Message::Have(have) => self.on_have(peer, have, now),
            Message::Credit(credit) => self.on_credit(peer, credit, now),
            Message::Request(request) => self.on_request(peer, request, now),
            Message::Cancel(request) => self.on_cancel(peer, request, now),
            Message::Decline(request) => self.on_decline(peer, request, now),
            Message::Mode(mode) => self.on_peer_mode(peer, mode, now),
            Message::Probe(nonce) => self.on_probe(peer, nonce, now),
            Message::Probed(probed) => self.on_probed(peer, probed),
        }
    }

    fn on_addresses(&mut self, peer: PeerId, peers: Vec<PeerAddress>, now: Timestamp) {
        if peers.len() > ADDRESSES_MAX {
            return self.violation(peer, "too many addresses in one message", now);
        }
        let (me, max) = (self.config.me, self.config.limits.addresses_max);
        let addresses = &mut self.addresses;
        let is_new = |entry: &PeerAddress| {
            entry.peer != me
                && !addresses.knows(&entry.peer)
                && addresses.learn(entry.peer, &entry.addresses, max)
        };
        let new: Vec<PeerAddress> = peers.into_iter().filter(is_new).collect();
        for entry in new {
            self.choice.heard(entry.peer, entry.addresses, now);
        }
    }

    pub(super) fn dial(&mut self, now: Timestamp) {
        for Dial { peer, addresses } in self.choice.poll(&self.config.limits, now, &mut self.rng) {
            self.actions.push_back(Action::Dial { peer, addresses });
        }
    }

    /// One idle neighbour makes room for another, so that a large mesh stays random.
    pub(super) fn replace_idle(&mut self, now: Timestamp) {
        let limits = &self.config.limits;
        let is_idle = |(_, n): &(&PeerId, &Neighbour)| n.is_member() && n.is_idle(limits, now);
        let idle: Vec<PeerId> = self.neighbours.iter().filter(is_idle).map(|(peer, _)| *peer).collect();
        if let Some(peer) = self.choice.replace(&idle, limits, now, &mut self.rng) {
            self.disconnect(peer, DisconnectReason::Idle, now);
        }
    }

    /// Newly learned addresses go to every member once; on a large site, where nobody needs all, to a few.
    pub(super) fn pass_news(&mut self) {
        let news = self.addresses.take_news();
        if news.is_empty() {
            return;
        }
        let mut members = self.neighbours();
        if self.addresses.len() > self.config.limits.full_mesh_max {
            self.rng.shuffle(&mut members);
            members.truncate(NEWS_COPIES);
        }
        for peer in members {
            let for_peer: Vec<PeerAddress> =
                news.iter().filter(|entry| entry.peer != peer).cloned().collect();
            if !for_peer.is_empty() {
                self.send(peer, Message::Addresses(for_peer));
            }
        }
    }

    fn ping(&mut self, peer: PeerId, now: Timestamp) {
        let nonce = self.rng.next_u64() as u32;
        let next = now + self.rng.jitter(self.config.limits.ping_interval);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        match neighbour.liveness(&self.config.limits, nonce, next, now) {
            Liveness::Fine => {}
            Liveness::Ping if neighbour.is_member() => self.send(peer, Message::Ping(nonce)),
            Liveness::Ping => {}
            Liveness::Silent => self.disconnect(peer, DisconnectReason::Silent, now),
        }
    }

    pub(super) fn watch_neighbours(&mut self, now: Timestamp) {
        let due = |neighbour: &Neighbour| neighbour.liveness_at() <= now;
        let peers: Vec<PeerId> =
            self.neighbours.iter().filter(|(_, n)| due(n)).map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.ping(peer, now);
        }
    }
}
