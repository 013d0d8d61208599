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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Load {
    count: usize,
    bytes: u64,
}

impl Load {
    fn has_room(self, bytes: u64) -> bool {
        self.count == 0 || (self.count < ASKED_MAX && self.bytes + bytes <= ASKED_BYTES_MAX)
    }
}

/// Sums over the wanted documents by neighbour; what is zero has no entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    /// What each is asked for.
    loads: BTreeMap<PeerId, Load>,
    /// How many each offered first.
    brought: BTreeMap<PeerId, usize>,
}

impl Tally {
    fn load(&self, peer: PeerId) -> Load {
        self.loads.get(&peer).copied().unwrap_or_default()
    }

    fn brought(&self, peer: PeerId) -> usize {
        self.brought.get(&peer).copied().unwrap_or_default()
    }

    fn on_new(&mut self, first: PeerId) {
        *self.brought.entry(first).or_default() += 1;
    }

    fn on_asked(&mut self, peer: PeerId, bytes: u64) {
        let load = self.loads.entry(peer).or_default();
        load.count += 1;
        load.bytes += bytes;
    }

    fn on_ask_ended(&mut self, peer: PeerId, bytes: u64) {
        let Some(load) = self.loads.get_mut(&peer) else { return };
        load.count -= 1;
        load.bytes -= bytes;
        if load.count == 0 {
            self.loads.remove(&peer);
        }
    }

    fn on_removed(&mut self, wanted: &Wanted) {
        if let Some((peer, _)) = wanted.asked {
            self.on_ask_ended(peer, wanted.bytes);
        }
        let Some(brought) = self.brought.get_mut(&wanted.first) else { return };
        *brought -= 1;
        if *brought == 0 {
            self.brought.remove(&wanted.first);
        }
    }
}

/// The wanted documents.
#[derive(Debug, Clone, Default)]
pub(super) struct Wants {
    wanted: BTreeMap<DocumentId, Wanted>,
    tally: Tally,
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
        let Self { wanted: all, tally } = self;
        for offer in offers {
            if !all.contains_key(&offer.id) {
                let is_full = all.len() + held >= limits.documents_max;
                if is_full || tally.brought(peer) >= limits.documents_max / SHARE {
                    continue;
                }
                tally.on_new(peer);
            }
            let bytes = u64::from(offer.bytes).min(ENVELOPE_BYTES_MAX as u64);
            let fresh = Wanted { bytes, first: peer, offerers: VecDeque::new(), asked: None };
            let wanted = all.entry(offer.id).or_insert(fresh);
            wanted.add(peer);
            let is_better = wanted.asked.is_none_or(|(asked, _)| asked != peer && is_better_than(asked));
            if is_better && tally.load(peer).has_room(wanted.bytes) && wanted.ask(peer, now, tally) {
                ask.push(offer.id);
            }
        }
        ask
    }

    /// Documents to ask for, and of whom: what nobody was asked for yet, and what was not answered in time.
    pub(super) fn poll_asks(&mut self, limits: &Limits, now: Timestamp) -> Vec<(PeerId, DocumentId)> {
        let is_overdue = |at: Timestamp| now.since(at) >= limits.want_timeout;
        self.retain(|wanted, tally| {
            if let Some((silent, _)) = wanted.asked.take_if(|(_, at)| is_overdue(*at)) {
                tally.on_ask_ended(silent, wanted.bytes);
                wanted.put_last(silent);
            }
            !wanted.offerers.is_empty()
        });
        let Self { wanted: all, tally } = self;
        let mut asks = Vec::new();
        for (id, wanted) in all.iter_mut().filter(|(_, wanted)| wanted.asked.is_none()) {
            let has_room = |offerer: &&Offerer| tally.load(offerer.peer).has_room(wanted.bytes);
            let Some(peer) = wanted.offerers.iter().find(has_room).map(|offerer| offerer.peer) else {
                continue;
            };
            if wanted.ask(peer, now, tally) {
                asks.push((peer, *id));
            }
        }
        asks
    }

    /// It is held, or refused whoever sends it.
    pub(super) fn remove(&mut self, id: &DocumentId) {
        if let Some(wanted) = self.wanted.remove(id) {
            self.tally.on_removed(&wanted);
        }
    }

    /// This neighbour's copy is of no use.
    pub(super) fn strike(&mut self, id: &DocumentId, peer: PeerId) {
        if let Some(wanted) = self.wanted.get_mut(id)
            && !wanted.strike(peer, &mut self.tally)
        {
            self.remove(id);
        }
    }

    /// A neighbour is gone.
    pub(super) fn leave(&mut self, peer: PeerId) {
        self.retain(|wanted, tally| wanted.strike(peer, tally));
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Wanted, &mut Tally) -> bool) {
        let tally = &mut self.tally;
        self.wanted.retain(|_, wanted| {
            let is_kept = keep(wanted, tally);
            if !is_kept {
                tally.on_removed(wanted);
            }
            is_kept
        });
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
    fn ask(&mut self, peer: PeerId, now: Timestamp, tally: &mut Tally) -> bool {
        let Some(offerer) = self.offerers.iter_mut().find(|offerer| offerer.peer == peer) else {
            return false;
        };
        offerer.asks = offerer.asks.saturating_add(1);
        if let Some((before, _)) = self.asked.replace((peer, now)) {
            tally.on_ask_ended(before, self.bytes);
        }
        tally.on_asked(peer, self.bytes);
        true
    }

    /// It did not answer: others first, and at some time it does not count any more.
    fn put_last(&mut self, silent: PeerId) {
        let at = self.offerers.iter().position(|offerer| offerer.peer == silent);
        let offerer = at.and_then(|at| self.offerers.remove(at));
        self.offerers.extend(offerer.filter(|offerer| offerer.asks < ASKS_MAX));
    }

    /// False if nobody is left.
    fn strike(&mut self, peer: PeerId, tally: &mut Tally) -> bool {
        self.offerers.retain(|offerer| offerer.peer != peer);
        if self.asked.take_if(|(asked, _)| *asked == peer).is_some() {
            tally.on_ask_ended(peer, self.bytes);
        }
        !self.offerers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::DocumentKind;
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Debug, Clone)]
    enum Step {
        Offer { peer: u8, documents: Vec<(u8, u32)>, is_better: bool },
        Poll,
        Wait(u64),
        Remove(u8),
        Strike(u8, u8),
        Leave(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (peer, document) = (0_u8..24, 0_u8..40);
        let offers = prop::collection::vec((document.clone(), 0_u32..200_000), 0..30);
        let step = prop_oneof![
            4 => (peer.clone(), offers, any::<bool>())
                .prop_map(|(peer, documents, is_better)| Step::Offer { peer, documents, is_better }),
            3 => Just(Step::Poll),
            2 => (0_u64..3_000).prop_map(Step::Wait),
            2 => document.clone().prop_map(Step::Remove),
            2 => (document, peer.clone()).prop_map(|(document, peer)| Step::Strike(document, peer)),
            1 => peer.prop_map(Step::Leave),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// The sums, counted anew.
    fn naive(wants: &Wants) -> Tally {
        let mut tally = Tally::default();
        for wanted in wants.wanted.values() {
            tally.on_new(wanted.first);
            if let Some((peer, _)) = wanted.asked {
                tally.on_asked(peer, wanted.bytes);
            }
        }
        tally
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_counting_anew_after_every_step(steps in steps()) {
            let limits = Limits { documents_max: 60, ..Limits::default() };
            let (mut wants, mut now) = (Wants::default(), Timestamp::ZERO);
            let (peer_of, id_of) = (|peer| PeerId([peer; 32]), |document| DocumentId([document; 32]));
            for step in steps {
                match step {
                    Step::Offer { peer, documents, is_better } => {
                        let offers = documents.into_iter().map(|(document, bytes)| DocumentOffer {
                            id: id_of(document),
                            kind: DocumentKind::Report,
                            bytes,
                        });
                        wants.on_offer(peer_of(peer), offers, 7, &limits, now, |_| is_better);
                    }
                    Step::Poll => {
                        wants.poll_asks(&limits, now);
                    }
                    Step::Wait(millis) => now = now + Duration::from_millis(millis),
                    Step::Remove(document) => wants.remove(&id_of(document)),
                    Step::Strike(document, peer) => wants.strike(&id_of(document), peer_of(peer)),
                    Step::Leave(peer) => wants.leave(peer_of(peer)),
                }
                prop_assert_eq!(&wants.tally, &naive(&wants));
            }
        }
    }
}
