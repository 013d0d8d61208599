//! T9, T13, T14: whatever the order in which documents arrive, all devices end with the same, and no mark ever falls.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// A device as far as documents go: what it is offered it checks, holds, or keeps waiting.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) trust: Trust,
    waiting: Waiting<()>,
    pub(crate) held: BTreeMap<DocumentKey, VerifiedDocument>,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self { trust: trust(), waiting: Waiting::default(), held: BTreeMap::new() }
    }

    pub(crate) fn arrive(&mut self, envelope: &[u8]) {
        let mut queue = vec![envelope.to_vec()];
        while let Some(envelope) = queue.pop() {
            match self.trust.check(&envelope) {
                Ok(document) => {
                    let before = self.trust.marks().clone();
                    self.trust.accept(&document);
                    assert_eq!(self.trust.marks(), &self.trust.marks().max(&before), "a mark fell");
                    queue
                        .extend(self.waiting.take_ready(&document).into_iter().map(|(_, envelope)| envelope));
                    self.held.insert(document.key(), document);
                }
                Err(refusal) => {
                    if let Some(awaits) = refusal.verdict().awaits() {
                        self.waiting.keep((), envelope, awaits);
                    }
                }
            }
        }
    }

    /// What it holds; of releases those that a Rollout names, the others never matter.
    fn view(&self) -> BTreeMap<DocumentKey, DocumentId> {
        let named = |id: DocumentId| {
            self.held.values().any(|held| matches!(held, VerifiedDocument::Rollout(r) if r.release == id))
        };
        let counts =
            |held: &&VerifiedDocument| !matches!(held, VerifiedDocument::Release(_)) || named(held.id());
        self.held.values().filter(counts).map(|held| (held.key(), held.id())).collect()
    }
}

/// The same cases in every run.
pub(crate) fn cases(rng_seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases: 64,
        rng_seed: RngSeed::Fixed(rng_seed),
        failure_persistence: None,
        ..<_>::default()
    }
}

/// Documents of one site, each of them valid in some order.
pub(crate) fn documents() -> Vec<Vec<u8>> {
    let mut author = trust();
    let second = next(&author, |root| root.roles.rollout = role(&[ROLLOUT, NOBODY], 1));
    let second = accept(&mut author, &second, &[ROOT]);
    let third = next(&author, |root| root.roles.enroll = role(&[ENROLL, NOBODY], 1));
    let third = accept(&mut author, &third, &[ROOT]);
    let mut all = vec![second.envelope().to_vec(), third.envelope().to_vec()];
    let releases: Vec<Release> = (1..=3).map(release).collect();
    let ids: Vec<DocumentId> = releases.iter().map(|release| envelope(release, &[]).id()).collect();
    all.extend(releases.iter().map(|release| signed(release, &[RELEASE])));
    for (rollout_id, sequence, release, state, key) in [
        (1, 1, 0, RolloutState::Active, ROLLOUT),
        (1, 2, 1, RolloutState::Active, ROLLOUT),
        (1, 2, 1, RolloutState::Paused, ROLLOUT),
        (2, 1, 2, RolloutState::Paused, ROLLOUT),
        (2, 2, 0, RolloutState::Active, NOBODY),
        (3, 1, 0, RolloutState::Active, ROLLOUT),
    ] {
        let rollout_id = RolloutId([rollout_id; 16]);
        let rollout = Rollout { rollout_id, release: ids[release], ..rollout(sequence, state) };
        all.push(signed(&rollout, &[key]));
    }
    for (sequence, name, key) in [(1, "a", ENROLL), (2, "b", ENROLL), (2, "c", ENROLL), (3, "d", NOBODY)] {
        all.push(signed(&Enrollment { name: name.into(), ..enrollment(sequence) }, &[key]));
    }
    for (counter, reason) in [(1, ""), (2, "a"), (2, "b"), (2, "c")] {
        all.push(signed(&Report { reason: reason.into(), ..report(counter) }, &[DEVICE]));
    }
    all.push(signed(&withdrawal(Some(SITE), None, ids[2]), &[ROLLOUT]));
    all
}

proptest! {
    #![proptest_config(cases(1))]

    #[test]
    fn every_order_of_arrival_ends_with_the_same_documents(
        order in Just(documents()).prop_shuffle(),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let (mut one, mut other) = (Device::new(), Device::new());
        documents().iter().for_each(|envelope| one.arrive(envelope));
        order.iter().for_each(|envelope| other.arrive(envelope));
        again.iter().for_each(|index| other.arrive(&order[index.index(order.len())]));
        prop_assert_eq!(one.view(), other.view());
        prop_assert_eq!(one.trust.root().version, 3);
        prop_assert_eq!(one.trust.marks(), other.trust.marks());
    }

    #[test]
    fn marks_never_fall_whatever_is_accepted_in_whatever_order(
        order in Just(documents()).prop_shuffle(),
    ) {
        let mut author = Device::new();
        let mut verified = Vec::new();
        for envelope in documents() {
            author.arrive(&envelope);
            verified.extend(author.trust.check(&envelope));
        }
        let place = |document: &VerifiedDocument| order.iter().position(|e| e == document.envelope());
        let mut shuffled = verified.clone();
        shuffled.sort_by_key(place);
        let (mut straight, mut mixed) = (trust(), trust());
        verified.iter().for_each(|document| straight.accept(document));
        for document in &shuffled {
            let before = mixed.marks().clone();
            let with = mixed.marks_with(document);
            mixed.accept(document);
            prop_assert_eq!(mixed.marks(), &with);
            prop_assert_eq!(mixed.marks(), &mixed.marks().max(&before));
        }
        prop_assert_eq!(mixed.marks(), straight.marks());
    }
}

// T14
#[test]
fn what_waits_is_bounded_in_number_and_bytes_and_tried_only_for_what_it_waits_for() {
    let mut author = trust();
    let (enrolled, device) = (accept(&mut author, &enrollment(1), &[ENROLL]), device());
    let other = accept(&mut author, &release(1), &[RELEASE]);
    let mut waiting = Waiting::default();
    for i in 0..10_000_u32 {
        waiting.keep(i, i.to_le_bytes().to_vec(), Awaits::Enrollment(device));
        waiting.keep(i, i.to_le_bytes().to_vec(), Awaits::Enrollment(device));
    }
    assert_eq!(waiting.take_ready(&other).len(), 0);
    assert_eq!(waiting.take_ready(&enrolled).len(), 512);
    assert_eq!(waiting.take_ready(&enrolled).len(), 0);
    (0..100).for_each(|i| waiting.keep(i, vec![i as u8; 64 << 10], Awaits::Enrollment(device)));
    assert_eq!(waiting.take_ready(&enrolled).first().map(|(i, _)| *i), Some(84));
    waiting.keep(1, vec![1], Awaits::Enrollment(PeerId([9; 32])));
    assert_eq!(waiting.take_ready(&enrolled).len(), 0);
}
