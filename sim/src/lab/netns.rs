//! The network of a run: one bridge, a namespace for each party, links of known rate.
//!
//! ```text
//!   PREFIX-hub:  br0 -- p0 | p1 | ... | ps          egress of pN shaped: a device's downlink
//!                       |    |          |
//!   PREFIX-dN:        eth0 eth0       eth0          egress of eth0 shaped: an uplink
//! ```
//!
//! A segment of the plan has a bridge `br1`, `br2`, ... of its own, which a cable joins to `br0`; its devices' ports are
//! there.
//!
//! Shaping is tbf; rates are layer-2 rates, as the bounds want. Segmentation offload is off, or the counters would
//! miss the headers of the segments. Neighbours are permanent: the kernel's table of 1024 entries is shared by all
//! namespaces and overflows silently. IPv6 is off, so that every party has one address. Every interface lives in a
//! namespace of this run, so deleting those removes everything; dropping [`Net`] does.

use super::cable::Cables;
use super::{keeper, tools};
use crate::plan::{Party, Plan, Queue, Rate};
use anyhow::Context;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The switch of the seeder and of all that are in no segment.
const SWITCH: &str = "br0";
/// The kernel's list of congestion controls that a namespace other than the first may use.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
/// Milliseconds of traffic that a link may send at once after a silence; less loses rate on a busy machine.
const BURST_MS: u64 = 5;
/// Several full packets, below which slow links would hardly move.
const BURST_BYTES_MIN: u64 = 8 * 1024;
const QUEUE_BYTES_MIN: u64 = 32 * 1024;

/// The namespaces of one run; they go when this is dropped.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    devices: usize,
    namespaces: Vec<String>,
    cables: Cables,
    allowed_before: Option<String>,
}

impl Net {
    /// Makes the network of a plan. Names carry this process's id, so that runs do not meet; relays log below `dir`.
    pub fn create(plan: &Plan, dir: &Path) -> anyhow::Result<Self> {
        let (prefix, devices) = (keeper::prefix(), plan.devices.count);
        let (namespaces, cables) = (Vec::new(), Cables::new(dir));
        let mut net = Self { prefix, devices, namespaces, cables, allowed_before: None };
        net.allow(&plan.network.congestion_control)?;
        net.add_namespace(net.hub())?;
        net.add_switch(SWITCH)?;
        for segment in 0..plan.segments.len() {
            net.add_segment(segment, plan).with_context(|| format!("cannot make segment {segment}"))?;
        }
        for party in 0..=devices {
            net.add_party(party, plan)
                .with_context(|| format!("cannot make the link of {}", net.name(party)))?;
        }
        Ok(net)
    }

    /// The namespace of a device.
    pub fn device(&self, device: usize) -> String {
        self.name(device)
    }

    /// The namespace of the seeder.
    pub fn seeder(&self) -> String {
        self.name(self.devices)
    }

    /// The address of a device.
    pub fn address(&self, device: usize) -> String {
        ip_address(device)
    }

    /// The congestion control that the namespaces really use.
    pub fn congestion_control(&self) -> anyhow::Result<String> {
        let key = "/proc/sys/net/ipv4/tcp_congestion_control";
        let mut found = Vec::new();
        for namespace in self.namespaces.iter().filter(|name| **name != self.hub()) {
            let name = tools::run("ip", &["netns", "exec", namespace, "cat", key])?.trim().to_owned();
            if !found.contains(&name) {
                found.push(name);
            }
        }
        Ok(found.join(", "))
    }

    /// Makes a device's link carry nothing, or carry again.
    pub fn set_link(&self, device: usize, up: bool) -> anyhow::Result<()> {
        let state = if up { "up" } else { "down" };
        tools::batch("ip", &self.hub(), &[format!("link set {} {state}", self.port(device))])
    }

    /// Makes the seeder's link carry nothing, or carry again.
    pub fn set_seeder_link(&self, up: bool) -> anyhow::Result<()> {
        self.set_link(self.devices, up)
    }

    /// Every byte that left on the seeder's link so far, Ethernet headers included, lost ones too.
    pub fn seeder_wire_bytes(&self) -> anyhow::Result<u64> {
        let text = tools::run("ip", &["-n", &self.seeder(), "-s", "-j", "link", "show"])?;
        sent_bytes(&text)?.get("eth0").copied().context("the seeder's link is not counted")
    }

    /// Ends the relays; what each did, a sentence for each.
    pub fn end_relays(&mut self) -> Vec<String> {
        self.cables.end()
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    /// Parties are the devices, and after the last one the seeder.
    fn name(&self, party: usize) -> String {
        if party == self.devices { format!("{}-s", self.prefix) } else { format!("{}-d{party}", self.prefix) }
    }

    fn port(&self, party: usize) -> String {
        if party == self.devices { "ps".into() } else { format!("p{party}") }
    }

    /// A namespace uses only what the first one allows.
    fn allow(&mut self, algorithm: &str) -> anyhow::Result<()> {
        let before = fs::read_to_string(ALLOWED).with_context(|| format!("cannot read {ALLOWED}"))?;
        if before.split_whitespace().any(|name| name == algorithm) {
            return Ok(());
        }
        fs::write(ALLOWED, format!("{} {algorithm}", before.trim())).with_context(|| {
            format!("the kernel has no congestion control {algorithm:?} (network.congestion_control)")
        })?;
        self.allowed_before = Some(before);
        Ok(())
    }

    fn add_namespace(&mut self, name: String) -> anyhow::Result<()> {
        tools::run("ip", &["netns", "add", &name])?;
        self.namespaces.push(name);
        Ok(())
    }

    fn add_switch(&self, name: &str) -> anyhow::Result<()> {
        let bridge = format!("link add {name} type bridge forward_delay 0 mcast_snooping 0");
        tools::batch("ip", &self.hub(), &[bridge, format!("link set {name} up")])
    }

    /// A switch for a segment, and the link that joins it to the common one.
    fn add_segment(&mut self, segment: usize, plan: &Plan) -> anyhow::Result<()> {
        let (hub, switch, of) = (self.hub(), segment_switch(segment), &plan.segments[segment]);
        let [near, far] = [format!("t{segment}"), format!("s{segment}")];
        self.add_switch(&switch)?;
        self.cables.lay(&hub, [&near, &far], &of.link, &format!("segment {segment}"))?;
        let joined =
            [format!("link set {near} master {SWITCH} up"), format!("link set {far} master {switch} up")];
        tools::batch("ip", &hub, &joined)?;
        for (interface, rate) in [(&near, of.down.0), (&far, of.up.0)] {
            without_offload(&hub, interface)?;
            shape(&hub, interface, rate, of.link.queue)?;
        }
        Ok(())
    }

    fn add_party(&mut self, party: usize, plan: &Plan) -> anyhow::Result<()> {
        let (name, port, hub) = (self.name(party), self.port(party), self.hub());
        self.add_namespace(name.clone())?;
        let set = format!(
            "cd /proc/sys/net && echo 1 > ipv6/conf/all/disable_ipv6; echo {} > ipv4/tcp_congestion_control",
            plan.network.congestion_control
        );
        tools::run("ip", &["netns", "exec", &name, "sh", "-c", &set])?;
        let who = if party == self.devices { Party::Seeder } else { Party::Device(party) };
        let (link, far) = (plan.link_of(who), format!("r{port}"));
        self.cables.lay(&hub, [&port, &far], &link, &name)?;
        let switch = plan.segment_of(party).map_or(SWITCH.to_owned(), segment_switch);
        let outside = [
            format!("link set {far} address {}", mac_address(party)),
            format!("link set {far} netns {name}"),
            format!("link set {port} master {switch} up"),
        ];
        tools::batch("ip", &hub, &outside)?;
        let mut inside = vec![
            "link set lo up".to_owned(),
            format!("link set {far} name eth0"),
            format!("addr add {}/16 broadcast + dev eth0", ip_address(party)),
            "link set eth0 up".to_owned(),
            "route add 224.0.0.0/4 dev eth0".to_owned(),
        ];
        let others = (0..=self.devices).filter(|other| *other != party);
        inside.extend(others.map(|other| {
            format!("neigh add {} lladdr {} dev eth0 nud permanent", ip_address(other), mac_address(other))
        }));
        tools::batch("ip", &name, &inside)?;
        without_offload(&name, "eth0")?;
        without_offload(&hub, &port)?;
        let up = if party == self.devices { plan.seeder.up.0 } else { plan.rates(party).up };
        shape(&name, "eth0", up, link.queue)?;
        if party < self.devices {
            shape(&hub, &port, plan.rates(party).down, link.queue)?;
        }
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.cables.end();
        for namespace in &self.namespaces {
            if let Err(error) = tools::run("ip", &["netns", "del", namespace]) {
                eprintln!("lab: namespace {namespace} stays behind: {error:#}");
            }
        }
        if let Some(before) = &self.allowed_before {
            // Only what this run added; a failure leaves one more allowed algorithm, which harms nothing.
            let _ = fs::write(ALLOWED, before);
        }
    }
}

fn segment_switch(segment: usize) -> String {
    format!("br{}", segment + 1)
}

fn without_offload(namespace: &str, interface: &str) -> anyhow::Result<()> {
    let ethtool = ["netns", "exec", namespace, "ethtool", "-K", interface];
    tools::run("ip", &[&ethtool[..], &["tso", "off", "gso", "off", "gro", "off"]].concat()).map(drop)
}

fn ip_address(party: usize) -> String {
    format!("10.83.{}.{}", party / 200, party % 200 + 1)
}

fn mac_address(party: usize) -> String {
    format!("02:53:4d:00:{:02x}:{:02x}", party / 256, party % 256)
}

/// Gives an interface its rate, if it has one.
fn shape(namespace: &str, interface: &str, rate: u64, queue: Queue) -> anyhow::Result<()> {
    if rate == Rate::UNLIMITED.0 {
        return Ok(());
    }
    tools::batch("tc", namespace, &[shaping(interface, rate, queue)])
}

fn shaping(interface: &str, rate: u64, queue: Queue) -> String {
    let burst = (rate / 8000 * BURST_MS).max(BURST_BYTES_MIN);
    let queue = queue.bytes(rate).max(QUEUE_BYTES_MIN) + burst;
    format!("qdisc add dev {interface} root tbf rate {rate}bit burst {burst} limit {queue}")
}

/// Bytes sent on each interface, of `ip -s -j link show`.
fn sent_bytes(json: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let links: Vec<serde_json::Value> = serde_json::from_str(json).context("ip printed no JSON")?;
    let counted = |link: &serde_json::Value| {
        let name = link.get("ifname")?.as_str()?.to_owned();
        Some((name, link.pointer("/stats64/tx/bytes")?.as_u64()?))
    };
    Ok(links.iter().filter_map(counted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Link;

    #[test]
    fn a_link_is_shaped_to_its_rate_with_a_short_queue() {
        assert_eq!(
            shaping("eth0", 20_000_000, Link::default().queue),
            "qdisc add dev eth0 root tbf rate 20000000bit burst 12500 limit 137500"
        );
        let bytes = shaping("p1", 1_000, Queue::Bytes(40_000));
        assert_eq!(bytes, "qdisc add dev p1 root tbf rate 1000bit burst 8192 limit 48192");
        let least = shaping("p1", 1_000, Link::default().queue);
        assert_eq!(least, "qdisc add dev p1 root tbf rate 1000bit burst 8192 limit 40960");
    }

    #[test]
    fn no_two_parties_have_the_same_address() {
        let ips: std::collections::BTreeSet<String> = (0..=250).map(ip_address).collect();
        let macs: std::collections::BTreeSet<String> = (0..=250).map(mac_address).collect();
        assert_eq!((ips.len(), macs.len()), (251, 251));
    }

    #[test]
    fn counters_are_read_from_the_json_of_ip() {
        let json = r#"[{"ifname":"lo"},{"ifname":"eth0","stats64":{"rx":{"bytes":7},"tx":{"bytes":1514}}}]"#;
        assert_eq!(sent_bytes(json).unwrap(), BTreeMap::from([("eth0".to_owned(), 1514)]));
    }
}
