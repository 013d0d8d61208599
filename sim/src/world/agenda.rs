//! What will happen when: events in the order of their times, and of insertion where times are equal.

use super::clock::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of events. The heap moves small keys; events stay where they were put.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    heap: BinaryHeap<Reverse<(Nanos, u64, u32)>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    pushed: u64,
}

impl<E> Agenda<E> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), pushed: 0 }
    }

    pub(super) fn push(&mut self, at: Nanos, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                (self.slots.len() - 1) as u32
            }
        };
        self.heap.push(Reverse((at, self.pushed, slot)));
        self.pushed += 1;
    }

    pub(super) fn next_at(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<E> {
        let Reverse((_, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        self.slots[slot as usize].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_and_equal_times_in_the_order_of_insertion() {
        let mut agenda = Agenda::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            agenda.push(Nanos(at), event);
        }
        assert_eq!(agenda.next_at(), Some(Nanos(1)));
        let first: Vec<char> = (0..2).filter_map(|_| agenda.pop()).collect();
        agenda.push(Nanos(5), 'e');
        let rest: Vec<char> = std::iter::from_fn(|| agenda.pop()).collect();
        assert_eq!((first, rest), (vec!['a', 'b'], vec!['c', 'd', 'e']));
        assert_eq!(agenda.slots.len(), 4);
    }
}
