//! Whom to connect to, and when (rule 16): configured addresses, and peers that others told of, in random order.
//!
//! ```text
//!  heard --dial--> tried (waits 1 s, 2 s … 30 s) --joined--> neighbour --left--> tried, soon again if it had stayed
//! ```
//! A site of up to `full_mesh_max` peers is connected all to all. On a larger one this peer chooses `chosen_max`
//! neighbours itself; the others are those that chose this one. Bounded: the least hopeful hearsay goes first.

use super::limits::Limits;
use super::strangers::Strangers;
use crate::id::PeerId;
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

/// One thing that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Configured(String),
    Peer(PeerId),
}

#[derive(Debug, Clone)]
struct Entry {
    addresses: Vec<String>,
    next: Timestamp,
    wait: Duration,
    dialled: Option<Timestamp>,
}

impl Entry {
    fn new(addresses: Vec<String>, now: Timestamp) -> Self {
        Self { addresses, next: now, wait: RETRY_MIN, dialled: None }
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
    book: BTreeMap<Key, Entry>,
    joined: BTreeMap<PeerId, Joined>,
    strangers: Strangers,
    /// When to look again; `None` when only news can change anything.
    due: Option<Timestamp>,
}

impl Choice {
    /// A book with the configured addresses, which are dialled whatever else is known.
    pub fn new(me: PeerId, configured: &[String]) -> Self {
        let entry = |a: &String| (Key::Configured(a.clone()), Entry::new(vec![a.clone()], Timestamp::ZERO));
        let due = (!configured.is_empty()).then_some(Timestamp::ZERO);
        let book = configured.iter().map(entry).collect();
        Self { me, book, joined: BTreeMap::new(), strangers: Strangers::default(), due }
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
        if let Some(entry) = self.book.get_mut(&Key::Peer(peer)) {
            if entry.addresses != addresses {
                *entry = Entry::new(addresses, next);
                self.due = Some(now);
            }
            return;
        }
        if self.book.len() >= HEARSAY_MAX {
            let joined = &self.joined;
            let is_hearsay = |key: &Key| matches!(key, Key::Peer(peer) if !joined.contains_key(peer));
            let hearsay = self.book.iter().filter(|(key, _)| is_hearsay(key));
            let Some(key) = hearsay.max_by_key(|(_, entry)| entry.wait).map(|(key, _)| key.clone()) else {
                return;
            };
            self.book.remove(&key);
        }
        self.book.insert(Key::Peer(peer), Entry::new(addresses, next));
        self.due = Some(now);
    }

    /// A dial came to nothing: another one may be tried in its place.
    pub fn fail(&mut self, peer: PeerId, now: Timestamp) {
        if self.book.get_mut(&Key::Peer(peer)).is_some_and(|entry| entry.dialled.take().is_some()) {
            self.due = Some(now);
        }
    }

    /// A peer became a neighbour and says where it listens.
    pub fn join(&mut self, peer: PeerId, listen: &[String], now: Timestamp) {
        let dialled = self.book.get_mut(&Key::Peer(peer)).and_then(|entry| entry.dialled.take());
        let listen = listen.iter().take(ADDRESSES_PER_PEER_MAX).cloned().collect();
        self.joined.insert(peer, Joined { since: now, listen, is_chosen: dialled.is_some() });
        self.strangers.take(peer);
    }

    /// A neighbour is gone: it may be dialled again soon, unless it had hardly come.
    pub fn leave(&mut self, peer: PeerId, now: Timestamp, rng: &mut Prng) {
        let Some(joined) = self.joined.remove(&peer) else { return };
        let stayed = now.since(joined.since) >= STAYED_MIN;
        for (key, entry) in &mut self.book {
            let same = match key {
                Key::Configured(address) => joined.listen.iter().any(|l| is_same_place(address, l)),
                Key::Peer(known) => *known == peer,
            };
            if same {
                let wait = if stayed { RETRY_MIN } else { entry.wait };
                (entry.next, entry.wait) = (now + rng.jitter(wait), wait);
            }
        }
        self.due = Some(now);
    }

    /// A member left before it had let this peer in: it has not heard yet that this one is a member. It is dialled soon, if
    /// it was the one that had dialled; where dialling it did not help before, the waits go on growing.
    pub fn turned_away_by(&mut self, peer: PeerId, now: Timestamp, rng: &mut Prng) {
        let listen = self.joined.get(&peer).map(|joined| joined.listen.clone()).unwrap_or_default();
        self.leave(peer, now, rng);
        if !self.book.contains_key(&Key::Peer(peer)) {
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
            && !self.book.contains_key(&Key::Peer(peer))
        {
            self.note(peer, listen, now + rng.jitter(ROUND), now);
        }
        let soon = now + ROUND;
        for (key, entry) in &mut self.book {
            let is_concerned = match key {
                Key::Configured(_) => true,
                Key::Peer(known) => peer.is_none_or(|peer| peer == *known),
            };
            if is_concerned && entry.next > soon {
                (entry.next, entry.wait) = (now + rng.jitter(ROUND), RETRY_MIN);
            }
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
        if let Some(entry) = self.book.get_mut(&Key::Peer(peer)) {
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
        let mut room = self.room(limits, now);
        let mut ready: Vec<Key> = self
            .book
            .iter()
            .filter(|(k, e)| e.next <= now && self.is_open(k))
            .map(|(k, _)| k.clone())
            .collect();
        rng.shuffle(&mut ready);
        // What is due long goes first: false addresses delay true ones and never keep them off.
        let due =
            |key: &Key| self.book.get(key).map_or(0, |entry| entry.next.0 / SAME_TIME.as_micros() as u64);
        ready.sort_by_key(|key| (matches!(key, Key::Peer(_)), due(key)));
        let mut dials = Vec::new();
        for key in ready {
            let peer = match &key {
                Key::Configured(_) => None,
                Key::Peer(_) if room == 0 => break,
                Key::Peer(peer) => Some(*peer),
            };
            if dials.len() == DIALS_PER_ROUND_MAX {
                break;
            }
            let Some(entry) = self.book.get_mut(&key) else { continue };
            entry.next = now + rng.jitter(entry.wait);
            entry.wait = (entry.wait * 2).min(RETRY_MAX);
            if peer.is_some() {
                entry.dialled = Some(now);
                room -= 1;
            }
            dials.push(Dial { peer, addresses: entry.addresses.clone() });
        }
        self.due = self.next_due(limits, now);
        dials
    }

    /// When [`Self::poll`] may have something.
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    fn next_due(&self, limits: &Limits, now: Timestamp) -> Option<Timestamp> {
        let has_room = self.room(limits, now) > 0;
        let may = |key: &Key| self.is_open(key) && (has_room || matches!(key, Key::Configured(_)));
        let next = self.book.iter().filter(|(key, _)| may(key)).map(|(_, entry)| entry.next).min();
        // Dials under way end without a word: room that they hold comes back.
        let freed =
            self.book.values().filter_map(|e| e.dialled).map(|at| at + DIAL_MAX).filter(|at| *at > now).min();
        [next, freed].into_iter().flatten().min().map(|at| at.max(now + ROUND))
    }

    /// Peers that may still be chosen, those being dialled counted as neighbours.
    fn room(&self, limits: &Limits, now: Timestamp) -> usize {
        let trying = |entry: &&Entry| entry.dialled.is_some_and(|at| now.since(at) < DIAL_MAX);
        let trying = self.book.values().filter(trying).count();
        if self.is_large(limits) {
            limits.chosen_max.saturating_sub(self.chosen() + trying)
        } else {
            limits.full_mesh_max.saturating_sub(self.joined.len() + trying)
        }
    }

    fn chosen(&self) -> usize {
        self.joined.values().filter(|joined| joined.is_chosen).count()
    }

    fn is_large(&self, limits: &Limits) -> bool {
        let known = self.book.keys().filter(|key| match key {
            Key::Peer(peer) => !self.joined.contains_key(peer),
            Key::Configured(_) => false,
        });
        known.count() + self.joined.len() > limits.full_mesh_max
    }

    fn is_open(&self, key: &Key) -> bool {
        match key {
            Key::Peer(peer) => !self.joined.contains_key(peer),
            Key::Configured(address) => !self
                .joined
                .values()
                .flat_map(|joined| &joined.listen)
                .any(|listen| is_same_place(address, listen)),
        }
    }
}

/// Whether two multiaddresses name one socket; a trailing `/p2p/…` says nothing about the place.
fn is_same_place(a: &str, b: &str) -> bool {
    let place = |address: &str| address.split("/p2p/").next().unwrap_or_default().to_owned();
    place(a) == place(b)
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
    fn on_a_large_site_sixteen_are_chosen_at_random() {
        let chosen = |seed| {
            let mut book = Book::new(&[]);
            book.2 = Prng::new(seed);
            book.hear(1..1000, at(0));
            book.run(at(60))
        };
        let (one, other) = (chosen(1), chosen(2));
        assert_eq!((one.len(), other.len()), (16, 16));
        assert!(one.iter().filter(|peer| other.contains(peer)).count() <= 3);
        assert_eq!(one, chosen(1), "the same seed chooses the same");
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
