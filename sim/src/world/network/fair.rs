//! Max-min fair sharing: what TCP flows of equal round trips come close to.
//!
//! Progressive filling (Bertsekas, Gallager: Data Networks, 1992, section 6.5.2): all rates rise together; a flow stops
//! where a link of its path is full, its bottleneck. Rates are fair exactly when every flow has a full link on which no
//! other flow is faster. A change therefore begins with the flows whose bottleneck it touches; the others keep their
//! rates until one of them is no longer justified, which then joins in. That is exact, and mostly concerns few.

use super::{Flow, Link};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Working memory that survives from call to call.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// Flows that get a new rate, and a mark by which they are known.
    flows: Vec<u32>,
    call: u32,
    flow_call: Vec<u32>,
    rate: Vec<f64>,
    bottleneck: Vec<u32>,
    /// Links that they cross.
    links: Vec<u32>,
    pass: u32,
    link_pass: Vec<u32>,
    /// What the flows that keep their rates leave.
    room: Vec<f64>,
    open: Vec<u32>,
    /// The rate of the flows that a link holds back.
    level: Vec<f64>,
    /// Links by what each of their open flows could have when it was last looked; bits of positive floats are in order.
    shares: BinaryHeap<Reverse<(u64, u32)>>,
    unfair: Vec<u32>,
}

/// The rate of a flow that is not fixed yet.
const OPEN: f64 = -1.0;
/// Differences below this part are rounding.
const EPSILON: f64 = 1e-9;

impl Filling {
    /// Gives the flows of `first`, and all whose rates theirs make unfair, their fair rates; they are then in
    /// [`Self::results`].
    pub(super) fn fill(&mut self, first: impl Iterator<Item = u32>, links: &[Link], flows: &[Flow]) {
        self.call += 1;
        self.flows.clear();
        self.flow_call.resize(flows.len(), 0);
        self.rate.resize(flows.len(), 0.0);
        self.bottleneck.resize(flows.len(), 0);
        self.link_pass.resize(links.len(), 0);
        self.room.resize(links.len(), 0.0);
        self.open.resize(links.len(), 0);
        self.level.resize(links.len(), 0.0);
        first.for_each(|flow| self.join(flow));
        let mut settled = 0;
        while settled < self.flows.len() {
            settled = self.flows.len();
            self.look(links, flows);
            self.raise(links, flows);
            self.find_unfair(links, flows);
        }
    }

    /// The flows of the last call, their rates and bottlenecks.
    pub(super) fn results(&self) -> impl Iterator<Item = (u32, f64, u32)> {
        self.flows.iter().map(|flow| (*flow, self.rate[*flow as usize], self.bottleneck[*flow as usize]))
    }

    fn join(&mut self, flow: u32) {
        if self.flow_call[flow as usize] != self.call {
            self.flow_call[flow as usize] = self.call;
            self.flows.push(flow);
        }
    }

    fn takes_part(&self, flow: u32) -> bool {
        self.flow_call[flow as usize] == self.call
    }

    /// What the links have for the flows that take part.
    fn look(&mut self, links: &[Link], flows: &[Flow]) {
        self.pass += 1;
        self.links.clear();
        for at in 0..self.flows.len() {
            let flow = self.flows[at];
            self.rate[flow as usize] = OPEN;
            for &link in flows[flow as usize].path.iter() {
                if self.link_pass[link as usize] == self.pass {
                    continue;
                }
                self.link_pass[link as usize] = self.pass;
                self.links.push(link);
                let (mut room, mut open) = (links[link as usize].capacity, 0);
                for &other in &links[link as usize].flows {
                    if self.takes_part(other) {
                        open += 1;
                    } else {
                        room -= flows[other as usize].rate;
                    }
                }
                self.room[link as usize] = room;
                self.open[link as usize] = open;
                self.level[link as usize] = f64::INFINITY;
            }
        }
    }

    fn raise(&mut self, links: &[Link], flows: &[Flow]) {
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
            self.level[link as usize] = share;
            for &flow in &links[link as usize].flows {
                if self.takes_part(flow) && self.rate[flow as usize] == OPEN {
                    self.fix(flow, share, link, &flows[flow as usize]);
                }
            }
        }
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

    fn fix(&mut self, id: u32, rate: f64, bottleneck: u32, flow: &Flow) {
        self.rate[id as usize] = rate;
        self.bottleneck[id as usize] = bottleneck;
        for &link in flow.path.iter() {
            self.room[link as usize] -= rate;
            self.open[link as usize] -= 1;
        }
    }

    /// Flows that kept their rates, and have more than their part of a link or not all of it any more.
    fn find_unfair(&mut self, links: &[Link], flows: &[Flow]) {
        let mut unfair = std::mem::take(&mut self.unfair);
        for &link in &self.links {
            let Link { capacity, flows: here, .. } = &links[link as usize];
            let rate = |flow: u32| {
                if self.takes_part(flow) { self.rate[flow as usize] } else { flows[flow as usize].rate }
            };
            let rates = || here.iter().map(|flow| rate(*flow));
            let is_full = rates().sum::<f64>() >= capacity * (1.0 - EPSILON);
            let fastest = rates().fold(0.0, f64::max);
            let level = self.level[link as usize];
            unfair.extend(here.iter().copied().filter(|flow| !self.takes_part(*flow)).filter(|flow| {
                let flow = &flows[*flow as usize];
                let is_held_back = is_full && flow.rate >= fastest * (1.0 - EPSILON);
                flow.rate > level * (1.0 + EPSILON) || (flow.bottleneck == link && !is_held_back)
            }));
        }
        unfair.drain(..).for_each(|flow| self.join(flow));
        self.unfair = unfair;
    }
}
