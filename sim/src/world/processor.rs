//! Processors: each peer works off its jobs one after the other; peers that live on one machine share its cores.
//!
//! Sharing is generalised processor sharing: with `a` busy peers on `c` cores each runs at the speed `min(1, c / a)`.
//! In a clock that runs at that speed every job ends its cost after it began, whatever comes later, so that one heap of
//! ends in virtual time is exact.

use super::alarms::Alarms;
use super::clock::Nanos;
use std::collections::VecDeque;

/// The processors of all peers; `J` is what a finished job leads to.
#[derive(Debug)]
pub(super) struct Processors<J> {
    /// Cores that all peers share; `None`: each peer has a core of its own.
    cores: Option<f64>,
    queues: Vec<VecDeque<(u64, J)>>,
    used: Vec<u64>,
    /// Ends in virtual nanoseconds, of the job that each busy peer runs.
    ends: Alarms,
    busy: usize,
    virtual_now: f64,
    real_now: Nanos,
}

impl<J> Processors<J> {
    pub(super) fn new(peers: usize, cores: Option<u32>) -> Self {
        Self {
            cores: cores.map(f64::from),
            queues: (0..peers).map(|_| VecDeque::new()).collect(),
            used: vec![0; peers],
            ends: Alarms::default(),
            busy: 0,
            virtual_now: 0.0,
            real_now: Nanos(0),
        }
    }

    /// Appends a job of so many nanoseconds of one core.
    pub(super) fn push(&mut self, peer: u32, cost: u64, job: J, now: Nanos) {
        self.advance(now);
        let queue = &mut self.queues[peer as usize];
        queue.push_back((cost, job));
        if queue.len() == 1 {
            self.busy += 1;
            self.begin(peer);
        }
    }

    /// When the next job ends.
    pub(super) fn next_at(&self) -> Option<Nanos> {
        let (end, _) = self.ends.next()?;
        let left = (end.0 as f64 - self.virtual_now).max(0.0) / self.speed();
        Some(self.real_now.plus(left.ceil() as u64))
    }

    /// The job that ends at [`Self::next_at`].
    pub(super) fn pop(&mut self, now: Nanos) -> Option<(u32, J)> {
        self.advance(now);
        let (_, peer) = self.ends.next()?;
        let (cost, job) = self.queues[peer as usize].pop_front()?;
        self.used[peer as usize] += cost;
        if self.queues[peer as usize].is_empty() {
            self.busy -= 1;
            self.ends.set(peer, None);
        } else {
            self.begin(peer);
        }
        Some((peer, job))
    }

    /// A process is gone, and its jobs with it.
    pub(super) fn clear(&mut self, peer: u32, now: Nanos) {
        self.advance(now);
        let queue = &mut self.queues[peer as usize];
        if !queue.is_empty() {
            queue.clear();
            self.busy -= 1;
            self.ends.set(peer, None);
        }
    }

    /// Processor time that a peer's finished jobs took.
    pub(super) fn used_seconds(&self, peer: u32) -> f64 {
        self.used[peer as usize] as f64 / 1e9
    }

    fn begin(&mut self, peer: u32) {
        let cost = self.queues[peer as usize].front().map_or(0, |(cost, _)| *cost);
        self.ends.set(peer, Some(Nanos((self.virtual_now + cost as f64) as u64)));
    }

    fn speed(&self) -> f64 {
        self.cores.map_or(1.0, |cores| (cores / self.busy.max(1) as f64).min(1.0))
    }

    fn advance(&mut self, now: Nanos) {
        self.virtual_now += (now.0 - self.real_now.0) as f64 * self.speed();
        self.real_now = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(processors: &mut Processors<char>) -> Vec<(char, u64)> {
        let mut ends = Vec::new();
        while let Some(at) = processors.next_at() {
            let (_, job) = processors.pop(at).unwrap();
            ends.push((job, at.0));
        }
        ends
    }

    #[test]
    fn a_peer_works_off_its_jobs_in_order() {
        let mut processors = Processors::new(1, None);
        processors.push(0, 100, 'a', Nanos(0));
        processors.push(0, 50, 'b', Nanos(10));
        assert_eq!(ends(&mut processors), [('a', 100), ('b', 150)]);
    }

    #[test]
    fn peers_with_cores_of_their_own_do_not_slow_each_other() {
        let mut processors = Processors::new(3, None);
        (0..3).for_each(|peer| processors.push(peer, 100, 'x', Nanos(0)));
        assert_eq!(ends(&mut processors), [('x', 100), ('x', 100), ('x', 100)]);
    }

    #[test]
    fn peers_on_one_machine_share_its_cores_while_they_are_busy() {
        let mut processors = Processors::new(4, Some(2));
        (0..4).for_each(|peer| processors.push(peer, 100, 'x', Nanos(0)));
        processors.push(0, 100, 'y', Nanos(0));
        // Four busy at half speed until 200, then one alone at full speed.
        assert_eq!(ends(&mut processors), [('x', 200), ('x', 200), ('x', 200), ('x', 200), ('y', 300)]);
    }

    #[test]
    fn the_jobs_of_a_dead_process_end_nowhere() {
        let mut processors = Processors::new(2, Some(1));
        processors.push(0, 100, 'a', Nanos(0));
        processors.push(1, 100, 'b', Nanos(0));
        processors.clear(0, Nanos(100));
        assert_eq!(ends(&mut processors), [('b', 150)]);
    }
}
