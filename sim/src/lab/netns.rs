//! The network of a run: one bridge, a namespace for each party, links of known rate.
//!
//! ```text
//!   PREFIX-hub:  br0 -- p0 | p1 | ... | ps          egress of pN shaped: a device's downlink
//!                       |    |          |
//!   PREFIX-dN:        eth0 eth0       eth0          egress of eth0 shaped: an uplink
//! ```
//!
//! Shaping is tbf; rates are layer-2 rates, as the bounds want. Segmentation offload is off, or the counters would
//! miss the headers of the segments. Neighbours are permanent: the kernel's table of 1024 entries is shared by all
//! namespaces and overflows silently. IPv6 is off, so that every party has one address. Every interface lives in a
//! namespace of this run, so deleting those removes everything; dropping [`Net`] does.

use super::tools;
use crate::plan::Plan;
use anyhow::Context;
use std::collections::BTreeMap;
use std::fs;

/// The kernel's list of congestion controls that a namespace other than the first may use.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
/// Milliseconds of traffic that a link may send at once after a silence; less loses rate on a busy machine.
const BURST_MS: u64 = 5;
/// Milliseconds of traffic that wait before a link before packets are dropped: a small switch's buffer.
const QUEUE_MS: u64 = 50;
/// Several full packets, below which slow links would hardly move.
const BURST_BYTES_MIN: u64 = 8 * 1024;
const QUEUE_BYTES_MIN: u64 = 32 * 1024;

/// The namespaces of one run; they go when this is dropped.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    devices: usize,
    namespaces: Vec<String>,
    allowed_before: Option<String>,
}

impl Net {
    /// Makes the network of a plan. Names carry this process's id, so that runs do not meet.
    pub fn create(plan: &Plan) -> anyhow::Result<Self> {
        let devices = plan.devices.count;
        let prefix = format!("samara-{}", std::process::id());
        let mut net = Self { prefix, devices, namespaces: Vec::new(), allowed_before: None };
        net.allow(&plan.network.congestion_control)?;
        net.add_namespace(net.hub())?;
        let bridge = ["link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up"];
        tools::batch("ip", &net.hub(), &bridge.map(String::from))?;
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

    /// Every byte that left on the seeder's link so far, Ethernet headers included.
    pub fn seeder_wire_bytes(&self) -> anyhow::Result<u64> {
        let text = tools::run("ip", &["-n", &self.hub(), "-s", "-j", "link", "show"])?;
        let counted = received_bytes(&text)?;
        counted.get(&self.port(self.devices)).copied().context("the seeder's link is not counted")
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

    fn add_party(&mut self, party: usize, plan: &Plan) -> anyhow::Result<()> {
        let (name, port, hub) = (self.name(party), self.port(party), self.hub());
        self.add_namespace(name.clone())?;
        let set = format!(
            "cd /proc/sys/net && echo 1 > ipv6/conf/all/disable_ipv6; echo {} > ipv4/tcp_congestion_control",
            plan.network.congestion_control
        );
        tools::run("ip", &["netns", "exec", &name, "sh", "-c", &set])?;
        let link = [
            format!("link add {port} type veth peer name eth0 address {} netns {name}", mac_address(party)),
            format!("link set {port} master br0 up"),
        ];
        tools::batch("ip", &hub, &link)?;
        let mut inside = vec![
            "link set lo up".to_owned(),
            format!("addr add {}/16 broadcast + dev eth0", ip_address(party)),
            "link set eth0 up".to_owned(),
            "route add 224.0.0.0/4 dev eth0".to_owned(),
        ];
        let others = (0..=self.devices).filter(|other| *other != party);
        inside.extend(others.map(|other| {
            format!("neigh add {} lladdr {} dev eth0 nud permanent", ip_address(other), mac_address(other))
        }));
        tools::batch("ip", &name, &inside)?;
        for (namespace, interface) in [(&name, "eth0"), (&hub, port.as_str())] {
            let offload = ["-K", interface, "tso", "off", "gso", "off", "gro", "off"];
            tools::run("ip", &[&["netns", "exec", namespace, "ethtool"], &offload[..]].concat())?;
        }
        let up = if party == self.devices { plan.seeder.up.0 } else { plan.link(party).up };
        tools::batch("tc", &name, &[shaping("eth0", up)])?;
        if party < self.devices {
            tools::batch("tc", &hub, &[shaping(&port, plan.link(party).down)])?;
        }
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
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

fn ip_address(party: usize) -> String {
    format!("10.83.{}.{}", party / 200, party % 200 + 1)
}

fn mac_address(party: usize) -> String {
    format!("02:53:4d:00:{:02x}:{:02x}", party / 256, party % 256)
}

fn shaping(interface: &str, rate: u64) -> String {
    let bytes_per_ms = rate / 8000;
    let burst = (bytes_per_ms * BURST_MS).max(BURST_BYTES_MIN);
    let queue = (bytes_per_ms * QUEUE_MS).max(QUEUE_BYTES_MIN) + burst;
    format!("qdisc add dev {interface} root tbf rate {rate}bit burst {burst} limit {queue}")
}

/// Bytes received on each interface, of `ip -s -j link show`.
fn received_bytes(json: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let links: Vec<serde_json::Value> = serde_json::from_str(json).context("ip printed no JSON")?;
    let counted = |link: &serde_json::Value| {
        let name = link.get("ifname")?.as_str()?.to_owned();
        Some((name, link.pointer("/stats64/rx/bytes")?.as_u64()?))
    };
    Ok(links.iter().filter_map(counted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_shaped_to_its_rate_with_a_short_queue() {
        assert_eq!(
            shaping("eth0", 20_000_000),
            "qdisc add dev eth0 root tbf rate 20000000bit burst 12500 limit 137500"
        );
        assert_eq!(shaping("p1", 1_000), "qdisc add dev p1 root tbf rate 1000bit burst 8192 limit 40960");
    }

    #[test]
    fn no_two_parties_have_the_same_address() {
        let ips: std::collections::BTreeSet<String> = (0..=250).map(ip_address).collect();
        let macs: std::collections::BTreeSet<String> = (0..=250).map(mac_address).collect();
        assert_eq!((ips.len(), macs.len()), (251, 251));
    }

    #[test]
    fn counters_are_read_from_the_json_of_ip() {
        let json = r#"[{"ifname":"lo"},{"ifname":"ps","stats64":{"rx":{"bytes":1514},"tx":{"bytes":7}}}]"#;
        assert_eq!(received_bytes(json).unwrap(), BTreeMap::from([("ps".to_owned(), 1514)]));
    }
}
