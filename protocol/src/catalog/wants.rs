//! Documents that neighbours offered and that are not held: whom to ask, how much at once, and when to stop asking.
//!
//! A neighbour that does not answer is asked a few times and then no more, so that an offer that nobody makes good
//! ends. What is asked of one neighbour at once is bounded, and so is what it may have us want: a document is checked
//! by signatures, which costs far more than offering it.

use super::ENVELOPE_BYTES_MAX;
use crate::id::{DocumentId, PeerId};
use crate::neighbour::Limits;
use crate::time::Timestamp;
use crate::wire::DocumentOffer;
use std::collections::{BTreeMap, VecDeque};

/// Neighbours remembered as offering a wanted document.
const OFFERERS_MAX: usize = 16;
/// Unanswered asks after which a neighbour counts as not having a document. A granting one may put off the first.
const ASKS_MAX: u8 = 3;
/// Documents asked of one neighbour at once: at one round trip in 100 ms, 640 a second.
pub(super) const ASKED_MAX: usize = 64;
/// Bytes of them by their offers (one document at least).
pub(super) const ASKED_BYTES_MAX: u64 = 256 << 10;
/// One neighbour may fill this part of all that may be known: others must be able to offer, too.
const SHARE: usize = 4;

#[derive(Debug, Clone)]
struct Offerer {
    peer: PeerId,
    asks: u8,
}

#[derive(Debug, Clone)]
struct Wanted {
    bytes: u64,
    /// Who offered it first.
    first: PeerId,
    offerers: VecDeque<Offerer>,
    asked: Option<(PeerId, Timestamp)>,
}

/// What is asked of a neighbour.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    count: usize,
    bytes: u64,
}

impl Load {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn has_room(self, bytes: u64) -> bool {
        self.count == 0 || (self.count < ASKED_MAX && self.bytes + bytes <= ASKED_BYTES_MAX)
    }
}

/// The wanted documents.
#[derive(Debug, Clone, Default)]
pub(super) struct Wants {
    wanted: BTreeMap<DocumentId, Wanted>,
}

impl Wants {
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// A neighbour offers documents that are not held; which to ask it for now. `held` are known beside the wanted.
    pub(super) fn on_offer(
        &mut self,
        peer: PeerId,
        offers: impl Iterator<Item = DocumentOffer>,
        held: usize,
        limits: &Limits,
        now: Timestamp,
        is_better_than: impl Fn(PeerId) -> bool,
    ) -> Vec<DocumentId> {
        let mut ask = Vec::new();
        let mut load = self.loads().remove(&peer).unwrap_or_default();
        let mut brought = self.wanted.values().filter(|wanted| wanted.first == peer).count();
        for offer in offers {
            if !self.wanted.contains_key(&offer.id) {
                let is_full = self.wanted.len() + held >= limits.documents_max;
                if is_full || brought >= limits.documents_max / SHARE {
                    continue;
                }
                brought += 1;
            }
            let bytes = u64::from(offer.bytes).min(ENVELOPE_BYTES_MAX as u64);
            let fresh = Wanted { bytes, first: peer, offerers: VecDeque::new(), asked: None };
            let wanted = self.wanted.entry(offer.id).or_insert(fresh);
            wanted.add(peer);
            let is_better = wanted.asked.is_none_or(|(asked, _)| asked != peer && is_better_than(asked));
            if is_better && load.has_room(wanted.bytes) && wanted.ask(peer, now) {
                load.add(wanted.bytes);
                ask.push(offer.id);
            }
        }
        ask
    }

    /// Documents to ask for, and of whom: what nobody was asked for yet, and what was not answered in time.
    pub(super) fn poll_asks(&mut self, limits: &Limits, now: Timestamp) -> Vec<(PeerId, DocumentId)> {
        let is_overdue = |at: Timestamp| now.since(at) >= limits.want_timeout;
        self.wanted.retain(|_, wanted| {
            if let Some((silent, _)) = wanted.asked.take_if(|(_, at)| is_overdue(*at)) {
                wanted.put_last(silent);
            }
            !wanted.offerers.is_empty()
        });
        let mut loads = self.loads();
        let mut asks = Vec::new();
        for (id, wanted) in self.wanted.iter_mut().filter(|(_, wanted)| wanted.asked.is_none()) {
            let has_room = |offerer: &&Offerer| {
                loads.get(&offerer.peer).copied().unwrap_or_default().has_room(wanted.bytes)
            };
            let Some(peer) = wanted.offerers.iter().find(has_room).map(|offerer| offerer.peer) else {
                continue;
            };
            if wanted.ask(peer, now) {
                loads.entry(peer).or_default().add(wanted.bytes);
                asks.push((peer, *id));
            }
        }
        asks
    }

    /// It is held, or refused whoever sends it.
    pub(super) fn remove(&mut self, id: &DocumentId) {
        self.wanted.remove(id);
    }

    /// This neighbour's copy is of no use.
    pub(super) fn strike(&mut self, id: &DocumentId, peer: PeerId) {
        if let Some(wanted) = self.wanted.get_mut(id)
            && !wanted.strike(peer)
        {
            self.wanted.remove(id);
        }
    }

    /// A neighbour is gone.
    pub(super) fn leave(&mut self, peer: PeerId) {
        self.wanted.retain(|_, wanted| wanted.strike(peer));
    }

    fn loads(&self) -> BTreeMap<PeerId, Load> {
        let mut loads: BTreeMap<PeerId, Load> = BTreeMap::new();
        for wanted in self.wanted.values() {
            if let Some((peer, _)) = wanted.asked {
                loads.entry(peer).or_default().add(wanted.bytes);
            }
        }
        loads
    }
}

impl Wanted {
    fn add(&mut self, peer: PeerId) {
        if self.offerers.iter().any(|offerer| offerer.peer == peer) {
            return;
        }
        if self.offerers.len() == OFFERERS_MAX {
            // One that was asked in vain gives way, so that silent ones cannot keep out whoever has it.
            let Some(silent) = self.offerers.iter().position(|offerer| {
                offerer.asks > 0 && self.asked.is_none_or(|(asked, _)| asked != offerer.peer)
            }) else {
                return;
            };
            self.offerers.remove(silent);
        }
        self.offerers.push_back(Offerer { peer, asks: 0 });
    }

    /// False if it does not count as having the document.
    fn ask(&mut self, peer: PeerId, now: Timestamp) -> bool {
        let Some(offerer) = self.offerers.iter_mut().find(|offerer| offerer.peer == peer) else {
            return false;
        };
        offerer.asks = offerer.asks.saturating_add(1);
        self.asked = Some((peer, now));
        true
    }

    /// It did not answer: others first, and at some time it does not count any more.
    fn put_last(&mut self, silent: PeerId) {
        let at = self.offerers.iter().position(|offerer| offerer.peer == silent);
        let offerer = at.and_then(|at| self.offerers.remove(at));
        self.offerers.extend(offerer.filter(|offerer| offerer.asks < ASKS_MAX));
    }

    /// False if nobody is left.
    fn strike(&mut self, peer: PeerId) -> bool {
        self.offerers.retain(|offerer| offerer.peer != peer);
        self.asked.take_if(|(asked, _)| *asked == peer);
        !self.offerers.is_empty()
    }
}
