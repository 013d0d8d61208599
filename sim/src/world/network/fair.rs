//! Max-min fair sharing: what TCP flows of equal round trips come close to.
//!
//! Progressive filling (Bertsekas, Gallager: Data Networks, 1992, section 6.5.2): all rates rise together; a flow stops
//! where a link of its path is full. A change of one flow changes only the flows that are joined to it by shared links;
//! only these are computed anew, which is exact.

use super::{Flow, Link};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Working memory that survives from call to call.
#[derive(Debug, Default)]
pub(super) struct Filling {
    round: u32,
    link_seen: Vec<u32>,
    flow_seen: Vec<u32>,
    links: Vec<u32>,
    flows: Vec<u32>,
    room: Vec<f64>,
    open: Vec<u32>,
    rate: Vec<f64>,
    /// Links by what each of their open flows could have when it was last looked; bits of positive floats are in order.
    shares: BinaryHeap<Reverse<(u64, u32)>>,
}

/// The rate of a flow that is not fixed yet.
const OPEN: f64 = -1.0;

impl Filling {
    /// Gives every flow that shares a link, over any number of others, with one of `from` its fair rate; the flows
    /// that were looked at, with their new rates, are then in [`Self::results`].
    pub(super) fn fill(&mut self, from: &[u32], links: &[Link], flows: &[Flow]) {
        self.collect(from, links, flows);
        self.shares.clear();
        for at in 0..self.links.len() {
            self.offer(self.links[at]);
        }
        // A share only rises while others are fixed, so a link that comes first with an old one is put back.
        while let Some(Reverse((bits, link))) = self.shares.pop() {
            let Some(share) = self.share(link) else { continue };
            if share.to_bits() > bits {
                self.offer(link);
                continue;
            }
            for &flow in &links[link as usize].flows {
                self.fix(flow, share, flows);
            }
        }
    }

    /// The flows of the last call and their rates.
    pub(super) fn results(&self) -> impl Iterator<Item = (u32, f64)> {
        self.flows.iter().map(|flow| (*flow, self.rate[*flow as usize]))
    }

    /// What each open flow of a link could have; `None` when all are fixed.
    fn share(&self, link: u32) -> Option<f64> {
        let open = self.open[link as usize];
        (open > 0).then(|| self.room[link as usize].max(0.0) / f64::from(open))
    }

    fn offer(&mut self, link: u32) {
        if let Some(share) = self.share(link) {
            self.shares.push(Reverse((share.to_bits(), link)));
        }
    }

    fn fix(&mut self, flow: u32, rate: f64, flows: &[Flow]) {
        if self.rate[flow as usize] != OPEN {
            return;
        }
        self.rate[flow as usize] = rate;
        for &link in flows[flow as usize].path.iter() {
            self.room[link as usize] -= rate;
            self.open[link as usize] -= 1;
        }
    }

    /// Breadth first over links and flows.
    fn collect(&mut self, from: &[u32], links: &[Link], flows: &[Flow]) {
        self.round += 1;
        self.links.clear();
        self.flows.clear();
        self.link_seen.resize(links.len(), 0);
        self.room.resize(links.len(), 0.0);
        self.open.resize(links.len(), 0);
        self.flow_seen.resize(flows.len(), 0);
        self.rate.resize(flows.len(), 0.0);
        from.iter().for_each(|link| self.see(*link, links));
        let mut next = 0;
        while next < self.links.len() {
            let link = self.links[next] as usize;
            next += 1;
            for &flow in &links[link].flows {
                if self.flow_seen[flow as usize] == self.round {
                    continue;
                }
                self.flow_seen[flow as usize] = self.round;
                self.rate[flow as usize] = OPEN;
                self.flows.push(flow);
                flows[flow as usize].path.iter().for_each(|link| self.see(*link, links));
            }
        }
    }

    fn see(&mut self, link: u32, links: &[Link]) {
        let index = link as usize;
        if self.link_seen[index] != self.round {
            self.link_seen[index] = self.round;
            self.room[index] = links[index].capacity;
            self.open[index] = links[index].flows.len() as u32;
            self.links.push(link);
        }
    }
}
