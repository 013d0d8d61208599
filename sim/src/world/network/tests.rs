//! Who gets how much of which link, against a naive water filling and by hand.

use super::*;
use samara_protocol::rng::Prng;

const MBIT: u64 = 1_000_000;

fn network(rates: &[u64]) -> Network {
    let mut network = Network::new(Sharing::Exact);
    rates.iter().for_each(|rate| {
        network.add_link(*rate);
    });
    network
}

fn mbit(network: &Network, flow: FlowId) -> f64 {
    (network.flows[flow as usize].rate * 8e9 / 1e6 * 1e6).round() / 1e6
}

fn start(network: &mut Network, path: &[LinkId]) -> FlowId {
    network.start(Path::new(path), 1_000_000, 0, Nanos(0))
}

#[test]
fn a_flow_that_is_held_back_elsewhere_leaves_its_part_to_others() {
    let mut network = network(&[100 * MBIT, 10 * MBIT, 100 * MBIT]);
    let slow = start(&mut network, &[0, 1]);
    let fast = start(&mut network, &[0, 2]);
    assert_eq!((mbit(&network, slow), mbit(&network, fast)), (10.0, 90.0));
    assert!(network.is_full(0) && network.is_full(1) && !network.is_full(2));
}

#[test]
fn an_ended_flow_gives_its_part_back() {
    let mut network = network(&[100 * MBIT, 100 * MBIT, 100 * MBIT]);
    let one = start(&mut network, &[0, 1]);
    let two = start(&mut network, &[0, 2]);
    assert_eq!((mbit(&network, one), mbit(&network, two)), (50.0, 50.0));
    let (at, first) = network.next_end().unwrap();
    assert_eq!((at, first), (Nanos(160_000_000), one));
    network.stop(one, at);
    assert_eq!(network.next_end(), Some((at, two)));
    assert_eq!((network.carried(0), network.carried(2)), (1_000_000, 0));
}

#[test]
fn on_a_dead_link_a_flow_stands_still_and_goes_on_later() {
    let mut network = network(&[8 * MBIT, 100 * MBIT]);
    let flow = start(&mut network, &[0, 1]);
    network.set_rate(0, 0, Nanos(500_000_000));
    assert_eq!(network.next_end(), None);
    network.set_rate(0, 8 * MBIT, Nanos(2_000_000_000));
    assert_eq!(network.next_end(), Some((Nanos(2_500_000_000), flow)));
}

#[test]
fn no_rate_can_rise_without_lowering_one_that_is_not_higher() {
    let mut rng = Prng::new(11);
    for _ in 0..300 {
        let links = 2 + rng.below(12);
        let rates: Vec<u64> = (0..links).map(|_| (1 + rng.below(200)) as u64 * MBIT).collect();
        let mut network = network(&rates);
        let mut flows = Vec::new();
        for step in 0..60 {
            if rng.below(3) == 0 && !flows.is_empty() {
                let flow = flows.swap_remove(rng.below(flows.len()));
                network.stop(flow, Nanos(step));
            } else {
                let (a, b) = (rng.below(links), rng.below(links));
                let path = if a == b { vec![a as LinkId] } else { vec![a as LinkId, b as LinkId] };
                flows.push(network.start(Path::new(&path), 1 << 40, 0, Nanos(step)));
            }
            assert_max_min(&network, &flows);
        }
    }
}

/// Every flow has a full link on which no flow is faster: the characterisation of max-min fairness.
fn assert_max_min(network: &Network, flows: &[FlowId]) {
    let rate = |flow: &FlowId| network.flows[*flow as usize].rate;
    for link in &network.links {
        let sum: f64 = link.flows.iter().map(rate).sum();
        assert!(sum <= link.capacity * (1.0 + 1e-9), "{sum} of {}", link.capacity);
        assert!((sum - link.used).abs() <= 1e-9 * link.capacity);
    }
    for flow in flows {
        let is_bottleneck = |link: &LinkId| {
            let link = &network.links[*link as usize];
            let sum: f64 = link.flows.iter().map(rate).sum();
            let fastest = link.flows.iter().map(rate).fold(0.0, f64::max);
            sum >= link.capacity * (1.0 - 1e-9) && rate(flow) >= fastest * (1.0 - 1e-9)
        };
        assert!(network.flows[*flow as usize].path.iter().any(is_bottleneck));
    }
}
