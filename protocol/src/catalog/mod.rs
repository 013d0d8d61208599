//! Which documents this peer holds, which it wants, and which neighbours hold them.
//!
//! A new document is offered at once; digests on connect and every 30 s find what was missed. A wanted document is
//! asked of one neighbour and, after a timeout, of the next. Documents are checked by the driver before they are
//! held; their kinds and contents mean nothing here. A refused one is not asked for again for a time.

mod memory;
mod wants;

use crate::document::ENVELOPE_BYTES_MAX;
use crate::id::{DocumentId, PeerId};
use crate::neighbour::Limits;
use crate::time::Timestamp;
use crate::trust::Verdict;
use crate::wire::{CatalogDigest, DocumentKind, DocumentOffer, ServeMode};
use memory::Memory;
use std::collections::{BTreeMap, BTreeSet};
use wants::Wants;

#[derive(Debug, Clone)]
struct Held {
    offer: DocumentOffer,
    is_own: bool,
    holders: BTreeSet<PeerId>,
    /// To whom it was given, and when last.
    given: BTreeMap<PeerId, Timestamp>,
    put_off: BTreeSet<PeerId>,
}

/// The documents of one peer.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    held: BTreeMap<DocumentId, Held>,
    wants: Wants,
    /// Refused whoever sends them, or dropped.
    refused: Memory<DocumentId>,
    /// Refused as this neighbour has them.
    copies_refused: Memory<(DocumentId, PeerId)>,
    digest: CatalogDigest,
}

impl Catalog {
    /// The digest of what is held.
    pub fn digest(&self) -> CatalogDigest {
        self.digest
    }

    /// A verified document is held; true if it is new here. `is_own` if it did not come from a peer.
    pub fn hold(
        &mut self,
        offer: DocumentOffer,
        from: Option<PeerId>,
        replaces: Option<DocumentId>,
        now: Timestamp,
    ) -> bool {
        if let Some(old) = replaces.filter(|old| *old != offer.id) {
            self.drop(old, now);
        }
        self.wants.remove(&offer.id);
        if let Some(held) = self.held.get_mut(&offer.id) {
            held.holders.extend(from);
            return false;
        }
        if offer.kind == DocumentKind::TrustRoot {
            // What was refused under the old root may be good under the new one.
            self.refused.clear();
            self.copies_refused.clear();
        }
        let held = Held {
            offer,
            is_own: from.is_none(),
            holders: from.into_iter().collect(),
            given: BTreeMap::new(),
            put_off: BTreeSet::new(),
        };
        self.held.insert(offer.id, held);
        self.toggle(offer.id, true);
        true
    }

    /// A document is no longer held: replaced, or no longer believed. It is not asked for again for a time.
    pub fn drop(&mut self, id: DocumentId, now: Timestamp) {
        if self.held.remove(&id).is_some() {
            self.toggle(id, false);
        }
        self.wants.remove(&id);
        self.refused.insert(id, now);
    }

    /// A document was refused as `peer` sent it. It is not asked for again for a time: of nobody, or, where the
    /// signatures of this one copy are at fault, not of this peer. A wrong copy says nothing about the document.
    pub fn refuse(&mut self, id: DocumentId, peer: PeerId, verdict: Verdict, now: Timestamp) {
        match verdict {
            Verdict::Violation => self.wants.strike(&id, peer),
            Verdict::Copy => {
                self.wants.strike(&id, peer);
                self.copies_refused.insert((id, peer), now);
            }
            Verdict::Awaits(_) | Verdict::Final => {
                self.wants.remove(&id);
                self.refused.insert(id, now);
            }
        }
    }

    /// A neighbour's digest; true if it holds the same documents.
    pub fn on_digest(&mut self, peer: PeerId, digest: CatalogDigest) -> bool {
        let same = digest == self.digest;
        if same {
            for held in self.held.values_mut() {
                held.holders.insert(peer);
            }
        }
        same
    }

    /// What to offer a neighbour whose digest differs. A granting peer offers only its own documents (rule 13).
    pub fn offers_for(&self, peer: PeerId, mode: ServeMode) -> Vec<DocumentOffer> {
        let lacks = |held: &&Held| !held.holders.contains(&peer) && (held.is_own || mode == ServeMode::Pull);
        self.held.values().filter(lacks).map(|held| held.offer).collect()
    }

    /// A neighbour offers documents; which of them to ask it for now. `mode` is how it serves.
    pub fn on_offer(
        &mut self,
        peer: PeerId,
        mode: ServeMode,
        offers: &[DocumentOffer],
        limits: &Limits,
        now: Timestamp,
        is_granting: impl Fn(PeerId) -> bool,
    ) -> Vec<DocumentId> {
        let mut news = Vec::new();
        for offer in offers {
            if let Some(held) = self.held.get_mut(&offer.id) {
                held.holders.insert(peer);
            } else if !self.refused.contains(&offer.id, now)
                && !self.copies_refused.contains(&(offer.id, peer), now)
            {
                news.push(*offer);
            }
        }
        // A cheap link is better than waiting for a granting peer that serves few.
        let is_better_than = |asked| mode == ServeMode::Pull && is_granting(asked);
        self.wants.on_offer(peer, news.into_iter(), self.held.len(), limits, now, is_better_than)
    }

    /// A neighbour wants documents; which to read and send it. On a scarce link (rule 13) only the first `copies`
    /// askers are served at once; another one that asks again, because nobody else gave it, is served then. Who was given
    /// a document asks again no sooner than an honest peer would, or gets no answer.
    pub fn on_want(
        &mut self,
        peer: PeerId,
        ids: &[DocumentId],
        mode: ServeMode,
        limits: &Limits,
        now: Timestamp,
    ) -> Vec<DocumentId> {
        let mut serve = Vec::new();
        let copies = limits.document_copies;
        for id in ids {
            let Some(held) = self.held.get_mut(id) else { continue };
            if held.given.get(&peer).is_some_and(|at| now.since(*at) < limits.want_timeout / 2) {
                continue;
            }
            let few = held.given.len() < copies && held.holders.len() < copies;
            if mode == ServeMode::Pull || few || held.given.contains_key(&peer) || !held.put_off.insert(peer)
            {
                held.given.insert(peer, now);
                serve.push(*id);
            }
        }
        serve
    }

    /// Wanted documents to ask for (again), and of whom.
    pub fn poll_asks(&mut self, limits: &Limits, now: Timestamp) -> Vec<(PeerId, DocumentId)> {
        self.wants.poll_asks(limits, now)
    }

    /// Whether a document is wanted that some neighbour offered.
    pub fn is_wanting(&self) -> bool {
        !self.wants.is_empty()
    }

    /// A neighbour is gone.
    pub fn leave(&mut self, peer: PeerId) {
        for held in self.held.values_mut() {
            held.holders.remove(&peer);
            held.given.remove(&peer);
            held.put_off.remove(&peer);
        }
        self.wants.leave(peer);
        self.copies_refused.retain(|(_, other)| *other != peer);
    }

    /// Whether every document of this peer's own is held by at least `count` of the neighbours that `counts` names.
    pub fn is_held_by(&self, count: usize, counts: impl Fn(&PeerId) -> bool) -> bool {
        let enough = |held: &Held| held.holders.iter().filter(|peer| counts(peer)).count() >= count;
        self.held.values().filter(|held| held.is_own).all(enough)
    }

    fn toggle(&mut self, id: DocumentId, added: bool) {
        for (mine, theirs) in self.digest.xor.iter_mut().zip(id.0) {
            *mine ^= theirs;
        }
        self.digest.count = if added { self.digest.count + 1 } else { self.digest.count - 1 };
    }
}

#[cfg(test)]
mod tests;
