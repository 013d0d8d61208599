//! Links and the transfers that share them.
//!
//! A flow is the part of one data frame that is still to be sent, over a fixed path of links. Rates change when a flow
//! begins or ends and when a link changes; between such moments bytes flow evenly. [`Sharing`] says how exactly.

mod fair;
#[cfg(test)]
mod tests;

use super::alarms::Alarms;
use super::clock::Nanos;
use crate::plan::Sharing;
use fair::Filling;

/// One direction of a cable.
pub(super) type LinkId = u32;
/// A transfer that is under way.
pub(super) type FlowId = u32;

/// The bottleneck of a flow that has no rate yet.
const NO_LINK: LinkId = LinkId::MAX;
/// Links of one path at most: a device's, up to two between segments, a device's, and the connection's own.
const PATH_MAX: usize = 5;

/// The links that a flow crosses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Path {
    links: [LinkId; PATH_MAX],
    len: u8,
}

impl Path {
    pub(super) fn new(links: &[LinkId]) -> Self {
        let mut path = Self::default();
        for link in links.iter().take(PATH_MAX) {
            path.links[path.len as usize] = *link;
            path.len += 1;
        }
        path
    }

    fn iter(&self) -> std::slice::Iter<'_, LinkId> {
        self.links[..self.len as usize].iter()
    }
}

#[derive(Debug)]
struct Link {
    /// Bytes per nanosecond.
    capacity: f64,
    flows: Vec<FlowId>,
    /// Of `capacity`, by the flows of now.
    used: f64,
    carried: u64,
}

#[derive(Debug)]
struct Flow {
    path: Path,
    /// As of `since`.
    remaining: f64,
    /// Bytes per nanosecond.
    rate: f64,
    /// The full link that holds it back.
    bottleneck: LinkId,
    since: Nanos,
    bytes: u64,
    owner: u64,
}

/// All links and flows.
#[derive(Debug)]
pub(super) struct Network {
    sharing: Sharing,
    links: Vec<Link>,
    flows: Vec<Flow>,
    free: Vec<FlowId>,
    ends: Alarms,
    filling: Filling,
}

impl Network {
    pub(super) fn new(sharing: Sharing) -> Self {
        Self {
            sharing,
            links: Vec::new(),
            flows: Vec::new(),
            free: Vec::new(),
            ends: Alarms::default(),
            filling: Filling::default(),
        }
    }

    /// A link of so many bits per second.
    pub(super) fn add_link(&mut self, bits_per_second: u64) -> LinkId {
        let capacity = bits_per_second as f64 / 8e9;
        self.links.push(Link { capacity, flows: Vec::new(), used: 0.0, carried: 0 });
        (self.links.len() - 1) as LinkId
    }

    /// Changes the rate of a link; with 0 its flows stand still.
    pub(super) fn set_rate(&mut self, link: LinkId, bits_per_second: u64, now: Nanos) {
        self.links[link as usize].capacity = bits_per_second as f64 / 8e9;
        self.links[link as usize]
            .flows
            .iter()
            .for_each(|flow| self.flows[*flow as usize].bottleneck = NO_LINK);
        self.share(&[link], now);
    }

    /// Begins to send; `owner` comes back at the end.
    pub(super) fn start(&mut self, path: Path, bytes: u64, owner: u64, now: Nanos) -> FlowId {
        let flow =
            Flow { path, remaining: bytes as f64, rate: 0.0, bottleneck: NO_LINK, since: now, bytes, owner };
        let id = match self.free.pop() {
            Some(id) => {
                self.flows[id as usize] = flow;
                id
            }
            None => {
                self.flows.push(flow);
                (self.flows.len() - 1) as FlowId
            }
        };
        for link in path.iter() {
            self.links[*link as usize].flows.push(id);
        }
        self.share(&path.links[..path.len as usize], now);
        id
    }

    /// When the next flow ends, and which.
    pub(super) fn next_end(&self) -> Option<(Nanos, FlowId)> {
        self.ends.next()
    }

    /// Takes a flow away, ended or not; its owner.
    pub(super) fn stop(&mut self, id: FlowId, now: Nanos) -> u64 {
        self.ends.set(id, None);
        let flow = &mut self.flows[id as usize];
        let (path, rate, owner) = (flow.path, flow.rate, flow.owner);
        let left = (flow.remaining - rate * (now.0 - flow.since.0) as f64).max(0.0);
        let sent = flow.bytes - (left as u64).min(flow.bytes);
        flow.path.len = 0;
        for link in path.iter() {
            let link = &mut self.links[*link as usize];
            link.carried += sent;
            link.used -= rate;
            if let Some(at) = link.flows.iter().position(|other| *other == id) {
                link.flows.swap_remove(at);
            }
            if link.flows.is_empty() {
                // What rounding left over.
                link.used = 0.0;
            }
        }
        self.free.push(id);
        self.share(&path.links[..path.len as usize], now);
        owner
    }

    /// Bytes that ended flows sent over a link.
    pub(super) fn carried(&self, link: LinkId) -> u64 {
        self.links[link as usize].carried
    }

    /// Bytes that a link carried until now, those of running flows too.
    pub(super) fn carried_until(&self, link: LinkId, now: Nanos) -> u64 {
        let link = &self.links[link as usize];
        let running = link.flows.iter().map(|id| {
            let flow = &self.flows[*id as usize];
            let left = (flow.remaining - flow.rate * (now.0 - flow.since.0) as f64).max(0.0);
            flow.bytes.saturating_sub(left as u64)
        });
        link.carried + running.sum::<u64>()
    }

    /// Whether a link has next to no room left, so that its queue is long.
    pub(super) fn is_full(&self, link: LinkId) -> bool {
        let link = &self.links[link as usize];
        link.used >= link.capacity * 0.95
    }

    fn share(&mut self, from: &[LinkId], now: Nanos) {
        match self.sharing {
            Sharing::Exact => {
                let mut filling = std::mem::take(&mut self.filling);
                let here = from.iter().flat_map(|link| &self.links[*link as usize].flows).copied();
                let is_touched = |flow: &FlowId| {
                    let bottleneck = self.flows[*flow as usize].bottleneck;
                    bottleneck == NO_LINK || from.contains(&bottleneck)
                };
                filling.fill(here.filter(is_touched), &self.links, &self.flows);
                for (flow, rate, bottleneck) in filling.results() {
                    self.flows[flow as usize].bottleneck = bottleneck;
                    self.set_flow_rate(flow, rate, now);
                }
                self.filling = filling;
            }
            Sharing::Local => {
                let near: Vec<FlowId> =
                    from.iter().flat_map(|l| &self.links[*l as usize].flows).copied().collect();
                for id in near {
                    let flow = &self.flows[id as usize];
                    let part = |link: &LinkId| {
                        let link = &self.links[*link as usize];
                        link.capacity / link.flows.len() as f64
                    };
                    let rate = flow.path.iter().map(part).fold(f64::INFINITY, f64::min);
                    self.set_flow_rate(id, rate, now);
                }
            }
        }
    }

    fn set_flow_rate(&mut self, id: FlowId, rate: f64, now: Nanos) {
        let flow = &mut self.flows[id as usize];
        // A change within rounding would only move the end by less than a nanosecond.
        if (rate - flow.rate).abs() <= flow.rate * 1e-12 {
            return;
        }
        flow.remaining = (flow.remaining - flow.rate * (now.0 - flow.since.0) as f64).max(0.0);
        flow.since = now;
        let change = rate - flow.rate;
        flow.rate = rate;
        let end = (rate > 0.0).then(|| now.plus((flow.remaining / rate).ceil() as u64));
        for link in flow.path.iter() {
            self.links[*link as usize].used += change;
        }
        self.ends.set(id, end);
    }
}
