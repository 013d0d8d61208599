//! What a simulated run takes of this machine's memory, estimated before it starts: a run that cannot fit says so at once
//! and not after minutes, when the kernel kills it.
//!
//! The estimate is a sum over processes, connections, pieces and configured addresses, fitted to the peaks of 27 runs of
//! 8 to 1000 devices; `docs/SIMULATION.md` says how far off it is.

use crate::plan::{Discovery, Plan};
use samara_protocol::geometry::Geometry;
use samara_protocol::neighbour::Limits;

const KIB: u64 = 1024;
/// The program, its allocator, the plan.
const BASE_BYTES: u64 = 13 * KIB * KIB;
/// A process: its machine, documents, addresses of members.
const DEVICE_BYTES: u64 = 110 * KIB;
/// One end of a connection: the neighbour in the machine, and what waits on the way to it.
const CONNECTION_BYTES: u64 = 7 * KIB;
/// A piece at a device: availability, its place in the order of rarity, what is on disk.
const PIECE_BYTES: u64 = 64;
/// An address that is configured at a large site: it is dialled again and again, and turned away by who has no place.
const CONFIGURED_BYTES: u64 = 2 * KIB;
/// Of a device's places one in so many is kept for the seeder.
const PLACES_PER_KEPT: usize = 8;

/// A run that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{plan} needs about {} of memory, and this machine has {} available: \
     {devices} devices with {connections} connections each and {pieces} pieces; \
     take fewer devices, fewer network.neighbours{}, or a machine with more memory",
    amount(*needed), amount(*available), if *is_static { ", network.discovery = \"mdns\"" } else { "" }
)]
pub struct TooLarge {
    /// The plan's name.
    pub plan: String,
    /// Bytes that one run takes.
    pub needed: u64,
    /// Bytes that there are.
    pub available: u64,
    devices: usize,
    connections: usize,
    pieces: u32,
    is_static: bool,
}

/// How many runs of `plan` may go on side by side, at most `wanted`, by what the machine has available now.
///
/// # Errors
/// Not even one fits.
pub fn runs_at_once(plan: &Plan, wanted: usize) -> Result<usize, TooLarge> {
    // A machine that does not say what it has is not judged.
    available_bytes().map_or(Ok(wanted), |available| fitting(plan, wanted, available))
}

fn fitting(plan: &Plan, wanted: usize, available: u64) -> Result<usize, TooLarge> {
    let needed = estimated_bytes(plan);
    let fits = usize::try_from(available / needed).unwrap_or(wanted);
    if fits > 0 {
        return Ok(wanted.min(fits));
    }
    Err(TooLarge {
        plan: plan.name.clone(),
        needed,
        available,
        devices: plan.devices.count,
        connections: connections(plan),
        pieces: pieces(plan),
        is_static: plan.network.discovery == Discovery::Static,
    })
}

/// The most memory that one run of a plan takes, about.
pub fn estimated_bytes(plan: &Plan) -> u64 {
    let (devices, connections) = (plan.devices.count as u64, connections(plan) as u64);
    let pieces = u64::from(pieces(plan));
    let is_large = plan.devices.count > Limits::default().full_mesh_max;
    let configured = if is_large && plan.network.discovery == Discovery::Static { devices } else { 0 };
    let of_device = DEVICE_BYTES
        + connections * CONNECTION_BYTES
        + pieces * PIECE_BYTES
        // What each neighbour holds, a bit for each piece.
        + connections * pieces / 8
        + configured * CONFIGURED_BYTES;
    BASE_BYTES + devices * of_device
}

fn pieces(plan: &Plan) -> u32 {
    Geometry::for_length(plan.artifact.bytes.0).map_or(0, |geometry| geometry.pieces())
}

/// Neighbours that a device comes to: all of a small site; of a large one those it chooses and as many that choose it,
/// or as many as it has places for where it dials everybody.
fn connections(plan: &Plan) -> usize {
    let (limits, devices) = (Limits::default(), plan.devices.count);
    let places = plan.network.neighbours - (plan.network.neighbours / PLACES_PER_KEPT).max(1);
    let dials_all = devices <= limits.full_mesh_max || plan.network.discovery == Discovery::Static;
    if dials_all { devices.min(places) } else { 2 * limits.chosen_max.min(places / 2) }
}

/// What the kernel would give to new programs without swapping.
fn available_bytes() -> Option<u64> {
    available_of(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * KIB)
}

/// Bytes for people.
pub fn amount(bytes: u64) -> String {
    let mib = bytes as f64 / (KIB * KIB) as f64;
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const MIB: u64 = KIB * KIB;

    fn plan(devices: usize, mib: u64, network: &str) -> Plan {
        let text = format!(
            "[devices]\ncount = {devices}\nup = \"8mbit\"\ndown = \"8mbit\"\n[seeder]\nup = \"8mbit\"\n\
             [artifact]\nkind = \"file\"\nbytes = \"{mib}MiB\"\n[network]\n{network}\n"
        );
        Plan::parse(Path::new("large.toml"), &text).unwrap()
    }

    #[test]
    fn the_estimate_is_at_most_a_fifth_below_and_a_third_above_what_runs_of_every_size_took() {
        let measured = [
            (8, 128, "", 13_864),
            (48, 128, "", 38_652),
            (50, 128, "", 32_348),
            (50, 8192, "neighbours = 32", 38_900),
            (200, 128, "", 90_544),
            (200, 128, "neighbours = 16", 56_932),
            (200, 32, "discovery = \"static\"", 210_884),
            (500, 8192, "neighbours = 32", 338_900),
            (1000, 8, "neighbours = 16", 236_740),
            (1000, 128, "neighbours = 32", 306_864),
            (1000, 128, "", 379_496),
        ];
        for (devices, mib, network, kib) in measured {
            let ratio = estimated_bytes(&plan(devices, mib, network)) as f64 / (kib * KIB) as f64;
            assert!((0.8..1.33).contains(&ratio), "{devices} devices, {mib} MiB, {network:?}: {ratio}");
        }
    }

    #[test]
    fn as_many_seeds_run_at_once_as_there_is_memory_for() {
        let plan = plan(1000, 128, "");
        let one = estimated_bytes(&plan);
        assert_eq!(fitting(&plan, 8, 100 * one), Ok(8));
        assert_eq!(fitting(&plan, 8, 3 * one + 1), Ok(3));
        assert_eq!(fitting(&plan, 8, one), Ok(1));
    }

    #[test]
    fn a_run_that_does_not_fit_says_both_numbers_and_what_to_change() {
        let error = fitting(&plan(10_000, 128, ""), 1, 512 * MIB).unwrap_err().to_string();
        assert_eq!(
            error,
            "large needs about 3.8 GiB of memory, and this machine has 512 MiB available: 10000 devices with 32 \
             connections each and 1024 pieces; take fewer devices, fewer network.neighbours, or a machine with more memory"
        );
        let error = fitting(&plan(10_000, 128, "discovery = \"static\""), 1, 512 * MIB).unwrap_err();
        assert!(error.to_string().contains("network.discovery = \"mdns\""), "{error}");
    }

    #[test]
    fn what_is_available_is_read_as_the_kernel_writes_it() {
        let meminfo =
            "MemTotal:       24638472 kB\nMemFree:          123456 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(available_of(meminfo), Some(23_000_000 * KIB));
        assert_eq!(available_of("MemTotal: 1 kB\n"), None);
    }
}
