//! Which documents this peer holds, which it wants, and which neighbours hold them.
//!
//! A new document is offered at once; digests on connect and every 30 s find what was missed. A wanted document is
//! asked of one neighbour and, after a timeout, of the next. Documents are checked by the driver before they are
//! held; their kinds and contents mean nothing here.

use crate::id::{DocumentId, PeerId};
use crate::neighbour::Limits;
use crate::time::Timestamp;
use crate::wire::{CatalogDigest, DocumentKind, DocumentOffer, ServeMode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Neighbours remembered as offering a wanted document.
const OFFERERS_MAX: usize = 16;
/// What one neighbour may make this peer want, as a part of all that may be known: the others' documents find room.
const WANTED_OF_ONE_DIVISOR: usize = 4;
/// Refusals remembered, so that what was refused is not fetched again.
const REFUSED_MAX: usize = 4096;

#[derive(Debug, Clone)]
struct Held {
    offer: DocumentOffer,
    is_own: bool,
    holders: BTreeSet<PeerId>,
    given: BTreeSet<PeerId>,
    put_off: BTreeSet<PeerId>,
}

#[derive(Debug, Clone)]
struct Wanted {
    offerers: VecDeque<PeerId>,
    asked: Option<(PeerId, Timestamp)>,
}

/// What is not asked for again: of anybody (`None`: it was replaced), or of one peer whose copy was refused.
type Refused = (DocumentId, Option<PeerId>);

/// The documents of one peer.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    held: BTreeMap<DocumentId, Held>,
    wanted: BTreeMap<DocumentId, Wanted>,
    refused: BTreeSet<Refused>,
    refused_order: VecDeque<Refused>,
    digest: CatalogDigest,
}

impl Catalog {
    /// The digest of what is held.
    pub fn digest(&self) -> CatalogDigest {
        self.digest
    }

    /// A verified document is held; true if it is new here. `is_own` if it did not come from a peer.
    pub fn hold(&mut self, offer: DocumentOffer, from: Option<PeerId>, replaces: Option<DocumentId>) -> bool {
        if let Some(old) = replaces.filter(|old| *old != offer.id) {
            if self.held.remove(&old).is_some() {
                self.toggle(old, false);
            }
            self.wanted.remove(&old);
            self.remember_refused((old, None));
        }
        self.wanted.remove(&offer.id);
        if let Some(held) = self.held.get_mut(&offer.id) {
            held.holders.extend(from);
            return false;
        }
        if offer.kind == DocumentKind::TrustRoot {
            // What was refused under the old root may be good under the new one.
            self.refused.clear();
            self.refused_order.clear();
        }
        let empty = BTreeSet::new;
        let holders = from.into_iter().collect();
        let held = Held { offer, is_own: from.is_none(), holders, given: empty(), put_off: empty() };
        self.held.insert(offer.id, held);
        self.toggle(offer.id, true);
        true
    }

    /// A peer's copy of a document was refused: that peer is not asked for it again. Others are, because an id does not
    /// cover the signatures: whoever strips a document of them must not keep anybody from the document itself.
    pub fn refuse(&mut self, peer: PeerId, id: DocumentId) {
        if let Some(wanted) = self.wanted.get_mut(&id) {
            wanted.offerers.retain(|other| *other != peer);
            wanted.asked.take_if(|(asked, _)| *asked == peer);
            if wanted.offerers.is_empty() {
                self.wanted.remove(&id);
            }
        }
        self.remember_refused((id, Some(peer)));
    }

    fn remember_refused(&mut self, refused: Refused) {
        if self.refused.insert(refused) {
            self.refused_order.push_back(refused);
            let oldest = (self.refused_order.len() > REFUSED_MAX).then(|| self.refused_order.pop_front());
            if let Some(old) = oldest.flatten() {
                self.refused.remove(&old);
            }
        }
    }

    fn is_refused(&self, peer: PeerId, id: DocumentId) -> bool {
        self.refused.contains(&(id, None)) || self.refused.contains(&(id, Some(peer)))
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
        let mut ask = Vec::new();
        let of_peer_max = limits.documents_max / WANTED_OF_ONE_DIVISOR;
        let mut of_peer = self.wanted.values().filter(|wanted| wanted.offerers.contains(&peer)).count();
        for offer in offers {
            if let Some(held) = self.held.get_mut(&offer.id) {
                held.holders.insert(peer);
                continue;
            }
            let full = self.wanted.len() + self.held.len() >= limits.documents_max || of_peer >= of_peer_max;
            if self.is_refused(peer, offer.id) || (full && !self.wanted.contains_key(&offer.id)) {
                continue;
            }
            let fresh = Wanted { offerers: VecDeque::new(), asked: None };
            let wanted = self.wanted.entry(offer.id).or_insert(fresh);
            if !wanted.offerers.contains(&peer) && wanted.offerers.len() < OFFERERS_MAX {
                wanted.offerers.push_back(peer);
                of_peer += 1;
            }
            // A cheap link is better than waiting for a granting peer that serves few.
            let better = wanted.asked.is_none_or(|(asked, _)| mode == ServeMode::Pull && is_granting(asked));
            if better {
                wanted.asked = Some((peer, now));
                ask.push(offer.id);
            }
        }
        ask
    }

    /// A neighbour wants documents; which to read and send it. On a scarce link (rule 13) only the first `copies`
    /// askers are served at once; another one that asks again, because nobody else gave it, is served then.
    pub fn on_want(
        &mut self,
        peer: PeerId,
        ids: &[DocumentId],
        mode: ServeMode,
        copies: usize,
    ) -> Vec<DocumentId> {
        let mut serve = Vec::new();
        for id in ids {
            let Some(held) = self.held.get_mut(id) else { continue };
            let few = held.given.len() < copies && held.holders.len() < copies;
            if mode == ServeMode::Pull || few || held.given.contains(&peer) || !held.put_off.insert(peer) {
                held.given.insert(peer);
                serve.push(*id);
            }
        }
        serve
    }

    /// Wanted documents to ask for again, and of whom.
    pub fn poll_retries(&mut self, limits: &Limits, now: Timestamp) -> Vec<(PeerId, DocumentId)> {
        let mut retries = Vec::new();
        for (id, wanted) in &mut self.wanted {
            if wanted.asked.is_some_and(|(_, at)| now.since(at) < limits.want_timeout) {
                continue;
            }
            wanted.offerers.rotate_left(1.min(wanted.offerers.len()));
            if let Some(&peer) = wanted.offerers.front() {
                wanted.asked = Some((peer, now));
                retries.push((peer, *id));
            }
        }
        retries
    }

    /// Whether a document is wanted that some neighbour offered.
    pub fn is_wanting(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// A neighbour is gone.
    pub fn leave(&mut self, peer: PeerId) {
        for held in self.held.values_mut() {
            held.holders.remove(&peer);
            held.given.remove(&peer);
            held.put_off.remove(&peer);
        }
        self.wanted.retain(|_, wanted| {
            wanted.offerers.retain(|other| *other != peer);
            wanted.asked.take_if(|(asked, _)| *asked == peer);
            !wanted.offerers.is_empty()
        });
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
mod tests {
    use super::*;

    fn offer(i: u8) -> DocumentOffer {
        DocumentOffer { id: DocumentId([i; 32]), kind: DocumentKind::Report, bytes: 900 }
    }

    fn peer(i: u8) -> PeerId {
        PeerId([i; 32])
    }

    #[test]
    fn equal_catalogs_have_equal_digests_in_any_order() {
        let (mut a, mut b) = (Catalog::default(), Catalog::default());
        (1..5).for_each(|i| assert!(a.hold(offer(i), None, None)));
        (1..5).rev().for_each(|i| assert!(b.hold(offer(i), None, None)));
        assert!(a.on_digest(peer(9), b.digest()));
        assert!(a.offers_for(peer(9), ServeMode::Pull).is_empty());
        b.hold(offer(6), None, Some(offer(1).id));
        assert!(!a.on_digest(peer(9), b.digest()));
    }

    #[test]
    fn a_wanted_document_is_asked_of_the_next_neighbour_after_a_timeout() {
        let (mut catalog, limits) = (Catalog::default(), Limits::default());
        let ask = |c: &mut Catalog, p| {
            c.on_offer(peer(p), ServeMode::Pull, &[offer(1)], &limits, Timestamp::ZERO, |_| false)
        };
        assert_eq!(ask(&mut catalog, 1), vec![offer(1).id]);
        assert_eq!(ask(&mut catalog, 2), vec![]);
        assert_eq!(catalog.poll_retries(&limits, Timestamp::from_millis(500)), vec![]);
        assert_eq!(catalog.poll_retries(&limits, Timestamp::from_millis(1000)), vec![(peer(2), offer(1).id)]);
    }

    #[test]
    fn a_neighbour_that_invents_documents_leaves_room_for_those_of_others() {
        let (mut catalog, limits) = (Catalog::default(), Limits { documents_max: 8, ..Limits::default() });
        let offered = |c: &mut Catalog, p, ids: std::ops::Range<u8>| {
            let offers: Vec<_> = ids.map(offer).collect();
            c.on_offer(peer(p), ServeMode::Pull, &offers, &limits, Timestamp::ZERO, |_| false).len()
        };
        assert_eq!(offered(&mut catalog, 1, 1..100), 2);
        assert_eq!(offered(&mut catalog, 1, 100..200), 0);
        assert_eq!(offered(&mut catalog, 2, 200..201), 1);
    }

    #[test]
    fn a_refused_copy_is_asked_of_others_at_once_and_never_of_the_same_peer_again() {
        let (mut catalog, limits) = (Catalog::default(), Limits::default());
        let offered = |c: &mut Catalog, p| {
            c.on_offer(peer(p), ServeMode::Pull, &[offer(1)], &limits, Timestamp::ZERO, |_| false).len()
        };
        assert_eq!([1, 2].map(|p| offered(&mut catalog, p)), [1, 0]);
        catalog.refuse(peer(1), offer(1).id);
        assert_eq!(catalog.poll_retries(&limits, Timestamp::ZERO), vec![(peer(2), offer(1).id)]);
        catalog.refuse(peer(2), offer(1).id);
        assert!(!catalog.is_wanting());
        assert_eq!([1, 2, 3].map(|p| offered(&mut catalog, p)), [0, 0, 1]);
        catalog.hold(offer(2), None, Some(offer(1).id));
        assert_eq!(offered(&mut catalog, 4), 0, "it was replaced");
    }

    #[test]
    fn a_granting_peer_gives_a_document_to_few_and_to_whoever_asks_again() {
        let mut catalog = Catalog::default();
        catalog.hold(offer(1), None, None);
        let ask = |c: &mut Catalog, p| c.on_want(peer(p), &[offer(1).id], ServeMode::Grant, 2).len();
        assert_eq!([1, 2, 3, 4, 3].map(|p| ask(&mut catalog, p)), [1, 1, 0, 0, 1]);
    }
}
