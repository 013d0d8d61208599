//! One alarm for each of many keys, each of which may be set anew at any time: a binary heap that knows where each
//! key stands.

use super::clock::Nanos;

const NOWHERE: u32 = u32::MAX;

/// Alarms by small integer keys; equal times ring in the order of keys.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    heap: Vec<(Nanos, u32)>,
    place: Vec<u32>,
}

impl Alarms {
    /// The next alarm.
    pub(super) fn next(&self) -> Option<(Nanos, u32)> {
        self.heap.first().copied()
    }

    /// Sets the alarm of `key`, or clears it.
    pub(super) fn set(&mut self, key: u32, at: Option<Nanos>) {
        if self.place.len() <= key as usize {
            self.place.resize(key as usize + 1, NOWHERE);
        }
        match (self.place[key as usize], at) {
            (NOWHERE, None) => {}
            (NOWHERE, Some(at)) => {
                self.heap.push((at, key));
                self.rise(self.heap.len() - 1);
            }
            (place, Some(at)) => {
                self.heap[place as usize].0 = at;
                let place = self.rise(place as usize);
                self.sink(place);
            }
            (place, None) => self.remove(place as usize),
        }
    }

    fn remove(&mut self, place: usize) {
        let (_, key) = self.heap.swap_remove(place);
        self.place[key as usize] = NOWHERE;
        if place < self.heap.len() {
            let place = self.rise(place);
            self.sink(place);
        }
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent] <= self.heap[place] {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
        self.note(place);
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = (2 * place + 1)..(2 * place + 3).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.heap[*child]) else { break };
            if self.heap[place] <= self.heap[least] {
                break;
            }
            self.swap(place, least);
            place = least;
        }
        self.note(place);
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(a);
        self.note(b);
    }

    fn note(&mut self, place: usize) {
        self.place[self.heap[place].1 as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_protocol::rng::Prng;
    use std::collections::BTreeMap;

    #[test]
    fn the_next_alarm_is_always_that_of_a_naive_table() {
        let mut rng = Prng::new(3);
        let (mut alarms, mut naive) = (Alarms::default(), BTreeMap::new());
        for _ in 0..20_000 {
            let key = rng.below(40) as u32;
            let at = (rng.below(3) > 0).then(|| Nanos(rng.below(1000) as u64));
            alarms.set(key, at);
            match at {
                Some(at) => naive.insert(key, at),
                None => naive.remove(&key),
            };
            let expected = naive.iter().map(|(key, at)| (*at, *key)).min();
            assert_eq!(alarms.next(), expected);
        }
    }
}
