//! The catalog's part: offers, wants, documents, digests.

use super::{Action, DisconnectReason, Mesh, Violation};
use crate::id::{DocumentId, PeerId};
use crate::time::Timestamp;
use crate::trust::Verdict;
use crate::wire::{CatalogDigest, DocumentOffer, Message, ServeMode};
use std::collections::BTreeMap;

/// Offers or wants in one message: 512 of at most 38 bytes stay below the frame limit.
const LIST_MAX: usize = 512;

impl Mesh {
    pub(super) fn on_offer(&mut self, peer: PeerId, offers: &[DocumentOffer], now: Timestamp) {
        let Some(mode) = self.neighbours.get(&peer).map(|neighbour| neighbour.mode) else { return };
        let neighbours = &self.neighbours;
        let is_granting =
            |other: PeerId| neighbours.get(&other).is_some_and(|other| other.mode == ServeMode::Grant);
        let ask = self.catalog.on_offer(peer, mode, offers, &self.config.limits, now, is_granting);
        self.safety_is_stale = true;
        self.want(peer, &ask);
    }

    pub(super) fn on_want(&mut self, peer: PeerId, ids: &[DocumentId], now: Timestamp) {
        for id in self.catalog.on_want(peer, ids, self.config.mode, &self.config.limits, now) {
            self.actions.push_back(Action::ReadDocument { peer, id });
        }
    }

    pub(super) fn on_digest(&mut self, peer: PeerId, digest: CatalogDigest) {
        self.safety_is_stale = true;
        if !self.catalog.on_digest(peer, digest) {
            let offers = self.catalog.offers_for(peer, self.config.mode);
            self.offer(peer, &offers);
        }
    }

    pub(super) fn on_document_held(
        &mut self,
        offer: DocumentOffer,
        from: Option<PeerId>,
        replaces: Option<DocumentId>,
        now: Timestamp,
    ) {
        self.safety_is_stale = true;
        let is_new = self.catalog.hold(offer, from, replaces, now);
        // Nothing is forwarded over a scarce link. Elsewhere the offer also tells the giver that it arrived.
        if is_new && (from.is_none() || self.config.mode == ServeMode::Pull) {
            for peer in self.neighbours() {
                self.offer(peer, &[offer]);
            }
        }
    }

    pub(super) fn on_document_dropped(&mut self, id: DocumentId, now: Timestamp) {
        self.safety_is_stale = true;
        self.catalog.drop(id, now);
    }

    pub(super) fn on_document_refused(
        &mut self,
        peer: PeerId,
        id: DocumentId,
        verdict: Verdict,
        now: Timestamp,
    ) {
        self.catalog.refuse(id, peer, verdict, now);
        if verdict == Verdict::Violation {
            self.disconnect(peer, DisconnectReason::Violation(Violation::Document), now);
        }
    }

    pub(super) fn on_document_read(&mut self, peer: PeerId, envelope: Option<Vec<u8>>) {
        if let Some(envelope) = envelope.filter(|_| self.neighbours.contains_key(&peer)) {
            self.send(peer, Message::Document(envelope));
        }
    }

    pub(super) fn retry_wants(&mut self, now: Timestamp) {
        let mut by_peer: BTreeMap<PeerId, Vec<DocumentId>> = BTreeMap::new();
        for (peer, id) in self.catalog.poll_asks(&self.config.limits, now) {
            by_peer.entry(peer).or_default().push(id);
        }
        for (peer, ids) in by_peer {
            self.want(peer, &ids);
        }
    }

    pub(super) fn send_digests(&mut self) {
        let digest = self.catalog.digest();
        for peer in self.neighbours() {
            self.send(peer, Message::Digest(digest));
        }
    }

    fn offer(&mut self, peer: PeerId, offers: &[DocumentOffer]) {
        for part in offers.chunks(LIST_MAX) {
            self.send(peer, Message::Offer(part.to_vec()));
        }
    }

    fn want(&mut self, peer: PeerId, ids: &[DocumentId]) {
        for part in ids.chunks(LIST_MAX) {
            self.send(peer, Message::Want(part.to_vec()));
        }
    }
}
