//! Lower bounds, percentiles and the report of a run: once, for the demo, the lab and the simulator.
//!
//! Nothing here measures. A driver hands over what it saw ([`Run`]) and gets the numbers by which one run may be
//! compared with another ([`RunReport`]): JSON with stable keys, or a table for people. Floats use + − × ÷ only,
//! so a report is the same on every machine. Times are seconds, rates are bits per second on the wire.

mod render;

use serde::{Deserialize, Serialize};

/// The two directions of one device's link, in bits per second at layer 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRates {
    /// From the device into the network.
    pub up: u64,
    /// From the network to the device.
    pub down: u64,
}

/// What no schedule can get around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The seeder must send every byte once: F/u_s.
    SeederUplink,
    /// The device with the slowest downlink must receive every byte: F/d_min.
    SlowestDownlink,
    /// All uplinks together must carry a copy for each device: N·F/(u_s+Σu_i).
    AllUplinks,
    /// The slowest link to a part of the site.
    SegmentLink,
}

/// The fastest any schedule can be, and why.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LowerBound {
    /// From the seeder's start until the last device has everything.
    pub seconds: f64,
    /// The largest of the bounds; of equal ones the first.
    pub limit: Limit,
}

/// The fastest any schedule can bring `artifact_bytes` from one seeder to all of `devices`.
///
/// `max(F/u_s, F/d_min, N·F/(u_s+Σu_i))`, the fluid bound of Kumar and Ross (2006). It knows no headers: with an MTU
/// of 1500 TCP alone stays 4.6 % above it. `None` without devices, or where a rate is zero.
pub fn lower_bound(artifact_bytes: u64, seeder_up: u64, devices: &[LinkRates]) -> Option<LowerBound> {
    let down_min = devices.iter().map(|device| device.down).min()?;
    if seeder_up == 0 || down_min == 0 {
        return None;
    }
    let bits = artifact_bytes as f64 * 8.0;
    let up_total = devices.iter().fold(seeder_up as f64, |sum, device| sum + device.up as f64);
    let seeder = LowerBound { seconds: bits / seeder_up as f64, limit: Limit::SeederUplink };
    let others = [
        LowerBound { seconds: bits / down_min as f64, limit: Limit::SlowestDownlink },
        LowerBound { seconds: bits * devices.len() as f64 / up_total, limit: Limit::AllUplinks },
    ];
    Some(
        others
            .into_iter()
            .fold(seeder, |most, bound| if bound.seconds > most.seconds { bound } else { most }),
    )
}

/// The seconds of [`lower_bound`].
pub fn lower_bound_seconds(artifact_bytes: u64, seeder_up: u64, devices: &[LinkRates]) -> Option<f64> {
    lower_bound(artifact_bytes, seeder_up, devices).map(|bound| bound.seconds)
}

/// The time of the optimal schedule of whole pieces, the binomial pipeline, in seconds: a piece can be passed on only
/// when it is whole, and each uplink sends one piece at a time.
///
/// Where all links are equal it is reached: `M + ⌊log2 N⌋` rounds of one piece ([`lower_bound_rounds`]; Ganesan and
/// Seshadri 2005, Mundinger, Weber, Weiss 2008). Where the devices are alike and faster than the seeder, the last of
/// its pieces is out after `F/u_s` and must still double `⌊log2 N⌋` times at the devices' rate, which no schedule of
/// whole pieces can beat. `None` for other links, without devices, or where the seeder's rate is zero.
pub fn pipeline_seconds(
    artifact_bytes: u64,
    piece_bytes: u32,
    seeder_up: u64,
    devices: &[LinkRates],
) -> Option<f64> {
    let first = devices.first()?;
    let are_alike = devices.iter().all(|device| device == first);
    if !are_alike || seeder_up == 0 || first.up < seeder_up || first.down < first.up {
        return None;
    }
    let doublings = f64::from(lower_bound_rounds(1, u32::try_from(devices.len()).ok()?) - 1);
    let piece_bits = artifact_bytes.min(u64::from(piece_bytes)) as f64 * 8.0;
    Some(artifact_bytes as f64 * 8.0 / seeder_up as f64 + doublings * piece_bits / first.up as f64)
}

/// The fewest rounds in which `pieces` reach `devices` when every link carries one piece a round: `M + ⌊log2 N⌋`
/// (Mundinger, Weber, Weiss 2008). Zero without pieces or devices.
pub fn lower_bound_rounds(pieces: u32, devices: u32) -> u32 {
    match (pieces, devices.checked_ilog2()) {
        (0, _) | (_, None) => 0,
        (_, Some(doublings)) => pieces.saturating_add(doublings),
    }
}

/// The smallest of `sorted` that at least `per_cent` percent of the values do not exceed (nearest rank).
///
/// `sorted` is ascending, `per_cent` is 1 to 100; `None` without values.
pub fn percentile(sorted: &[f64], per_cent: u32) -> Option<f64> {
    let rank = (sorted.len() as u64 * u64::from(per_cent)).div_ceil(100).max(1);
    sorted.get(usize::try_from(rank).ok()?.min(sorted.len()).checked_sub(1)?).copied()
}

/// What one device did in a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Its name or id.
    pub device: String,
    /// From the start, or from its own arrival if that was later, until it had the whole verified artifact.
    pub seconds: Option<f64>,
    /// Verified artifact bytes that the seeder sent it.
    pub bytes_from_seeder: u64,
    /// Verified artifact bytes that other devices sent it.
    pub bytes_from_peers: u64,
    /// Artifact bytes that it received although it had them.
    #[serde(default)]
    pub duplicate_bytes: u64,
    /// Processor time of its process, user and system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// The most memory that its process held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// When it arrived, if after the start: it then counts in no time of the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_seconds: Option<f64>,
}

/// What a driver saw; the input of [`RunReport::new`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Run {
    /// F: size of the artifact.
    pub artifact_bytes: u64,
    /// The bound of these links ([`lower_bound_seconds`]); `None` where the links have no known rate.
    pub lower_bound_seconds: Option<f64>,
    /// Artifact bytes that the seeder sent, repair included, hashes and framing not.
    pub seeder_bytes: u64,
    /// Every byte that left on the seeder's link, where it can be counted.
    pub seeder_wire_bytes: Option<u64>,
    /// Artifact bytes that the seeder sent although it had sent the same ones before.
    pub repair_bytes: u64,
    /// Artifact bytes that devices received more than once.
    pub duplicate_bytes: u64,
    /// The devices that were to finish: not those that the run took away for good.
    pub devices: Vec<DeviceReport>,
}

/// The numbers of a run. The JSON keys are an interface: scripts and benches read them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// N: devices that were to finish.
    pub devices: usize,
    /// How many did.
    pub verified: usize,
    /// F.
    pub artifact_bytes: u64,
    /// The bound of the links.
    pub lower_bound_seconds: Option<f64>,
    /// Times of the fleet: until the first, ...
    pub first_device_seconds: Option<f64>,
    /// ... half of the devices, ...
    pub median_device_seconds: Option<f64>,
    /// ... 99 of 100 devices, ...
    pub p99_device_seconds: Option<f64>,
    /// ... the last device had it. `None` unless all did.
    pub last_device_seconds: Option<f64>,
    /// Last device ÷ lower bound.
    pub time_ratio: Option<f64>,
    /// Artifact bytes that left the seeder ÷ F.
    pub seeder_copies: f64,
    /// All bytes on the seeder's link ÷ F.
    pub seeder_wire_copies: Option<f64>,
    /// Bytes that the seeder sent a second time.
    pub repair_bytes: u64,
    /// All received artifact bytes, duplicates included, ÷ (N·F): 1 where nothing was sent in vain.
    pub total_copies: f64,
    /// Bytes received more than once.
    pub duplicate_bytes: u64,
    /// The part of the received bytes that came from other devices, 0 to 1.
    pub peer_share: f64,
    /// One entry for each device.
    pub per_device: Vec<DeviceReport>,
}

impl RunReport {
    /// Computes the numbers of a run.
    pub fn new(run: Run) -> Self {
        let at_start = || run.devices.iter().filter(|device| device.joined_seconds.is_none());
        let mut seconds: Vec<f64> = at_start().filter_map(|device| device.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let last = seconds.last().copied().filter(|_| seconds.len() == at_start().count());
        let from_seeder: u64 = run.devices.iter().map(|device| device.bytes_from_seeder).sum();
        let from_peers: u64 = run.devices.iter().map(|device| device.bytes_from_peers).sum();
        let received = from_seeder + from_peers;
        let devices = run.devices.len();
        Self {
            devices,
            verified: run.devices.iter().filter(|device| device.seconds.is_some()).count(),
            artifact_bytes: run.artifact_bytes,
            lower_bound_seconds: run.lower_bound_seconds,
            first_device_seconds: seconds.first().copied(),
            median_device_seconds: percentile(&seconds, 50),
            p99_device_seconds: percentile(&seconds, 99),
            last_device_seconds: last,
            time_ratio: run.lower_bound_seconds.zip(last).map(|(bound, last)| ratio(last, bound)),
            seeder_copies: ratio(run.seeder_bytes as f64, run.artifact_bytes as f64),
            seeder_wire_copies: run.seeder_wire_bytes.map(|b| ratio(b as f64, run.artifact_bytes as f64)),
            repair_bytes: run.repair_bytes,
            total_copies: ratio(
                (received + run.duplicate_bytes) as f64,
                devices as f64 * run.artifact_bytes as f64,
            ),
            duplicate_bytes: run.duplicate_bytes,
            peer_share: ratio(from_peers as f64, received as f64),
            per_device: run.devices,
        }
    }

    /// The most memory that any device's process held.
    pub fn peak_rss_bytes_max(&self) -> Option<u64> {
        self.per_device.iter().filter_map(|device| device.peak_rss_bytes).max()
    }

    /// Mean processor time of the devices that have one.
    pub fn cpu_seconds_mean(&self) -> Option<f64> {
        let known: Vec<f64> = self.per_device.iter().filter_map(|device| device.cpu_seconds).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// The report as a table for people: plain text, no colours, at most 80 columns, ends with a newline.
    pub fn table(&self) -> String {
        render::table(self)
    }
}

/// `part / whole`, and zero of nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000;

    fn fleet(count: usize, up: u64, down: u64) -> Vec<LinkRates> {
        vec![LinkRates { up, down }; count]
    }

    fn device(seconds: Option<f64>, from_seeder: u64, from_peers: u64) -> DeviceReport {
        DeviceReport {
            device: "d".into(),
            seconds,
            bytes_from_seeder: from_seeder,
            bytes_from_peers: from_peers,
            ..DeviceReport::default()
        }
    }

    #[test]
    fn a_weak_seeder_uplink_is_the_bound() {
        let bound = lower_bound_seconds(64 << 20, 20 * MBIT, &fleet(8, 200 * MBIT, 200 * MBIT));
        assert_eq!(bound, Some((64_u64 << 20) as f64 * 8.0 / 20e6));
    }

    #[test]
    fn the_slowest_downlink_is_the_bound_when_it_is_below_the_seeder() {
        let mut devices = fleet(4, 100 * MBIT, 100 * MBIT);
        devices[2].down = 8 * MBIT;
        assert_eq!(lower_bound_seconds(1_000_000, 50 * MBIT, &devices), Some(1.0));
    }

    #[test]
    fn weak_device_uplinks_together_are_the_bound() {
        // 10 devices want 10 copies; 10 + 10 x 1 Mbit/s carry them.
        let bound = lower_bound_seconds(1_000_000, 10 * MBIT, &fleet(10, MBIT, 100 * MBIT));
        assert_eq!(bound, Some(4.0));
    }

    #[test]
    fn a_bound_says_what_it_comes_from() {
        let limit =
            |seeder_up, devices: &[LinkRates]| lower_bound(1_000_000, seeder_up, devices).map(|b| b.limit);
        assert_eq!(limit(MBIT, &fleet(8, 9 * MBIT, 9 * MBIT)), Some(Limit::SeederUplink));
        assert_eq!(limit(9 * MBIT, &fleet(8, 9 * MBIT, MBIT)), Some(Limit::SlowestDownlink));
        assert_eq!(limit(9 * MBIT, &fleet(8, MBIT, 90 * MBIT)), Some(Limit::AllUplinks));
        assert_eq!(limit(MBIT, &fleet(8, MBIT, MBIT)), Some(Limit::SeederUplink));
    }

    #[test]
    fn the_pipeline_is_one_round_a_piece_and_one_a_doubling() {
        // A piece of 1 MB takes a second at 8 Mbit/s: 16 pieces, 3 doublings.
        let equal = pipeline_seconds(16_000_000, 1_000_000, 8 * MBIT, &fleet(8, 8 * MBIT, 8 * MBIT));
        assert_eq!(equal, Some(f64::from(lower_bound_rounds(16, 8))));
        // Devices ten times as fast double ten times as fast.
        let fast = pipeline_seconds(16_000_000, 1_000_000, 8 * MBIT, &fleet(8, 80 * MBIT, 80 * MBIT));
        assert_eq!(fast, Some(16.3));
        // An artifact smaller than a piece is one short piece.
        let small = pipeline_seconds(500_000, 1_000_000, 8 * MBIT, &fleet(2, 8 * MBIT, 8 * MBIT));
        assert_eq!(small, Some(1.0));
    }

    #[test]
    fn links_that_are_unlike_or_slower_than_the_seeder_have_no_known_pipeline() {
        let mut unlike = fleet(8, 9 * MBIT, 9 * MBIT);
        unlike[3].down = 8 * MBIT;
        assert_eq!(pipeline_seconds(1, 1, MBIT, &unlike), None);
        assert_eq!(pipeline_seconds(1, 1, 9 * MBIT, &fleet(8, MBIT, 90 * MBIT)), None);
        assert_eq!(pipeline_seconds(1, 1, 0, &fleet(8, MBIT, MBIT)), None);
        assert_eq!(pipeline_seconds(1, 1, MBIT, &[]), None);
    }

    #[test]
    fn no_device_or_a_dead_link_has_no_bound() {
        assert_eq!(lower_bound_seconds(1, 1, &[]), None);
        assert_eq!(lower_bound_seconds(1, 0, &fleet(1, 1, 1)), None);
        assert_eq!(lower_bound_seconds(1, 1, &fleet(1, 1, 0)), None);
    }

    #[test]
    fn rounds_are_the_pieces_plus_the_doublings() {
        assert_eq!(lower_bound_rounds(512, 8), 515);
        assert_eq!(lower_bound_rounds(512, 9), 515);
        assert_eq!(lower_bound_rounds(0, 9), 0);
        assert_eq!(lower_bound_rounds(9, 0), 0);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 50), Some(50.0));
        assert_eq!(percentile(&values, 99), Some(99.0));
        assert_eq!(percentile(&values, 100), Some(100.0));
        assert_eq!(percentile(&[7.0], 1), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_perfect_run_has_one_copy_of_everything() {
        let report = RunReport::new(Run {
            artifact_bytes: 100,
            lower_bound_seconds: Some(2.0),
            seeder_bytes: 100,
            seeder_wire_bytes: Some(105),
            devices: vec![device(Some(3.0), 40, 60), device(Some(2.5), 60, 40)],
            ..Run::default()
        });
        assert_eq!((report.devices, report.verified), (2, 2));
        assert_eq!((report.first_device_seconds, report.last_device_seconds), (Some(2.5), Some(3.0)));
        assert_eq!((report.time_ratio, report.seeder_copies), (Some(1.5), 1.0));
        assert_eq!(
            (report.seeder_wire_copies, report.total_copies, report.peer_share),
            (Some(1.05), 1.0, 0.5)
        );
    }

    #[test]
    fn a_run_that_one_device_never_finished_has_no_last_device_and_no_ratio() {
        let report = RunReport::new(Run {
            artifact_bytes: 100,
            lower_bound_seconds: Some(2.0),
            devices: vec![device(Some(3.0), 100, 0), device(None, 10, 0)],
            ..Run::default()
        });
        assert_eq!((report.verified, report.last_device_seconds, report.time_ratio), (1, None, None));
        assert_eq!(report.median_device_seconds, Some(3.0));
    }

    #[test]
    fn a_late_joiner_does_not_stretch_the_time_of_the_fleet() {
        let late = DeviceReport { joined_seconds: Some(50.0), ..device(Some(9.0), 0, 100) };
        let report = RunReport::new(Run {
            artifact_bytes: 100,
            lower_bound_seconds: Some(2.0),
            devices: vec![device(Some(3.0), 100, 0), late],
            ..Run::default()
        });
        assert_eq!((report.verified, report.last_device_seconds), (2, Some(3.0)));
    }

    #[test]
    fn an_empty_run_divides_by_nothing() {
        let report = RunReport::new(Run::default());
        assert_eq!((report.seeder_copies, report.total_copies, report.peer_share), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_json_keys_are_an_interface() {
        let report = RunReport::new(Run { devices: vec![device(None, 0, 0)], ..Run::default() });
        let json = serde_json::to_value(&report).unwrap();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        for key in "devices verified artifact_bytes lower_bound_seconds first_device_seconds \
            median_device_seconds p99_device_seconds last_device_seconds time_ratio seeder_copies \
            seeder_wire_copies repair_bytes total_copies duplicate_bytes peer_share per_device"
            .split_whitespace()
        {
            assert!(keys.contains(&key), "{key} is missing from {keys:?}");
        }
        assert_eq!(serde_json::from_value::<RunReport>(json).unwrap(), report);
    }
}
