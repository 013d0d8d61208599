//! Whom to connect to, and when (rule 16): configured addresses, and peers that others told of, in random order.
//!
//! ```text
//!  heard --dial--> tried (waits 1 s, 2 s … 30 s) --joined--> neighbour --left--> tried, soon again if it had stayed
//! ```
//! A site of up to `full_mesh_max` peers is connected all to all. On a larger one this peer chooses `chosen_max`
//! neighbours itself; the others are those that chose this one. Whom few chose chooses more, until it has
//! `neighbours_min`: its share of what the others send grows with their number. Bounded: the least hopeful hearsay goes
//! first.

use super::limits::Limits;
use super::strangers::Strangers;
use crate::id::PeerId;
use crate::peer_map::PeerMap;
use crate::rng::Prng;
use crate::time::Timestamp;
use crate::wire::{ADDRESS_BYTES_MAX, ADDRESSES_PER_PEER_MAX};
use std::collections::BTreeMap;
use std::time::Duration;

/// The first wait after a dial that led to no neighbour.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// How long a member is left alone that turned this peer away: it refuses strangers no longer.
const TURNED_AWAY_WAIT: Duration = Duration::from_millis(500);
/// The longest wait between two dials of one address.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A neighbour that left sooner than this had no place for us: the waits go on growing.
const STAYED_MIN: Duration = Duration::from_secs(10);
/// A dial without any word for so long no longer counts as a neighbour to be.
const DIAL_MAX: Duration = Duration::from_secs(5);
/// Dials begun at once, so that a site's start is not a storm; the next ones follow after [`ROUND`].
const DIALS_PER_ROUND_MAX: usize = 8;
const ROUND: Duration = Duration::from_millis(250);
/// Addresses that became due within so long of each other are dialled in random order.
const SAME_TIME: Duration = Duration::from_secs(10);
/// Peers known by hearsay; a liar cannot make more.
const HEARSAY_MAX: usize = 4096;

/// Where something can be dialled, and when next.
#[derive(Debug, Clone)]
struct Entry {
    addresses: Vec<String>,
    next: Timestamp,
    wait: Duration,
}

impl Entry {
    fn new(addresses: Vec<String>, now: Timestamp) -> Self {
        Self { addresses, next: now, wait: RETRY_MIN }
    }

    /// When it is due, roughly. What is due long goes first: false addresses delay true ones and never keep them off.
    fn due_about(&self) -> u64 {
        self.next.0 / SAME_TIME.as_micros() as u64
    }

    /// Dials that follow wait longer and longer.
    fn dial(&mut self, peer: Option<PeerId>, now: Timestamp, rng: &mut Prng) -> Dial {
        self.next = now + rng.jitter(self.wait);
        self.wait = (self.wait * 2).min(RETRY_MAX);
        Dial { peer, addresses: self.addresses.clone() }
    }

    /// It is worth a try soon.
    fn hurry(&mut self, now: Timestamp, rng: &mut Prng) {
        if self.next > now + ROUND {
            (self.next, self.wait) = (now + rng.jitter(ROUND), RETRY_MIN);
        }
    }
}

#[derive(Debug, Clone)]
struct Joined {
    since: Timestamp,
    listen: Vec<String>,
    is_chosen: bool,
}

/// A dial to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Whom, where known.
    pub peer: Option<PeerId>,
    /// Where.
    pub addresses: Vec<String>,
}

/// The address book of one peer, and its choice from it.
#[derive(Debug, Clone)]
pub struct Choice {
    me: PeerId,
    /// Addresses that are dialled whatever else is known; whose they are is not.
    configured: BTreeMap<String, Entry>,
    book: BTreeMap<PeerId, Entry>,
    /// Peers of the book that were dialled without a word since, and when.
    trying: PeerMap<Timestamp>,
    joined: PeerMap<Joined>,
    strangers: Strangers,
    /// When to look again; `None` when only news can change anything.
    due: Option<Timestamp>,
}

impl Choice {
    /// A book with the configured addresses.
    pub fn new(me: PeerId, configured: &[String]) -> Self {
        let entry = |a: &String| (a.clone(), Entry::new(vec![a.clone()], Timestamp::ZERO));
        Self {
            me,
            configured: configured.iter().map(entry).collect(),
            book: BTreeMap::new(),
            trying: PeerMap::default(),
            joined: PeerMap::default(),
            strangers: Strangers::default(),
            due: (!configured.is_empty()).then_some(Timestamp::ZERO),
        }
    }

    /// Somebody said where a peer is.
    pub fn heard(&mut self, peer: PeerId, addresses: Vec<String>, now: Timestamp) {
        self.note(peer, addresses, now, now);
    }

    /// A peer is there, and is to be dialled then.
    fn note(&mut self, peer: PeerId, mut addresses: Vec<String>, next: Timestamp, now: Timestamp) {
        addresses.retain(|address| address.len() <= ADDRESS_BYTES_MAX);
        addresses.truncate(ADDRESSES_PER_PEER_MAX);
        if peer == self.me || addresses.is_empty() {
            return;
        }
        if self.book.get(&peer).is_some_and(|entry| entry.addresses == addresses) {
            return;
        }
        if !self.book.contains_key(&peer) && self.book.len() >= HEARSAY_MAX {
            let hearsay = self.book.iter().filter(|(peer, _)| !self.joined.contains_key(peer));
            let Some(least) = hearsay.max_by_key(|(_, entry)| entry.wait).map(|(peer, _)| *peer) else {
                return;
            };
            self.book.remove(&least);
            self.trying.remove(&least);
        }
        self.book.insert(peer, Entry::new(addresses, next));
        self.trying.remove(&peer);
        self.due = Some(now);
    }

    /// A dial came to nothing: another one may be tried in its place.
    pub fn fail(&mut self, peer: PeerId, now: Timestamp) {
        if self.trying.remove(&peer).is_some() {
            self.due = Some(now);
        }
    }

    /// A peer became a neighbour and says where it listens.
    pub fn join(&mut self, peer: PeerId, listen: &[String], now: Timestamp) {
        let is_chosen = self.trying.remove(&peer).is_some();
        let listen = listen.iter().take(ADDRESSES_PER_PEER_MAX).cloned().collect();
        self.joined.insert(peer, Joined { since: now, listen, is_chosen });
        self.strangers.take(peer);
    }

    /// A neighbour is gone: it may be dialled again soon, unless it had hardly come.
    pub fn leave(&mut self, peer: PeerId, now: Timestamp, rng: &mut Prng) {
        let Some(joined) = self.joined.remove(&peer) else { return };
        let stayed = now.since(joined.since) >= STAYED_MIN;
        let here = self.configured.iter_mut().filter(|(a, _)| is_one_of(a, &joined.listen));
        for entry in here.map(|(_, entry)| entry).chain(self.book.get_mut(&peer)) {
            let wait = if stayed { RETRY_MIN } else { entry.wait };
            (entry.next, entry.wait) = (now + rng.jitter(wait), wait);
        }
        self.due = Some(now);
    }

    /// A member left before it had let this peer in: it has not heard yet that this one is a member. It is dialled soon, if
    /// it was the one that had dialled; where dialling it did not help before, the waits go on growing.
    pub fn turned_away_by(&mut self, peer: PeerId, now: Timestamp, rng: &mut Prng) {
        let listen = self.listen_of(peer);
        self.leave(peer, now, rng);
        if !self.book.contains_key(&peer) {
            self.note(peer, listen, now + rng.jitter(TURNED_AWAY_WAIT), now);
        }
    }

    /// Where a neighbour says that it listens.
    pub fn listen_of(&self, peer: PeerId) -> Vec<String> {
        self.joined.get(&peer).map(|joined| joined.listen.clone()).unwrap_or_default()
    }

    /// A peer was turned away; it says that it listens there.
    pub fn turn_away(&mut self, peer: PeerId, listen: &[String]) {
        self.strangers.remember(peer, listen);
    }

    /// This peer, or any where none is named, may have become a member, or may let this one in now: who is waited for is
    /// due soon, when the documents that come with such news are there. Whose a configured address is cannot be known.
    pub fn forgive(&mut self, peer: Option<PeerId>, now: Timestamp, rng: &mut Prng) {
        if let Some(peer) = peer
            && let Some(listen) = self.strangers.take(peer)
            && !self.book.contains_key(&peer)
        {
            self.note(peer, listen, now + rng.jitter(ROUND), now);
        }
        self.configured.values_mut().for_each(|entry| entry.hurry(now, rng));
        match peer {
            Some(peer) => self.book.get_mut(&peer).into_iter().for_each(|entry| entry.hurry(now, rng)),
            None => self.book.values_mut().for_each(|entry| entry.hurry(now, rng)),
        }
        self.due = Some(now);
    }

    /// A chosen neighbour that may go to make room for another one; it is not dialled again for a while.
    pub fn replace(
        &mut self,
        idle: &[PeerId],
        limits: &Limits,
        now: Timestamp,
        rng: &mut Prng,
    ) -> Option<PeerId> {
        if !self.is_large(limits) || self.chosen() < limits.chosen_max {
            return None;
        }
        let mine: Vec<PeerId> =
            idle.iter().copied().filter(|peer| self.joined.get(peer).is_some_and(|j| j.is_chosen)).collect();
        let peer = *rng.pick(&mine)?;
        if let Some(entry) = self.book.get_mut(&peer) {
            entry.wait = RETRY_MAX;
        }
        self.joined.get_mut(&peer)?.since = now;
        Some(peer)
    }

    /// The dials that are due.
    pub fn poll(&mut self, limits: &Limits, now: Timestamp, rng: &mut Prng) -> Vec<Dial> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut dials = self.dial_configured(now, rng);
        let most = self.room(limits, now).min(DIALS_PER_ROUND_MAX - dials.len());
        if most > 0 {
            self.dial_peers(most, now, rng, &mut dials);
        }
        self.due = self.next_due(limits, now);
        dials
    }

    fn dial_configured(&mut self, now: Timestamp, rng: &mut Prng) -> Vec<Dial> {
        let joined = &self.joined;
        let is_ready =
            |(address, entry): &(&String, &mut Entry)| entry.next <= now && !is_reached(address, joined);
        let mut ready: Vec<&mut Entry> =
            self.configured.iter_mut().filter(is_ready).map(|(_, entry)| entry).collect();
        rng.shuffle(&mut ready);
        ready.sort_by_key(|entry| entry.due_about());
        ready.into_iter().take(DIALS_PER_ROUND_MAX).map(|entry| entry.dial(None, now, rng)).collect()
    }

    fn dial_peers(&mut self, most: usize, now: Timestamp, rng: &mut Prng, dials: &mut Vec<Dial>) {
        let joined = &self.joined;
        let is_ready = |(peer, entry): &(&PeerId, &Entry)| entry.next <= now && !joined.contains_key(peer);
        let ready = self.book.iter().filter(is_ready);
        let mut ready: Vec<(u64, PeerId)> = ready.map(|(peer, entry)| (entry.due_about(), *peer)).collect();
        rng.shuffle(&mut ready);
        ready.sort_by_key(|(due, _)| *due);
        for (_, peer) in ready.into_iter().take(most) {
            let Some(entry) = self.book.get_mut(&peer) else { continue };
            dials.push(entry.dial(Some(peer), now, rng));
            self.trying.insert(peer, now);
        }
    }

    /// When [`Self::poll`] may have something.
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    fn next_due(&self, limits: &Limits, now: Timestamp) -> Option<Timestamp> {
        let configured = self.configured.iter().filter(|(address, _)| !is_reached(address, &self.joined));
        let configured = configured.map(|(_, entry)| entry.next).min();
        if self.room(limits, now) > 0 {
            let open = self.book.iter().filter(|(peer, _)| !self.joined.contains_key(peer));
            let next = open.map(|(_, entry)| entry.next).min();
            return configured.into_iter().chain(next).min().map(|at| at.max(now + ROUND));
        }
        // Dials under way end without a word: room that they hold comes back.
        let freed = self.trying.values().map(|at| *at + DIAL_MAX).filter(|at| *at > now).min();
        configured.into_iter().chain(freed).min().map(|at| at.max(now + ROUND))
    }

    /// Peers that may still be chosen, those being dialled counted as neighbours.
    fn room(&self, limits: &Limits, now: Timestamp) -> usize {
        let trying = self.trying.values().filter(|at| now.since(**at) < DIAL_MAX).count();
        if self.is_large(limits) {
            let own = limits.chosen_max.saturating_sub(self.chosen() + trying);
            own.max(limits.neighbours_min.saturating_sub(self.joined.len() + trying))
        } else {
            limits.full_mesh_max.saturating_sub(self.joined.len() + trying)
        }
    }

    fn chosen(&self) -> usize {
        self.joined.values().filter(|joined| joined.is_chosen).count()
    }

    fn is_large(&self, limits: &Limits) -> bool {
        let most = limits.full_mesh_max;
        let known = || self.book.keys().filter(|peer| !self.joined.contains_key(peer)).count();
        // Who has joined is mostly in the book as well.
        self.book.len() > most || self.joined.len() > most || known() + self.joined.len() > most
    }
}

/// Whether a neighbour listens at a configured address.
fn is_reached(address: &str, joined: &PeerMap<Joined>) -> bool {
    joined.values().any(|joined| is_one_of(address, &joined.listen))
}

fn is_one_of(address: &str, listen: &[String]) -> bool {
    listen.iter().any(|other| is_same_place(address, other))
}

/// Whether two multiaddresses name one socket; a trailing `/p2p/…` says nothing about the place.
fn is_same_place(a: &str, b: &str) -> bool {
    a.split("/p2p/").next() == b.split("/p2p/").next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "/ip4/127.0.0.1/tcp/4810";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn peer(n: u32) -> PeerId {
        let mut id = [1; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        PeerId(id)
    }

    struct Book(Choice, Limits, Prng);

    impl Book {
        fn new(configured: &[String]) -> Self {
            Self(Choice::new(peer(0), configured), Limits::default(), Prng::new(7))
        }

        fn hear(&mut self, peers: std::ops::Range<u32>, now: Timestamp) {
            peers.for_each(|n| self.0.heard(peer(n), vec![format!("/ip4/10.0.0.1/tcp/{n}")], now));
        }

        fn poll(&mut self, now: Timestamp) -> Vec<Dial> {
            self.0.poll(&self.1, now, &mut self.2)
        }

        /// Polls whenever something is due; each dialled peer joins at once. Everyone who joined.
        fn run(&mut self, until: Timestamp) -> Vec<PeerId> {
            let mut joined = Vec::new();
            while let Some(now) = self.0.due().filter(|due| *due < until) {
                for dial in self.poll(now) {
                    let peer = dial.peer.expect("no address is configured");
                    self.0.join(peer, &dial.addresses, now);
                    joined.push(peer);
                }
            }
            joined
        }
    }

    #[test]
    fn a_configured_address_is_dialled_until_a_neighbour_listens_there_and_again_when_it_is_gone() {
        let mut book = Book::new(&[ADDRESS.to_owned()]);
        assert_eq!(book.poll(at(0)), [Dial { peer: None, addresses: vec![ADDRESS.into()] }]);
        assert!(book.poll(at(0)).is_empty());
        book.0.join(peer(1), &[format!("{ADDRESS}/p2p/abc")], at(0));
        assert!(book.poll(at(100)).is_empty());
        book.0.leave(peer(1), at(100), &mut book.2);
        assert!(book.poll(at(100)).is_empty());
        assert_eq!(book.poll(at(103)).len(), 1);
    }

    #[test]
    fn whoever_may_have_become_a_member_is_dialled_at_once_and_others_wait_as_they_did() {
        let mut book = Book::new(&[ADDRESS.to_owned()]);
        book.hear(1..3, at(0));
        (0..200).for_each(|second| drop(book.poll(at(second))));
        let dialled = |book: &mut Book, from: u64| {
            let times = (0..8).map(|i| Timestamp::from_millis(from * 1000 + i * 125));
            let dials = times.flat_map(|now| book.poll(now)).map(|dial| dial.peer);
            dials.collect::<std::collections::BTreeSet<_>>()
        };
        // All wait about 30 s; nothing of the peers is dialled by chance in this second.
        let quiet = (200..260).find(|&second| dialled(&mut book, second).is_empty()).unwrap() + 1;
        book.0.forgive(Some(peer(1)), at(quiet), &mut book.2);
        let soon = dialled(&mut book, quiet);
        assert!(soon.contains(&None) && soon.contains(&Some(peer(1))) && !soon.contains(&Some(peer(2))));
        book.0.forgive(None, at(quiet + 1), &mut book.2);
        assert_eq!(dialled(&mut book, quiet + 1).len(), 3);
    }

    #[test]
    fn a_peer_that_was_turned_away_is_dialled_once_it_is_a_member_and_never_before() {
        let mut book = Book::new(&[]);
        for n in [1, 2] {
            book.0.turn_away(peer(n), &[format!("/ip4/10.0.0.1/tcp/{n}")]);
        }
        book.0.forgive(None, at(0), &mut book.2);
        assert!(book.poll(at(1)).is_empty());
        book.0.forgive(Some(peer(2)), at(1), &mut book.2);
        let expected = Dial { peer: Some(peer(2)), addresses: vec!["/ip4/10.0.0.1/tcp/2".into()] };
        assert_eq!(book.poll(at(2)), [expected]);
    }

    #[test]
    fn a_member_that_turned_this_peer_away_is_dialled_although_it_was_the_one_that_dialled() {
        for (is_turned_away, dials) in [(true, 1), (false, 0)] {
            let mut book = Book::new(&[]);
            book.0.join(peer(1), &[ADDRESS.to_owned()], at(0));
            if is_turned_away {
                book.0.turned_away_by(peer(1), at(1), &mut book.2);
            } else {
                book.0.leave(peer(1), at(1), &mut book.2);
            }
            assert!(book.poll(at(1)).is_empty());
            assert_eq!(book.poll(at(3)).len(), dials);
        }
    }

    #[test]
    fn a_small_site_is_connected_all_to_all() {
        let mut book = Book::new(&[]);
        book.hear(0..40, at(0));
        let joined = book.run(at(60));
        assert_eq!(joined.len(), 39, "everybody but oneself");
        assert_eq!(book.0.due(), None, "nothing to do until there is news");
    }

    #[test]
    fn on_a_large_site_sixteen_are_chosen_at_random_and_more_by_whom_few_choose() {
        let chosen = |seed, choosers: u32| {
            let mut book = Book::new(&[]);
            book.2 = Prng::new(seed);
            (2000..2000 + choosers).for_each(|n| book.0.join(peer(n), &[], at(0)));
            book.hear(1..1000, at(0));
            book.run(at(60))
        };
        let (one, other) = (chosen(1, 8), chosen(2, 8));
        assert_eq!((one.len(), other.len()), (16, 16));
        assert_eq!([0, 3, 20].map(|choosers| chosen(1, choosers).len()), [24, 21, 16]);
        assert!(one.iter().filter(|peer| other.contains(peer)).count() <= 3);
        assert_eq!(one, chosen(1, 8), "the same seed chooses the same");
    }

    #[test]
    fn a_peer_that_lets_us_go_at_once_is_tried_less_and_less_often() {
        let mut book = Book::new(&[]);
        book.hear(1..2, at(0));
        let mut dials = 0;
        for second in 0..600 {
            for _ in book.poll(at(second)) {
                dials += 1;
                book.0.join(peer(1), &[], at(second));
                book.0.leave(peer(1), at(second), &mut book.2);
            }
        }
        assert!((18..40).contains(&dials), "{dials} dials in ten minutes");
    }

    #[test]
    fn an_idle_chosen_neighbour_makes_room_for_another_on_a_large_site_only() {
        let mut small = Book::new(&[]);
        small.hear(1..20, at(0));
        let joined = small.run(at(60));
        assert_eq!(small.0.replace(&joined, &small.1, at(60), &mut small.2), None);

        let mut large = Book::new(&[]);
        large.hear(1..1000, at(0));
        let joined = large.run(at(60));
        let idle = [joined[3], peer(999_999)];
        let gone = large.0.replace(&idle, &large.1, at(60), &mut large.2).expect("one was idle");
        assert_eq!(gone, joined[3]);
        large.0.leave(gone, at(60), &mut large.2);
        let fresh = large.run(at(70));
        assert_eq!(fresh.len(), 1);
        assert!(!joined.contains(&fresh[0]));
    }

    #[test]
    fn dials_that_lead_to_nothing_give_their_room_back() {
        let mut book = Book::new(&[]);
        book.hear(1..1000, at(0));
        let mut asked = std::collections::BTreeSet::new();
        while let Some(now) = book.0.due().filter(|due| *due < at(30)) {
            asked.extend(book.poll(now).into_iter().filter_map(|dial| dial.peer));
        }
        assert!(asked.len() > 60, "only {} peers were tried in 30 s", asked.len());
    }

    #[test]
    fn false_addresses_do_not_keep_true_ones_from_being_dialled() {
        let mut book = Book::new(&[]);
        book.hear(1..2001, at(0));
        let last = peer(9999);
        book.0.heard(last, vec!["/ip4/1.1.1.2/tcp/1".into()], at(0));
        let mut tried = std::collections::BTreeSet::new();
        for now in (1..800).map(|i| Timestamp::from_millis(i * 250)) {
            for peer in book.poll(now).into_iter().filter_map(|dial| dial.peer) {
                tried.insert(peer);
                book.0.fail(peer, now);
            }
        }
        assert!(tried.contains(&last), "{} of 2001 were tried", tried.len());
    }

    #[test]
    fn a_liar_cannot_fill_memory_with_addresses() {
        let mut book = Book::new(&[]);
        for n in 0..10_000 {
            book.0.heard(peer(n), vec!["/ip4/1.1.1.1/tcp/1".into(); 100], at(0));
        }
        assert_eq!(book.0.book.len(), HEARSAY_MAX);
        assert!(book.0.book.values().all(|entry| entry.addresses.len() <= ADDRESSES_PER_PEER_MAX));
    }
}
