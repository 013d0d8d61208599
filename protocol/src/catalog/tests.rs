//! Which documents are asked for, of whom, and when asking ends.

use super::wants::{ASKED_BYTES_MAX, ASKED_MAX};
use super::*;
use crate::trust::Awaits;
use std::time::Duration;

const NOW: Timestamp = Timestamp::ZERO;

fn offer(i: u8) -> DocumentOffer {
    DocumentOffer { id: DocumentId([i; 32]), kind: DocumentKind::Report, bytes: 900 }
}

fn peer(i: u8) -> PeerId {
    PeerId([i; 32])
}

#[test]
fn equal_catalogs_have_equal_digests_in_any_order() {
    let (mut a, mut b) = (Catalog::default(), Catalog::default());
    (1..5).for_each(|i| assert!(a.hold(offer(i), None, None, NOW)));
    (1..5).rev().for_each(|i| assert!(b.hold(offer(i), None, None, NOW)));
    assert!(a.on_digest(peer(9), b.digest()));
    assert!(a.offers_for(peer(9), ServeMode::Pull).is_empty());
    b.hold(offer(6), None, Some(offer(1).id), NOW);
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
    assert_eq!(catalog.poll_asks(&limits, Timestamp::from_millis(500)), vec![]);
    assert_eq!(catalog.poll_asks(&limits, Timestamp::from_millis(1000)), vec![(peer(2), offer(1).id)]);
}

#[test]
fn a_granting_peer_gives_a_document_to_few_and_to_whoever_asks_again() {
    let mut catalog = Catalog::default();
    catalog.hold(offer(1), None, None, NOW);
    let limits = Limits::default();
    let ask = |c: &mut Catalog, p| c.on_want(peer(p), &[offer(1).id], ServeMode::Grant, &limits, NOW).len();
    assert_eq!([1, 2, 3, 4, 3].map(|p| ask(&mut catalog, p)), [1, 1, 0, 0, 1]);
}

#[test]
fn a_neighbour_that_wants_one_document_without_end_gets_it_twice_a_second_at_most() {
    let (mut catalog, limits) = (Catalog::default(), Limits::default());
    catalog.hold(offer(1), None, None, NOW);
    let given: usize = (0..1000)
        .map(|ms| {
            let ids = [offer(1).id; 512];
            catalog.on_want(peer(1), &ids, ServeMode::Pull, &limits, Timestamp::from_millis(ms)).len()
        })
        .sum();
    assert_eq!(given, 2);
}

/// The documents `0..count`, as `bytes` large ones.
fn many(count: u16, bytes: u32) -> Vec<DocumentOffer> {
    let id = |i: u16| DocumentId(std::array::from_fn(|at| i.to_le_bytes().get(at).copied().unwrap_or(1)));
    (0..count).map(|i| DocumentOffer { id: id(i), kind: DocumentKind::Report, bytes }).collect()
}

fn offer_to(catalog: &mut Catalog, from: u8, offers: &[DocumentOffer], now: Timestamp) -> Vec<DocumentId> {
    catalog.on_offer(peer(from), ServeMode::Pull, offers, &Limits::default(), now, |_| false)
}

/// Everything is asked for that may be at `now`.
fn poll(catalog: &mut Catalog, now: Timestamp) -> Vec<(PeerId, DocumentId)> {
    catalog.poll_asks(&Limits::default(), now)
}

#[test]
fn a_neighbour_is_asked_for_few_documents_and_bytes_at_once_and_for_all_in_the_end() {
    for (bytes, at_once) in [(900, ASKED_MAX), (60_000, ASKED_BYTES_MAX as usize / 60_000), (u32::MAX, 4)] {
        let mut catalog = Catalog::default();
        let offers = many(100, bytes);
        let mut asked = offer_to(&mut catalog, 1, &offers, NOW);
        let mut got = 0;
        while !asked.is_empty() {
            assert!(asked.len() <= at_once, "{} documents of {bytes} bytes", asked.len());
            got += asked.len();
            for offer in offers.iter().filter(|offer| asked.contains(&offer.id)) {
                assert!(catalog.hold(*offer, Some(peer(1)), None, NOW));
            }
            asked = poll(&mut catalog, NOW).into_iter().map(|(_, id)| id).collect();
        }
        assert_eq!((got, catalog.is_wanting()), (100, false));
    }
}

#[test]
fn a_neighbour_that_offers_what_it_never_sends_is_asked_three_times_and_keeps_nobody_out() {
    let mut catalog = Catalog::default();
    let mut asked = offer_to(&mut catalog, 1, &many(1, 900), NOW).len();
    for second in 1..20 {
        asked += poll(&mut catalog, NOW + Duration::from_secs(second)).len();
    }
    assert_eq!((asked, catalog.is_wanting()), (3, false));
    // It fills its share of what may be wanted; the offers of another still count.
    offer_to(&mut catalog, 1, &many(u16::MAX, 900), NOW);
    assert_eq!(offer_to(&mut catalog, 1, &[offer(7)], NOW), vec![]);
    assert_eq!(offer_to(&mut catalog, 2, &[offer(7)], NOW), vec![offer(7).id]);
}

#[test]
fn a_wrong_copy_of_a_document_says_nothing_about_the_document() {
    for verdict in [Verdict::Violation, Verdict::Copy] {
        let mut catalog = Catalog::default();
        // Unasked for, too: a stranger cannot make a good document unwanted.
        catalog.refuse(offer(1).id, peer(9), verdict, NOW);
        assert_eq!(offer_to(&mut catalog, 1, &[offer(1)], NOW), vec![offer(1).id]);
        offer_to(&mut catalog, 2, &[offer(1)], NOW);
        catalog.refuse(offer(1).id, peer(1), verdict, NOW);
        assert_eq!(poll(&mut catalog, NOW), vec![(peer(2), offer(1).id)]);
    }
    let mut catalog = Catalog::default();
    catalog.refuse(offer(1).id, peer(1), Verdict::Copy, NOW);
    assert_eq!(offer_to(&mut catalog, 1, &[offer(1)], NOW), vec![]);
}

#[test]
fn a_dropped_document_is_neither_offered_nor_given_nor_asked_for() {
    let (mut catalog, mut other) = (Catalog::default(), Catalog::default());
    (1..4).for_each(|i| assert!(catalog.hold(offer(i), None, None, NOW)));
    for i in [1, 3] {
        assert!(other.hold(offer(i), None, None, NOW));
    }
    catalog.drop(offer(2).id, NOW);
    assert_eq!(catalog.digest(), other.digest());
    assert_eq!(catalog.offers_for(peer(9), ServeMode::Pull), [offer(1), offer(3)]);
    assert_eq!(catalog.on_want(peer(9), &[offer(2).id], ServeMode::Pull, &Limits::default(), NOW), []);
    assert_eq!(offer_to(&mut catalog, 9, &[offer(2)], NOW), []);
    // One that was only wanted, or is not known at all, changes no digest.
    offer_to(&mut catalog, 9, &[offer(4)], NOW);
    catalog.drop(offer(4).id, NOW);
    catalog.drop(offer(5).id, NOW);
    assert_eq!((catalog.digest(), catalog.is_wanting()), (other.digest(), false));
}

#[test]
fn a_refused_document_is_not_asked_for_again_for_a_time_or_until_the_next_trust_root() {
    for verdict in [Verdict::Final, Verdict::Awaits(Awaits::Rollout)] {
        let mut catalog = Catalog::default();
        offer_to(&mut catalog, 1, &[offer(1)], NOW);
        catalog.refuse(offer(1).id, peer(1), verdict, NOW);
        assert_eq!(offer_to(&mut catalog, 2, &[offer(1)], NOW + Duration::from_secs(599)), vec![]);
        let later = NOW + Duration::from_secs(600);
        assert_eq!(offer_to(&mut catalog.clone(), 2, &[offer(1)], later), vec![offer(1).id]);
        catalog.hold(DocumentOffer { kind: DocumentKind::TrustRoot, ..offer(2) }, None, None, NOW);
        assert_eq!(offer_to(&mut catalog, 2, &[offer(1)], NOW), vec![offer(1).id]);
    }
}
