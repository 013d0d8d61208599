//! What liars do: the actions of an honest machine, twisted on their way into the world.

use super::peer::PeerIndex;
use super::{Event, World};
use crate::plan::Lie;
use samara_protocol::geometry::Geometry;
use samara_protocol::mesh::Action;
use samara_protocol::piece_set::PieceSet;
use samara_protocol::wire::Message;

/// How often a flood goes on, and with how many messages to each neighbour: six times what a peer may send.
const FLOOD_NANOS: u64 = 20_000_000;
const FLOOD_MESSAGES: usize = 600;

impl World {
    /// What a peer does in place of an action; `None`: nothing.
    pub(super) fn twisted(&self, peer: PeerIndex, action: Action) -> Option<Action> {
        let Some(lie) = self.peers[peer as usize].lie else { return Some(action) };
        match (lie, action) {
            (Lie::FalseHaves, Action::Send { peer, message: Message::Open(mut open) }) => {
                let geometry = Geometry::new(open.length, open.piece_bytes).ok()?;
                open.have = PieceSet::full(geometry.pieces()).to_wire();
                Some(Action::Send { peer, message: Message::Open(open) })
            }
            (Lie::Silence, Action::Serve { .. }) => None,
            (
                Lie::WithheldDocuments,
                Action::Send {
                    message: Message::Offer(_) | Message::Document(_) | Message::Digest(_), ..
                },
            ) => None,
            (_, action) => Some(action),
        }
    }

    /// A liar that floods begins when its process does.
    pub(super) fn begin_flood(&mut self, peer: PeerIndex, life: u32) {
        if self.peers[peer as usize].lie == Some(Lie::Flood) {
            self.agenda.push(self.now.plus(FLOOD_NANOS), Event::Flood { peer, life });
        }
    }

    pub(super) fn on_flood(&mut self, peer: PeerIndex, life: u32) {
        if self.peers[peer as usize].life != life {
            return;
        }
        let Some(process) = &self.peers[peer as usize].process else { return };
        let neighbours: Vec<PeerIndex> = process.connections.keys().copied().collect();
        for to in neighbours {
            for _ in 0..FLOOD_MESSAGES {
                self.send_control(peer, to, Message::Ping(0));
            }
        }
        self.begin_flood(peer, life);
    }
}
