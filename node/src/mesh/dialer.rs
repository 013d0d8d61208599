//! Whom to dial and when: static peers, peers that neighbours or mDNS told of; with back-off, never twice at once.
//!
//! An address is left alone while a neighbour says that it listens there. What is due longest is dialled first, so
//! that false addresses delay true ones but never keep them off. Bounded: what was tried in vain most often goes first.

use samara_protocol::id::PeerId;
use samara_protocol::rng::Prng;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The first wait after a dial that led to no neighbour.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest wait between two dials of one address.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Peers known by hearsay; a liar cannot make more.
const HEARSAY_MAX: usize = 4096;
/// Addresses kept of one peer.
const ADDRESSES_PER_PEER_MAX: usize = 8;
/// Dials begun in one round, so that a site's start is not a storm.
const DIALS_PER_ROUND_MAX: usize = 8;

/// One thing that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Static(String),
    Peer(PeerId),
}

#[derive(Debug)]
struct Entry {
    addresses: Vec<String>,
    next: Instant,
    wait: Duration,
}

/// The address book of one process.
#[derive(Debug)]
pub struct Dialer {
    me: PeerId,
    wanted: usize,
    book: BTreeMap<Key, Entry>,
    neighbours: BTreeMap<PeerId, Vec<String>>,
    rng: Prng,
}

/// A dial to begin.
#[derive(Debug, PartialEq, Eq)]
pub struct Dial {
    /// Whom, where known.
    pub peer: Option<PeerId>,
    /// Where.
    pub addresses: Vec<String>,
}

impl Dialer {
    /// A book with the configured addresses; hearsay is dialled while there are fewer than `wanted` neighbours.
    pub fn new(me: PeerId, static_peers: &[String], wanted: usize, rng_seed: u64, now: Instant) -> Self {
        let entry = |address: &String| Entry { addresses: vec![address.clone()], next: now, wait: RETRY_MIN };
        let book = static_peers.iter().map(|a| (Key::Static(a.clone()), entry(a))).collect();
        Self { me, wanted, book, neighbours: BTreeMap::new(), rng: Prng::new(rng_seed) }
    }

    /// Somebody said where a peer is.
    pub fn on_heard(&mut self, peer: PeerId, mut addresses: Vec<String>, now: Instant) {
        addresses.truncate(ADDRESSES_PER_PEER_MAX);
        if peer == self.me || addresses.is_empty() {
            return;
        }
        if let Some(entry) = self.book.get_mut(&Key::Peer(peer)) {
            if entry.addresses != addresses {
                *entry = Entry { addresses, next: now, wait: RETRY_MIN };
            }
            return;
        }
        if self.book.len() >= HEARSAY_MAX {
            let neighbours = &self.neighbours;
            let is_hearsay = |key: &Key| matches!(key, Key::Peer(peer) if !neighbours.contains_key(peer));
            let stalest = self.book.iter().filter(|(key, _)| is_hearsay(key));
            let Some(key) = stalest.max_by_key(|(_, entry)| entry.wait).map(|(key, _)| key.clone()) else {
                return;
            };
            self.book.remove(&key);
        }
        self.book.insert(Key::Peer(peer), Entry { addresses, next: now, wait: RETRY_MIN });
    }

    /// A peer became a neighbour and says where it listens.
    pub fn on_neighbour(&mut self, peer: PeerId, listen: Vec<String>) {
        self.neighbours.insert(peer, listen);
    }

    /// A neighbour is gone: it may be dialled again soon.
    pub fn on_gone(&mut self, peer: PeerId, now: Instant) {
        let Some(listen) = self.neighbours.remove(&peer) else { return };
        let soon = now + self.rng.jitter(RETRY_MIN);
        for (key, entry) in &mut self.book {
            let same = match key {
                Key::Static(address) => listen.iter().any(|l| is_same_place(address, l)),
                Key::Peer(known) => *known == peer,
            };
            if same {
                (entry.next, entry.wait) = (soon, RETRY_MIN);
            }
        }
    }

    /// The dials that are due.
    pub fn poll_dials(&mut self, now: Instant) -> Vec<Dial> {
        let mut dials = Vec::new();
        let room = self.wanted.saturating_sub(self.neighbours.len());
        let mut hearsay = 0;
        let mut due: Vec<_> = self.book.iter_mut().filter(|(_, entry)| entry.next <= now).collect();
        due.sort_by_key(|(_, entry)| entry.next);
        for (key, entry) in due {
            if dials.len() >= DIALS_PER_ROUND_MAX {
                break;
            }
            let peer = match key {
                Key::Static(address) => {
                    let mut listening = self.neighbours.values().flatten();
                    if listening.any(|listen| is_same_place(address, listen)) {
                        continue;
                    }
                    None
                }
                Key::Peer(peer) => {
                    if self.neighbours.contains_key(peer) || hearsay >= room {
                        continue;
                    }
                    hearsay += 1;
                    Some(*peer)
                }
            };
            entry.next = now + self.rng.jitter(entry.wait);
            entry.wait = (entry.wait * 2).min(RETRY_MAX);
            dials.push(Dial { peer, addresses: entry.addresses.clone() });
        }
        dials
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

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn dialer(static_peers: &[String], now: Instant) -> Dialer {
        Dialer::new(peer(0), static_peers, 2, 1, now)
    }

    #[test]
    fn a_static_peer_is_dialled_until_a_neighbour_listens_there_and_again_when_it_is_gone() {
        let now = Instant::now();
        let mut d = dialer(&[ADDRESS.to_owned()], now);
        assert_eq!(d.poll_dials(now), [Dial { peer: None, addresses: vec![ADDRESS.into()] }]);
        assert!(d.poll_dials(now).is_empty());
        d.on_neighbour(peer(1), vec![format!("{ADDRESS}/p2p/abc")]);
        assert!(d.poll_dials(now + RETRY_MAX * 2).is_empty());
        d.on_gone(peer(1), now);
        assert!(d.poll_dials(now).is_empty());
        assert_eq!(d.poll_dials(now + RETRY_MIN * 2).len(), 1);
    }

    #[test]
    fn hearsay_is_dialled_only_while_neighbours_are_wanted_and_never_for_oneself() {
        let now = Instant::now();
        let mut d = dialer(&[], now);
        for n in 0..5 {
            d.on_heard(peer(n), vec![format!("/ip4/127.0.0.1/tcp/{n}")], now);
        }
        assert_eq!(d.poll_dials(now).len(), 2);
        d.on_neighbour(peer(1), vec![]);
        d.on_neighbour(peer(2), vec![]);
        assert!(d.poll_dials(now + RETRY_MAX).is_empty());
    }

    #[test]
    fn a_dead_address_is_tried_less_and_less_often() {
        let now = Instant::now();
        let mut d = dialer(&[ADDRESS.to_owned()], now);
        let dials = (0..600).filter(|s| !d.poll_dials(now + Duration::from_secs(*s)).is_empty()).count();
        assert!((18..40).contains(&dials), "{dials} dials in ten minutes");
    }

    #[test]
    fn false_addresses_do_not_keep_true_ones_from_being_dialled() {
        let now = Instant::now();
        let mut d = Dialer::new(peer(0), &[], 48, 1, now);
        for n in 0..2000_u32 {
            let mut id = [1; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            d.on_heard(PeerId(id), vec!["/ip4/1.1.1.1/tcp/1".into()], now);
        }
        let last = PeerId([0xff; 32]);
        d.on_heard(last, vec!["/ip4/1.1.1.2/tcp/1".into()], now);
        let rounds = (1..400).map(|i| now + Duration::from_millis(500) * i);
        let dialled: Vec<Dial> = rounds.flat_map(|at| d.poll_dials(at)).collect();
        assert!(dialled.iter().any(|dial| dial.peer == Some(last)));
    }

    #[test]
    fn a_liar_cannot_fill_memory_with_addresses() {
        let now = Instant::now();
        let mut d = dialer(&[], now);
        for n in 0..10_000_u32 {
            let mut id = [1; 32];
            id[..4].copy_from_slice(&n.to_le_bytes());
            d.on_heard(PeerId(id), vec!["/ip4/1.1.1.1/tcp/1".into(); 100], now);
        }
        assert_eq!(d.book.len(), HEARSAY_MAX);
        assert!(d.book.values().all(|entry| entry.addresses.len() <= ADDRESSES_PER_PEER_MAX));
    }
}
